"""The values that travel: a program as it is asked for, the result as it is cached."""

import dataclasses
import errno
import json
import os
from typing import Self

MAX_TEXT_BYTES = 64 * 1024  # of source and of standard input, each
DOUBTFUL_TTL = 60.0  # seconds; perhaps it was the machine rather than the program, so ask again soon
# On a full disk, without a process left, and when the kernel was out of memory and killed the compiler.
MACHINE_FAILURES = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EAGAIN),
    "can't start new thread",  # Python's word for it
    "Killed signal terminated program",
)


class ProgramTooLargeError(ValueError):
    """Source or standard input exceed MAX_TEXT_BYTES."""


@dataclasses.dataclass(frozen=True)
class Program:
    """Source and standard input in a language. Raises ValueError for text too large or not Unicode."""

    language: str
    source: str
    stdin: str = ""

    def __post_init__(self) -> None:
        for name, text in (("source", self.source), ("stdin", self.stdin)):
            if len(text.encode()) > MAX_TEXT_BYTES:
                raise ProgramTooLargeError(f"{name} is larger than {MAX_TEXT_BYTES:,} bytes")


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the compiler, or the program, ended: `exit_status` or `signal`, and the `limit` it hit, if any."""

    exit_status: int | None
    signal: str | None
    limit: str | None
    stdout: str
    stderr: str
    milliseconds: float
    cpu_milliseconds: float
    max_rss_bytes: int

    @property
    def ok(self) -> bool:
        return self.exit_status == 0 and self.limit is None

    @property
    def doubtful(self) -> bool:
        """Whether a busy or a full machine, rather than the program, may have made it end like this."""
        if self.ok or self.limit:
            return self.limit == "wall time"
        return self.signal == "SIGKILL" or any(failure in self.stderr for failure in MACHINE_FAILURES)


@dataclasses.dataclass(frozen=True)
class Result:
    """What is cached. `compile` is None for an interpreted language, `run` if the compilation failed."""

    compiler: str
    compile: Stage | None
    run: Stage | None

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        fields = json.loads(text)
        for step in ("compile", "run"):
            fields[step] = fields[step] and Stage(**fields[step])
        return cls(**fields)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage for stage in (self.compile, self.run) if stage)

    @property
    def milliseconds(self) -> float:
        """What compiling and running took when it was done."""
        return sum(stage.milliseconds for stage in self.stages)

    @property
    def ttl(self) -> float | None:
        """Seconds this result is worth keeping; None: as long as there is room."""
        return DOUBTFUL_TTL if any(stage.doubtful for stage in self.stages) else None
