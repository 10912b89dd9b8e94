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

import django.test
import hypothesis.stateful  # noqa: F401
import mmh3  # noqa: F401
import pytest
import xxhash  # noqa: F401

from tests.breakages.breakage import ROOT, UselessError, copy_sources
from tests.breakages.mutants import Mutant, mutants

assert django.test  # as the others, loaded for the children

_ENGINE = "tests/engine"
# The fast tests of each module, those that are the most likely to fail first.
TESTS = {
    "stratakv/record.py": ("record", "damage", "commit", "reboot", "recover"),
    "stratakv/index.py": ("index", "damage", "operations", "maintenance"),
    "stratakv/recovery.py": ("recover", "lost_found", "reboot", "rescue"),
    "stratakv/examine.py": ("recover", "lost_found", "reboot", "rescue"),
    "stratakv/verdict.py": ("recover", "lost_found", "reboot", "rescue", "sync"),
    "stratakv/survey.py": ("recover", "lost_found", "rescue", "maintenance"),
    "stratakv/salvage.py": ("recover", "lost_found"),
    "stratakv/renewal.py": ("recover", "lost_found", "reboot", "rescue"),
    "stratakv/maintenance/merge.py": ("compaction", "resurrection", "maintenance"),
    "stratakv/maintenance/blocks.py": ("compaction", "resurrection", "damage", "maintenance"),
}
_OUTPUT = "output"
_TIMES = 1.5  # a mutant that takes so many times as long as the tests do runs for ever


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where every mutant was noticed, 1 where one was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages.mutate", description=__doc__)
    parser.add_argument("module", choices=TESTS)
    parser.add_argument("--sample", type=int, metavar="N", help="try N of the mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    asked = parser.parse_args(arguments)
    found = list(mutants((ROOT / asked.module).read_text()))
    chosen = found
    if asked.sample and asked.sample < len(found):
        chosen = sorted(random.Random(asked.seed).sample(found, asked.sample), key=lambda each: each.line)
    print(f"{asked.module}: {len(chosen)} of {len(found)} mutants", flush=True)
    return _try_all(asked.module, chosen)


def _try_all(module: str, chosen: Sequence[Mutant]) -> int:
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="stratakv-mutants-") as place:
        root = Path(place)
        copy_sources(root)
        tests = [f"{_ENGINE}/test_{name}.py" for name in TESTS[module]]
        began = time.monotonic()
        if _run(root, tests, 3600) != "survived":
            raise UselessError(f"the tests fail without any mutant:\n{(root / _OUTPUT).read_text()}")
        limit = _TIMES * (time.monotonic() - began) + 10
        for number, mutant in enumerate(chosen):
            (root / module).write_text(mutant.source)
            # Compiled files are told apart by the second and the size.
            os.utime(root / module, (number, number))
            end = _run(root, tests, limit)
            ends[end] += 1
            if end == "survived":
                print(f"{module}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
    print(", ".join(f"{count} {end}" for end, count in ends.items()))
    return 1 if ends["survived"] else 0


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
