"""Change one module in many small ways, and see which of them no test notices:

    python -m tests.breakages.mutate stratakv/record.py --sample 50

Each mutant is tried in a child of this process, which has loaded beforehand what does not change.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import django.test  # noqa: F401
import hypothesis.stateful  # noqa: F401
import mmh3  # noqa: F401
import pytest
import xxhash  # noqa: F401

from tests.breakages.breakage import ROOT, UselessError, copy_sources
from tests.breakages.mutants import Mutant, mutants

# The tests of each module: those that notice the most in the least time, and those that are asked then.
_FORMATS = "tests/golden/test_golden.py", "tests/docs/test_format.py"
_RECOVERY = ("recover", "lost_found"), ("reboot", "rescue", "sync")
TESTS = {
    "stratakv/record.py": (("record", "recover"), (*_FORMATS, "damage", "commit", "reboot", "hostile")),
    "stratakv/index.py": (("index", "damage"), (*_FORMATS, "operations", "maintenance")),
    "stratakv/recovery/run.py": _RECOVERY,
    "stratakv/recovery/examine.py": _RECOVERY,
    "stratakv/recovery/verdict.py": _RECOVERY,
    "stratakv/recovery/survey.py": _RECOVERY,
    "stratakv/recovery/salvage.py": _RECOVERY,
    "stratakv/recovery/put_away.py": _RECOVERY,
    "stratakv/recovery/renewal.py": _RECOVERY,
    "stratakv/maintenance/merge.py": (("compaction", "distrust"), ("resurrection", "maintenance")),
    "stratakv/maintenance/blocks.py": (("compaction", "distrust", "damage"), ("resurrection", "maintenance")),
    "stratakv/maintenance/output.py": (("compaction", "distrust", "damage"), ("resurrection", "maintenance")),
}
_OUTPUT = "output"
_TIMES = 3  # a mutant that takes so many times as long as the tests do runs for ever


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where every mutant was noticed, 1 where one was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages.mutate", description=__doc__)
    parser.add_argument("module", choices=TESTS)
    parser.add_argument("--sample", type=int, metavar="N", help="try N of the mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--fast", action="store_true", help="ask the fast tests only, not the slow ones then")
    asked = parser.parse_args(arguments)
    found = list(mutants((ROOT / asked.module).read_text()))
    chosen = random.Random(asked.seed).sample(found, min(asked.sample or len(found), len(found)))
    print(f"{asked.module}: {len(chosen)} of {len(found)} mutants", flush=True)
    return _try_all(asked.module, chosen, TESTS[asked.module][: 1 if asked.fast else None])


def _try_all(module: str, chosen: Sequence[Mutant], tests: Sequence[Sequence[str]]) -> int:
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="stratakv-mutants-") as place:
        root = Path(place)
        copy_sources(root)
        groups = [list(map(file_of, names)) for names in tests]
        limits = [_seconds_without(root, group) * _TIMES + 5 for group in groups]
        for number, mutant in enumerate(chosen):
            (root / module).write_text(mutant.source)
            # Compiled files are told apart by the second and the size.
            os.utime(root / module, (number, number))
            runs = (_run(root, group, limit) for group, limit in zip(groups, limits, strict=True))
            end = next((run for run in runs if run != "survived"), "survived")
            ends[end] += 1
            if end == "survived":
                print(f"{module}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
    print(", ".join(f"{count} {end}" for end, count in ends.items()))
    return 1 if ends["survived"] else 0


def file_of(name: str) -> str:
    return name if "/" in name else f"tests/engine/test_{name}.py"


def _seconds_without(root: Path, tests: Sequence[str]) -> float:
    """Return how long the tests take without any mutant; UselessError where they do not pass."""
    began = time.monotonic()
    if _run(root, tests, 3600) != "survived":
        raise UselessError(f"the tests fail without any mutant:\n{(root / _OUTPUT).read_text()}")
    return time.monotonic() - began


def _run(root: Path, tests: Sequence[str], limit: float) -> str:
    """Run tests in a child; return "survived" where they pass, "caught" or "endless"."""
    child = os.fork()
    if not child:
        try:
            _become_pytest(root, tests)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)  # whatever happens, it is not this process that goes on
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "caught" if status else "survived"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "endless"


def _become_pytest(root: Path, tests: Sequence[str]) -> None:
    os.setpgid(0, 0)
    output = os.open(root / _OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(root)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "stratakv")]:
        del sys.modules[name]
    sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(root)
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # which is the purpose of it
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *loaded, *tests]))


if __name__ == "__main__":
    sys.exit(main())
