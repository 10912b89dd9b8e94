"""The management commands, called and as processes: what they print, and their exit statuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

import stratakv
from stratakv_django import handles
from stratakv_django.management import store_command
from tests.django.conftest import ROOT, MakeCache

COMMANDS = ["stratakv_compact", "stratakv_recover", "stratakv_stats", "stratakv_verify"]

# Settings of a site whose caches a process is started with: `default` in a store, `memory` elsewhere.
SETTINGS = """
SECRET_KEY = "tests only"
INSTALLED_APPS = ["stratakv_django"]
CACHES = {{
    "default": {{"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": {location!r}}},
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


def damage(store: Path) -> None:
    """Change a byte in the middle of the largest log, which is a value."""
    log = max(store.glob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(log.read_bytes())
    middle = content.rindex(b"value value", 0, len(content) // 2)
    content[middle] ^= 0xFF
    log.write_bytes(content)


def manage(tmp_path: Path, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as `manage.py` would, in a process of its own."""
    (tmp_path / "site_settings.py").write_text(SETTINGS.format(location=str(store)))
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
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
        assert lines[0].split() == ["ok", "yes"]
        assert any(line.startswith("segments ") for line in lines) or command == "stratakv_compact"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_json_is_one_object(self, command: str) -> None:
        assert report(command)["ok"] is True

    def test_stats_are_those_of_the_store(self, store: Path) -> None:
        fields = report("stratakv_stats")
        assert fields["path"] == str(store)
        assert fields["keys"] >= 50

    def test_compact_frees_what_was_replaced_and_loses_nothing(self, store: Path) -> None:
        before = report("stratakv_stats")["log_bytes"]
        called("stratakv_compact")
        assert report("stratakv_stats")["log_bytes"] < before
        with stratakv.open(store, durability="interval") as db:
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

        def verify(db: stratakv.DB, progress: object) -> stratakv.VerifyReport:
            told.append(progress)
            return stratakv.VerifyReport(segments=1, records=1, log_bytes=1, damage=())

        monkeypatch.setattr(stratakv.DB, "verify", verify)
        call_command("stratakv_verify", stdout=io.StringIO(), stderr=io.StringIO())
        call_command("stratakv_verify", stdout=io.StringIO(), stderr=Terminal())
        assert told[0] is None
        assert callable(told[1])


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_cache_that_was_never_used_is_left_so(command: str, store: Path) -> None:
    with pytest.raises(CommandError, match="never used") as error:
        called(command)
    assert error.value.returncode == store_command.FAILED
    assert not store.exists()


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


@pytest.mark.usefixtures("filled")
def test_damage_is_found_reported_and_mended(tmp_path: Path, store: Path) -> None:
    damage(store)
    verify = manage(tmp_path, store, "stratakv_verify", "--format", "json")
    assert verify.returncode == 1
    assert "stratakv_recover" in verify.stderr
    found = json.loads(verify.stdout)
    assert found["ok"] is False
    assert found["damage"][0]["path"].endswith(".log")

    recover = manage(tmp_path, store, "stratakv_recover", "--mode", "salvage", "--format", "json")
    assert json.loads(recover.stdout)["findings"]
    assert manage(tmp_path, store, "stratakv_verify").returncode == 0


@pytest.mark.usefixtures("filled", "site")
@pytest.mark.parametrize("damage", [False, True])
def test_recovery_that_lost_something_fails(damage: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = stratakv.RecoveryReport(
        mode="salvage", manifest_rebuilt=False, segments=1, records=1, damage=damage, findings=()
    )
    monkeypatch.setattr(stratakv, "recover", lambda path, mode, progress: outcome)
    if damage:
        with pytest.raises(CommandError, match="something was lost") as error:
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
    assert manage(tmp_path, store, "stratakv_verify").returncode == 0
