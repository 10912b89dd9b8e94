"""The manifest as a value and as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratakv import manifest
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
entries = st.builds(
    Entry, counts, st.sampled_from(["young", "main"]), counts, counts, counts, counts, counts, st.booleans()
)


def test_layout_is_frozen() -> None:
    assert manifest.encode(BEFORE) == GOLDEN
    assert manifest.decode(GOLDEN) == BEFORE


@given(st.builds(Manifest, counts, counts, counts, counts, counts, st.lists(entries, max_size=5).map(tuple)))
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
