"""Recovery destroys no evidence: what it takes out of a store is in lost+found, and the report says where."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB, CorruptionError, DiskFullError, Finding, RecoveryReport, StorageError, recover
from tests.engine.layout import Layout
from tests.engine.machine import Death, Machine, content, flip

Open = Callable[..., DB]


def evidence(path: Path) -> dict[str, bytes]:
    """Every file below lost+found, by its name within the store's directory."""
    files = (file for file in (path / "lost+found").rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def finding(report: RecoveryReport, file: Path) -> Finding:
    (found,) = [each for each in report.findings if each.file == file.name]
    return found


class TestWhatIsPutAway:
    def test_nothing_of_a_sound_store(self, layout: Layout) -> None:
        for mode in ("point-in-time", "strict", "salvage"):
            assert recover(layout.path, mode).lost_found is None
        assert not (layout.path / "lost+found").exists()

    def test_what_was_cut_off_and_what_is_younger(self, layout: Layout) -> None:
        layout.damage(b"first 12")
        before = content(layout.path)
        report = recover(layout.path)
        cut = finding(report, layout.log("first"))
        assert cut.action == "cut"
        assert cut.damage
        assert cut.saved_as == f"{report.lost_found}/{layout.log('first').name}.from-{cut.offset}"
        kept = evidence(layout.path)
        assert kept[cut.saved_as] == before[cut.file][cut.offset :]
        assert len(kept[cut.saved_as]) == cut.lost_bytes
        for name in ("second", "active"):
            dropped = finding(report, layout.log(name))
            assert (dropped.action, dropped.offset) == ("dropped", 0)
            assert dropped.saved_as
            assert kept[dropped.saved_as] == before[dropped.file]
            assert dropped.lost_bytes == len(before[dropped.file].rstrip(b"\0"))
            assert not layout.log(name).exists()
        assert len(kept) == 3

    def test_the_report_says_what_was_kept(self, layout: Layout) -> None:
        layout.damage(b"first 12")
        report = recover(layout.path)
        broken = finding(report, layout.log("first"))
        sizes = {each.file: (each.size, each.records) for each in report.kept}
        main = layout.log("main")
        assert sizes == {main.name: (main.stat().st_size, 30), broken.file: (broken.offset, 12)}
        assert (report.segments, report.records) == (2, 42)
        assert report.kept_bytes == main.stat().st_size + broken.offset
        assert report.lost_bytes == sum(each.lost_bytes for each in report.findings)

    @pytest.mark.parametrize("mode", ["point-in-time", "salvage"])
    def test_a_log_that_was_salvaged_from(self, layout: Layout, mode: str) -> None:
        flip(layout.log("main"), 72 + 12)
        before = layout.log("main").read_bytes()
        report = recover(layout.path, mode)
        found = finding(report, layout.log("main"))
        assert found.action == "salvaged"
        assert found.saved_as
        assert evidence(layout.path) == {found.saved_as: before}
        assert not layout.log("main").exists()

    def test_a_header_that_is_written_anew(self, layout: Layout) -> None:
        flip(layout.log("first"), 20)
        before = layout.log("first").read_bytes()
        found = finding(recover(layout.path), layout.log("first"))
        assert (found.action, found.lost_bytes) == ("rebuilt", 0)
        assert found.saved_as
        assert evidence(layout.path) == {found.saved_as: before[:72]}

    @pytest.mark.parametrize("junk", [b"", b"nonsense\n"])
    def test_manifests_and_format_that_are_replaced(self, layout: Layout, found: Any, junk: bytes) -> None:
        for name in ("MANIFEST", "FORMAT"):
            (layout.path / name).write_bytes(junk)
        old = (layout.path / "MANIFEST.old").read_bytes()
        report = recover(layout.path)
        assert evidence(layout.path) == {
            f"{report.lost_found}/MANIFEST": junk,
            f"{report.lost_found}/MANIFEST.old": old,
            f"{report.lost_found}/FORMAT": junk,
        }
        assert {each.file: each.action for each in report.findings} == {
            "MANIFEST": "rebuilt",
            "FORMAT": "rebuilt",
        }
        assert {(each.offset, each.lost_bytes) for each in report.findings} == {(0, 0)}
        assert report.damage
        assert found() == layout.model

    def test_a_log_that_the_manifest_does_not_name(self, layout: Layout, open_: Open) -> None:
        stray = layout.log("first").read_bytes()
        with open_(segment_bytes=8192) as db:
            db.compact()
        layout.log("first").write_bytes(stray)
        report = recover(layout.path)
        dropped = finding(report, layout.log("first"))
        assert (dropped.action, dropped.damage, dropped.lost_bytes) == ("dropped", False, 0)
        assert evidence(layout.path) == {dropped.saved_as: stray}

    def test_a_file_that_tells_nothing_of_itself_is_left(self, layout: Layout) -> None:
        (layout.path / "MANIFEST").unlink()
        (layout.path / "900000.log").write_bytes(b"somebody else's " * 100)
        left = finding(recover(layout.path), layout.path / "900000.log")
        assert (left.action, left.offset, left.lost_bytes, left.damage) == ("left", 0, 0, True)
        assert (layout.path / "900000.log").exists()

    def test_a_stray_that_is_no_log(self, layout: Layout) -> None:
        """The manifest tells which logs there are: whatever that is, it is none of the store's."""
        (layout.path / "900000.log").write_bytes(b"somebody else's " * 100)
        report = recover(layout.path)
        dropped = finding(report, layout.path / "900000.log")
        assert (dropped.action, dropped.damage) == ("dropped", False)
        assert evidence(layout.path) == {dropped.saved_as: b"somebody else's " * 100}

    def test_a_log_that_ends_early_has_nothing_to_put_away(self, layout: Layout) -> None:
        offset = layout.places[b"second 12"][1]
        os.truncate(layout.log("second"), offset)
        cut = finding(recover(layout.path), layout.log("second"))
        assert (cut.action, cut.offset, cut.damage, cut.saved_as) == ("cut", offset, True, None)

    def test_a_log_without_a_header_that_is_younger_than_a_break(self, layout: Layout) -> None:
        """How much of it was written cannot be told, and all of it is kept."""
        layout.damage(b"first 12")
        flip(layout.log("active"), 20)
        data = layout.log("active").read_bytes()
        dropped = finding(recover(layout.path), layout.log("active"))
        assert (dropped.action, dropped.lost_bytes) == ("dropped", 0)
        assert evidence(layout.path)[str(dropped.saved_as)] == data

    def test_a_copy_of_a_log_under_another_number(self, layout: Layout) -> None:
        """Its header is sound, and tells that it is not what its name says: it is left."""
        (layout.path / "MANIFEST").unlink()
        (layout.path / "900000.log").write_bytes(layout.log("first").read_bytes())
        assert finding(recover(layout.path), layout.path / "900000.log").action == "left"

    def test_a_torn_tail(self, layout: Layout, open_: Open, machine: Machine) -> None:
        db = open_(segment_bytes=8192)
        end = db.stats().segments[0].log_bytes
        machine.bury(db)
        with layout.log("active").open("r+b") as file:
            file.seek(end)
            file.write(b"torn" * 9)
        report = recover(layout.path)
        cut = finding(report, layout.log("active"))
        assert (cut.action, cut.damage, cut.lost_bytes) == ("cut", False, 36)
        assert evidence(layout.path) == {cut.saved_as: b"torn" * 9}


def test_nothing_is_overwritten(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a recovery within the same second."""
    monkeypatch.setattr("stratakv.lost_found.now_ms", lambda: 1_800_000_000_000)
    folders = []
    for junk in (b"one", b"two", b"three"):
        (layout.path / "FORMAT").write_bytes(junk)
        folders.append(recover(layout.path).lost_found)
    assert folders == [f"lost+found/2027-01-15T08-00-00Z{again}" for again in ("", "-2", "-3")]
    assert [evidence(layout.path)[f"{folder}/FORMAT"] for folder in folders] == [b"one", b"two", b"three"]


class TestAfterAReboot:
    """A recovery that nobody asked for keeps what follows from damage, and no more than a little."""

    @pytest.fixture
    def db(self, open_: Open) -> DB:
        db = open_()
        for number in range(30):
            db.put(b"%d" % number, b"v" * 50)
        db.sync()
        db.put(b"not synced", b"v" * 50)
        return db

    def test_torn_tails_do_not_pile_up(self, db: DB, machine: Machine, open_: Open, path: Path) -> None:
        end = db.stats().segments[0].log_bytes
        machine.bury(db)
        machine.reboot()
        with (path / "000001.log").open("r+b") as file:
            file.truncate(end - 3)
        assert b"not synced" not in open_()
        assert not (path / "lost+found").exists()

    def test_damage_is_kept(self, db: DB, machine: Machine, open_: Open, path: Path, caplog: Any) -> None:
        machine.bury(db)
        machine.reboot()
        flip(path / "000001.log", 72 + 12)
        before = (path / "000001.log").read_bytes()
        assert len(list(open_().keys())) == 0
        ((name, kept),) = evidence(path).items()
        assert kept == before
        assert f"kept as {name}" in caplog.text

    def test_a_log_that_is_younger_than_the_manifest(
        self, db: DB, machine: Machine, open_: Open, path: Path
    ) -> None:
        """The manifest went back to an older one: what writers wrote since is not thrown away."""
        older = (path / "MANIFEST").read_bytes()
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        db.put(b"later", b"v")
        machine.bury(db)
        machine.reboot()
        (path / "MANIFEST").write_bytes(older)
        before = (path / "000002.log").read_bytes()
        open_()
        assert list(evidence(path).values()) == [before]

    def test_such_a_log_is_damage(self, db: DB, path: Path) -> None:
        older = (path / "MANIFEST").read_bytes()
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        db.put(b"later", b"v")
        db.close()
        (path / "MANIFEST").write_bytes(older)
        with pytest.raises(CorruptionError, match="writers wrote it"):
            recover(path, "strict")
        assert recover(path).damage

    def test_an_unfinished_merge_is_not(self, db: DB, machine: Machine, open_: Open, path: Path) -> None:
        """Its records are where it took them from."""
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)

        def die(name: str, path: Path) -> None:
            if name == "rename" and path.name == "MANIFEST.tmp":
                machine.dead = True
                raise Death

        machine.refuse = die
        with pytest.raises(Death):
            db.compact()
        assert len(list(path.glob("*.log"))) == 3
        machine.refuse = lambda name, path: None
        machine.bury(db)
        machine.reboot()
        assert len(list(open_().keys())) == 31
        assert not (path / "lost+found").exists()

    @pytest.mark.parametrize(("taken", "kept"), [(0, 1), (2**15, 0)])
    @pytest.mark.parametrize("before", [0, 1], ids=["the whole log", "behind a cut"])
    def test_only_up_to_an_eighth_of_the_budget(
        self, machine: Machine, open_: Open, path: Path, caplog: Any, taken: int, kept: int, before: int
    ) -> None:
        db = open_(max_bytes=2**18)
        for key in (b"j", b"k")[1 - before :]:
            db.put(key, b"v")
        db.sync()
        machine.bury(db)
        machine.reboot()
        flip(path / "000001.log", 72 + before * 30 + 12)
        (path / "lost+found").mkdir()
        (path / "lost+found" / "earlier").write_bytes(b"v" * taken)
        assert b"k" not in open_(max_bytes=2**18)
        assert len(evidence(path)) == 1 + kept
        assert ("kept as" in caplog.text) == bool(kept)

    @pytest.mark.parametrize(("taken", "kept"), [(0, 2), (5 * 4096, 1)])
    def test_the_limit_is_that_of_all_together(
        self, machine: Machine, open_: Open, path: Path, taken: int, kept: int
    ) -> None:
        db = open_(max_bytes=2**18, segment_bytes=8192)
        db.put(b"k", bytes(6500))  # two blocks on any file system
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        db.put(b"younger", bytes(6500))
        db.sync()
        machine.bury(db)
        machine.reboot()
        flip(path / "000001.log", 72 + 12)
        (path / "lost+found").mkdir()
        (path / "lost+found" / "earlier").write_bytes(b"v" * taken)
        open_(max_bytes=2**18, segment_bytes=8192)
        assert len(evidence(path)) == 1 + kept


class TestOrder:
    """Nothing leaves the store before what is taken out is on disk, nor before the new manifest is."""

    @pytest.mark.parametrize("mode", ["point-in-time", "salvage"])
    @pytest.mark.parametrize("manifest", ["", "without a manifest"])
    def test_the_steps(self, layout: Layout, machine: Machine, mode: str, manifest: str) -> None:
        layout.damage(b"first 12")
        if manifest:
            (layout.path / "MANIFEST").unlink()
        machine.steps.clear()
        report = recover(layout.path, mode)
        assert report.lost_found
        folder = layout.path / report.lost_found
        synced = machine.steps.index(("sync_directory", folder))
        installed = machine.steps.index(("rename", layout.path / "MANIFEST.tmp"))
        taken = [
            place
            for place, (name, path) in enumerate(machine.steps)
            if name in ("truncate", "unlink") and path in {layout.log(each) for each in layout.numbers}
        ]
        assert synced < installed < min(taken)
        assert machine.steps.index(("fdatasync", layout.log("first"))) < installed, "the new one trusts it"
        written = {
            ("fdatasync", path) for name, path in machine.steps if (name, path.parent) == ("pwrite", folder)
        }
        assert written <= set(machine.steps[:synced])
        assert all(
            place < synced for place, (name, path) in enumerate(machine.steps) if path.parent == folder
        )

    @pytest.mark.parametrize(
        ("mode", "manifest"),
        [
            ("point-in-time", ""),
            ("point-in-time", "without a manifest"),
            ("salvage", "without a manifest"),
        ],
    )
    def test_death_at_each_step(
        self, layout: Layout, open_: Open, machine: Machine, mode: str, manifest: str
    ) -> None:
        """Done again, it keeps what it would have kept, and what it took out is still there."""
        layout.damage(b"first 12")
        if manifest:
            (layout.path / "MANIFEST").unlink()
        before = content(layout.path)
        recover(layout.path, mode)
        kept = set(evidence_names(layout.path))
        with open_(segment_bytes=8192) as db:
            wanted = dict(db.scan())
        for step in range(200):
            restore(layout.path, before)
            machine.die_after(step)
            try:
                recover(layout.path, mode)
            except Death:
                machine.bury()
            else:
                machine.die_at = None
                break
            recover(layout.path, mode)
            with open_(segment_bytes=8192) as db:
                assert dict(db.scan()) == wanted, f"died at step {step}"
            assert kept <= set(evidence_names(layout.path)), f"died at step {step}"
            for name, data in evidence(layout.path).items():
                original, _, offset = Path(name).name.partition(".from-")
                if original in before and original.endswith(".log") and data:
                    start = int(offset or 0)
                    assert data in (before[original][start:], before[original][start : start + len(data)])
        assert 20 < step < 199

    def test_opening_after_a_death_at_each_step(self, layout: Layout, open_: Open, machine: Machine) -> None:
        """Without anybody asking for recovery again, a store that opens is as recovery would have left it."""
        machine.bury(open_(segment_bytes=8192))  # so that the page says that it is up
        layout.damage(b"first 12")
        before = content(layout.path)
        recover(layout.path)
        with open_(segment_bytes=8192) as db:
            wanted = dict(db.scan())
        installed = 0
        for step in range(200):
            restore(layout.path, before)
            machine.steps.clear()
            machine.die_after(step)
            try:
                recover(layout.path)
            except Death:
                machine.bury()
            else:
                machine.die_at = None
                break
            if ("rename", layout.path / "MANIFEST.tmp") not in machine.steps:
                continue
            installed += 1
            with open_(segment_bytes=8192) as db:
                db.put(b"after", b"v")
                assert dict(db.scan()) == wanted | {b"after": b"v"}
            with open_(segment_bytes=8192) as db:
                assert db.verify().ok
        assert installed > 5

    def test_a_refusal_of_each_step(self, layout: Layout, open_: Open, machine: Machine) -> None:
        """It is a StorageError, and nothing is lost by it."""
        layout.damage(b"first 12")
        before = content(layout.path)
        recover(layout.path)
        kept = set(evidence_names(layout.path))
        with open_(segment_bytes=8192) as db:
            wanted = dict(db.scan())
        for step in range(200):
            restore(layout.path, before)
            machine.steps.clear()

            def refuse(name: str, path: Path, last: int = step) -> None:
                if len(machine.steps) > last:
                    machine.refuse = lambda name, path: None
                    raise OSError(errno.EIO, "Input/output error")

            machine.refuse = refuse
            try:
                recover(layout.path)
            except StorageError:
                recover(layout.path)
            refused = machine.refuse is not refuse
            machine.refuse = lambda name, path: None
            if not refused:
                break
            with open_(segment_bytes=8192) as db:
                assert dict(db.scan()) == wanted, f"refused at step {step}"
            assert kept <= set(evidence_names(layout.path)), f"refused at step {step}"
        assert 20 < step < 199


def evidence_names(path: Path) -> list[str]:
    return [Path(name).name for name in evidence(path)]


def restore(path: Path, files: dict[str, bytes]) -> None:
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            (Path(folder) / name).unlink()
        if Path(folder) != path:
            Path(folder).rmdir()
    for name, data in files.items():
        (path / name).write_bytes(data)


class TestAFullDisk:
    """What would be lost finds no room: nothing is changed, and attempts do not pile up."""

    def changes_nothing(self, layout: Layout, before: dict[str, bytes]) -> None:
        for _ in range(2):
            with pytest.raises(DiskFullError):
                recover(layout.path)
        assert content(layout.path) == before
        assert list((layout.path / "lost+found").rglob("*")) == []

    @pytest.mark.parametrize("step", ["make_folder", "link", "pwrite"])
    def test_recover_refuses(self, layout: Layout, machine: Machine, step: str) -> None:
        layout.damage(b"first 12")
        before = content(layout.path)

        def refuse(name: str, path: Path) -> None:
            if name == step and (name != "pwrite" or "lost+found" in str(path)):
                raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = refuse
        self.changes_nothing(layout, before)

    def test_opening_refuses_and_succeeds_later(
        self, db: DB, machine: Machine, open_: Open, path: Path
    ) -> None:
        """It would need space for the next segment anyway, and a full disk passes."""
        for number in range(3):
            db.put(b"%d" % number, b"v")
        db.sync()
        machine.bury(db)
        machine.reboot()
        flip(path / "000001.log", 72 + 30 + 12)
        before = (path / "000001.log").read_bytes()

        def refuse(name: str, path: Path) -> None:
            if name == "pwrite" and "lost+found" in str(path):
                raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = refuse
        with pytest.raises(DiskFullError, match="lost\\+found"):
            open_()
        assert (path / "000001.log").read_bytes() == before
        machine.refuse = lambda name, path: None
        assert list(open_().keys()) == [b"0"]
        assert [len(data) for data in evidence(path).values()] == [60]

    def test_no_room_for_the_new_segment(self, layout: Layout, found: Any, machine: Machine) -> None:
        layout.damage(b"first 12")
        before = content(layout.path)

        def refuse(name: str, path: Path) -> None:
            if name == "allocate" and path.suffix == ".idx":
                raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = refuse
        self.changes_nothing(layout, before)


class TestTheFolder:
    @pytest.mark.parametrize("mode", [0o700, 0o770])
    def test_permissions_are_those_of_the_store(self, open_: Open, path: Path, mode: int) -> None:
        with open_(mode=mode) as db:
            db.put_many({b"%d" % number: b"v" * 50 for number in range(9)})
            db.sync()
        flip(path / "000001.log", 72 + 12)
        with open_(mode=mode) as db:
            db.put(b"k", b"v")
        (path / "FORMAT").write_bytes(b"junk")
        recover(path)
        for each in (path / "lost+found").rglob("*"):
            expected = mode if each.is_dir() else mode & 0o666
            assert stat.S_IMODE(each.stat().st_mode) == expected, each
        assert stat.S_IMODE((path / "lost+found").stat().st_mode) == mode

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_root_gives_it_to_the_owner_of_the_store(self, layout: Layout) -> None:
        for each in (layout.path, *layout.path.iterdir()):
            os.chown(each, 12345, 12346)
        layout.damage(b"first 12")
        recover(layout.path)
        below = [layout.path / "lost+found", *(layout.path / "lost+found").rglob("*")]
        assert len(below) == 5
        assert {(each.stat().st_uid, each.stat().st_gid) for each in below} == {(12345, 12346)}

    def test_it_does_not_count_in_the_budget(self, open_: Open, path: Path) -> None:
        with open_(max_bytes=2**18) as db:
            (path / "lost+found" / "folder").mkdir(parents=True)
            (path / "lost+found" / "folder" / "000001.log").write_bytes(b"v" * 2**20)
            for number in range(200):
                db.put(b"%d" % number, b"v" * 500)
            assert len(list(db.keys())) == 200
            stats = db.stats()
            assert stats.disk_bytes < 2**18 * 1.1
            assert 2**20 <= stats.lost_found_bytes < 2**20 + 2**16

    def test_no_folder_counts_as_none(self, db: DB) -> None:
        assert db.stats().lost_found_bytes == 0

    def test_everything_else_leaves_it_alone(self, open_: Open, path: Path, tmp_path: Path) -> None:
        (path / "lost+found" / "folder").mkdir(parents=True, mode=0o700)
        path.chmod(0o700)
        for name in ("000007.log", "MANIFEST.tmp", "FORMAT"):
            (path / "lost+found" / "folder" / name).write_bytes(b"evidence")
        db = open_()
        db.put(b"k", b"v")
        db.compact()
        assert db.verify().ok
        db.backup(tmp_path / "copy")
        db.clear()
        db.close()
        recover(path)
        assert len(evidence(path)) == 3
        assert not (tmp_path / "copy" / "lost+found").exists()
