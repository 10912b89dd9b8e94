"""The door to the operating system with the real one behind it: what no store in other tests asks of it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv.files import Files
from stratakv.open_file import OpenFile
from tests.support.children import run
from tests.support.users import let_in

GROUP = 30_000
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def fd(tmp_path: Path, files: Files) -> Iterator[int]:
    with files.open(tmp_path / "file", write=True, create=True) as file:
        yield file.fileno()


def test_no_file_takes_the_place_of_standard_output(tmp_path: Path, files: Files) -> None:
    """A program that has closed it, as daemons do, would print into the store."""

    def work() -> None:
        os.closerange(0, 3)
        kept = [files.open(tmp_path / name, write=True, create=True) for name in "ab"]
        opened = [file.fileno() for file in kept]
        assert min(opened) > 2
        assert not any(os.get_inheritable(fd) for fd in opened)
        assert {Path(f"/proc/self/fd/{fd}").readlink() for fd in range(3)} == {Path(os.devnull)}
        os.write(1, b"printed")
        assert [os.fstat(fd).st_size for fd in opened] == [0, 0]

    assert run(work) == [0]


def test_a_number_that_another_thread_has_taken_is_left_to_it(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment that one of the standard streams was seen to be closed, and the next."""
    theirs: list[int] = []

    def open_(path: Any, *more: Any) -> int:
        if path == os.devnull and not theirs:
            theirs.append(real(tmp_path / "theirs", os.O_CREAT | os.O_RDWR))
        return real(path, *more)

    def work() -> None:
        os.closerange(0, 3)
        monkeypatch.setattr(os, "open", open_)
        with files.open(tmp_path / "ours", write=True, create=True) as file:
            assert file.fileno() > 2
        assert theirs[0] < 3
        assert Path(f"/proc/self/fd/{theirs[0]}").readlink() == tmp_path / "theirs"

    real = os.open
    assert run(work) == [0]


@contextmanager
def as_user(number: int, groups: list[int]) -> Iterator[None]:
    """Be somebody else, whose own group has the same number, within the block."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@as_root
def test_a_file_that_is_shared_gets_the_group_of_its_directory(tmp_path: Path, files: Files) -> None:
    """Without that, and with a `umask` of its own, the rest of the group would be locked out."""
    let_in(tmp_path)
    os.chown(tmp_path, 30_001, GROUP)
    tmp_path.chmod(0o770)

    with as_user(30_001, [GROUP]):
        files.open(tmp_path / "shared", write=True, create=True, mode=0o660).close()
        files.open(tmp_path / "private", write=True, create=True).close()
    groups = {file.name: file.stat().st_gid for file in tmp_path.iterdir()}
    assert groups == {"shared": GROUP, "private": 30_001}


@as_root
def test_root_makes_a_directory_for_the_owner_of_the_next_above(tmp_path: Path, files: Files) -> None:
    os.chown(tmp_path, 30_001, GROUP)
    files.make_directory(tmp_path / "above" / "store", 0o700)
    for made in (tmp_path / "above", tmp_path / "above" / "store"):
        assert (made.stat().st_uid, made.stat().st_gid) == (30_001, GROUP)
    assert stat.S_IMODE((tmp_path / "above" / "store").stat().st_mode) == 0o700


def test_whatever_the_kernel_says_a_file_is_closed(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example that a disk over NFS is full."""

    def close(file: OpenFile) -> None:
        really_close(file)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    really_close = OpenFile.close
    with monkeypatch.context() as patch, files.open(tmp_path / "file", write=True, create=True) as file:
        patch.setattr(OpenFile, "close", close)
        file.let_go()
        assert file.closed
        file.let_go()


def test_a_descriptor_that_somebody_else_has_closed(tmp_path: Path, files: Files) -> None:
    file = files.open(tmp_path / "file", write=True, create=True)
    os.close(file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.let_go()


def test_a_file_that_becomes_shorter_while_it_is_copied(tmp_path: Path, files: Files, fd: int) -> None:
    os.truncate(tmp_path / "file", 100)
    target = files.open(tmp_path / "copy", write=True, create=True)
    with target, pytest.raises(OSError, match="became shorter"):
        files.copy(fd, target.fileno(), 101)


def test_a_copy_onto_another_file_system(tmp_path: Path, files: Files, fd: int) -> None:
    """Between two of them the kernel does not copy by itself."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm, and the temporary directory elsewhere")
    files.write_all(fd, b"x" * 1000, 0)
    with tempfile.NamedTemporaryFile(dir=memory) as target:
        steps: list[None] = []
        files.copy(fd, target.fileno(), 1000, lambda: steps.append(None))
        assert target.read() == b"x" * 1000
    assert len(steps) == 1


def test_writes_go_on_where_the_kernel_has_stopped(
    tmp_path: Path, files: Files, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Files, "pwrite", staticmethod(lambda fd, data, at: os.pwrite(fd, data[:3], at)))
    files.write_all(fd, b"abcdefgh", 2)
    assert (tmp_path / "file").read_bytes() == b"\0\0abcdefgh"


def test_vanished_files_take_no_disk(tmp_path: Path, files: Files) -> None:
    assert files.allocated(tmp_path / "gone") == 0


class TestProcesses:
    def test_those_of_others_run_as_well(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(process: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "kill", refuse)
        assert files.is_running(1)

    def test_those_that_ended_do_not(self, files: Files) -> None:
        process = files.start_python("this")
        assert process.wait(60) == 0
        assert not files.is_running(process.pid)

    @pytest.mark.parametrize("executable", ["", "/usr/bin/uwsgi", "/nowhere/python3"])
    def test_a_program_that_embeds_python(
        self, files: Files, executable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It names itself as the interpreter, and there may be a real one beside its library, or none."""
        monkeypatch.setattr(sys, "executable", executable)
        assert files.start_python("this").wait(60) == 0
        monkeypatch.setattr(sys, "prefix", "/nowhere")
        with pytest.raises(FileNotFoundError, match="no Python interpreter"):
            files.start_python("this")

    def test_a_program_that_names_an_interpreter_without_its_packages(
        self, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As uWSGI does where a site has a virtual environment."""
        stratakv.open(tmp_path / "store").close()
        monkeypatch.setattr(sys, "executable", sys._base_executable)  # type: ignore[attr-defined]
        assert files.start_python("stratakv.keep", str(tmp_path / "store"), "{}").wait(60) == 0

    def test_a_program_whose_modules_are_named_like_others(
        self, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are no matter of a process that has nothing to do with them."""
        (tmp_path / "json.py").write_text("raise SystemExit(9)")
        monkeypatch.syspath_prepend(str(tmp_path))
        stratakv.open(tmp_path / "store").close()
        assert files.start_python("stratakv.keep", str(tmp_path / "store"), "{}").wait(60) == 0


class TestFileSystem:
    def test_of_a_place_that_is_mounted(self, files: Files) -> None:
        assert files.file_system(Path("/proc")) == "proc"

    def test_without_a_list_of_mounts(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> str:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "read_text", refuse)
        assert files.file_system(Path("/")) == ""

    def test_that_is_not_in_the_list(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        """As for a subvolume of btrfs, whose number differs from that of the mount."""
        monkeypatch.setattr(Path, "read_text", lambda path: "")
        assert files.file_system(Path("/")) == ""
