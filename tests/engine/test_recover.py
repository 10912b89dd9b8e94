"""`stratakv.recover` in its modes: what it keeps, what it gives up, and what it says about that."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB, CorruptionError, DirectoryError, DiskFullError, StoreBusyError, recover
from tests.engine.layout import Layout
from tests.engine.machine import Machine, content, descriptors_open, flip

Open = Callable[..., DB]
LOG_HEADER = 72


MODES = ["point-in-time", "strict", "salvage"]


@pytest.mark.parametrize("mode", MODES)
def test_a_sound_store(layout: Layout, found: Any, mode: str) -> None:
    told: list[tuple[int, int]] = []
    report = recover(layout.path, mode, lambda done, total: told.append((done, total)))
    assert (report.mode, report.manifest_rebuilt, report.damage, report.findings) == (mode, False, False, ())
    assert (report.segments, report.records) == (4, len(layout.model)), "without the END of the compacted log"
    assert told[-1][0] == told[-1][1] > 0
    assert found() == layout.model


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("again", [1, 3])
def test_without_a_manifest(layout: Layout, found: Any, mode: str, again: int) -> None:
    for _ in range(again):
        (layout.path / "MANIFEST").unlink()
        for index in layout.path.glob("*.idx"):
            index.unlink()
        (layout.path / "CONTROL").unlink(missing_ok=True)
        report = recover(layout.path, mode)
        assert report.manifest_rebuilt
        assert report.findings[0].file == "MANIFEST"
        assert found() == layout.model


def test_without_anything_but_logs(layout: Layout, found: Any) -> None:
    for file in layout.path.iterdir():
        if file.suffix != ".log":
            file.unlink()
    recover(layout.path)
    assert found() == layout.model


def test_what_was_cleared_stays_away(layout: Layout, open_: Open, found: Any, machine: Machine) -> None:
    """Even where the files of it are still there and the manifest is not."""
    kept = {name: data for name, data in content(layout.path).items() if name.endswith(".log")}
    with open_(segment_bytes=8192) as db:
        db.clear()
        db.put(b"new", b"v")
    for name, data in kept.items():
        (layout.path / name).write_bytes(data)
    (layout.path / "MANIFEST").unlink()
    recover(layout.path)
    assert found() == {b"new": b"v"}


def test_what_was_merged_is_not_there_twice(layout: Layout, open_: Open, found: Any) -> None:
    """The inputs of a compaction may be there still: an old version or a deleted key must not come back."""
    kept = {name: data for name, data in content(layout.path).items() if name.endswith(".log")}
    with open_(segment_bytes=8192) as db:
        db.delete(b"main 3")
        db.put(b"first 3", b"new")
        db.compact()
        expected = dict(db.scan())
    for name, data in kept.items():
        if not (layout.path / name).exists():
            (layout.path / name).write_bytes(data)
    (layout.path / "MANIFEST").unlink()
    recover(layout.path)
    assert found() == expected


class TestDamage:
    """One flipped bit in the middle of the older of two sealed segments."""

    def test_point_in_time(self, layout: Layout, found: Any) -> None:
        layout.damage(b"first 12")
        report = recover(layout.path)
        assert report.damage
        broken = next(f for f in report.findings if f.file == layout.log("first").name)
        assert broken.offset == layout.places[b"first 12"][1]
        assert broken.lost_bytes == 18 * (28 + 8 + 50)
        assert layout.log("first").stat().st_size == broken.offset, "what is put away goes"
        dropped = {finding.file for finding in report.findings if finding.action == "dropped"}
        assert dropped == {layout.log("second").name, layout.log("active").name}
        kept = {b"first %d" % number for number in range(12)}
        assert found() == {
            key: value for key, value in layout.model.items() if key in kept or key.startswith(b"main")
        }

    def test_strict(self, layout: Layout) -> None:
        layout.damage(b"first 12")
        before = content(layout.path)
        with pytest.raises(CorruptionError) as caught:
            recover(layout.path, "strict")
        assert caught.value.path == str(layout.log("first"))
        assert caught.value.offset == layout.places[b"first 12"][1]
        assert content(layout.path) == before

    def test_salvage(self, layout: Layout, found: Any) -> None:
        layout.damage(b"first 12")
        report = recover(layout.path, "salvage")
        assert report.damage
        assert found() == {key: value for key, value in layout.model.items() if key != b"first 12"}

    def test_salvage_past_a_broken_link_loses_nothing(self, layout: Layout, found: Any) -> None:
        """The new log is longer by the record that ends it, and that is no loss of less than nothing."""
        flip(layout.log("first"), layout.places[b"first 12"][1] + 8)
        salvaged = [each for each in recover(layout.path, "salvage").findings if each.action == "salvaged"]
        assert [each.lost_bytes for each in salvaged] == [0]
        assert found() == layout.model

    @pytest.mark.parametrize("again", ["recover", "without a manifest", "compact"])
    def test_what_was_salvaged_stays(self, layout: Layout, found: Any, open_: Open, again: str) -> None:
        layout.damage(b"first 12")
        recover(layout.path, "salvage")
        if again == "compact":
            with open_(segment_bytes=8192) as db:
                db.compact()
        elif again == "without a manifest":
            (layout.path / "MANIFEST").unlink()
            recover(layout.path)
        else:
            assert recover(layout.path).damage is False
        assert found() == {key: value for key, value in layout.model.items() if key != b"first 12"}

    @pytest.mark.parametrize("mode", ["point-in-time", "salvage"])
    @pytest.mark.parametrize("manifest", ["", "without a manifest"])
    def test_a_compacted_segment(self, layout: Layout, found: Any, mode: str, manifest: str) -> None:
        """It has no order of time to cut by: what is sound in it stays, and so does everything younger."""
        flip(layout.log("main"), LOG_HEADER + 12)
        if manifest:
            (layout.path / "MANIFEST").unlink()
        report = recover(layout.path, mode)
        assert report.damage
        lost = set(layout.model) - set(found())
        assert lost == {b"main 0"}

    def test_all_of_a_compacted_segment(self, db: DB, path: Path, found: Any) -> None:
        db.put(b"k", b"v")
        db.compact()
        db.put(b"after", b"v")
        number = db.stats().segments[1].number
        db.close()
        flip(path / f"{number:06d}.log", LOG_HEADER + 12)
        recover(path, "salvage")
        assert found() == {b"after": b"v"}

    @pytest.mark.parametrize("name", ["main", "first", "active"])
    def test_salvage_does_without_a_header(self, layout: Layout, found: Any, name: str) -> None:
        flip(layout.log(name), 20)
        recover(layout.path, "salvage")
        assert found() == layout.model

    def test_a_batch_that_lost_its_end(self, open_: Open, path: Path, found: Any) -> None:
        """Salvage keeps what is sound of it; the next recovery takes that for whole."""
        db = open_(segment_bytes=8192)
        db.put_many({b"a": b"1", b"b": b"2", b"c": b"3"})
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        db.put(b"later", b"v")
        db.close()
        flip(path / "000001.log", LOG_HEADER + 2 * 30 + 12)
        recover(path, "salvage")
        expected = {b"a": b"1", b"b": b"2", b"later": b"v"}
        assert found() == expected
        assert recover(path).damage is False
        assert found() == expected

    def test_salvage_keeps_what_was_deleted_by_prefix(self, open_: Open, path: Path, found: Any) -> None:
        db = open_(segment_bytes=8192)
        db.put_many({b"old 1": b"v", b"old 2": b"v", b"kept": b"v"})
        db.delete_prefix(b"old")
        db.put(b"lost", b"v")
        db.put(b"after", b"v")
        begun = db.stats().segments[0].number
        db.sync()
        db.close()
        log = path / f"{begun:06d}.log"
        flip(log, log.read_bytes().index(b"lost"))
        assert recover(path, "salvage").damage
        assert found() == {b"kept": b"v", b"after": b"v"}

    @pytest.mark.parametrize("refused", ["pwrite", "fdatasync"])
    def test_a_full_disk_leaves_no_half_of_a_salvaged_log(
        self, layout: Layout, machine: Machine, refused: str
    ) -> None:
        """Not even where something was changed before: the next attempt would begin one more."""
        flip(layout.log("main"), 20)  # its header is mended first
        layout.damage(b"first 12")
        logs = sorted(layout.path.glob("*.log"))
        made: list[Path] = []

        def full(step: str, subject: Path) -> None:
            if step == refused and subject.suffix == ".log" and subject not in logs:
                made.append(subject)
                raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = full
        gc.collect()
        before = descriptors_open()
        with pytest.raises(DiskFullError):
            recover(layout.path, "salvage")
        assert made
        assert sorted(layout.path.glob("*.log")) == logs
        gc.collect()
        assert descriptors_open() == before

    @pytest.mark.parametrize("mode", MODES)
    def test_the_active_log_below_what_was_synced(self, layout: Layout, found: Any, mode: str) -> None:
        layout.damage(b"active 12")
        if mode == "strict":
            with pytest.raises(CorruptionError):
                recover(layout.path, mode)
            return
        report = recover(layout.path, mode)
        assert report.damage
        lost = {b"active %d" % number for number in (range(12, 30) if mode == "point-in-time" else [12])}
        assert found() == {key: value for key, value in layout.model.items() if key not in lost}

    @pytest.mark.parametrize("mode", MODES)
    def test_a_torn_tail_is_no_damage(
        self, layout: Layout, found: Any, open_: Open, machine: Machine, mode: str
    ) -> None:
        """It was never on disk: cutting it is what recovery is for, in every mode."""
        db = open_(segment_bytes=8192)
        db.put(b"torn", b"v" * 100)
        machine.bury(db)
        with layout.log("active").open("r+b") as file:
            file.seek(layout.places[b"active 29"][1] + 28 + 9 + 50 + 60)
            file.write(b"\0" * 200)
        machine.reboot()
        report = recover(layout.path, mode)
        assert report.damage is False
        assert [finding.what for finding in report.findings] == ["cut behind the last whole commit"]
        assert found() == layout.model

    @pytest.mark.parametrize("name", ["main", "first", "active"])
    def test_a_log_that_is_gone(self, layout: Layout, found: Any, name: str) -> None:
        layout.log(name).unlink()
        with pytest.raises(CorruptionError):
            recover(layout.path, "strict")
        report = recover(layout.path, "salvage")
        assert report.damage
        assert found() == {k: v for k, v in layout.model.items() if not k.startswith(name.encode())}


class TestRefusals:
    def test_an_open_store(self, db: DB, path: Path) -> None:
        db.put(b"k", b"v")
        with pytest.raises(StoreBusyError, match="is open"):
            recover(path)
        assert db.get(b"k") == b"v"

    def test_no_directory(self, machine: Machine, path: Path) -> None:
        with pytest.raises(DirectoryError, match="does not exist"):
            recover(path)

    def test_nothing_to_recover(self, machine: Machine, path: Path) -> None:
        path.mkdir(mode=0o700)
        (path / "letter.txt").write_text("mine")
        with pytest.raises(DirectoryError, match="nothing to recover"):
            recover(path)
        assert [file.name for file in path.iterdir()] == ["letter.txt"]


class TestWithoutAManifest:
    """What the logs alone tell, and what the manifest before the last one adds."""

    @pytest.fixture(params=["", "without the one before"])
    def lost(self, layout: Layout, request: pytest.FixtureRequest) -> Layout:
        (layout.path / "MANIFEST").unlink()
        if request.param:
            (layout.path / "MANIFEST.old").unlink()
        return layout

    def test_a_break_takes_the_younger_logs_along(self, lost: Layout, found: Any) -> None:
        """Else there would be a hole in time: a younger write survives, and an older one does not."""
        lost.damage(b"first 12")
        report = recover(lost.path)
        broken = next(each for each in report.findings if each.file == lost.log("first").name)
        assert (broken.action, broken.damage, broken.lost_bytes) == ("cut", True, 18 * (28 + 8 + 50))
        kept = {b"first %d" % number for number in range(12)}
        assert found() == {k: v for k, v in lost.model.items() if k in kept or k.startswith(b"main")}

    def test_strict_refuses_that(self, lost: Layout) -> None:
        lost.damage(b"first 12")
        before = content(lost.path)
        with pytest.raises(CorruptionError):
            recover(lost.path, "strict")
        assert content(lost.path) == before

    @pytest.mark.parametrize("mode", ["point-in-time", "salvage"])
    @pytest.mark.parametrize("name", ["first", "second", "active"])
    def test_a_damaged_header_costs_nothing(self, lost: Layout, found: Any, mode: str, name: str) -> None:
        flip(lost.log(name), 20)
        recover(lost.path, mode)
        assert found() == lost.model

    def test_the_budget_stays(self, open_: Open, path: Path) -> None:
        with open_(max_bytes=2**20) as db:
            db.put(b"k", b"v")
            with db._store.committer.hold() as held:
                db._store.structure.rotate(held)
        (path / "MANIFEST").unlink()
        recover(path)
        with open_() as db:
            assert db.stats().max_bytes == 2**20

    def test_salvage_of_a_compacted_log_without_an_end(self, layout: Layout, found: Any) -> None:
        """It looks unfinished, but what it was made from has gone: so it was finished once."""
        for name in ("MANIFEST", "MANIFEST.old"):
            (layout.path / name).unlink()
        flip(layout.log("main"), layout.log("main").stat().st_size - 10)
        recover(layout.path, "salvage")
        assert found() == layout.model

    @pytest.mark.parametrize("end", ["is missing", "is there before the middle"])
    def test_an_unfinished_log_whose_sources_are_there(
        self, db: DB, path: Path, found: Any, end: str
    ) -> None:
        """Its maker died between two records, or the power went: what it was made from counts."""
        model = {b"%d" % number: b"v" for number in range(9)}
        db.put_many(model)
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        inputs = {file: file.read_bytes() for file in path.glob("*.log")}
        db.compact()
        merged = path / f"{db.stats().segments[1].number:06d}.log"
        db.close()
        for file, data in inputs.items():
            file.write_bytes(data)
        if end == "is missing":
            os.truncate(merged, merged.stat().st_size - (28 + 1 + 1) - 28)  # and the last record before it
        else:
            flip(merged, LOG_HEADER + 2 * (28 + 1 + 1) + 29)
        for name in ("MANIFEST", "MANIFEST.old"):
            (path / name).unlink()
        recover(path)
        assert found() == model


def test_a_log_that_lost_even_its_header(layout: Layout) -> None:
    """All of it was on disk: that is damage, and not what a power cut leaves of a new log."""
    os.truncate(layout.log("first"), 10)
    with pytest.raises(CorruptionError):
        recover(layout.path, "strict")
    assert recover(layout.path).damage


def test_a_damaged_header_of_a_log_that_was_never_synced(
    db: DB, open_: Open, path: Path, machine: Machine
) -> None:
    """Nobody knows what should be in it; that the header was made anew is said all the same."""
    db.put(b"k", b"v")
    db.close()
    log = path / "000001.log"
    flip(log, 20)
    machine.reboot()
    report = recover(path)
    assert [(each.action, each.file, each.damage) for each in report.findings] == [
        ("rebuilt", log.name, False)
    ]
    with open_() as db:
        assert db.get(b"k") == b"v"


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(("mode", "left"), [("point-in-time", 12), ("salvage", 29)])
def test_a_break_behind_what_was_synced(
    db: DB, open_: Open, path: Path, machine: Machine, mode: str, left: int, sealed: bool
) -> None:
    """It may be a torn tail: a prefix is kept, but for salvage, which takes what is sound behind it, too."""
    for number in range(30):
        if number == 12:
            db.sync()
        db.put(b"%02d" % number, b"v" * 50)
    if sealed:
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
    db.close()
    flip(path / "000001.log", LOG_HEADER + 12 * (28 + 2 + 50) + 40)
    machine.reboot()
    assert not recover(path, mode).damage
    with open_() as db:
        assert len(dict(db.scan())) == left


@pytest.mark.parametrize(("mode", "left"), [("point-in-time", 12), ("salvage", 29)])
def test_a_break_in_what_was_never_synced(db: DB, open_: Open, path: Path, mode: str, left: int) -> None:
    """There was no power cut since it was written, so nothing can be torn."""
    for number in range(30):
        db.put(b"%02d" % number, b"v" * 50)
    db.close()
    flip(path / "000001.log", LOG_HEADER + 12 * (28 + 2 + 50) + 40)
    with pytest.raises(CorruptionError):
        recover(path, "strict")
    assert recover(path, mode).damage
    with open_() as db:
        assert len(dict(db.scan())) == left


def test_strict_changes_nothing_before_it_fails(layout: Layout) -> None:
    """Not even what stands behind the end of an older log, which is no damage."""
    with layout.log("first").open("ab") as file:
        file.write(b"of a writer that died")
    layout.damage(b"second 12")
    before = content(layout.path)
    with pytest.raises(CorruptionError):
        recover(layout.path, "strict")
    assert content(layout.path) == before


def test_a_page_of_junk_does_not_make_damage_of_a_torn_tail(layout: Layout) -> None:
    """CONTROL would say up to where all was on disk; the manifest does not know it of this log."""
    (layout.path / "CONTROL").write_bytes(b"\xff" * 30_000)
    with layout.log("second").open("r+b") as file:
        file.truncate(layout.log("second").stat().st_size - 3)
    report = recover(layout.path, "strict")
    assert [each.action for each in report.findings] == ["cut", "dropped"]
    assert not report.damage


def test_a_damaged_manifest_does_not_take_the_place_of_the_one_before(layout: Layout) -> None:
    """A second recovery may need that, should this one die."""
    before = (layout.path / "MANIFEST.old").read_bytes()
    (layout.path / "MANIFEST").write_bytes(b"junk")
    recover(layout.path)
    assert (layout.path / "MANIFEST.old").read_bytes() == before


def test_tombstones_count_as_records(db: DB, path: Path) -> None:
    """A merge makes room for as many keys as are said to be there."""
    db.put_many({b"1": b"v", b"2": b"v"})
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)
    db.delete(b"1")
    db.close()
    assert recover(path).records == 3


def test_files_of_somebody_who_died_go(layout: Layout) -> None:
    """They were never named, and the next to open the store need not find them."""
    for name in ("MANIFEST.tmp", "000002.tmp", "000002.4711.tmp"):
        (layout.path / name).write_bytes(b"half of it")
    recover(layout.path)
    assert not list(layout.path.glob("*.tmp"))


def test_the_age_of_what_was_recovered(layout: Layout, open_: Open) -> None:
    recover(layout.path)
    with open_(segment_bytes=8192) as db:
        assert db.stats().age < 3600
