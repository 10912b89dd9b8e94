"""The management commands, called and as processes: what they print, and their exit statuses."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

import stratakv
from stratakv_django import conf, handles
from stratakv_django.management import store_command
from tests.django.conftest import ROOT, MakeCache
from tests.support.waiting import wait_until

COMMANDS = ["stratakv_clear", "stratakv_compact", "stratakv_recover", "stratakv_stats", "stratakv_verify"]

# Settings of a site whose caches a process is started with: `default` in a store, `memory` elsewhere.
SETTINGS = """
SECRET_KEY = "tests only"
INSTALLED_APPS = ["stratakv_django"]
CACHES = {{
    "default": {{
        "BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": {location!r}, "OPTIONS": {options!r}
    }},
    "memory": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    "wrong": {{
        "BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": "x", "OPTIONS": {{"durable": 1}}
    }},
}}
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def site(store: Path) -> Iterator[None]:
    """A site with `store` as its default cache."""
    caches = {"default": {"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": str(store)}}
    with override_settings(CACHES=caches):
        yield
    handles.close_all()


@pytest.fixture
def filled(store: Path, make_cache: MakeCache) -> None:
    """The store has entries, some of them replaced, and nobody has it open."""
    cache = make_cache()
    for _ in range(2):
        cache.set_many({f"key {number}": "value " * 100 for number in range(50)})
    handles.close_all()


@pytest.fixture
def unwritable(store: Path, filled: None) -> Iterator[None]:
    """Nobody may write to the store."""
    mounts = ["mount --bind {0} {0}", "mount -o remount,bind,ro {0}"]
    if os.geteuid() != 0 or any(
        subprocess.run(mount.format(store).split(), capture_output=True, check=False).returncode
        for mount in mounts
    ):
        pytest.skip("needs root and the right to mount")
    yield
    subprocess.run(["umount", "-l", str(store)], check=True)


@pytest.mark.usefixtures("site", "unwritable")
def test_what_only_reads_needs_no_right_to_write() -> None:
    for command in ("stratakv_stats", "stratakv_verify"):
        out = io.StringIO()
        call_command(command, format="json", stdout=out)
        assert json.loads(out.getvalue())["ok"]
    for command, options in (("stratakv_compact", {}), ("stratakv_verify", {"repair": True})):
        with pytest.raises(CommandError, match="cannot be written by this user"):
            call_command(command, **options)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("command", ["stratakv_stats", "stratakv_verify"])
def test_what_only_reads_makes_no_store(store: Path, command: str) -> None:
    store.mkdir(mode=0o700)
    with pytest.raises(CommandError, match="is not a StrataKV store"):
        call_command(command)
    assert list(store.iterdir()) == []


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("site", "filled")
def test_a_report_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(CommandError, match="could not be written") as error:
        call_command("stratakv_stats", stdout=Full())
    assert error.value.returncode == store_command.FAILED


def damage(store: Path) -> None:
    """Change a byte in the middle of the largest log, which is a value."""
    log = max(store.glob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(log.read_bytes())
    middle = content.rindex(b"value value", 0, len(content) // 2)
    content[middle] ^= 0xFF
    log.write_bytes(content)


def manage(tmp_path: Path, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as `manage.py` would, in a process of its own."""
    with start(tmp_path, store, *arguments) as process:
        output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def start(
    tmp_path: Path,
    store: Path,
    *arguments: str,
    options: dict[str, Any] | None = None,
    errors: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start a command as `manage.py` would; `options` are the OPTIONS of the default cache."""
    text = SETTINGS.format(location=str(store), options=options or {})
    (tmp_path / "site_settings.py").write_text(text)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "django", *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def called(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def report(*arguments: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(called(*arguments, "--format", "json"))
    return fields


@pytest.mark.usefixtures("filled", "site")
class TestOnASoundStore:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_text_is_one_field_a_line(self, command: str) -> None:
        lines = called(command).splitlines()
        judges_nothing = command == "stratakv_stats"
        assert (lines[0].split() == ["ok", "yes"]) != judges_nothing
        no_segments = ("stratakv_clear", "stratakv_compact")
        assert any(line.startswith("segments ") for line in lines) or command in no_segments

    @pytest.mark.parametrize("command", COMMANDS)
    def test_json_is_one_object(self, command: str) -> None:
        assert report(command)["ok"] is True

    def test_clear_empties_one_prefix_and_gives_its_space_back(self, make_cache: MakeCache) -> None:
        other = make_cache(KEY_PREFIX="other", OPTIONS={"strict": False, "maintenance": "auto"})
        other.set("key", 1)
        assert make_cache(OPTIONS={"strict": False, "maintenance": "auto"}).get("key 7")
        fields = report("stratakv_clear")
        assert fields["key_prefix"] == ""
        assert fields["disk_bytes_after"] < fields["disk_bytes_before"]
        assert list(make_cache(OPTIONS={"strict": False, "maintenance": "auto"}).iter_keys()) == []
        assert other.get("key") == 1

    def test_stats_are_those_of_the_store(self, store: Path) -> None:
        fields = report("stratakv_stats")
        assert fields["path"] == str(store)
        assert fields["keys"] >= 50

    def test_sizes_and_ages_are_for_people_in_text_only(self) -> None:
        text = called("stratakv_stats")
        assert re.search(r"^log bytes +[\d,]+ \([\d.]+ KiB\)$", text, re.MULTILINE)
        assert re.search(r"^max bytes +no limit$", text, re.MULTILINE)
        assert re.search(r"^age +\d+ s$", text, re.MULTILINE)
        assert re.search(
            r"^  number 1, kind active, .*log bytes [\d,]+ \([\d.]+ KiB\),.* age \d+ s$", text, re.M
        )
        fields = report("stratakv_stats")
        assert fields["max_bytes"] == 0
        assert 0 <= fields["age"] < 3600

    def test_a_command_uses_the_store_as_the_site_has_it_open(self, make_cache: MakeCache) -> None:
        cache = make_cache(OPTIONS={"strict": False, "maintenance": "auto"})
        cache.set("key", 1)
        assert report("stratakv_stats")["keys"] >= 50
        assert report("stratakv_compact")["records"] == 51
        assert cache._store.handle is not None
        assert cache.get("key") == 1

    def test_a_command_leaves_nothing_open(self, store: Path) -> None:
        called("stratakv_stats")
        assert report("stratakv_recover")["ok"] is True  # which wants the store alone
        assert handles.store(str(store), conf.parse(store, {}).engine).handle is None

    def test_a_command_starts_no_maintenance(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = []
        real_open = stratakv.open

        def watched_open(path: str, **options: Any) -> stratakv.DB:
            opened.append(options["maintenance"])
            return real_open(path, **options)

        monkeypatch.setattr(stratakv, "open", watched_open)
        for command in ("stratakv_stats", "stratakv_verify", "stratakv_compact"):
            called(command)
        assert opened == ["manual"] * 3

    def test_compact_frees_what_was_replaced_and_loses_nothing(self, store: Path) -> None:
        before = report("stratakv_stats")["log_bytes"]
        called("stratakv_compact")
        assert report("stratakv_stats")["log_bytes"] < before
        with stratakv.open(store, read_only=True) as db:
            assert len(list(db.keys())) == 50

    def test_recover_refuses_a_store_in_use(self, make_cache: MakeCache) -> None:
        make_cache(OPTIONS={"strict": False}).get("key")
        with pytest.raises(CommandError) as error:
            called("stratakv_recover")
        assert error.value.returncode == store_command.FAILED

    def test_recover_does_not_open_the_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stratakv, "open", None)
        assert report("stratakv_recover")["ok"] is True

    def test_the_mode_of_recovery_is_passed_on(self) -> None:
        assert report("stratakv_recover")["mode"] == "point-in-time"
        assert report("stratakv_recover", "--mode", "salvage")["mode"] == "salvage"

    def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rich", reason="needs rich, which the extra stratakv[django] brings")
        told: list[object] = []

        def verify(db: stratakv.DB, progress: object, *, repair: bool) -> stratakv.VerifyReport:
            told.append(progress)
            return stratakv.VerifyReport(segments=1, records=1, log_bytes=1, damage=())

        monkeypatch.setattr(stratakv.DB, "verify", verify)
        call_command("stratakv_verify", stdout=io.StringIO(), stderr=io.StringIO())
        call_command("stratakv_verify", stdout=io.StringIO(), stderr=Terminal())
        assert told[0] is None
        assert callable(told[1])


@pytest.fixture
def watching(tmp_path: Path, store: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `stratakv_compact --watch` and returns it when it is at work."""
    running = []

    def begin(**options: Any) -> subprocess.Popen[str]:
        process = start(tmp_path, store, "stratakv_compact", "--watch", options=options)
        running.append(process)
        assert process.stderr
        assert process.stderr.readline() == f"watching {store}\n"
        return process

    yield begin
    for process in running:
        with process:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watch_does_the_maintenance_until_it_is_stopped(
    make_cache: MakeCache, store: Path, watching: Callable[..., subprocess.Popen[str]], number: int
) -> None:
    cache = make_cache(OPTIONS={"segment_bytes": 2**16})
    cache.set("key", 1)
    process = watching(maintenance="manual")
    for entry in range(700):
        cache.set(f"key {entry}", "v" * 1000)
    wait_until(lambda: [segment.kind for segment in cache.stats().segments] == ["active", "main"])
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"^merged +1$", output, re.MULTILINE)
    lines = errors.splitlines()
    assert any(line.startswith("finish: segment ") for line in lines)
    assert any(line.startswith("merge: segments ") for line in lines)
    assert "Traceback" not in errors
    assert cache.get_many(["key", "key 0", "key 699"]) == {
        "key": 1,
        "key 0": "v" * 1000,
        "key 699": "v" * 1000,
    }
    assert cache._db.verify().ok


def test_a_watch_may_begin_before_the_cache_is_used(
    make_cache: MakeCache, store: Path, watching: Callable[..., subprocess.Popen[str]]
) -> None:
    process = watching(maintenance="manual")
    cache = make_cache(OPTIONS={"maintenance": "manual"})
    cache.set("key", 1)
    process.terminate()
    process.communicate(timeout=60)
    assert (process.returncode, cache.get("key")) == (0, 1)


def test_a_watch_keeps_the_budget_in_the_settings(
    make_cache: MakeCache, store: Path, watching: Callable[..., subprocess.Popen[str]]
) -> None:
    cache = make_cache(OPTIONS={"max_bytes": 2**20})
    cache.set("key", 1)
    process = watching(max_bytes=2**20, maintenance="manual")
    for part in range(5):
        for entry in range(1000):
            cache.set(f"key {part} {entry}", "v" * 1000)
        assert cache.stats().disk_bytes <= 2**20 * 1.1
    wait_until(lambda: "main" in [segment.kind for segment in cache.stats().segments])
    wait_until(lambda: cache.stats().disk_bytes <= 2**20)
    assert cache.get("key 4 999") == "v" * 1000
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min 0 s"), (1e6, "11 d 13 h 46 min 40 s")],
)
def test_a_duration_is_in_words(seconds: float, text: str) -> None:
    assert store_command._duration(seconds) == text


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"stratakv_clear"}))
def test_a_cache_that_was_never_used_is_left_so(command: str, store: Path) -> None:
    with pytest.raises(CommandError, match="nothing has used it yet") as error:
        called(command)
    assert error.value.returncode == store_command.FAILED
    assert not store.exists()


@pytest.mark.usefixtures("site")
def test_a_cache_that_was_never_used_is_clear(store: Path) -> None:
    assert report("stratakv_clear")["disk_bytes_after"] == 0
    assert not store.exists()
    store.touch()
    with pytest.raises(CommandError, match="is not a directory"):
        called("stratakv_clear")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["stratakv_stats"], 0, ""),
        (["stratakv_verify", "--cache", "default"], 0, ""),
        (
            ["stratakv_verify", "--cache", "nowhere"],
            2,
            "no cache 'nowhere' in CACHES; it has: default, memory",
        ),
        (["stratakv_compact", "--cache", "memory"], 2, "not in StrataKV"),
        (["stratakv_recover", "--cache", "wrong"], 2, "unknown option 'durable': did you mean 'durability'?"),
        (["stratakv_recover", "--mode", "hopeful"], 2, "hopeful"),
        (["stratakv_stats", "--format", "xml"], 2, "xml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("filled")
def test_exit_status(tmp_path: Path, store: Path, arguments: list[str], status: int, says: str) -> None:
    finished = manage(tmp_path, store, *arguments)
    assert finished.returncode == status, finished.stderr
    assert says in finished.stderr
    assert "Traceback" not in finished.stderr
    assert bool(finished.stdout) == (status == 0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("filled")
def test_a_reader_that_has_gone_is_no_error(tmp_path: Path, store: Path, command: str) -> None:
    """As in `manage.py stratakv_stats | true`."""
    with start(tmp_path, store, command) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.usefixtures("filled")
def test_a_reader_that_has_gone_hides_no_damage(tmp_path: Path, store: Path) -> None:
    damage(store)
    with start(tmp_path, store, "stratakv_verify") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert "Damaged places: 1." in errors


@pytest.mark.parametrize(("option", "coloured"), [("--no-color", False), ("--traceback", True)])
@pytest.mark.usefixtures("filled")
def test_a_bar_has_a_colour_unless_none_is_wanted(
    tmp_path: Path, store: Path, option: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich", reason="needs rich, which the extra stratakv[django] brings")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, terminal = os.openpty()
    process = start(tmp_path, store, "stratakv_verify", option, errors=terminal)
    os.close(terminal)
    drawn = b""
    with process, suppress(OSError):  # which is how a terminal ends that nobody has open any more
        while part := os.read(ours, 4096):
            drawn += part
    os.close(ours)
    assert process.returncode == 0
    assert b"Verifying" in drawn
    assert bool(re.search(rb"\x1b\[[\d;]*3[\d;]*m", drawn)) == coloured, drawn


@pytest.mark.usefixtures("filled")
def test_damage_is_repaired_while_the_site_runs(tmp_path: Path, store: Path) -> None:
    damage(store)
    repair = manage(tmp_path, store, "stratakv_verify", "--repair", "--format", "json")
    assert repair.returncode == 1
    assert "records that are lost, and misses from now on: 1." in repair.stderr
    report = json.loads(repair.stdout)
    assert (report["ok"], report["lost_records"]) == (False, 1)
    assert report["repaired"][0]["path"].endswith(".log")
    assert manage(tmp_path, store, "stratakv_verify").returncode == 0


@pytest.mark.usefixtures("filled")
def test_damage_is_found_reported_and_mended(tmp_path: Path, store: Path) -> None:
    damage(store)
    verify = manage(tmp_path, store, "stratakv_verify", "--format", "json")
    assert verify.returncode == 1
    assert "stratakv_verify --repair" in verify.stderr
    found = json.loads(verify.stdout)
    assert found["ok"] is False
    assert found["damage"][0]["path"].endswith(".log")

    recover = manage(tmp_path, store, "stratakv_recover", "--mode", "salvage", "--format", "json")
    report = json.loads(recover.stdout)
    assert [finding["action"] for finding in report["findings"]] == ["salvaged"]
    assert (store / report["findings"][0]["saved_as"]).is_file()
    assert [log["records"] for log in report["kept"]] == [report["records"]]
    assert manage(tmp_path, store, "stratakv_stats").stdout.count("lost found bytes") == 1
    assert manage(tmp_path, store, "stratakv_verify").returncode == 0


@pytest.mark.usefixtures("filled", "site")
@pytest.mark.parametrize(
    ("damage", "lost", "says"),
    [
        (False, 0, ""),
        (False, 9, ""),  # a torn tail
        (True, 9, "something was lost"),
        (True, 0, "nothing is known to be lost"),
    ],
)
def test_recovery_that_met_damage_fails_and_says_whether_something_was_lost(
    damage: bool, lost: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = stratakv.RecoveryReport(
        mode="salvage",
        manifest_rebuilt=False,
        segments=1,
        records=1,
        damage=damage,
        kept_bytes=100,
        lost_bytes=lost,
        lost_found=None,
        kept=(),
        findings=(),
    )
    monkeypatch.setattr(stratakv, "recover", lambda path, mode, progress: outcome)
    if damage:
        with pytest.raises(CommandError, match=says) as error:
            called("stratakv_recover")
        assert error.value.returncode == store_command.FAILED
    else:
        called("stratakv_recover")


@pytest.mark.usefixtures("filled")
def test_a_store_that_does_not_open_is_recovered(tmp_path: Path, store: Path) -> None:
    (store / "MANIFEST").write_bytes(b"nonsense")
    for kept in store.glob("MANIFEST.*"):
        kept.write_bytes(b"nonsense")
    assert manage(tmp_path, store, "stratakv_stats").returncode == 1
    recover = manage(tmp_path, store, "stratakv_recover", "--format", "json")
    assert json.loads(recover.stdout)["manifest_rebuilt"] is True
    assert "nothing is known to be lost" in recover.stderr
    assert manage(tmp_path, store, "stratakv_verify").returncode == 0
