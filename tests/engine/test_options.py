"""The options of `open`: all checked, before anything is touched."""

from __future__ import annotations

import inspect
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import OptionError
from stratakv.options import Options


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("durabilty", "durability"),
        ("readonly", "read_only"),
        ("max_value_size", "max_value_bytes"),
        ("creat", "create"),
    ],
)
def test_unknown_option_names_the_nearest(path: Path, given: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"unknown option '{given}': did you mean '{near}'"):
        stratakv.open(path, **{given: 1})
    assert not path.exists()


def test_an_option_like_no_other_lists_them_all(path: Path) -> None:
    with pytest.raises(OptionError, match="the options are durability, read_only, mode,"):
        stratakv.open(path, zzz=1)


WRONG = [
    ("durability", "sometimes"),
    ("durability", None),
    ("durability", []),
    ("read_only", 1),
    ("read_only", "no"),
    ("create", None),
    ("mode", 0o777),
    ("mode", 0o600),
    ("mode", "0700"),
    ("mode", True),
    ("mode", 448.0),
    ("max_bytes", 0.0),
    ("max_bytes", 0j),
    ("max_bytes", False),
    ("max_bytes", 2.0**20),
    ("max_value_bytes", 0),
    ("max_value_bytes", -1),
    ("max_value_bytes", 2**32),
    ("max_value_bytes", 1.5),
    ("max_value_bytes", True),
    ("segment_bytes", 4095),
    ("segment_bytes", 2**36 + 1),
    ("segment_bytes", "1M"),
    ("sync_interval", 0),
    ("sync_interval", -1.0),
    ("sync_interval", float("nan")),
    ("sync_interval", float("inf")),
    ("sync_interval", True),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(path: Path, name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^{name} must be"):
        stratakv.open(path, **{name: value})
    assert not path.exists()


def test_open_names_every_option_with_its_default() -> None:
    """So that editors and type checkers know them."""
    named = {
        name: each.default
        for name, each in inspect.signature(stratakv.open).parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }
    assert named == asdict(Options())
    assert list(named) == [field.name for field in fields(Options)]


def test_defaults() -> None:
    assert Options.parse({}) == Options(
        durability="always",  # type: ignore[arg-type]
        read_only=False,
        mode=0o700,
        max_value_bytes=256 * 2**20,
        segment_bytes=64 * 2**20,
        sync_interval=1.0,
        create=True,
    )


def test_one_process_opens_a_store_with_one_set_of_options(db: stratakv.DB, open_: Any) -> None:
    with pytest.raises(
        OptionError, match="already open in this process with another durability; use the same"
    ):
        open_(durability="always")
    second = open_(create=False)
    second.put(b"k", b"v")
    second.close()
    assert db.get(b"k") == b"v", "the store stays open for the handle that is left"


def test_a_link_to_the_directory_is_the_same_store(
    db: stratakv.DB, open_: Any, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OptionError, match="already open"):
        stratakv.open(tmp_path / "link", durability="always")
    with stratakv.open(tmp_path / "link", durability="os", segment_bytes=4096) as other:
        other.put(b"k", b"v")
    assert db.get(b"k") == b"v"
