"""The bundled programs: a file by the language's suffix, title in its first line, input in ``NAME.stdin``."""

import dataclasses
import functools
from pathlib import Path

from example_project.languages import LANGUAGES
from example_project.programs import Program

DIRECTORY = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Sample:
    name: str
    title: str
    program: Program

    @property
    def language(self) -> str:
        """The language's title."""
        return LANGUAGES[self.program.language].title


@functools.cache
def samples() -> dict[str, Sample]:
    """All samples by name, in the order of the languages."""
    return {
        path.stem: _read(path, language.slug)
        for language in LANGUAGES.values()
        for path in sorted(DIRECTORY.glob(f"*{language.suffix}"))
        if path.name != "__init__.py"
    }


def _read(path: Path, language: str) -> Sample:
    source = path.read_text(encoding="utf-8")
    given = path.with_suffix(".stdin")
    stdin = given.read_text(encoding="utf-8") if given.exists() else ""
    title = source.splitlines()[0].lstrip("/# ")
    return Sample(path.stem, title, Program(language, source, stdin))
