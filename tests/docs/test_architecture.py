"""The rooms of docs/architecture.md: every module is in one, and imports go downwards only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stratakv"
OUTSIDE = {"", "__main__"}  # the public door and the program


def floors() -> dict[str, int]:
    """Return the floor of each room, as the page draws them: 0 is the top."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert block
    lines = [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]
    return {room: floor for floor, line in enumerate(lines) for room in line.split(" · ")}


FLOORS = floors()


def room_of(module: str) -> str:
    """Return the room of a module: itself, or the package that it is a part of."""
    package = module.split(".")[0]
    return package if package in FLOORS else module


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports, wherever in it."""
    known = {module for module, _ in modules()}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "stratakv":
            source = node.module.removeprefix("stratakv").lstrip(".")
            for name in node.names:
                inner = f"{source}.{name.name}".lstrip(".")
                yield inner if inner in known else source
        elif isinstance(node, ast.Import):
            yield from (
                n.name.removeprefix("stratakv").lstrip(".") for n in node.names if "stratakv" in n.name
            )


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    rooms = {room_of(module) for module, _ in modules()} - OUTSIDE
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("module", [module for module, _ in modules() if module not in OUTSIDE])
def test_imports_go_down(module: str) -> None:
    path = dict(modules())[module]
    here = room_of(module)
    above_db = FLOORS[here] < FLOORS["db"]
    for found in imported(path):
        if found == "":
            assert above_db, "only programs over the public names import the public door"
            continue
        there = room_of(found)
        if there != here:
            assert FLOORS[there] > FLOORS[here], f"{module} imports {found}, which is not below it"
