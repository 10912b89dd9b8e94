"""What goes in comes out, of the same type; what was not written by this site does not."""

from __future__ import annotations

import datetime
import math
import pickle
from typing import Any

import pytest
from django.test import override_settings
from django.utils.safestring import SafeString, mark_safe
from hypothesis import given
from hypothesis import strategies as st

from stratakv_django import codec
from stratakv_django.cache import StrataKVCache

SIMPLE_VALUES = [
    "",
    "text",
    "Iñtërnâtiônàlizætiøn",
    "lone \ud800 surrogate",
    b"",
    b"\x00\xff",
    0,
    -1,
    2**63,
    -(10**400),
    10**5000,
    True,
    False,
    None,
    0.0,
    -0.0,
    1e-320,
    math.inf,
    mark_safe("<b>"),
    mark_safe("\ud800"),
    [1, "two", b"three"],
    {"a": (1, 2)},
    datetime.datetime(2020, 2, 29, tzinfo=datetime.UTC),
    bytearray(b"mutable"),
]


class Text(str):
    """A subclass must not come back as a plain str."""


class LikeText:
    """It says that it is a str, as proxies do, and is none."""

    __class__ = property(lambda self: str)  # type: ignore[assignment]

    def isascii(self) -> bool:
        return True

    def encode(self) -> bytes:
        return b"encoded"

    def __reduce__(self) -> tuple[Any, ...]:
        return _like_text, ()


def _like_text() -> LikeText:
    return LikeText()


class Refuses:
    """Pickles, but does not unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("not today")


@pytest.mark.parametrize("value", SIMPLE_VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_equal_and_of_its_type(cache: StrataKVCache, value: Any) -> None:
    cache.set("key", value)
    found = cache.get("key", "missing")
    assert type(found) is type(value)
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


def test_nan_is_a_value(cache: StrataKVCache) -> None:
    cache.set("key", math.nan)
    assert math.isnan(cache.get("key"))


@pytest.mark.parametrize(
    "value", [Text("a"), SafeString("b"), LikeText()], ids=lambda value: type(value).__name__
)
def test_what_is_not_quite_a_plain_type_comes_back_as_what_it_was(cache: StrataKVCache, value: Any) -> None:
    cache.set("set", value)
    cache.add("add", value)
    cache.set_many({"many": value})
    found = cache.get_many(["set", "add", "many"])
    assert [type(found[key]) for key in ("set", "add", "many")] == [type(value)] * 3


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_survives_the_codec(value: Any) -> None:
    found = codec.decode(b"name", codec.encode(b"name", value))
    assert found == value
    assert type(found) is type(value)


def test_plain_values_are_stored_without_a_serializer() -> None:
    assert codec.encode(b"name", b"raw") == b"braw"
    assert codec.encode(b"name", "é") == "sé".encode()
    assert codec.encode(b"name", -12) == b"i-12"


def test_an_unsigned_pickle_is_never_unpickled(cache: StrataKVCache) -> None:
    planted = b"p" + bytes(16) + pickle.dumps([1])
    cache._db.put(cache._name("key", None), planted)
    assert cache.get("key", "missing") == "missing"
    assert cache.incidents()["value"] == 1


def test_a_signed_pickle_cannot_be_moved_to_another_key(cache: StrataKVCache) -> None:
    cache.set("cheap", {"price": 1})
    copied = cache._db.get(cache._name("cheap", None))
    assert copied is not None
    cache._db.put(cache._name("dear", None), copied)
    assert cache.get("dear") is None
    assert cache.get("cheap") == {"price": 1}


@pytest.mark.parametrize("position", [1, 16, 17, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    stored = bytearray(codec.encode(b"name", {"a": 1}))
    stored[position] ^= 1
    with pytest.raises(codec.UndecodableValueError):
        codec.decode(b"name", bytes(stored))


@pytest.mark.parametrize("stored", [b"", b"?", b"p", b"p" + bytes(20), b"s\xff", b"ix", b"f123"])
def test_what_no_codec_wrote_is_undecodable(stored: bytes) -> None:
    with pytest.raises(codec.UndecodableValueError):
        codec.decode(b"name", stored)


def test_a_new_secret_key_makes_pickles_misses_and_leaves_plain_values(cache: StrataKVCache) -> None:
    cache.set_many({"plain": "text", "pickled": [1]})
    with override_settings(SECRET_KEY="another"):
        assert cache.get_many(["plain", "pickled"]) == {"plain": "text"}


def test_secret_key_fallbacks_are_accepted_on_reading_only(cache: StrataKVCache) -> None:
    with override_settings(SECRET_KEY="old"):
        cache.set("key", [1])
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", "old"]):
        assert cache.get("key") == [1]
        cache.set("fresh", [2])
    with override_settings(SECRET_KEY="new"):
        assert cache.get("fresh") == [2]
        assert cache.get("key") is None


def test_a_value_that_does_not_decode_is_a_miss_that_add_can_fill(cache: StrataKVCache) -> None:
    cache.set("key", Refuses())
    assert cache.get_or_set("key", "again") == "again"
    assert cache.get("key") == "again"
    assert cache.incidents() == {"read": 0, "write": 0, "value": 1}


def test_a_better_value_written_meanwhile_is_not_discarded(cache: StrataKVCache) -> None:
    cache.set("key", "written by another process just now")
    cache._discard(cache._name("key", None), b"?", codec.UndecodableValueError())
    assert cache.get("key") == "written by another process just now"


def test_many_values_are_decoded_one_by_one(cache: StrataKVCache) -> None:
    cache.set_many({"good": [1], "bad": Refuses()})
    assert cache.get_many(["good", "bad"]) == {"good": [1]}
    assert "bad" not in cache


@pytest.mark.parametrize("method", ["incr", "decr", "incr_version", "decr_version"])
def test_an_undecodable_number_is_missing_and_goes(cache: StrataKVCache, method: str) -> None:
    """Else `add` and `incr` would both refuse, and a counter would never begin again."""
    cache.set("key", Refuses())
    with override_settings(SECRET_KEY="another"), pytest.raises(ValueError, match="'key' not found"):
        getattr(cache, method)("key")
    assert cache.incidents() == {"read": 0, "write": 0, "value": 1}
    assert cache.add("key", 0)
    assert cache.incr("key") == 1
