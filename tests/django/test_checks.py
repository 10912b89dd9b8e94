"""Each system check finds its mistake, says what to do, and is silent otherwise."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.functional import SimpleLazyObject, lazystr

import stratakv
from stratakv.files import Files
from stratakv_django.cache import StrataKVCache
from stratakv_django.checks import check_caches
from tests.support.children import run

BACKEND = "stratakv_django.cache.StrataKVCache"
DOCS = Path(__file__).parents[2] / "docs" / "django.md"


class Subclass(StrataKVCache):
    """A subclass is checked as well."""


def found(**aliases: dict[str, Any]) -> list[checks.CheckMessage]:
    """What the checks say about these aliases, each with a hint."""
    with override_settings(
        CACHES={alias: {"BACKEND": BACKEND, **params} for alias, params in aliases.items()}
    ):
        messages = check_caches()
    assert all(message.hint for message in messages)
    return messages


def ids(**aliases: dict[str, Any]) -> list[str | None]:
    return [message.id for message in found(**aliases)]


def refused(params: dict[str, Any], says: str, id: str = "stratakv.E002") -> None:
    """The check finds a wrong option, and the cache says the same when it is used."""
    (message,) = found(default=params)
    assert message.id == id
    assert says in message.msg
    with (
        override_settings(CACHES={"default": {"BACKEND": BACKEND, **params}}),
        pytest.raises(ImproperlyConfigured, match=re.escape(says)),
    ):
        caches["default"].get("key")


def test_a_good_setting_is_silent_and_makes_nothing(store: Path) -> None:
    options = {"durability": "always", "strict": True, "key_warnings": False, "MAX_ENTRIES": 5}
    budget = {"max_bytes": 2**20, "maintenance": "manual"}
    assert found(default={"LOCATION": str(store), "OPTIONS": options | budget}) == []
    assert found(default={"LOCATION": str(store), "OPTIONS": {"max_bytes": None}}) == []
    assert found(default={"LOCATION": store / "deep" / "er"}) == []
    assert not store.exists()


def test_other_backends_are_not_looked_at() -> None:
    assert ids(default={"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}) == []
    assert ids(default={"BACKEND": "no.such.Backend"}) == []


@pytest.mark.parametrize(("params", "id"), [({}, "E001"), ({"LOCATION": "x", "OPTIONS": {"a": 1}}, "E002")])
def test_the_checks_run_with_those_of_django(params: dict[str, Any], id: str) -> None:
    with override_settings(CACHES={"default": {"BACKEND": BACKEND, **params}}):
        assert f"stratakv.{id}" in [message.id for message in checks.run_checks(tags=[checks.Tags.caches])]


@pytest.mark.parametrize("location", ["cache", "a:b//c", Path("cache"), "~/cache", "$HOME/cache"], ids=str)
def test_w001_a_relative_location(location: object) -> None:
    (message,) = found(default={"LOCATION": location})
    assert message.id == "stratakv.W001"
    assert ("Neither ~ nor a variable" in message.msg) == str(location).endswith("/cache")
    assert not message.is_serious()


def test_w002_a_budget_that_the_disk_does_not_have(tmp_path: Path) -> None:
    """Whether the directory is there already, or not."""
    total = shutil.disk_usage(tmp_path).total
    for location in (tmp_path, tmp_path / "not" / "yet"):
        enough = {"LOCATION": location, "OPTIONS": {"max_bytes": total}}
        assert found(default=enough) == []
        (message,) = found(default={"LOCATION": location, "OPTIONS": {"max_bytes": total + 1}})
        assert message.id == "stratakv.W002"
        assert str(tmp_path) in message.msg
        assert not message.is_serious()


def test_w003_what_was_left_from_another_backend(store: Path) -> None:
    (message,) = found(default={"LOCATION": store, "SHARDS": 8, "DATABASE_TIMEOUT": 1, "TIMEOUT": 60})
    assert message.id == "stratakv.W003"
    assert message.msg.endswith("StrataKV has no use for SHARDS, DATABASE_TIMEOUT.")
    assert not message.is_serious()
    assert found(default={"LOCATION": store, "BACKEND": f"{__name__}.Subclass", "SHARDS": 8}) == []


@pytest.mark.parametrize(
    ("engine", "alias", "strict", "warned"),
    [
        ("cache", "default", False, True),
        ("cache", "default", True, False),
        ("cache", "another", False, False),
        ("cached_db", "default", False, False),
    ],
)
def test_w004_sessions_want_a_strict_cache(
    store: Path, engine: str, alias: str, strict: bool, warned: bool
) -> None:
    with override_settings(
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}", SESSION_CACHE_ALIAS=alias
    ):
        messages = found(default={"LOCATION": store, "OPTIONS": {"strict": strict}})
    assert [message.id for message in messages] == ["stratakv.W004"] * warned


@pytest.mark.parametrize(
    ("options", "warned"),
    [({}, True), ({"max_bytes": None}, True), ({"max_bytes": 0}, False), ({"max_bytes": 2**30}, False)],
    ids=str,
)
def test_w005_a_site_that_is_deployed_without_a_budget(
    store: Path, options: dict[str, Any], warned: bool
) -> None:
    with override_settings(CACHES={"default": {"BACKEND": BACKEND, "LOCATION": store, "OPTIONS": options}}):
        caches_only = {"tags": [checks.Tags.caches]}
        assert checks.run_checks(**caches_only) == []
        messages = checks.run_checks(**caches_only, include_deployment_checks=True)
    assert [message.id for message in messages] == ["stratakv.W005"] * warned


def test_a_question_has_no_full_stop(store: Path) -> None:
    (message,) = found(default={"LOCATION": store, "OPTIONS": {"maxbytes": 1}})
    assert message.msg.endswith("did you mean 'max_bytes'?")


ADDRESSES = [
    "127.0.0.1:11211",
    "unix:/run/mem.sock",
    "redis://127.0.0.1:6379/1",
    "unix:///run/redis.sock?db=1",
    ["redis://a", "redis://b"],
]


@pytest.mark.parametrize(
    "params",
    [{}, {"LOCATION": ""}, {"LOCATION": "/a\0b"}, *[{"LOCATION": each} for each in ADDRESSES]],
    ids=str,
)
def test_e001_no_location(params: dict[str, Any]) -> None:
    assert ids(default=params) == ["stratakv.E001"]
    assert ids(default={"BACKEND": f"{__name__}.Subclass", **params}) == ["stratakv.E001"]


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/tmp/x"


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (SimpleLazyObject(lambda: "/tmp/x"), "as a str or a Path, not of the type SimpleLazyObject"),
        (lazystr("/tmp/x"), "as a str or a Path, not of the type __proxy__"),
        (b"/tmp/x", "as a str or a Path, not of the type bytes"),
        (BytesPath(), "as a str or a Path, not of the type BytesPath"),
        ("/tmp/a\ud800b", r"has '\ud800' in it, which no path can have"),
    ],
    ids=["lazy object", "lazy text", "bytes", "path of bytes", "surrogate"],
)
def test_e001_what_is_no_path_is_named(location: object, says: str) -> None:
    refused({"LOCATION": location}, says, "stratakv.E001")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"durabilty": "always"}, "did you mean 'durability'?"),
        ({"max_entries": 5}, "did you mean 'MAX_ENTRIES'?"),
        ({"STRICT": True}, "did you mean 'strict'?"),
        ({"xyzzy": True}, "the options are strict, "),
        ({"KEY_PREFIX": "x"}, "move 'KEY_PREFIX' out of OPTIONS"),
        ({"timeout": 5}, "move 'TIMEOUT' out of OPTIONS"),
        ({"durability": "sometimes"}, "'always', 'interval', 'os'"),
        ({"sync_interval": -1}, "sync_interval must be"),
        ({"max_bytes": 5}, "max_bytes must be a number of bytes from "),
        ({"max_bytes": -1}, "max_bytes must be a number of bytes from "),
        ({"max_bytes": "1G"}, "max_bytes must be a number of bytes from "),
        ({"max_bytes": True}, "max_bytes must be a number of bytes"),
        ({"max_bytes": False}, "max_bytes must be a number of bytes"),
        ({"max_byte": 2**20}, "did you mean 'max_bytes'?"),
        ({"maintenance": "never"}, "maintenance must be one of 'auto', 'manual'"),
        ({"maintenance": True}, "maintenance must be one of 'auto', 'manual'"),
        ({"strict": "yes"}, "strict must be True or False"),
        ({"key_warnings": 1}, "key_warnings must be True or False"),
        ({"MAX_ENTRIES": "many"}, "MAX_ENTRIES must be a whole number"),
        ({"MAX_ENTRIES": float("inf")}, "MAX_ENTRIES must be a whole number, 0 or more, not inf"),
        ({"CULL_FREQUENCY": None}, "CULL_FREQUENCY must be a whole number"),
        ({"CULL_FREQUENCY": -1}, "0 or more, not -1"),
    ],
)
def test_e002_wrong_options(store: Path, options: dict[str, Any], says: str) -> None:
    refused({"LOCATION": str(store), "OPTIONS": options}, says)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"OPTIONS": None}, "OPTIONS must be a dict, not None"),
        ({"OPTIONS": ["max_bytes"]}, "OPTIONS must be a dict, not ['max_bytes']"),
        ({"OPTIONS": "strict"}, "OPTIONS must be a dict, not 'strict'"),
        ({"OPTION": {"max_bytes": 2**20}}, "OPTION does nothing: did you mean 'OPTIONS'?"),
        ({"options": {"max_bytes": 2**20}}, "options does nothing: did you mean 'OPTIONS'?"),
    ],
    ids=str,
)
def test_e002_options_that_are_none(store: Path, params: dict[str, Any], says: str) -> None:
    refused({"LOCATION": str(store), **params}, says)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("max_bytes", "max_bytes"),
        ("MAX_BYTES", "max_bytes"),
        ("strict", "strict"),
        ("MAX_ENTRIES", "MAX_ENTRIES"),
        ("CULL_FREQUENCY", "CULL_FREQUENCY"),
    ],
)
def test_e002_an_option_in_the_wrong_place(store: Path, name: str, inside: str) -> None:
    """Where Django ignores it, and django-cache-url puts it."""
    [message] = found(default={"LOCATION": str(store), name: 10**9})
    assert message.id == "stratakv.E002"
    assert f"put {inside!r} into them" in message.msg


@pytest.mark.parametrize("setting", ["MEDIA_ROOT", "STATIC_ROOT"])
def test_e003_a_location_that_is_served(tmp_path: Path, setting: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "served")
    with override_settings(**{setting: str(tmp_path / "served")}):
        assert ids(default={"LOCATION": str(tmp_path / "served" / "cache")}) == ["stratakv.E003"]
        assert ids(default={"LOCATION": str(tmp_path / "link" / "cache")}) == ["stratakv.E003"]
        assert ids(default={"LOCATION": str(tmp_path / "served")}) == ["stratakv.E003"]
        assert ids(default={"LOCATION": str(tmp_path / "served-not")}) == []


@pytest.mark.parametrize("prefixed", [False, True])
def test_e003_a_location_among_static_files(tmp_path: Path, prefixed: bool) -> None:
    with override_settings(STATICFILES_DIRS=[("prefix", tmp_path / "s") if prefixed else tmp_path / "s"]):
        assert ids(default={"LOCATION": str(tmp_path / "s" / "cache")}) == ["stratakv.E003"]


def test_e004_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert ids(default={"LOCATION": str(tmp_path / "file")}) == ["stratakv.E004"]
    assert ids(default={"LOCATION": str(tmp_path / "file" / "below")}) == ["stratakv.E004"]


@pytest.mark.parametrize("name", ["x" * 256, "x" * 256 + "/below", "loop", "loop/below"])
def test_e004_a_directory_that_can_never_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (message,) = found(default={"LOCATION": str(tmp_path / name)})
    assert message.id == "stratakv.E004"
    assert "cannot be reached" in message.msg


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
def test_e004_a_missing_store_that_must_not_be_made(store: Path, options: dict[str, Any]) -> None:
    params = {"LOCATION": str(store), "OPTIONS": options}
    assert ids(default=params) == ["stratakv.E004"]
    store.mkdir()
    assert ids(default=params) == ["stratakv.E004"]
    stratakv.open(store, maintenance="manual").close()
    assert ids(default=params) == []


def test_e004_a_directory_of_something_else(store: Path) -> None:
    """As a cache of files has left it; the site would have no cache, and one line a minute in its log."""
    store.mkdir(mode=0o700)
    assert ids(default={"LOCATION": str(store)}) == []
    (store / "abc.djcache").touch()
    (message,) = found(default={"LOCATION": str(store)})
    assert "is not a StrataKV store and not empty (it has 'abc.djcache')" in message.msg


@pytest.mark.parametrize("text", [None, "junk"])
def test_a_store_that_is_damaged_is_no_error(store: Path, text: str | None) -> None:
    """The first use mends it."""
    stratakv.open(store, maintenance="manual").close()
    (store / "FORMAT").unlink()
    if text:
        (store / "FORMAT").write_text(text)
        (store / "FORMAT").chmod(0o600)
    assert ids(default={"LOCATION": str(store)}) == []


def test_e004_a_store_of_a_newer_version(store: Path) -> None:
    stratakv.open(store, maintenance="manual").close()
    (store / "FORMAT").write_text("stratakv 99\n")
    assert ids(default={"LOCATION": str(store)}) == ["stratakv.E004"]


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_e004_a_directory_that_others_may_write(store: Path, mode: int) -> None:
    store.mkdir()
    store.chmod(mode)
    (message,) = found(default={"LOCATION": str(store)})
    assert "can be written by" in message.msg
    shared = {"LOCATION": str(store), "OPTIONS": {"mode": 0o770}}
    assert ids(default=shared) == ([] if mode == 0o770 else ["stratakv.E004"])


@pytest.mark.parametrize(
    ("below", "cure"), [(".", "chown -R USER"), ("missing", "install -d -o USER -m 700")]
)
def test_e004_no_permission(tmp_path: Path, below: str, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location = str(tmp_path / below)
    if below == ".":
        stratakv.open(location, maintenance="manual").close()
    # Tests may run as root, who has every permission: so ask as somebody who has none.
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode & os.W_OK == 0)
    assert ids(default={"LOCATION": location}) == ["stratakv.E004"]
    (message,) = found(default={"LOCATION": location})
    assert f"`{cure} {location.removesuffix('/.')}`" in str(message.hint)
    if below == ".":
        assert ids(default={"LOCATION": location, "OPTIONS": {"read_only": True}}) == []


def test_e005_one_store_with_two_sets_of_options(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    first = {"LOCATION": str(tmp_path / "store")}
    second = {"LOCATION": str(tmp_path / "link"), "OPTIONS": {"durability": "always", "max_value_bytes": 9}}
    [message] = found(default=first, second=second)
    assert message.id == "stratakv.E005"
    assert "'default'" in message.msg
    assert "durability, max_value_bytes" in message.msg


@pytest.mark.parametrize(
    ("options", "differing"),
    [
        ({"max_bytes": 2**20}, "max_bytes"),
        ({"maintenance": "manual"}, "maintenance"),
        ({"max_bytes": 2**20, "maintenance": "manual"}, "max_bytes, maintenance"),
    ],
)
def test_e005_budget_and_maintenance_are_the_store_s(
    store: Path, options: dict[str, Any], differing: str
) -> None:
    first = {"LOCATION": str(store)}
    [message] = found(default=first, second={"LOCATION": str(store), "OPTIONS": options})
    assert message.id == "stratakv.E005"
    assert f"not the options {differing}." in message.msg


def test_e005_one_that_only_reads_is_apart(store: Path) -> None:
    """It is another store to the engine; but two of them are one again."""
    writes = {"LOCATION": str(store), "OPTIONS": {"max_bytes": 2**20}}
    reads = {"LOCATION": str(store), "OPTIONS": {"max_bytes": 2**20, "read_only": True}}
    other = {"LOCATION": str(store), "OPTIONS": {"max_bytes": 2**21, "read_only": True}}
    stratakv.open(store, durability="interval").close()
    assert found(default=writes, reads=reads) == []
    (message,) = found(default=writes, reads=reads, other=other)
    assert message.id == "stratakv.E005"
    assert "'reads' but not the options max_bytes" in message.msg


def test_e005_no_budget_can_be_said_in_three_ways(store: Path) -> None:
    ways: list[dict[str, Any]] = [{}, {"max_bytes": 0}, {"max_bytes": None}]
    aliases = {f"way{n}": {"LOCATION": str(store), "OPTIONS": way} for n, way in enumerate(ways)}
    assert found(**aliases) == []


def test_e005_options_of_the_backend_may_differ(store: Path) -> None:
    first = {"LOCATION": str(store), "OPTIONS": {"strict": True, "durability": "interval"}}
    second = {"LOCATION": str(store), "OPTIONS": {"MAX_ENTRIES": 7}, "KEY_PREFIX": "second"}
    assert found(default=first, second=second) == []


def test_every_id_is_documented() -> None:
    source = (Path(check_caches.__code__.co_filename)).read_text()
    used = set(re.findall(r'"(E\d{3})"', source))
    assert used
    assert set(re.findall(r"stratakv\.(E\d{3})", DOCS.read_text())) == used


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_e004_a_parent_that_this_user_may_not_look_into(store: Path) -> None:
    def work() -> None:
        os.setuid(65534)
        assert ids(default={"LOCATION": str(store / "deep" / "er")}) == ["stratakv.E004"]

    store.mkdir(mode=0o700)
    assert run(work) == [0]


def test_e004_files_that_root_has_made(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command that root has run in the directory of the site leaves them."""

    def read_all(files: Files, path: Path, limit: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    stratakv.open(store, maintenance="manual").close()
    monkeypatch.setattr(Files, "read_all", read_all)
    (message,) = found(default={"LOCATION": str(store)})
    assert message.id == "stratakv.E004"
    assert f"`chown -R USER {store}`" in str(message.hint)
