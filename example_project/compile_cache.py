"""Compile and run a program once; ever after, the result is served from Django's cache.

Key: SHA-256 of language, compiler version, flags, source and standard input. A failed compilation or a
non-zero exit is a result like any other; what says nothing about the program (the sandbox did not start) is
not stored.

Equal requests at the same moment compile once, across threads and processes: one holds the lock on the key
and makes the entry, the others wait for the lock and then find it. When a process dies at work, another one
takes over.
"""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from django.core.cache import cache

import stratakv
from example_project import execution
from example_project.languages import Toolchain, toolchain
from example_project.programs import Program, Result, Stage
from stratakv_django.cache import StrataKVCache

# Change it when the cached form, the limits or the sandbox change what a result means.
FORMAT = "compile-cache 1"

log = logging.getLogger(__name__)

State = Literal["hit", "miss", "joined"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """A result, where it came from, and what each step of this request took.

    `state` is "hit" when it was cached, "miss" when this request made it, "joined" when it waited for an
    equal one. `milliseconds` holds "lookup" and "total", and for a miss "wait" (for the lock), "sandbox"
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

    with steps.timed("wait"):
        lock = _taken(key)
    try:
        if lock and (stored := cache.get(key)):
            return steps.answer("joined", key, Result.load(stored))
        with steps.timed("sandbox"):
            result = execution.execute(program, tools)
        steps.split("sandbox", {"compile": result.compile, "run": result.run})
        with steps.timed("store"):
            cache.set(key, result.dump(), result.ttl)
    finally:
        if lock:
            lock.release()
    return steps.answer("miss", key, result)


def _taken(key: str) -> stratakv.Lock | None:
    """The lock on a key, once no equal request holds it; None where the cache has none to give.

    Better compile twice than never.
    """
    try:
        lock = cast("StrataKVCache", cache).lock(key)
        lock.acquire()
    except stratakv.StrataKVError:
        log.warning("%s: equal requests may compile at the same time", key, exc_info=True)
        return None
    return lock


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
