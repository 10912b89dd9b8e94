"""The manifest as a value and as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

from stratakv import manifest
from stratakv.directory import MOST_NUMBER
from stratakv.manifest import Edit, Entry, Manifest

FIRST = Entry(
    1, "young", 1, 1, 1000, 10, 400, began=5, finished=True, dead=7, tombstones=8, soonest=9, latest=10
)
SECOND = Entry(2, "young", 2, 2, 2000, 20, 0, poisoned=True)
MERGED = Entry(4, "main", 1, 2, 2500, 25, 2500)
GOLDEN = (
    b"stratakv-manifest 1 ae532635dc06a4ff\n"
    b'{"generation":7,"active":3,"next_number":4,"floor":1,"max_bytes":0,"segments":['
    b'{"number":2,"kind":"young","oldest":2,"newest":2,"size":2000,"keys":20,"synced":0,"poisoned":true,'
    b'"began":0,"ordered":false,"finished":false,"dead":0,"tombstones":0,"soonest":0,"latest":0},'
    b'{"number":1,"kind":"young","oldest":1,"newest":1,"size":1000,"keys":10,"synced":400,"poisoned":false,'
    b'"began":5,"ordered":false,"finished":true,"dead":7,"tombstones":8,"soonest":9,"latest":10}'
    b"]}\n"
)
BEFORE = Manifest(7, 3, 4, 1, 0, (SECOND, FIRST))

counts = st.integers(0, 2**63)


@st.composite
def entries(draw: st.DrawFn, number: int) -> Entry:
    oldest, newest = sorted(draw(st.tuples(*[st.integers(0, number * 65_536)] * 2)))
    size = draw(st.integers(72, 2**40 - 1))
    keys, synced = draw(st.integers(0, size // 28)), draw(st.integers(0, size))
    kind, flag = draw(st.sampled_from(["young", "main"])), draw(st.booleans())
    return Entry(number, kind, oldest, newest, size, keys, synced, flag, draw(counts), dead=draw(counts))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    active, *numbers = draw(st.lists(st.integers(1, MOST_NUMBER - 1), min_size=1, max_size=6, unique=True))
    found = sorted((draw(entries(number)) for number in numbers), key=lambda entry: -entry.newest)
    following = max(active, *numbers, 0) + 1
    return Manifest(draw(counts), active, following, draw(counts), draw(counts), tuple(found))


def test_layout_is_frozen() -> None:
    assert manifest.encode(BEFORE) == GOLDEN
    assert manifest.decode(GOLDEN) == BEFORE


@given(manifests())
def test_round_trip(value: Manifest) -> None:
    assert manifest.decode(manifest.encode(value)) == value


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * (len(GOLDEN) - 1)):
        broken = bytearray(GOLDEN)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"first line|checksum"):
            manifest.decode(bytes(broken))


@pytest.mark.parametrize("cut", [0, 10, 37, 38, 100, len(GOLDEN) - 3])
def test_a_manifest_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r"first line|checksum"):
        manifest.decode(GOLDEN[:cut])


def test_a_rotation_adds_the_sealed_segment_in_front() -> None:
    sealed = Entry(3, "young", 3, 3, 3000, 30, 0)
    after = manifest.apply(BEFORE, Edit(add=(sealed,), active=5), next_number=6)
    assert after == Manifest(8, 5, 6, 1, 0, (sealed, SECOND, FIRST))


def test_a_merge_takes_the_place_of_its_inputs() -> None:
    younger = Entry(3, "young", 3, 3, 3000, 30, 0)
    before = Manifest(7, 5, 6, 1, 0, (younger, SECOND, FIRST))
    after = manifest.apply(before, Edit(drop={1, 2}, add=(MERGED,)), next_number=6)
    assert [entry.number for entry in after.segments] == [3, 4], "age decides, not the number"
    assert (after.active, after.floor) == (5, 1)


def test_a_clear_drops_all_and_raises_the_floor() -> None:
    after = manifest.apply(BEFORE, Edit(drop={1, 2}, active=9, floor=9), next_number=10)
    assert after == Manifest(8, 9, 10, 9, 0, ())
    assert manifest.apply(after, Edit(floor=4), next_number=10).floor == 9, "a floor never sinks"


def test_what_is_on_disk_is_only_ever_more() -> None:
    after = manifest.apply(BEFORE, Edit(synced={1: 1000, 2: 0}), next_number=4)
    assert [entry.synced for entry in after.segments] == [0, 1000]
    after = manifest.apply(after, Edit(synced={1: 10}), next_number=4)
    assert after.segments[1].synced == 1000


def test_a_budget_stays_until_another_is_set() -> None:
    after = manifest.apply(BEFORE, Edit(max_bytes=2**20), next_number=4)
    assert manifest.apply(after, Edit(), next_number=4).max_bytes == 2**20
    assert manifest.apply(after, Edit(max_bytes=0), next_number=4).max_bytes == 0


def test_numbers_are_all_live_files() -> None:
    assert BEFORE.numbers() == {1, 2, 3}


class TestSoundChecksum:
    """What bears the right checksum was not always written here, and is refused all the same."""

    def refuse(self, body: str) -> None:
        title = f"stratakv-manifest 1 {xxh3_64_hexdigest(body.encode())}"
        with pytest.raises(ValueError, match=r"says what cannot be|not those of a manifest|Expecting|digits"):
            manifest.decode(f"{title}\n{body}\n".encode())

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "1",
            "[]",
            "null",
            '"text"',
            "{}",
            '{"segments":1}',
            '{"segments":[1]}',
            '{"segments":"text"}',
            "[" * 100_000,
            '{"segments":' * 100_000,
            '{"generation":' + "9" * 5000,
        ],
        ids=lambda body: f"{body[:20]}-{len(body)}",
    )
    def test_no_manifest_at_all(self, body: str) -> None:
        self.refuse(body)

    WRONG = [-1, 2**63 + 1, 10**300, 1.0, float("nan"), float("inf"), True, None, "1", [1], {}]

    @pytest.mark.parametrize("value", WRONG, ids=repr)
    @pytest.mark.parametrize(
        "name", ["generation", "active", "next_number", "floor", "max_bytes", "segments"]
    )
    def test_a_wrong_value(self, name: str, value: Any) -> None:
        self.refuse(_changed(**{name: value}))

    @pytest.mark.parametrize("value", WRONG, ids=repr)
    @pytest.mark.parametrize("name", list(json.loads(GOLDEN.split(b"\n")[1])["segments"][0]))
    def test_a_wrong_value_in_a_segment(self, name: str, value: Any) -> None:
        if value is not True or name not in ("poisoned", "ordered", "finished"):
            self.refuse(_changed(segment={name: value}))

    @pytest.mark.parametrize("segment", [{"more": 1}, {"number": None}])
    def test_other_fields(self, segment: dict[str, Any]) -> None:
        self.refuse(_changed(more=1))
        self.refuse(_changed(segment=segment))

    @pytest.mark.parametrize(
        "changes",
        [
            {"active": 1},  # which is a sealed one
            {"active": 0},
            {"active": 4},  # beyond the next number
            {"next_number": 3},
            {"next_number": MOST_NUMBER + 1},
            {"segment": {"number": 1}},  # twice
            {"segment": {"number": 0}},
            {"segment": {"newest": 3 * 65_536}},  # younger than its number
            {"segment": {"oldest": 3}},  # older than its youngest
            {"segment": {"newest": 0, "oldest": 0}},  # not in the order of age
            {"segment": {"size": 71}},
            {"segment": {"size": 2**40}},
            {"segment": {"keys": 1000}},  # more than there is room for
            {"segment": {"synced": 2001}},
            {"segment": {"kind": "old"}},
        ],
        ids=repr,
    )
    def test_values_that_do_not_agree(self, changes: dict[str, Any]) -> None:
        self.refuse(_changed(**changes))


def _changed(segment: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return the JSON of a sound manifest with some values changed, of itself or of its newest segment."""
    values = json.loads(GOLDEN.split(b"\n")[1])
    values["segments"][0].update(segment or {})
    return json.dumps({**values, **changes})
