"""Bad input: a clear error, and nothing changed by it."""

from __future__ import annotations

import enum
import errno
import gc
import mmap
import numbers
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import pytest

import stratakv
from stratakv import (
    DB,
    DirectoryError,
    DiskFullError,
    FormatError,
    InvalidKeyError,
    InvalidTTLError,
    InvalidValueError,
    NetworkFileSystemWarning,
    ReadOnlyError,
    StorageError,
    StrataKVError,
    record,
)
from stratakv.control import W_NEXT
from stratakv.directory import MOST_NUMBER
from stratakv.files import Files
from stratakv.log import LogHeader, rank_of
from stratakv.open_file import OpenFile
from tests.engine.machine import content, descriptors_open

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own files as others and to mount")


@pytest.fixture
def untouched(db: DB) -> Iterator[DB]:
    """A store that must be the same after the test, and still take writes."""
    db.put_many({b"a": b"1", b"n": b"5"})
    before, written = dict(db.scan()), db.stats().bytes_written
    yield db
    assert dict(db.scan()) == before
    assert db.stats().bytes_written == written
    db.put(b"after", b"v")
    assert db.get(b"after") == b"v"
    assert db.verify().ok


Call = Callable[[DB, Any], object]

BAD_KEYS = ["text", 1, None, bytearray(b"k"), memoryview(b"k"), b"", b"k" * 65_536]
WITH_KEY: dict[str, Call] = {
    "get": lambda db, key: db.get(key),
    "put": lambda db, key: db.put(key, b"v"),
    "delete": lambda db, key: db.delete(key),
    "in": lambda db, key: key in db,
    "add": lambda db, key: db.add(key, b"v"),
    "touch": lambda db, key: db.touch(key, 1),
    "ttl": lambda db, key: db.ttl(key),
    "incr": lambda db, key: db.incr(key),
    "update": lambda db, key: db.update(key, bytes),
    "get_many": lambda db, key: db.get_many([b"a", key]),
    "put_many": lambda db, key: db.put_many(_Pairs((b"a", b"v"), (key, b"v"))),  # type: ignore[arg-type]
    "delete_many": lambda db, key: db.delete_many(_Listed(b"a", key)),
}


class _Pairs:
    """A mapping in so far as it has items; its keys may be what a dict refuses."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self.pairs = pairs

    def items(self) -> list[tuple[Any, Any]]:
        return list(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


class _Listed(list[Any]):
    def __init__(self, *items: Any) -> None:
        super().__init__(items)


@pytest.mark.parametrize(
    "key", BAD_KEYS, ids=lambda key: f"{type(key).__name__}{len(key) if hasattr(key, '__len__') else ''}"
)
@pytest.mark.parametrize("call", WITH_KEY)
def test_keys(untouched: DB, call: str, key: Any) -> None:
    if isinstance(key, bytearray) and call == "put_many":
        pytest.skip("cannot be hashed, and so be in no batch")
    with pytest.raises(InvalidKeyError, match=r"must be bytes|must have 1 to 65,535 bytes") as caught:
        WITH_KEY[call](untouched, key)
    assert isinstance(caught.value, ValueError)


class Longer(bytes):
    def __len__(self) -> int:
        return super().__len__() + 5


@pytest.mark.parametrize("call", ["put", "put_many", "add", "update", "transaction"])
def test_what_calls_itself_longer_than_it_is_is_stored_as_it_is(db: DB, call: str) -> None:
    key, value = Longer(b"k"), Longer(b"value")
    if call == "update":
        db.put(key, b"old")
        db.update(key, lambda _: value)
    elif call == "put_many":
        db.put_many({key: value})
    elif call == "transaction":
        with db.transaction() as tx:
            tx.put(key, value)
    else:
        getattr(db, call)(key, value)
    assert db.get(b"k") == b"value"
    db.put(b"after", b"v")
    assert db.verify().ok


def test_a_buffer_that_another_thread_makes_longer_meanwhile(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are switched between any two steps; here between measuring it and copying it."""
    buffer, pack = bytearray(b"value"), record.pack_body

    def interrupted(*fields: int) -> bytes:
        buffer.extend(b" and more")
        return pack(*fields)

    monkeypatch.setattr(record, "pack_body", interrupted)
    db.put(b"k", buffer)
    assert db.get(b"k") == b"value"
    assert db.verify().ok


def test_a_view_that_was_released(untouched: DB) -> None:
    view = memoryview(b"value")
    view.release()
    with pytest.raises(InvalidValueError, match="released"):
        untouched.put(b"k", view)


@pytest.mark.parametrize("prefix", [None, "", 7])
@pytest.mark.parametrize("call", [DB.delete_prefix, DB.keys, DB.scan], ids=lambda call: call.__name__)
def test_a_prefix_is_bytes(untouched: DB, call: Call, prefix: Any) -> None:
    with pytest.raises(InvalidKeyError, match="prefix must be bytes"):
        call(untouched, prefix)


BAD_VALUES = ["text", 1, None, ["list"], b"v" * 1001, bytearray(1001), memoryview(bytes(4000)).cast("I")]
WITH_VALUE: dict[str, Call] = {
    "put": lambda db, value: db.put(b"a", value),
    "add": lambda db, value: db.add(b"new", value),
    "put_many": lambda db, value: db.put_many({b"a": b"fine", b"b": value}),
}


@pytest.fixture
def small(open_: Any) -> Iterator[DB]:
    db = open_(max_value_bytes=1000)
    db.put(b"a", b"1" * 1000)
    yield db
    assert dict(db.scan()) == {b"a": b"1" * 1000}


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", WITH_VALUE)
def test_values(small: DB, call: str, value: Any) -> None:
    with pytest.raises(
        InvalidValueError,
        match=r"must be bytes, a bytearray or a memoryview|larger than max_value_bytes, 1,000",
    ):
        WITH_VALUE[call](small, value)


@pytest.mark.parametrize(
    "batch", [[(b"a", b"v")], {b"a"}, b"a", None], ids=lambda batch: type(batch).__name__
)
def test_a_batch_is_a_mapping(untouched: DB, batch: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"needs a mapping of keys to values, not \w+; make a dict"):
        untouched.put_many(batch)


BAD_TTLS = [-1, -0.001, float("nan"), float("inf"), float("-inf"), True, False, "60", b"60", 1e300, [1]]
WITH_TTL: dict[str, Call] = {
    "put": lambda db, ttl: db.put(b"a", b"v", ttl=ttl),
    "add": lambda db, ttl: db.add(b"new", b"v", ttl=ttl),
    "touch": lambda db, ttl: db.touch(b"a", ttl),
    "put_many": lambda db, ttl: db.put_many({b"a": b"v"}, ttl=ttl),
}


@pytest.mark.parametrize("ttl", BAD_TTLS, ids=repr)
@pytest.mark.parametrize("call", WITH_TTL)
def test_times_to_live(untouched: DB, call: str, ttl: Any) -> None:
    with pytest.raises(InvalidTTLError, match="a ttl"):
        WITH_TTL[call](untouched, ttl)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_ttl_of_more_digits_than_python_shows(untouched: DB, sign: int) -> None:
    with pytest.raises(InvalidTTLError, match="a ttl"):
        untouched.put(b"a", b"v", ttl=sign * 10**5000)


def test_a_ttl_of_more_than_a_float_holds(untouched: DB) -> None:
    with pytest.raises(InvalidTTLError, match="too long"):
        untouched.put(b"a", b"v", ttl=10**400)


class Ttl(enum.IntEnum):
    HOUR = 3600


def test_a_ttl_of_a_class_of_its_own(db: DB) -> None:
    for ttl in (Ttl.HOUR, type("Seconds", (float,), {})(3600.0)):
        db.put(b"a", b"v", ttl=ttl)
        assert db.ttl(b"a") == pytest.approx(3600, abs=60)


@numbers.Real.register
class Scalar:
    """A number that is neither an int nor a float, as numpy.int64 is."""

    def __float__(self) -> float:
        return 3600.0


@pytest.mark.parametrize("ttl", [Scalar(), Fraction(3600), Decimal(3600)])
def test_a_ttl_that_is_a_number_of_another_kind(db: DB, ttl: Any) -> None:
    db.put(b"a", b"v", ttl=ttl)
    assert db.ttl(b"a") == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    "ttl", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(-1), Fraction(10**400)]
)
def test_a_number_of_another_kind_that_is_no_ttl(untouched: DB, ttl: Any) -> None:
    with pytest.raises(InvalidTTLError, match="a ttl"):
        untouched.put(b"a", b"v", ttl=ttl)


@pytest.mark.parametrize("delta", [1.5, "1", None])
def test_deltas(db: DB, delta: Any) -> None:
    db.put(b"n", b"5")
    with pytest.raises(InvalidValueError):
        db.incr(b"n", delta)
    assert db.get(b"n") == b"5"


def test_a_mode_of_recovery_that_is_none(db: DB, path: Path) -> None:
    db.close()
    with pytest.raises(stratakv.OptionError, match="'point-in-time', 'strict', 'salvage'"):
        stratakv.recover(path, mode="hope")


class TestDirectory:
    """Each refused directory is as it was, its modification time included."""

    @pytest.fixture
    def left_alone(self, path: Path) -> Iterator[Path]:
        path.mkdir(mode=0o700)
        (path / "letter.txt").write_text("mine")
        before = content(path), path.stat().st_mtime_ns
        yield path
        assert (content(path), path.stat().st_mtime_ns) == before

    def test_nothing_is_made_in_a_directory_that_is_no_store(self, path: Path, open_: Any) -> None:
        path.mkdir(mode=0o700)
        (path / "letter.txt").write_text("mine")
        with pytest.raises(DirectoryError, match="not a StrataKV store"):
            open_()
        assert content(path) == {"letter.txt": b"mine"}

    @pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
    def test_not_a_store(self, left_alone: Path, open_: Any, options: dict[str, Any]) -> None:
        with pytest.raises(DirectoryError, match="not a StrataKV store"):
            open_(**options)

    @pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
    def test_an_empty_directory_is_no_store(self, path: Path, open_: Any, options: dict[str, Any]) -> None:
        path.mkdir(mode=0o700)
        with pytest.raises(DirectoryError, match="not a StrataKV store"):
            open_(**options)
        assert list(path.iterdir()) == []

    @pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
    def test_missing(self, path: Path, open_: Any, options: dict[str, Any]) -> None:
        with pytest.raises(DirectoryError, match="does not exist; nothing was created"):
            open_(**options)
        assert not path.exists()

    def test_a_file_is_no_directory(self, path: Path, open_: Any) -> None:
        path.write_text("mine")
        with pytest.raises(DirectoryError, match="not a directory"):
            open_()
        assert path.read_text() == "mine"

    def test_below_a_file(self, path: Path) -> None:
        path.write_text("mine")
        with pytest.raises(DirectoryError, match="cannot be"):
            stratakv.open(path / "store")

    @pytest.mark.parametrize("name", ["n" * 300, "null\0byte"])
    def test_a_name_that_cannot_be(self, tmp_path: Path, db: DB, name: str) -> None:
        for use in (stratakv.open, stratakv.recover, db.backup):
            with pytest.raises(StrataKVError):
                use(tmp_path / name)

    def test_a_relative_one_where_the_current_directory_is_gone(
        self, tmp_path: Path, db: DB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        for use in (stratakv.open, stratakv.recover, db.backup):
            with pytest.raises(DirectoryError, match="the current directory was removed"):
                use("store")

    @pytest.mark.parametrize("path", ["", b""])
    def test_an_empty_one_is_not_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for use in (stratakv.open, stratakv.recover):
            with pytest.raises(DirectoryError, match="the path is empty"):
                use(path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["20231105.log", "000001.log", "000007.log"])
    def test_files_named_like_ours_are_not_ours(self, path: Path, open_: Any, name: str) -> None:
        path.mkdir(mode=0o700)
        (path / name).write_text("GET / 200\n" * 100)
        with pytest.raises(DirectoryError):
            open_()
        with pytest.raises(DirectoryError):
            stratakv.recover(path)
        assert content(path)[name] == b"GET / 200\n" * 100

    @pytest.mark.parametrize(
        ("mode", "match"),
        [
            (0o770, "by its group"),
            (0o707, "by everybody"),
            (0o777, "by everybody"),
            (0o1777, "name a directory in it"),  # as /tmp, whose mode must not be changed
        ],
    )
    def test_writable_by_others(self, left_alone: Path, open_: Any, mode: int, match: str) -> None:
        left_alone.chmod(mode)
        with pytest.raises(DirectoryError, match=match):
            open_()

    def test_someone_elses(self, left_alone: Path, open_: Any, machine: Any) -> None:
        machine.user = os.geteuid() + 1
        with pytest.raises(
            DirectoryError, match=f"belongs to user {os.geteuid()} and you are user {machine.user}"
        ):
            open_()

    @as_root
    def test_root_gives_what_it_makes_to_the_owner(self, path: Path, open_: Any) -> None:
        path.mkdir(mode=0o700)
        os.chown(path, 12345, 12346)
        db = open_()
        for number in range(500):
            db.put(b"%d" % number, b"v")
        db.compact()
        assert {(file.stat().st_uid, file.stat().st_gid) for file in path.iterdir()} == {(12345, 12346)}

    @pytest.mark.parametrize(("mode", "files"), [(0o700, 0o600), (0o770, 0o660)])
    def test_modes_whatever_the_umask(self, path: Path, open_: Any, mode: int, files: int) -> None:
        before = os.umask(0o077)
        try:
            db = open_(mode=mode)
            for number in range(500):
                db.put(b"%d" % number, b"v")
            db.compact()
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o7777 == mode
        assert {file.stat().st_mode & 0o7777 for file in path.iterdir()} == {files}

    def test_recover_takes_a_shared_store(self, path: Path, open_: Any) -> None:
        open_(mode=0o770).close()
        assert not stratakv.recover(path).damage
        assert {file.stat().st_mode & 0o7777 for file in path.iterdir()} == {0o660}

    @pytest.mark.parametrize("text", [b"stratakv 2\n", b"stratakv 999\n"])
    def test_newer_format(self, db: DB, open_: Any, path: Path, text: bytes) -> None:
        db.put(b"k", b"v")
        db.close()
        kept = (path / "FORMAT").read_bytes()
        (path / "FORMAT").write_bytes(text)
        before = content(path)
        for call in (open_, lambda: stratakv.recover(path)):
            with pytest.raises(FormatError, match="upgrade the package"):
                call()
        assert content(path) == before
        (path / "FORMAT").write_bytes(kept)
        assert open_().get(b"k") == b"v"

    @pytest.mark.parametrize(
        "text", [b"", b"stratakv", b"stratakv 0\n", b"something\n", b"stratakv 1\nand more"]
    )
    def test_damaged_format(self, db: DB, open_: Any, path: Path, text: bytes) -> None:
        db.put(b"k", b"v")
        db.close()
        (path / "FORMAT").write_bytes(text)
        with pytest.raises(DirectoryError, match="recover"):
            open_()
        stratakv.recover(path)
        assert open_().get(b"k") == b"v"

    @pytest.mark.parametrize("count", [1, 500])
    def test_a_lost_format_file_loses_nothing_else(self, db: DB, open_: Any, path: Path, count: int) -> None:
        model = {b"%d" % number: b"v" for number in range(count)}
        for key, value in model.items():
            db.put(key, value)
        db.close()
        (path / "FORMAT").unlink()
        for options in ({}, {"create": False}, {"read_only": True}):
            with pytest.raises(DirectoryError, match=f"stratakv recover {path}"):
                open_(**options)
        stratakv.recover(path)
        assert dict(open_().scan()) == model

    @pytest.mark.parametrize("type_", ["nfs", "nfs4", "cifs", "9p"])
    def test_a_network_file_system_is_warned_of(self, machine: Any, open_: Any, type_: str) -> None:
        machine.type = type_
        with pytest.warns(NetworkFileSystemWarning, match="one machine only") as caught:
            db = open_()
        assert Path(caught[0].filename).parent == Path(__file__).parent, "the warning names the caller's line"
        db.put(b"k", b"v")
        assert db.get(b"k") == b"v"


class TestStrangeFiles:
    NAMES = ["attach.lock", "writer.lock", "CONTROL", "MANIFEST", "FORMAT", "000001.log", "000001.idx"]

    @pytest.fixture
    def closed(self, db: DB, path: Path) -> Path:
        db.put(b"k", b"v")
        db.close()
        return path

    @pytest.mark.parametrize("name", NAMES)
    def test_links_are_not_followed(self, closed: Path, open_: Any, tmp_path: Path, name: str) -> None:
        kept = tmp_path / "kept"
        (closed / name).rename(kept)
        (closed / name).symlink_to(kept)
        before = kept.read_bytes()
        with pytest.raises(StrataKVError):
            open_()
        assert kept.read_bytes() == before
        (closed / name).unlink()
        kept.rename(closed / name)
        assert open_().get(b"k") == b"v"

    @pytest.mark.parametrize("name", NAMES)
    def test_a_pipe_does_not_hang(self, closed: Path, open_: Any, tmp_path: Path, name: str) -> None:
        (closed / name).rename(tmp_path / "kept")
        os.mkfifo(closed / name)
        with pytest.raises(StrataKVError):
            open_()
        (closed / name).unlink()
        (tmp_path / "kept").rename(closed / name)
        assert open_().get(b"k") == b"v"

    @pytest.mark.parametrize("name", ["writer.lock", "000001.log", "MANIFEST"])
    def test_a_failed_open_holds_no_lock(self, closed: Path, open_: Any, tmp_path: Path, name: str) -> None:
        (closed / name).rename(tmp_path / "kept")
        (closed / name).symlink_to("nowhere")
        with pytest.raises(StrataKVError):
            open_()
        (closed / name).unlink()
        (tmp_path / "kept").rename(closed / name)
        stratakv.recover(closed)
        assert open_().get(b"k") == b"v"


class TestFullDisk:
    """ENOSPC wherever it may come: the write fails as a whole, reads go on, and so do writes later."""

    @pytest.mark.parametrize("step", ["pwrite", "truncate", "allocate", "fdatasync", "rename", "link"])
    def test_each_step(self, db: DB, machine: Any, path: Path, step: str) -> None:
        model = {b"%d" % number: b"v" * 30 for number in range(10)}
        for key, value in model.items():
            db.put(key, value)
        machine.refuse = full(step)
        with pytest.raises(DiskFullError, match="free some space"):  # noqa: PT012 - until it is full
            for number in range(100, 300):
                db.put(b"%d" % number, b"w" * 30)
                model[b"%d" % number] = b"w" * 30
        assert dict(db.scan()) == model
        assert db.get(b"3") == b"v" * 30
        with pytest.raises(DiskFullError):
            db.put_many({b"%d" % number: b"x" * 100 for number in range(200)})
        assert dict(db.scan()) == model
        machine.refuse = lambda name, path: None
        db.put(b"after", b"v")
        assert dict(db.scan()) == model | {b"after": b"v"}
        assert db.verify().ok
        db.close()
        with stratakv.open(path, durability="os", segment_bytes=4096) as db:
            assert dict(db.scan()) == model | {b"after": b"v"}

    @pytest.mark.parametrize("suffix", [".log", ".idx", ".tmp"])
    def test_the_reason_for_which_no_file_can_be_made(
        self, db: DB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
    ) -> None:
        """The message has what the kernel said, also where several steps pass the error on."""
        files, real = db._store.directory.files, db._store.directory.files.open

        def refuse(path: Path, *, create: bool = False, **others: Any) -> OpenFile:
            if create and path.suffix == suffix:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, create=create, **others)

        db.put(b"k", b"v")
        monkeypatch.setattr(files, "open", refuse)
        for work in (db.clear, db.compact, lambda: db.backup(tmp_path / "copy")):
            with pytest.raises(DiskFullError, match=f"{suffix}: No space left on device; free some space"):
                work()

    def test_the_error_carries_its_number(self, db: DB, machine: Any) -> None:
        machine.refuse = full("pwrite")
        with pytest.raises(OSError) as caught:  # noqa: PT011 - any handler of OSError gets to see it
            db.put(b"k", b"v")
        assert caught.value.errno == 28

    @pytest.mark.parametrize("step", ["pwrite", "allocate", "truncate", "link", "rename"])
    def test_attempts_leave_no_descriptor_and_no_file(
        self, db: DB, machine: Any, path: Path, step: str
    ) -> None:
        db.put(b"k", b"v" * 3000)
        machine.refuse = full(step)
        with pytest.raises(DiskFullError):
            db.put(b"large", b"v" * 3000)
        gc.collect()
        files, descriptors = len(list(path.iterdir())), descriptors_open()
        for _ in range(10):
            with pytest.raises(DiskFullError):
                db.put(b"large", b"v" * 3000)
        assert len(list(path.iterdir())) == files
        gc.collect()
        assert descriptors_open() == descriptors

    def test_attempts_use_up_no_number_where_nothing_can_be_opened(
        self, db: DB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even the manifest, to see whether it names the new segment."""
        db.put(b"k", b"v" * 3000)
        words = db._store.control.words
        before = words[W_NEXT]
        with monkeypatch.context() as patch:
            patch.setattr(Files, "open", too_many)
            patch.setattr(Files, "read_all", too_many)
            for _ in range(3):
                with pytest.raises(StorageError, match="ulimit"):
                    db.put(b"large", b"v" * 3000)
        assert words[W_NEXT] == before
        db.put(b"large", b"v" * 3000)

    def test_a_rotation_that_another_process_has_left_is_finished_later(
        self, db: DB, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db.put(b"k", b"v")
        (path / "000099.log").write_bytes(LogHeader(99, rank_of(99), rank_of(99), 0, 1, 0).pack())
        with monkeypatch.context() as patch, db._store.committer.hold():
            patch.setattr(mmap, "mmap", too_many)
            with pytest.raises(StorageError, match="ulimit"):
                db._store.structure.finish()
        db.put(b"k", b"w")
        assert db.get(b"k") == b"w"

    @pytest.mark.parametrize("step", ["pwrite", "allocate", "fdatasync", "rename", "link"])
    def test_a_compaction(self, db: DB, machine: Any, path: Path, step: str) -> None:
        model = {b"%d" % number: b"v" * 30 for number in range(400)}
        for key, value in model.items():
            db.put(key, value)
        db.sync()
        machine.refuse = full(step)
        with pytest.raises(StorageError):
            db.compact()
        machine.refuse = lambda name, path: None
        assert dict(db.scan()) == model
        db.put(b"k", b"v")
        db.compact()
        assert dict(db.scan()) == model | {b"k": b"v"}

    @pytest.mark.parametrize("step", ["pwrite", "copy", "allocate"])
    def test_a_backup(self, untouched: DB, machine: Any, tmp_path: Path, step: str) -> None:
        machine.refuse = full(step)
        (tmp_path / "mine").mkdir(mode=0o700)
        for name in ("copy", "mine"):
            with pytest.raises(DiskFullError):
                untouched.backup(tmp_path / name)
        machine.refuse = lambda name, path: None
        assert not (tmp_path / "copy").exists()
        assert not any((tmp_path / "mine").iterdir())

    def test_a_backup_at_its_last_file(self, untouched: DB, machine: Any, tmp_path: Path) -> None:
        def refuse(name: str, path: Path) -> None:
            if name == "allocate" and path.name == "CONTROL":
                raise OSError(28, "No space left on device")

        machine.refuse = refuse
        with pytest.raises(DiskFullError):
            untouched.backup(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        machine.refuse = lambda name, path: None
        untouched.backup(tmp_path / "copy")

    def test_creation(self, machine: Any, open_: Any) -> None:
        machine.refuse = full("allocate")
        with pytest.raises(DiskFullError):
            open_()
        machine.refuse = lambda name, path: None
        db = open_()
        db.put(b"k", b"v")
        assert db.get(b"k") == b"v"

    def test_a_limit_of_file_size(self, db: DB) -> None:
        """The kernel itself refuses here."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(StorageError):
                db.put(b"large", b"v" * 200_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        db.put(b"k", b"v")
        assert dict(db.scan()) == {b"k": b"v"}

    @as_root
    def test_a_disk_that_is_really_full(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", disk], capture_output=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
        try:
            model = {}
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(200_000))
            with stratakv.open(disk / "store", segment_bytes=65_536) as db:
                with pytest.raises(DiskFullError):  # noqa: PT012 - until it is full
                    for number in range(2000):
                        db.put(b"%d" % number, b"v" * 1000)
                        model[b"%d" % number] = b"v" * 1000
                assert dict(db.scan()) == model
                ballast.unlink()
                db.clear()
                db.put(b"k", b"v")
            with stratakv.open(disk / "store", segment_bytes=65_536) as db:
                assert dict(db.scan()) == {b"k": b"v"}
            del db
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)

    @as_root
    def test_a_disk_that_is_read_only(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", disk], capture_output=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
        try:
            with stratakv.open(disk / "store", segment_bytes=65_536) as db:
                db.put(b"k", b"v")
            del db
            gc.collect()
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            with pytest.raises(ReadOnlyError, match="read_only=True"):
                stratakv.open(disk / "store")
            with pytest.raises(DirectoryError, match="cannot be made"):
                stratakv.open(disk / "new")
            with pytest.raises(ReadOnlyError):
                stratakv.recover(disk / "store")
            with stratakv.open(disk / "store", read_only=True) as db:
                assert db.get(b"k") == b"v"
                assert dict(db.scan()) == {b"k": b"v"}
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


def full(step: str) -> Callable[[str, Any], None]:
    def refuse(name: str, path: Path) -> None:
        if name == step:
            raise OSError(28, "No space left on device")

    return refuse


def too_many(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EMFILE, "Too many open files")


def test_numbers_come_to_an_end(db: DB) -> None:
    db.put(b"k", b"v")
    db._store.control.words[W_NEXT] = MOST_NUMBER
    with pytest.raises(StorageError, match="to a new one"):
        db.delete_prefix(b"a")
    assert db.get(b"k") == b"v"
    db.put(b"k", b"w")


def test_a_number_that_no_segment_can_have(db: DB, open_: Any, path: Path) -> None:
    db.put(b"k", b"v")
    db.close()
    (path / "20231105.log").write_bytes((path / "000001.log").read_bytes())
    (path / "MANIFEST").unlink()
    (path / "MANIFEST.old").unlink(missing_ok=True)
    stratakv.recover(path)
    with open_() as db:
        assert db.get(b"k") == b"v"
        db.put(b"k", b"w")
