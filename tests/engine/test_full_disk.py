"""A small file system that is really full, or turns read-only; `test_bad_input` has one that only says so."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import stratakv
from stratakv import DB, DiskFullError, StorageError
from stratakv.control import W_NEXT
from stratakv.segment import Segment
from tests.support.children import run

SIZE = 2**21
OPTIONS = {"maintenance": "manual", "segment_bytes": 2**16}
Model = dict[bytes, bytes]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def in_a_child(work: Callable[[], None]) -> None:
    """A store into a map that finds no space would end the process that does it."""
    assert run(work) == [0]


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def leave(disk: Path, size: int) -> Path:
    """Take all the space but so many bytes; return what takes it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, free(disk) - size)))
    return ballast


def test_what_cannot_be_written_takes_no_numbers(disk: Path) -> None:
    """There are 2^24 of them, and a site goes on trying."""
    with stratakv.open(disk / "store", **OPTIONS) as db:
        words = db._store.control.words
        fill(db, {})
        before = words[W_NEXT]
        for _ in range(20):
            with pytest.raises(DiskFullError):
                db.put(b"large", bytes(60_000))
        assert words[W_NEXT] == before


def fill(db: DB, model: Model) -> None:
    """Write until nothing more fits."""
    number = len(model)
    with pytest.raises(DiskFullError, match="free some space"):  # noqa: PT012 - whichever it is
        while True:
            key, value = b"%d" % number, bytes([number % 256]) * 1000
            db.put(key, value)
            model[key] = value
            number += 1


def check(db: DB, model: Model) -> None:
    assert dict(db.scan()) == model
    assert db.get_many(model) == model
    assert all(db.get(key) == value for key, value in model.items())
    assert db.verify().ok


@pytest.mark.parametrize("durability", ["always", "interval", "os"])
def test_reads_go_on_and_writes_resume(disk: Path, durability: str) -> None:
    def work() -> None:
        model: Model = {}
        ballast = leave(disk, SIZE // 2)
        with stratakv.open(disk / "store", **OPTIONS, durability=durability) as db:
            fill(db, model)
            check(db, model)
            with pytest.raises(DiskFullError):
                db.put_many({b"batch-%d" % number: bytes(1000) for number in range(100)})
            check(db, model)
            ballast.unlink()
            count = len(model)
            fill(db, model)
            assert len(model) > count + 400
            check(db, model)
        with stratakv.open(disk / "store", **OPTIONS, durability=durability) as db:
            check(db, model)

    in_a_child(work)


def test_what_needs_a_new_segment_changes_nothing_without_room(disk: Path) -> None:
    def work() -> None:
        model: Model = {}
        with stratakv.open(disk / "store", **OPTIONS) as db:
            ballast = leave(disk, SIZE * 3 // 8)
            fill(db, model)
            for call in (db.compact, lambda: db.delete_prefix(b"1"), db.maintain):
                with pytest.raises(DiskFullError):
                    call()
                check(db, model)
            with pytest.raises(DiskFullError):
                db.backup(disk / "copy")
            ballast.unlink()
            check(db, model)
            db.delete_prefix(b"1")
            model = {key: value for key, value in model.items() if not key.startswith(b"1")}
            check(db, model)
            db.compact()
            check(db, model)
            db.clear()
            check(db, {})

    in_a_child(work)


@pytest.mark.parametrize("durability", ["always", "interval", "os"])
def test_a_store_that_has_filled_its_disk_can_be_cleared(disk: Path, durability: str) -> None:
    """Though it is full to the last block."""

    def work() -> None:
        with stratakv.open(disk / "store", **OPTIONS, durability=durability) as db:
            for _ in range(3):
                fill(db, {})
                leave(disk, 0)
                db.clear()
                check(db, {})
                db.put(b"after", b"v")
                check(db, {b"after": b"v"})
                (disk / "ballast").unlink()
                db.delete(b"after")
        with stratakv.open(disk / "store", **OPTIONS) as db:
            check(db, {})

    in_a_child(work)


@pytest.mark.parametrize("others", [[], [b"a"], [b"z"], [b"p0"]], ids=str)
def test_a_prefix_that_has_filled_the_disk_can_be_deleted(disk: Path, others: list[bytes]) -> None:
    """But for where there is something else as old as that."""

    def work() -> None:
        model = dict.fromkeys(others, b"kept")
        reserve = leave(disk, SIZE * 3 // 4).rename(disk / "reserve")
        with stratakv.open(disk / "store", **OPTIONS) as db:
            db.put_many(model)
            for _ in range(2):
                with suppress(DiskFullError):
                    for number in range(1000):
                        db.put(b"p/%d" % number, bytes(1500))
                with suppress(DiskFullError):
                    db.maintain()
            leave(disk, 0)
            before = dict(db.scan())
            if others:
                with pytest.raises(DiskFullError):
                    db.delete_prefix(b"p/")
                check(db, before)
            else:
                db.delete_prefix(b"p/")
                check(db, {})
            reserve.unlink()
            db.delete_prefix(b"p/")
            check(db, model)

    in_a_child(work)


def test_what_others_have_open_keeps_its_space(disk: Path) -> None:
    """Until they look again."""

    def work() -> None:
        with (
            stratakv.open(disk / "store", **OPTIONS) as db,
            stratakv.open(disk / "store", **OPTIONS, read_only=True) as reader,
        ):
            model: Model = {}
            fill(db, model)
            leave(disk, 0)
            assert reader.get(b"0") == model[b"0"]
            with pytest.raises(DiskFullError):
                db.clear()
            assert db.verify().ok
            assert dict(db.scan()).items() < model.items()
            assert reader.get(b"0") is None
            db.clear()
            check(db, {})

    in_a_child(work)


def test_who_dies_between_the_steps_of_a_clear_has_begun_it(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next writer finishes what was begun, and all see it."""

    def work() -> None:
        model: Model = {}
        with stratakv.open(disk / "store", **OPTIONS) as db:
            fill(db, model)
            leave(disk, 0)

            def rename(source: Path, target: Path) -> None:
                real(source, target)
                if target.name == "MANIFEST":
                    os._exit(7)

            def clear() -> None:
                monkeypatch.setattr(files, "rename", rename)
                db.clear()

            files = db._store.directory.files
            real = files.rename
            assert run(clear) == [7]
            assert db.delete(b"-") is False
            assert dict(db.scan()).items() < model.items()
            db.maintain()  # takes away the files that were left
            db.clear()
            check(db, {})

    in_a_child(work)


def test_the_only_segment_cannot_be_cleared_without_room(disk: Path) -> None:
    def work() -> None:
        with stratakv.open(disk / "store", maintenance="manual") as db:
            model: Model = {}
            fill(db, model)
            with pytest.raises(DiskFullError):
                db.clear()
            check(db, model)

    in_a_child(work)


@pytest.mark.parametrize("room", [0, 4096, 65_536, 400_000])
def test_a_merge_that_finds_no_room(disk: Path, room: int) -> None:
    """Nothing is lost, nothing of it is left over, and it is done when there is room."""

    def work() -> None:
        model = {b"%d" % number: bytes([number % 256]) * 1000 for number in range(600)}
        with stratakv.open(disk / "store", **OPTIONS, durability="os") as db:
            for key, value in model.items():
                db.put(key, value)
            ballast = leave(disk, room)
            for _ in range(3):
                before = free(disk)
                with suppress(DiskFullError):
                    assert db.maintain().merged == 0
                check(db, model)
                assert free(disk) >= before
            ballast.unlink()
            assert db.maintain().merged == 1
            check(db, model)

    in_a_child(work)


def test_room_for_one_segment_is_enough_to_go_on(disk: Path) -> None:
    """What newer records hide is given back segment by segment, until the merge finds its room."""

    def work() -> None:
        model = {b"%d" % number: bytes([number % 256]) * 1000 for number in range(600)}
        with stratakv.open(disk / "store", **OPTIONS, durability="os") as db:
            for key, value in model.items():
                db.put(key, value)
            for key in list(model)[::3]:
                db.put(key, b"new" * 330)
                model[key] = b"new" * 330
            ballast = leave(disk, 100_000)
            db.maintain()
            check(db, model)
            assert free(disk) > 250_000
            ballast.unlink()
            db.maintain()
            assert len(db.stats().segments) == 2
            check(db, model)

    in_a_child(work)


def test_opening_while_it_is_full(disk: Path) -> None:
    """After a close, and after a kill."""
    model: Model = {}

    def close() -> None:
        with stratakv.open(disk / "store", **OPTIONS) as db:
            leave(disk, SIZE // 2)
            fill(db, model)
            (disk / "model").write_text(str(len(model)))

    def look() -> None:
        with stratakv.open(disk / "store", **OPTIONS) as db:
            check(db, model)
        with stratakv.open(disk / "store", **OPTIONS, read_only=True) as db:
            check(db, model)

    def killed() -> None:
        stratakv.open(disk / "store", **OPTIONS).get(b"0")
        os._exit(0)

    (disk / "model").write_text("0000")
    in_a_child(close)
    model = {b"%d" % n: bytes([n % 256]) * 1000 for n in range(int((disk / "model").read_text()))}
    assert free(disk) < 2**16
    in_a_child(look)
    in_a_child(killed)
    in_a_child(look)


def test_another_budget_while_it_is_full(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It would need a segment of its own size; what is there can be read, and it comes when there is room."""
    model: Model = {}
    options = {"maintenance": "manual", "segment_bytes": 2**20}
    db = stratakv.open(disk / "store", **options)
    ballast = leave(disk, SIZE // 8)
    fill(db, model)
    db.close()
    with stratakv.open(disk / "store", **options, max_bytes=2**19) as db:
        check(db, model)
        assert db.stats().max_bytes == 0
        assert "until then the store keeps the budget that it had" in caplog.text
    ballast.unlink()
    with stratakv.open(disk / "store", **options, max_bytes=2**19) as db:
        assert db.stats().max_bytes == 2**19


def test_recovery_while_it_is_full(disk: Path) -> None:
    """It needs room for an index of 1.3 MiB: it says so, loses nothing, and is done when there is."""

    def work() -> None:
        model: Model = {}
        with stratakv.open(disk / "store", **OPTIONS) as db:
            ballast = leave(disk, SIZE // 4)
            fill(db, model)
        for mode in ("point-in-time", "strict", "salvage"):
            with pytest.raises(DiskFullError):
                stratakv.recover(disk / "store", mode)
        ballast.unlink()
        assert not stratakv.recover(disk / "store").damage
        with stratakv.open(disk / "store", **OPTIONS) as db:
            check(db, model)

    in_a_child(work)


def test_a_store_with_a_budget_above_the_disk(disk: Path) -> None:
    """The budget cannot help where the disk is smaller; what is stored stays."""

    def work() -> None:
        model: Model = {}
        with stratakv.open(disk / "store", **OPTIONS, max_bytes=2 * SIZE) as db:
            fill(db, model)
            check(db, model)

    in_a_child(work)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What the file system `ext4` is made in."""
    return tmp_path / "image"


@pytest.fixture
def ext4(image: Path, tmp_path: Path) -> Iterator[Path]:
    """The same of ext4, where records are stored through maps, with 24 MiB."""
    place = tmp_path / "ext4"
    image.touch()
    os.truncate(image, 12 * SIZE)
    place.mkdir()
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4 (Debian: e2fsprogs)")
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-m", "0", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file")
    place.chmod(0o700)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("durability", ["always", "os"])
def test_records_that_are_stored_where_blocks_are(ext4: Path, durability: str) -> None:
    """A page that was synced must be asked for again before the next store into it."""
    test_reads_go_on_and_writes_resume(ext4, durability)


def test_a_file_system_that_turns_read_only(ext4: Path, image: Path) -> None:
    """As after an error. What was synced is there when it was mounted again, within the same boot, too."""
    store, model = ext4 / "store", {b"early": b"v", b"late": b"v"}

    def work() -> None:
        db = stratakv.open(store, durability="always", maintenance="manual")
        db.put(b"early", b"v")
        subprocess.run(["sync", "-f", ext4], check=True)  # of all files: later, only the log is
        db.put(b"late", b"v")
        subprocess.run(["mount", "-o", "remount,abort", ext4], check=True)
        assert db.get_many(model) == model
        with pytest.raises(StorageError, match="Read-only file system"):
            db.put(b"refused", b"v")
        assert db.get_many(model) == model
        os._exit(0)

    in_a_child(work)
    subprocess.run(["umount", ext4], check=True)
    subprocess.run(["mount", "-o", "loop", image, ext4], check=True)
    with stratakv.open(store, durability="always") as db:
        assert db.get_many(model) == model
        assert db.verify().ok


@pytest.mark.parametrize("count", [2310, 2320, 2370, 2432])
def test_what_a_reader_leaves_in_the_cache_needs_no_blocks(ext4: Path, count: int) -> None:
    """Reading keeps pages together, also beyond what is written; a store asks for blocks for all of them."""

    def work() -> None:
        model = {b"%d" % number: b"%04d " % number * 200 for number in range(count)}
        with stratakv.open(ext4 / "store", durability="os", maintenance="manual") as db:
            for key, value in model.items():
                db.put(key, value)
            with (ext4 / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
                while True:
                    ballast.write(bytes(4096))
            log = db._store.structure.view.active
            evict(log)
            with log.path.open("rb", buffering=0) as reader:
                while reader.read(4096):
                    pass
            fill(db, model)
            check(db, model)

    in_a_child(work)


def evict(segment: Segment) -> None:
    """Take a log out of this process's map and the kernel's cache, as when memory is short."""
    os.fsync(segment.fd)
    segment.log.madvise(mmap.MADV_DONTNEED)
    os.posix_fadvise(segment.fd, 0, 0, os.POSIX_FADV_DONTNEED)
