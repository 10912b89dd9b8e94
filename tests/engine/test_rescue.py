"""`stratakv.rescue`: a store that does not open is recovered if nothing is lost by that, else begun anew."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import (
    DB,
    DirectoryError,
    DiskFullError,
    FormatError,
    StoreBusyError,
    StrataKVError,
    recover,
    rescue,
)
from stratakv.locks import FileLock
from tests.engine.layout import Layout
from tests.engine.machine import Death, Machine, content, flip

Open = Callable[..., DB]


def break_manifest(layout: Layout) -> None:
    (layout.path / "MANIFEST").write_bytes(b"junk")


def break_all_manifests(layout: Layout) -> None:
    for name in ("MANIFEST", "MANIFEST.old"):
        (layout.path / name).write_bytes(b"junk")


def break_format(layout: Layout) -> None:
    (layout.path / "FORMAT").write_bytes(b"junk")


def lose_format(layout: Layout) -> None:
    (layout.path / "FORMAT").unlink()


def lose_a_log(layout: Layout) -> None:
    layout.log("first").unlink()


def cut_a_log(layout: Layout) -> None:
    with layout.log("first").open("r+b") as file:
        file.truncate(1000)


def break_a_header(layout: Layout) -> None:
    flip(layout.log("second"), 20)


def lose_all_but_the_format(layout: Layout) -> None:
    for file in layout.path.iterdir():
        if file.name != "FORMAT":
            file.unlink()


def break_manifest_and_a_log(layout: Layout) -> None:
    break_manifest(layout)
    layout.damage(b"first 12")


HARMLESS = [break_manifest, break_all_manifests, break_format, lose_format]
HARMFUL = [lose_a_log, cut_a_log, break_a_header, lose_all_but_the_format, break_manifest_and_a_log]


@pytest.mark.parametrize("breaks", HARMLESS)
def test_it_is_recovered_where_nothing_is_lost_by_that(
    layout: Layout, found: Any, open_: Open, breaks: Callable[[Layout], None]
) -> None:
    breaks(layout)
    with pytest.raises(StrataKVError):
        open_(segment_bytes=8192)
    done = rescue(layout.path)
    assert (done.action, done.set_aside) == ("recovered", None)
    assert "FORMAT" in done.reason or "MANIFEST" in done.reason
    assert done.recovery
    assert done.recovery.damage
    assert found() == layout.model


@pytest.mark.parametrize("breaks", HARMFUL)
def test_it_is_begun_anew_rather_than_go_back_in_time(
    layout: Layout, found: Any, open_: Open, breaks: Callable[[Layout], None]
) -> None:
    breaks(layout)
    before = content(layout.path)
    with pytest.raises(StrataKVError):
        open_(segment_bytes=8192)
    done = rescue(layout.path)
    assert (done.action, done.recovery) == ("set aside", None)
    assert done.reason
    assert found() == {}
    assert done.set_aside
    kept = content(Path(done.set_aside))
    wanted = {n: d for n, d in before.items() if n.endswith(".log") or n.startswith(("MANIFEST", "FORMAT"))}
    assert {name: data.rstrip(b"\0") for name, data in kept.items() if not name.endswith(".lock")} == {
        name: data.rstrip(b"\0") for name, data in wanted.items()
    }


def test_what_was_set_aside_can_be_recovered_there(layout: Layout, open_: Open) -> None:
    lose_a_log(layout)
    done = rescue(layout.path)
    assert done.set_aside
    recover(done.set_aside, "salvage")
    with stratakv.open(done.set_aside, maintenance="manual") as db:
        assert dict(db.scan()) == {k: v for k, v in layout.model.items() if not k.startswith(b"first")}


def test_what_was_set_aside_stays_away(layout: Layout, open_: Open, found: Any) -> None:
    """Even if the next thing to be lost is the manifest, and an old log were there again."""
    logs = {name: data for name, data in content(layout.path).items() if name.endswith(".log")}
    lose_a_log(layout)
    rescue(layout.path)
    for name, data in logs.items():
        (layout.path / name).write_bytes(data)
    break_all_manifests(layout)
    rescue(layout.path)
    assert found() == {}


def test_the_budget_stays(open_: Open, path: Path) -> None:
    with open_(max_bytes=2**20) as db:
        db.put(b"k", b"v")
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
    (path / "000001.log").unlink()
    assert rescue(path).action == "set aside"
    with open_() as db:
        assert db.stats().max_bytes == 2**20


def test_death_at_each_step(layout: Layout, open_: Open, machine: Machine) -> None:
    """Either the old store is there, whole, or the empty one is."""
    lose_a_log(layout)
    before = content(layout.path)
    logs = {name: data for name, data in before.items() if name.endswith(".log")}
    for step in range(200):
        for file in sorted(layout.path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        for name, data in before.items():
            (layout.path / name).write_bytes(data)
        machine.die_after(step)
        try:
            rescue(layout.path)
        except Death:
            machine.bury()
        else:
            machine.die_at = None
            break
        kept = [content(folder) for folder in (layout.path / "lost+found").glob("*")]
        assert any(logs.items() <= each.items() for each in (content(layout.path), *kept)), step
        rescue(layout.path)
        with open_(segment_bytes=8192) as db:
            assert list(db.scan()) == [], step
    assert 20 < step < 199


def test_an_index_that_is_gone_while_closed(layout: Layout, found: Any) -> None:
    """It is made anew by whoever opens the store, and so is no reason to rescue it."""
    layout.log("active").with_suffix(".idx").unlink()
    assert rescue(layout.path).action == "none"
    assert found() == layout.model


def test_whoever_was_faster_has_done_it(
    layout: Layout, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock was not to be had at first, and then the store was sound."""
    break_manifest(layout)
    recover(layout.path)
    monkeypatch.setattr(FileLock, "try_exclusive", lambda self: False)
    assert rescue(layout.path).action == "none"


def test_a_store_that_does_not_open_after_its_recovery(
    layout: Layout, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside, rather than rescued again at each start."""
    break_manifest(layout)
    module = importlib.import_module("stratakv.rescue")  # the attribute of that name is the function
    real = module.recover_alone

    def recovers_in_vain(*arguments: Any) -> Any:
        report = real(*arguments)
        break_manifest(layout)
        return report

    monkeypatch.setattr(module, "recover_alone", recovers_in_vain)
    report = rescue(layout.path)
    assert report.action == "set aside"
    with open_(segment_bytes=8192) as db:
        assert dict(db.scan()) == {}


def test_a_sound_manifest_says_that_it_is_a_store(layout: Layout, open_: Open) -> None:
    """Where neither FORMAT nor any log does."""
    (layout.path / "FORMAT").unlink()
    for log in layout.path.glob("*.log"):
        flip(log, 20)
    assert rescue(layout.path).action == "set aside"
    with open_(segment_bytes=8192) as db:
        assert dict(db.scan()) == {}


def test_a_disk_that_refuses_once_it_has_begun(layout: Layout, open_: Open, machine: Machine) -> None:
    """What was put aside is kept then: the store may have none of it any more. The next attempt goes on."""
    lose_a_log(layout)
    before = layout.log("second").read_bytes()

    def refuse(name: str, path: Path) -> None:
        if (name, path.name) == ("rename", "MANIFEST.tmp"):
            raise OSError(errno.EIO, "Input/output error")

    machine.refuse = refuse
    with pytest.raises(StrataKVError, match="Input/output"):
        rescue(layout.path)
    kept = layout.path.glob(f"lost+found/*/{layout.log('second').name}")
    assert [file.read_bytes() for file in kept] == [before]
    machine.refuse = lambda name, path: None
    rescue(layout.path)
    with open_(segment_bytes=8192) as db:
        assert dict(db.scan()) == {}


class TestWhatIsNoDamage:
    """It is raised as ever, and nothing is changed."""

    def refused(self, path: Path, error: type[Exception], match: str | None = None) -> None:
        before = content(path)
        with pytest.raises(error, match=match):
            rescue(path)
        assert {"attach.lock": b"", **content(path)} == {"attach.lock": b"", **before}

    def test_a_store_that_opens(self, layout: Layout, found: Any) -> None:
        assert rescue(layout.path).action == "none"
        assert found() == layout.model

    def test_a_directory_in_which_a_store_can_be_made(self, machine: Machine, path: Path) -> None:
        path.mkdir(mode=0o700)
        assert rescue(path).action == "none"

    def test_no_directory(self, machine: Machine, path: Path) -> None:
        with pytest.raises(DirectoryError, match="does not exist"):
            rescue(path)

    def test_a_newer_format(self, layout: Layout) -> None:
        (layout.path / "FORMAT").write_bytes(b"stratakv 2\n")
        break_manifest(layout)
        self.refused(layout.path, FormatError, "upgrade")

    @pytest.mark.parametrize("name", ["FORMAT", "000001.log", "MANIFEST", "letter.txt"])
    def test_somebody_elses_directory(self, machine: Machine, path: Path, name: str) -> None:
        path.mkdir(mode=0o700)
        (path / name).write_bytes(b"mine " * 100)
        if name == "MANIFEST":
            (path / "000003.log").write_bytes(b"of another program")
        self.refused(path, DirectoryError)
        assert not (path / "lost+found").exists()

    def test_foreign_files_beside_logs_without_a_format(self, layout: Layout) -> None:
        lose_format(layout)
        (layout.path / "letter.txt").write_bytes(b"mine")
        self.refused(layout.path, DirectoryError, "letter.txt")

    def test_a_full_disk(self, layout: Layout, machine: Machine) -> None:
        lose_a_log(layout)

        def refuse(name: str, path: Path) -> None:
            if name == "allocate" and path.suffix == ".idx":
                raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = refuse
        self.refused(layout.path, DiskFullError, "space")
        assert list((layout.path / "lost+found").rglob("*")) == []

    def test_a_store_that_is_still_open(self, db: DB, path: Path) -> None:
        db.put(b"k", b"v")
        (path / "MANIFEST").write_bytes(b"junk")
        self.refused(path, StoreBusyError, "open")
        assert db.get(b"k") == b"v"

    def test_an_index_that_went_while_the_store_is_open(self, db: DB, path: Path) -> None:
        """Who has it open goes on with it; nobody else could open the store."""
        db.put(b"k", b"v")
        (path / "000001.idx").unlink()
        self.refused(path, StoreBusyError, "open")
        assert db.get(b"k") == b"v"

    def test_another_users_directory(self, layout: Layout, machine: Machine) -> None:
        break_manifest(layout)
        machine.user = 12345
        self.refused(layout.path, DirectoryError, "belongs to user")
