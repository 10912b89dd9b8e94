"""`python -m fuzz TARGET`: give one parser more and more of what it has not seen."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

from fuzz.targets import CORPUS, LONGEST, MEBIBYTES, SECONDS_FOR_ONE, target

try:
    import atheris
except ModuleNotFoundError:
    sys.exit("fuzz: atheris is not installed; run: pip install -e '.[test]'")

_ADDRESS_SPACE = 8 * 2**30  # so much more than MEBIBYTES, as a sparse file that is mapped takes none of them


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=LONGEST)
    parser.add_argument("inputs", nargs="*", type=Path, help="run these files once, in place of fuzzing")
    parser.add_argument("--seconds", type=int, default=20, help="how long to look (20)")
    parser.add_argument(
        "--corpus", type=Path, help="directory to which new finds are added (a temporary one)"
    )
    return parser.parse_args()


def main() -> None:
    chosen = _arguments()
    finds = chosen.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    finds.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={chosen.seconds}",
        f"-timeout={SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MEBIBYTES}",
        f"-max_len={LONGEST[chosen.target]}",
        "-len_control=0",  # all lengths from the start: some targets take too long to get there by and by
        f"-artifact_prefix={finds}/",
    ]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    instrumented = atheris.instrument_imports(  # type: ignore[attr-defined]  # its stubs do not know it
        include=["stratakv", "stratakv_django", "json", "fuzz"]
    )
    with instrumented:
        run = target(chosen.target)
    places = chosen.inputs or [finds, CORPUS / chosen.target]
    atheris.Setup([sys.argv[0], *options, *map(str, places)], run)
    atheris.Fuzz()


main()
