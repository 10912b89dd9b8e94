"""What maintenance does next, as tables: the choice knows no store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stratakv.maintenance.plan import due, is_behind, pick
from stratakv.maintenance.task import Limits, Task
from stratakv.manifest import Entry

MB = 10**6
NONE = Limits(max_bytes=0, used_bytes=0, free_bytes=1000 * MB, active_bytes=MB, segment_bytes=MB, now=1000)
BUDGET = replace(NONE, max_bytes=32 * MB, used_bytes=32 * MB)
FULL = replace(BUDGET, used_bytes=32 * MB + 1)


def within(segments: list[Entry]) -> Limits:
    """Return the limits of a store below its budget that holds nothing but these logs."""
    return replace(BUDGET, used_bytes=sum(each.size for each in segments) + MB)


def entry(number: int, kind: str = "young", size: int = MB, **fields: object) -> Entry:
    made = Entry(number, kind, number, number, size, 10, size, finished=True)  # type: ignore[arg-type]
    return replace(made, **fields)  # type: ignore[arg-type]


def young(*numbers: int, size: int = MB) -> list[Entry]:
    return [entry(number, size=size) for number in numbers]


def main(*numbers: int, size: int = MB) -> list[Entry]:
    return [entry(number, "main", size) for number in numbers]


def below(segments: list[Entry]) -> Task | None:
    return pick(segments, [], [], within(segments))


class TestSieve:
    """Of a store with a budget that has many segments, with many keys together."""

    segments = [replace(each, keys=1000) for each in main(8, 7, 6, 5, 4, 3, 2, 1)]
    numbers = (8, 7, 6, 5, 4, 3, 2, 1)

    def pick(self, sieved: set[int], **limits: int) -> Task | None:
        return pick(self.segments, [], [], replace(within(self.segments), **limits), sieved)

    def test_it_is_made_when_three_are_not_in_it(self) -> None:
        assert self.pick(set()) == Task("sieve", self.numbers)
        assert self.pick({8, 7, 6, 5, 4}, sieve_bytes=5000) == Task("sieve", self.numbers)
        assert self.pick({8, 7, 6, 5, 4, 3}, sieve_bytes=5000) is None

    def test_it_is_of_the_oldest_32(self) -> None:
        segments = [replace(each, keys=1000) for each in main(*range(40, 0, -1), size=1000)]
        found = pick(segments, [], [], within(segments), [])
        assert found == Task("sieve", tuple(range(32, 0, -1)))

    def test_a_store_without_a_budget_has_none(self) -> None:
        assert pick(self.segments, [], [], replace(NONE, spare_bytes=0), []) != Task("sieve", self.numbers)

    def test_there_has_to_be_room_for_it(self) -> None:
        assert self.pick(set(), free_bytes=2**16) is None

    @pytest.mark.parametrize("sieved", [set(), {8, 7, 6}])
    def test_it_is_removed_first_where_it_only_takes_room(self, sieved: set[int]) -> None:
        length = 100 if not sieved else MB + 1
        assert self.pick(sieved, sieve_bytes=length, used_bytes=32 * MB + 1) == Task("sieve", ())
        assert self.pick(set(self.numbers), sieve_bytes=MB) is None


class TestAtRest:
    """There is nothing else to do, and as much to spare as all segments have."""

    limits = replace(NONE, spare_bytes=1000 * MB)

    def test_the_newest_are_merged_before_there_are_eight(self) -> None:
        segments = young(5, 4, 3, 2, 1)
        assert pick(segments, [], [], NONE) is None
        assert pick(segments, [], [], self.limits) == Task("merge", (5, 4, 3, 2, 1))

    def test_few_are_left_alone(self) -> None:
        assert pick(young(4, 3, 2, 1), [], [], self.limits) is None

    def test_no_large_one_is_written_again_for_a_few_small_ones(self) -> None:
        segments = [*young(7, 6, 5), *young(4, 3, size=8 * MB), *young(2, 1, size=64 * MB)]
        assert pick(segments, [], [], self.limits) == Task("merge", (7, 6, 5, 4, 3, 2, 1))
        assert pick(segments[:-1], [], [], self.limits) == Task("merge", (7, 6, 5, 4, 3))
        steps = [entry(number, size=MB << 2 * (9 - number)) for number in range(9, 3, -1)]
        assert pick(steps, [], [], self.limits) is None, "each is more than all before it"

    def test_no_more_is_written_than_there_is_to_spare_or_space_for(self) -> None:
        segments = young(5, 4, 3, 2, 1)
        for name in ("spare_bytes", "free_bytes"):
            limits = replace(self.limits, **{name: 3 * MB})  # type: ignore[arg-type]
            assert pick(segments, [], [], limits) == Task("merge", (5, 4, 3))

    def test_what_is_damaged_ends_it(self) -> None:
        assert pick(young(5, 4, 3, 2, 1), [], [3], self.limits) == Task("merge", (5, 4))

    def test_a_budget_keeps_its_segments(self) -> None:
        segments = main(*range(6, 0, -1), size=MB)
        assert pick(segments, [], [], replace(within(segments), spare_bytes=1000 * MB)) is None


class TestOnAFullDisk:
    """There is space for one segment and no more."""

    limits = replace(NONE, free_bytes=MB)

    def test_a_merge_waits_and_the_largest_garbage_is_swept(self) -> None:
        segments = young(*range(8, 0, -1))
        segments[3] = replace(segments[3], dead=MB // 5)
        segments[5] = replace(segments[5], dead=MB // 4)
        assert pick(segments, [], [], NONE) == Task("merge", (8, 7, 6, 5, 4, 3, 2, 1))
        assert pick(segments, [], [], self.limits) == Task("sweep", (3,))

    def test_nothing_is_done_where_that_would_give_nothing_back(self) -> None:
        assert pick(young(*range(8, 0, -1)), [], [], self.limits) is None

    def test_no_more_is_swept_than_there_is_space_for(self) -> None:
        large = entry(9, size=8 * MB, dead=5 * MB)
        assert pick([large], [], [], NONE) == Task("sweep", (9,))
        assert pick([large], [], [], self.limits) is None

    def test_a_merge_that_fits_with_its_index_is_done(self) -> None:
        assert pick(young(*range(8, 0, -1), size=MB // 8), [], [], self.limits) is None
        segments = young(*range(8, 0, -1), size=MB // 8 - 1024)
        assert pick(segments, [], [], self.limits) == Task("merge", (8, 7, 6, 5, 4, 3, 2, 1))

    def test_what_is_swept_fits_with_its_index(self) -> None:
        half = entry(1, size=2 * MB, dead=MB + 8192)
        assert pick([replace(half, keys=100)], [], [], self.limits) == Task("sweep", (1,))
        assert pick([replace(half, keys=1000)], [], [], self.limits) is None


class TestWithoutBudget:
    def test_nothing_to_do(self) -> None:
        assert pick([], [], [], NONE) is None
        assert pick(young(7, 6, 5, 4, 3, 2, 1), [], [], NONE) is None

    def test_the_oldest_unfinished_is_finished_first(self) -> None:
        segments = [entry(3, finished=False), entry(2, finished=False), entry(1)]
        assert pick(segments, [], [], NONE) == Task("finish", (2,))

    def test_eight_of_a_tier_are_merged(self) -> None:
        assert pick(young(*range(8, 0, -1)), [], [], NONE) == Task("merge", (8, 7, 6, 5, 4, 3, 2, 1))

    def test_a_larger_one_stays_out(self) -> None:
        segments = [*young(*range(9, 1, -1)), *main(1, size=7 * MB)]
        assert pick(segments, [], [], NONE) == Task("merge", tuple(range(9, 1, -1)))

    def test_a_larger_one_between_them_parts_them(self) -> None:
        segments = [*young(9, 8, 7, 6), *main(5, size=7 * MB), *young(4, 3, 2, 1)]
        assert pick(segments, [], [], NONE) is None

    def test_smaller_ones_among_them_go_along(self) -> None:
        segments = main(*range(9, 0, -1), size=7 * MB)
        segments[4] = entry(5, size=1000)
        assert pick(segments, [], [], NONE) == Task("merge", tuple(range(9, 0, -1)))

    def test_a_large_one_that_shrank_counts_as_what_it_is(self) -> None:
        segments = [*young(*range(8, 1, -1)), *main(1, size=MB // 2)]
        assert pick(segments, [], [], NONE) == Task("merge", tuple(range(8, 0, -1)))

    @pytest.mark.parametrize(("dead", "kind"), [(MB // 2, None), (MB // 2 + 1, "sweep")])
    def test_what_is_mostly_garbage_is_swept(self, dead: int, kind: str | None) -> None:
        task = pick([*young(3), entry(2, dead=dead), *young(1)], [], [], NONE)
        assert task == (kind and Task("sweep", (2,)))  # type: ignore[arg-type]

    def test_tombstones_are_garbage_only_in_the_oldest(self) -> None:
        full = entry(2, tombstones=MB - 100)
        assert pick([full, *young(1)], [], [], NONE) is None
        assert pick([*young(3), full], [], [], NONE) == Task("merge", (2,))


class TestExpiry:
    def test_what_has_expired_as_a_whole_is_dropped(self) -> None:
        gone = entry(2, soonest=900, latest=1000)
        assert pick([*young(3), gone, *young(1)], [], [], NONE) == Task("drop", (2,))
        assert pick([*young(3), gone, *young(1)], [], [], replace(NONE, now=999)) is None

    def test_what_never_expires_keeps_it(self) -> None:
        assert pick([entry(2, soonest=900, latest=0)], [], [], NONE) is None

    def test_what_is_left_for_its_tombstones_is_not_asked_again(self) -> None:
        """A tombstone expired long ago; a segment of nothing else must not be rewritten for ever."""
        assert pick([entry(2, soonest=0, latest=1, tombstones=MB), *young(1)], [], [], NONE) is None

    def test_when_the_next_one_is_due(self) -> None:
        segments = [
            entry(4, soonest=900, latest=7000),
            entry(3, soonest=900, latest=5000),
            entry(2, soonest=900, latest=0),
            entry(1, soonest=0, latest=1),
        ]
        assert due(segments, 1000) == 5000
        assert due(segments, 7000) is None
        assert due([], 1000) is None


def test_what_a_range_tombstone_covers_is_dropped() -> None:
    assert pick(young(3, 2, 1), [2], [], NONE) == Task("drop", (2,))


class TestBudget:
    def test_below_it_nothing_goes(self) -> None:
        segments = [*young(3, 2, 1), *main(*range(31, 3, -1))]
        assert pick(segments, [], [], replace(BUDGET, used_bytes=32 * MB)) is None

    def test_the_oldest_young_is_retired_while_the_young_are_too_many(self) -> None:
        segments = [*young(*range(20, 12, -1)), *main(*range(12, 0, -1))]
        assert pick(segments, [], [], FULL) == Task("retire", (13,))

    def test_otherwise_the_oldest_main_one(self) -> None:
        segments = [*young(*range(20, 16, -1)), *main(*range(16, 0, -1))]
        assert pick(segments, [], [], FULL) == Task("evict", (1,))

    def test_a_newest_main_one_that_is_not_full_takes_what_moves(self) -> None:
        small = entry(12, "main", MB - 1)
        old = main(*range(11, 0, -1))
        assert pick([*young(*range(20, 12, -1)), small, *old], [], [], FULL) == Task("retire", (13, 12))
        assert pick([*young(14, 13), small, *old], [], [], FULL) == Task("evict", (12, 1))

    def test_the_only_main_one_does_not_join_itself(self) -> None:
        assert pick(main(1, size=1000), [], [], FULL) == Task("evict", (1,))

    def test_the_young_go_where_there_is_nothing_else(self) -> None:
        assert pick(young(2, 1), [], [], FULL) == Task("retire", (1,))

    def test_nothing_sealed_nothing_to_retire(self) -> None:
        assert pick([], [], [], FULL) is None

    def test_the_budget_comes_first(self) -> None:
        segments = [entry(2, finished=False), entry(1, soonest=1, latest=2)]
        task = pick(segments, [2], [], FULL)
        assert task is not None
        assert task.kind == "retire"

    def test_as_long_as_there_is_room_the_young_come_of_age(self) -> None:
        segments = [*young(*range(20, 11, -1)), *main(11, 10)]
        assert below(segments) == Task("adopt", (12,))
        assert below([*young(*range(20, 14, -1)), *main(14, 13)]) is None


def spaced(segments: list[Entry]) -> list[Entry]:
    """The same, with ranks between them, as segments that writers have made."""
    return [replace(each, oldest=each.number << 16, newest=each.number << 16) for each in segments]


class TestOversized:
    """Segments that were made before the store had its budget, or when it had a larger one."""

    large = entry(1, "main", 11 * MB)
    segments = spaced([*main(*range(22, 1, -1)), large])

    @pytest.mark.parametrize("limits", [FULL, BUDGET], ids=["over the budget", "within it"])
    def test_it_is_split(self, limits: Limits) -> None:
        assert pick(self.segments, [], [], limits) == Task("split", (1,))

    def test_not_before_it_is_finished(self) -> None:
        *others, large = self.segments
        assert pick([*others, replace(large, finished=False)], [], [], FULL) == Task("finish", (1,))

    def test_unfinished_where_its_index_finds_no_space(self) -> None:
        *others, large = self.segments
        many = replace(large, finished=False, keys=10**6)
        limits = replace(FULL, used_bytes=50 * MB, free_bytes=10 * MB)
        assert pick([*others, many], [], [], limits) == Task("split", (1,))

    def test_the_oldest_first_and_then_the_others(self) -> None:
        segments = spaced([*main(4), entry(3, "main", 11 * MB), *main(2), self.large])
        assert pick(segments, [], [], BUDGET) == Task("split", (1,))
        assert pick(segments, [], [1], BUDGET) == Task("split", (3,))
        assert pick(segments[:3], [], [], BUDGET) == Task("split", (3,))

    def test_a_young_one_comes_of_age_first(self) -> None:
        assert pick([replace(self.large, kind="young")], [], [], FULL) == Task("adopt", (1,))

    def test_with_the_largest_value_it_is_none(self) -> None:
        """Such a segment is evicted, and alone: what is read in it does not join others."""
        segments = spaced([*main(*range(24, 1, -1), size=MB - 1), entry(1, "main", 9 * MB)])
        assert pick(segments, [], [], FULL) == Task("evict", (1,))

    def test_it_is_evicted_where_there_is_no_space_for_its_parts(self) -> None:
        full = replace(FULL, free_bytes=4095)
        assert pick(self.segments, [], [], full) == Task("evict", (1,))
        assert pick(self.segments, [], [], replace(full, used_bytes=32 * MB)) is None

    def test_there_must_be_space_for_what_is_left_of_it_only(self) -> None:
        segments = spaced([*main(*range(6, 1, -1)), replace(self.large, size=60 * MB)])
        full = replace(FULL, used_bytes=66 * MB, free_bytes=23 * MB)
        assert pick(segments, [], [], full) == Task("split", (1,))
        assert pick(segments, [], [], replace(full, free_bytes=21 * MB)) == Task("evict", (1,))

    def test_it_is_evicted_where_the_others_leave_nothing_to_it(self) -> None:
        segments = spaced([*main(*range(30, 1, -1)), self.large])
        assert pick(segments, [], [], replace(FULL, used_bytes=40 * MB)) == Task("evict", (1,))

    def test_it_stays_where_there_are_no_ranks_for_its_parts(self) -> None:
        """Until it has to go, and then it goes as a whole."""
        segments = [*main(*range(22, 1, -1)), self.large]
        assert pick(segments, [], [], BUDGET) is None
        assert pick(segments, [], [], FULL) == Task("evict", (1,))
        alone = [self.large]
        assert pick(alone, [], [], replace(BUDGET, active_oldest=14)) is None
        assert pick(alone, [], [], replace(BUDGET, active_oldest=2**16)) == Task("split", (1,))

    def test_a_damaged_one_is_dropped(self) -> None:
        assert pick([*main(3, 2), self.large], [], [1], FULL) == Task("drop", (1,))


class TestMergingWithinABudget:
    def test_it_ends_at_one_segment_in_32(self) -> None:
        assert below(young(3, 2, 1, size=MB // 2 - 1)) == Task("merge", (2, 1))
        assert below(young(3, 2, 1, size=MB // 2 + 1)) is None

    def test_the_generations_stay_apart(self) -> None:
        small = MB // 2 - 1
        assert below([*young(2, size=small), *main(1, size=small)]) is None

    def test_small_ones_wait_until_they_are_many(self) -> None:
        small = MB // 100
        assert below(young(*range(7, 0, -1), size=small)) is None
        assert below(young(*range(8, 0, -1), size=small)) == Task("merge", tuple(range(8, 0, -1)))

    def test_a_large_one_is_not_rewritten_for_little(self) -> None:
        assert below([*young(2, size=MB // 10), *young(1, size=MB * 8 // 10)]) is None


class TestDamage:
    """What cannot be read to its end is left alone, and nothing is merged across it."""

    def test_it_is_neither_finished_nor_swept_nor_dropped(self) -> None:
        bad = entry(2, finished=False, dead=MB, soonest=1, latest=2)
        assert pick([*young(3), bad, *young(1)], [2], [2], NONE) is None

    def test_nothing_is_merged_across_it(self) -> None:
        segments = young(*range(15, 0, -1))
        assert pick(segments, [], [8], NONE) is None
        assert pick(segments, [], [9], NONE) == Task("merge", tuple(range(8, 0, -1)))

    def test_the_oldest_goes_as_a_whole_when_room_is_needed(self) -> None:
        segments = [*young(20), *main(*range(19, 0, -1))]
        assert pick(segments, [], [1], FULL) == Task("drop", (1,))
        assert pick(segments, [], [2], FULL) == Task("evict", (1,))

    def test_a_young_one_comes_of_age_unread(self) -> None:
        """Those behind it go on, and what was read stays; passed over, it would cost all main segments."""
        segments = [*young(*range(20, 12, -1)), *main(*range(12, 0, -1))]
        assert pick(segments, [], [13], FULL) == Task("adopt", (13,))
        assert pick(young(2, 1), [], [1], FULL) == Task("adopt", (1,))
        segments = young(*range(20, 0, -1))
        assert pick(segments, [], [1], within(segments)) == Task("adopt", (1,))


@pytest.mark.parametrize(("max_bytes", "enough"), [(0, 4), (32 * MB, 2)])
def test_it_is_behind_when_young_segments_wait(max_bytes: int, enough: int) -> None:
    waiting = [entry(number, finished=False) for number in range(20, 10, -1)]
    treated = young(10, 9) + main(8, 7)
    assert not is_behind(waiting[: enough - 1] + treated, [], max_bytes)
    assert is_behind(waiting[:enough] + treated, [], max_bytes)
    assert not is_behind(waiting[:enough] + treated, [20], max_bytes), "nobody can finish that one"


def test_it_is_behind_when_young_segments_are_not_merged() -> None:
    assert not is_behind(young(*range(11, 0, -1)), [], 0)
    assert is_behind(young(*range(12, 0, -1)), [], 0)
    assert not is_behind(young(*range(12, 0, -1)), [1], 0), "that one is left alone"
    assert not is_behind(main(*range(12, 0, -1)), [], 0)
    assert not is_behind(young(*range(12, 0, -1)), [], 32 * MB), "they come of age there"
