"""Break the engine in every way its tests are about, and see that they notice: python -m tests.breakages"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from tests.breakages.breakage import TIMEOUT, Breakage, UselessError, copy_sources, run_tests
from tests.breakages.breakages import BREAKAGES

out = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where every breakage was caught, 1 where one was not, 2 where it cannot be told."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the breakages to try; all of them if none")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    asked = parser.parse_args(arguments)
    known = {each.name: each for each in BREAKAGES}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no such breakage: {', '.join(unknown)}")
    chosen = [known[name] for name in asked.names] or list(BREAKAGES)
    if asked.list:
        _print_list(chosen)
        return 0
    try:
        return _try_all(chosen)
    except UselessError as reason:
        out.print(str(reason), markup=False, style="red")
        return 2


def _print_list(chosen: Sequence[Breakage]) -> None:
    table = Table(Column("name", no_wrap=True), "file", "breaks")
    for each in chosen:
        table.add_row(each.name, each.file, each.breaks)
    out.print(table)


def _try_all(chosen: Sequence[Breakage]) -> int:
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="stratakv-breakages-") as place:
        root = Path(place)
        copy_sources(root)
        whole = run_tests(root, sorted({test for each in chosen for test in each.tests}), 10 * TIMEOUT)
        if whole.caught:
            raise UselessError(f"{whole.caught} fails without any breakage:\n{whole.output}")
        for each in chosen:
            with each.applied(root), out.status(each.name):
                outcome = run_tests(root, each.tests)
            if outcome.caught:
                out.print(f"{each.name}: {outcome.caught}", soft_wrap=True, markup=False)
            else:
                survivors += 1
                out.print(
                    f"{each.name}: NOTHING notices ({each.breaks})", soft_wrap=True, markup=False, style="red"
                )
    out.print(f"{len(chosen) - survivors} of {len(chosen)} breakages are caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
