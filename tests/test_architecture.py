"""The rooms of the design: who may import whom, who may touch the operating system, what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stratakv

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stratakv"
DOOR = ("files", "open_file", "processes")  # the others are asked through the first
PURE = ("bit_flip", "bloom", "budget", "ghosts", "index", "log", "record", "sieve")
IMPURE = {"fcntl", "io", "logging", "os", "pathlib", "random", "signal", "socket", "threading", "time"}
# What others than the door may use of the modules that reach the operating system: types, constants, names.
HARMLESS = {
    "os": {"PathLike", "fspath", "register_at_fork"},
    "fcntl": {"LOCK_EX", "LOCK_NB", "LOCK_SH", "LOCK_UN"},
    "mmap": {"mmap"},  # the type of a mapped log, for annotations
}
TOUCHING = {
    "chmod",
    "exists",
    "glob",
    "is_dir",
    "is_file",
    "is_symlink",
    "iterdir",
    "mkdir",
    "read_bytes",
    "read_text",
    "resolve",
    "rmdir",
    "write_bytes",
    "write_text",
}


def module(path: Path) -> str:
    """Return the name of a module within the package; "" for the package itself."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".")


MODULES = {module(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
PROGRAMS = ("cli", "server", "keep", "__main__")
ENGINE = {name: tree for name, tree in MODULES.items() if not name.startswith(PROGRAMS)}
engine = pytest.mark.parametrize("name", ENGINE)


def floors() -> list[dict[str, int]]:
    """Return the floors that docs/architecture.md draws, 0 at the top: of the rooms, then of each package."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    columns = [[re.split(r"\s{2,}", line)[0] for line in block.splitlines()] for block in blocks]
    return [
        {name: floor for floor, names in enumerate(column) for name in names.split(" · ")}
        for column in columns
    ]


ROOMS, *PACKAGES = floors()
INNER = {name: floor for package in PACKAGES for name, floor in package.items()}


def room_of(name: str) -> str:
    """Return the room that a module is in: itself, or the package that it is a part of."""
    package = name.partition(".")[0]
    return package if package in ROOMS else name


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield each imported module, with the name taken from it, None for the module as such."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written out in full"
            for alias in node.names:
                yield node.module or "", alias.name


def rooms_used(tree: ast.AST) -> set[str]:
    used = set()
    for module, name in imports(tree):
        if module == "stratakv":
            used.add(name if name and name in MODULES else "")  # "": the public names
        elif module.startswith("stratakv."):
            inner = module.removeprefix("stratakv.")
            used.add(f"{inner}.{name}" if f"{inner}.{name}" in MODULES else inner)
    return used


def test_the_page_has_every_module() -> None:
    assert {room_of(name) for name in MODULES} - {"", "__main__"} == set(ROOMS)
    packages = tuple(f"{name.partition('.')[0]}." for name in INNER)
    assert {name for name in MODULES if name.startswith(packages)} == set(INNER)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("", "__main__")])
def test_imports_go_down(name: str) -> None:
    for used in rooms_used(MODULES[name]):
        if used == "":
            assert ROOMS[room_of(name)] < ROOMS["db"], "only programs import the public names"
        elif room_of(used) != room_of(name):
            assert ROOMS[room_of(used)] > ROOMS[room_of(name)], f"{used} is not below {name}"
        elif name in INNER:
            assert INNER[used] > INNER[name], f"{used} is not below {name}"


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_know_no_file_lock_or_clock(name: str) -> None:
    used = {module.partition(".")[0] for module, _ in imports(ENGINE[name])}
    assert not used & IMPURE
    assert rooms_used(ENGINE[name]) <= set(PURE)


@pytest.mark.parametrize("name", ["plan", "merging", "task"])
def test_choosing_maintenance_knows_no_file_lock_or_clock(name: str) -> None:
    tree = ENGINE[f"maintenance.{name}"]
    assert not {module.partition(".")[0] for module, _ in imports(tree)} & IMPURE
    own = {"maintenance.merging", "maintenance.task"}
    assert rooms_used(tree) <= {"budget", "index", "manifest", "sieve", *own}  # of it: what an entry says


@engine
def test_there_is_one_door(name: str) -> None:
    if name in DOOR:
        pytest.skip("this is the door")
    for module, taken in imports(ENGINE[name]):
        assert module not in {"io", "shutil", "tempfile", "socket", "select"}
        assert module != "subprocess" or taken == "Popen", "a type, for annotations"
        assert taken is None or taken in HARMLESS.get(module, {taken})
    for node in ast.walk(ENGINE[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            allowed = HARMLESS.get(node.value.id, {node.attr})
            assert node.attr in allowed, f"{node.value.id}.{node.attr} in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in TOUCHING, f"{node.func.attr}() in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}, f"{node.func.id}() in line {node.lineno}"


@engine
def test_dependencies(name: str) -> None:
    tops = {module.partition(".")[0] for module, _ in imports(ENGINE[name])}
    assert tops <= {*sys.stdlib_module_names, "stratakv", "mmh3", "xxhash"}


def test_importing_the_engine_loads_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import stratakv; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {name for name in done.stdout.split() if not name.startswith("_")} == {
        "stratakv",
        "mmh3",
        "xxhash",
    }


OUTSIDE = sorted((ROOT / "stratakv_django").rglob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_django_backend_uses_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    taken = set()
    for module, name in imports(tree):
        assert not module.startswith("stratakv."), module
        if module == "stratakv" and name:
            taken.add(name)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "stratakv"
        ):
            taken.add(node.attr)
        if isinstance(node, ast.Attribute) and node.attr in {"_store", "_reader", "_writer"}:
            assert isinstance(node.value, ast.Name), f"line {node.lineno}"
            assert node.value.id == "self", f"line {node.lineno}"
    assert taken <= {*stratakv.__all__, "__version__"}


def test_public_names_are_pinned() -> None:
    assert stratakv.__all__ == [
        "DB",
        "LONGEST_TTL",
        "BackupReport",
        "ClosedError",
        "CompactionReport",
        "CorruptionError",
        "Damage",
        "DirectoryError",
        "DiskFullError",
        "Finding",
        "FormatError",
        "InvalidKeyError",
        "InvalidTTLError",
        "InvalidValueError",
        "KeptLog",
        "KeyNotFoundError",
        "Lock",
        "LockError",
        "MaintenanceReport",
        "NetworkFileSystemWarning",
        "OptionError",
        "Options",
        "ReadOnlyError",
        "RecoveryReport",
        "RemovedError",
        "RescueReport",
        "SegmentStats",
        "Stats",
        "StorageError",
        "StoreBusyError",
        "StrataKVError",
        "SyncError",
        "Transaction",
        "TransactionError",
        "VerifyReport",
        "check_directory",
        "open",
        "recover",
        "rescue",
    ]
    assert all(hasattr(stratakv, name) for name in stratakv.__all__)


def test_public_names_are_documented() -> None:
    for name in stratakv.__all__:
        assert getattr(stratakv, name).__doc__, name
    for name, method in vars(stratakv.DB).items():
        if not name.startswith("_"):
            assert method.__doc__, name


def test_every_error_is_one_of_ours() -> None:
    errors = {
        value
        for value in vars(stratakv).values()
        if isinstance(value, type) and issubclass(value, BaseException) and not issubclass(value, Warning)
    }
    assert all(issubclass(error, stratakv.StrataKVError) for error in errors)
    assert {error.__name__ for error in errors if issubclass(error, ValueError)} == {
        "InvalidKeyError",
        "InvalidTTLError",
        "InvalidValueError",
        "OptionError",
    }
    assert {error.__name__ for error in errors if issubclass(error, OSError)} == {
        "DiskFullError",
        "StorageError",
        "SyncError",
    }
    assert issubclass(stratakv.KeyNotFoundError, KeyError)
