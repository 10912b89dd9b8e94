"""Compile and run a program once; ever after, the result is served from Django's cache.

Key: SHA-256 of language, compiler version, flags, source and standard input. A failed compilation or a
non-zero exit is a result like any other; what says nothing about the program (the sandbox did not start) is
not stored.

Equal requests at the same moment compile once, across threads and processes. The first to `add` the lock
entry does the work, and renews the lock's short lease as it goes. The others wait for the result; when a
holder dies, its lease runs out and one of them takes over.
"""

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from django.core.cache import cache

from example_project import execution
from example_project.languages import Toolchain, toolchain
from example_project.programs import Program, Result, Stage

FORMAT = (
    "compile-cache 1"  # change it when the cached form, the limits or the sandbox change what a result means
)
LEASE = 5.0  # seconds; its holder renews it every second
POLL_FIRST, POLL_LONGEST = 0.005, 0.1  # seconds between two looks of a request that waits
UNHELD_LOOKS = 20  # a lock that can't be had, and that nobody has, this often: the cache is not storing

State = Literal["hit", "miss", "joined"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """A result, where it came from, and what each step of this request took.

    `state` is "hit" when it was cached, "miss" when this request made it, "joined" when it waited for an
    equal one. `milliseconds` holds "lookup" and "total", and for a miss "wait" (for the lease), "sandbox"
    (setting up and cleaning away), "compile", "run" and "store".
    """

    state: State
    key: str
    result: Result
    milliseconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def key_for(program: Program, tools: Toolchain) -> str:
    """The cache key of a program; each part follows its length, so no two lists of parts look alike."""
    flags = tools.language.flags
    parts = (FORMAT, program.language, tools.version, str(len(flags)), *flags, program.source, program.stdin)
    return "program:" + hashlib.sha256(b"".join(_framed(parts))).hexdigest()


def _framed(parts: Iterable[str]) -> Iterator[bytes]:
    for part in parts:
        data = part.encode()
        yield len(data).to_bytes(8, "little")
        yield data


def answer(program: Program) -> Answer:
    """The result of a program, from the cache or by making it now.

    Raises KeyError for an unknown language, languages.MissingCompilerError, sandbox.SandboxError.
    """
    tools = toolchain(program.language)
    key = key_for(program, tools)
    steps = Steps()
    with steps.timed("lookup"):
        stored = cache.get(key)
        found = Result.load(stored) if stored else None
    if found:
        return steps.answer("hit", key, found)

    lease = Lease(key)
    with steps.timed("wait"):
        stored = lease.take_or_join()
    if stored:
        return steps.answer("joined", key, Result.load(stored))
    try:
        with steps.timed("sandbox"):
            result = execution.execute(program, tools, tick=lease.renew)
        steps.split("sandbox", {"compile": result.compile, "run": result.run})
        with steps.timed("store"):
            cache.set(key, result.dump(), result.ttl)
    finally:
        lease.release()
    return steps.answer("miss", key, result)


class Lease:
    """The right to make one entry; it ends by itself LEASE seconds after it was last renewed."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._lock = f"lock:{key}"
        self._token = secrets.token_hex(8)

    def take_or_join(self) -> str | None:
        """Wait until the lease is ours (None) or another request has stored the entry (which is returned)."""
        pause, unheld = POLL_FIRST, 0
        while unheld < UNHELD_LOOKS:
            if cache.add(self._lock, self._token, LEASE):
                if stored := self._entry():  # the last holder may have stored it meanwhile
                    self.release()
                return stored
            unheld = unheld + 1 if cache.get(self._lock) is None else 0
            time.sleep(pause)
            pause = min(pause * 2, POLL_LONGEST)
            if stored := self._entry():
                return stored
        return None  # without the lease: better compile twice than never

    def _entry(self) -> str | None:
        return cast("str | None", cache.get(self._key))

    def renew(self) -> None:
        cache.touch(self._lock, LEASE)

    def release(self) -> None:
        if cache.get(self._lock) == self._token:
            cache.delete(self._lock)


class Steps:
    """What each step of one request took, in milliseconds."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] = (time.perf_counter() - began) * 1000

    def split(self, name: str, stages: dict[str, Stage | None]) -> None:
        """Book the stages within this step under their own names, and leave it the rest."""
        for stage_name, stage in stages.items():
            if stage:
                self.milliseconds[stage_name] = stage.milliseconds
                self.milliseconds[name] -= stage.milliseconds

    def answer(self, state: State, key: str, result: Result) -> Answer:
        self.milliseconds["total"] = (time.perf_counter() - self._began) * 1000
        return Answer(state, key, result, self.milliseconds)
