"""Reading without a lock: take the view of now, ask it newest segment first, believe only checksums."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar, overload

from xxhash import xxh3_64_intdigest

from stratakv import past_damage
from stratakv.arguments import check_key, check_prefix
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.control import W_GENERATION, W_INDEXED, W_TIP, Figure
from stratakv.errors import CorruptionError, TransactionError
from stratakv.files import now_ms
from stratakv.index import FINGERPRINT, HOTTEST, hash_key
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.lookup import Candidates, Found, lookup, newest, probe
from stratakv.options import MAX_KEY_BYTES
from stratakv.prefetch import together
from stratakv.record import HEADER_BYTES, PREFIX_BYTES, PUT, unpack_fields
from stratakv.segment import Segment
from stratakv.snapshots import Snapshots
from stratakv.view import View

logger = logging.getLogger("stratakv")

T = TypeVar("T")
_HITS, _MISSES, _DAMAGE = int(Figure.HITS), int(Figure.MISSES), int(Figure.DAMAGE)
_TRIES = 16


class Reader:
    """The lookups of one process."""

    def __init__(self, snapshots: Snapshots) -> None:
        views = snapshots.views
        self._snapshots, self._views = snapshots, views
        self._control = views.control
        self._words = views.control.words
        self._reported: set[tuple[int, int]] = set()  # damage is logged once, and counted every time
        self.hits = 0  # since this process attached; `publish` puts them into its row

    @overload
    def get(self, key: bytes) -> bytes | None: ...
    @overload
    def get(self, key: bytes, default: T) -> bytes | T: ...
    def get(self, key: bytes, default: Any = None) -> Any:
        """See `DB.get`. Written out in one function: every call would cost 3 % of a hit."""
        if key.__class__ is not bytes:
            check_key(key)
        view = self._views.view
        if self._words[W_GENERATION] != view.generation:
            view = self._views.refresh()
            self.publish()
        first, second = hash_key(key)
        pattern = PATTERNS[second & PATTERN_MASK]
        rows = view.rows
        while True:
            for words, count, segment in rows:
                if words[first % count] & pattern != pattern:
                    continue
                slots, size = segment.slots, segment.slot_count
                place = first % size
                tag = first & FINGERPRINT
                while slot := slots[place]:
                    offset = slot ^ tag
                    if offset <= OFFSET_MASK:
                        data = segment.view
                        try:
                            checksum, value_bytes, key_bytes, expiry = unpack_fields(data, offset)
                        except struct.error:  # beyond the end of the log
                            return self._again(segment, offset, key, default)
                        start = offset + HEADER_BYTES
                        value = start + key_bytes
                        mapped = segment.log
                        if mapped[start:value] == key:
                            end = value + value_bytes
                            if xxh3_64_intdigest(data[offset + PREFIX_BYTES : end]) != checksum:
                                return self._again(segment, offset, key, default)
                            if expiry and expiry <= time.time() * 1000:  # `is_live`, written out
                                return self._missed(default)
                            if view.hidden and view.hides(segment, key):
                                return self._missed(default)
                            if view.marks and (heat := segment.hot[place]) < HOTTEST:
                                segment.hot[place] = heat + 1
                            self.hits += 1
                            return mapped[value:end]
                        if segment.record_at(offset) is None:
                            return self._again(segment, offset, key, default)
                    place += 1
                    if place == size:
                        place = 0
                        if 0 not in slots:
                            return self._again(segment, 0, key, default)
            if view.older is None or rows is not view.rows:
                break
            rows = view.older.of(first)  # only now: most of what is read often was found above
        if not 1 <= len(key) <= MAX_KEY_BYTES:  # only here, as a key of another length is never found
            check_key(key)
        row = self._control.row
        row[_MISSES] += 1
        row[_HITS] = self.hits
        return default

    def _missed(self, default: Any) -> Any:
        self._control.row[_MISSES] += 1
        self.publish()
        return default

    def publish(self) -> None:
        """Let other processes see our hits. A store to shared memory at each hit would cost 3 % of it."""
        self._control.row[_HITS] = self.hits

    def find(self, view: View, key: bytes) -> Found | None:
        """Return the newest record of `key`, live or not.

        None where there is none, where it is damaged, or where a range tombstone has deleted it.
        """
        if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
            check_key(key)
        first, second = hash_key(key)
        pattern = PATTERNS[second & PATTERN_MASK]
        rows = view.rows if view.older is None else view.rows + view.older.of(first)
        for words, count, segment in rows:
            if words[first % count] & pattern == pattern:
                try:
                    found = lookup(segment, key, first)
                except CorruptionError as damage:
                    healed = self.report_damage(segment, damage.offset)
                    return self.find(self._views.current(), key) if healed else None
                if found:
                    return None if view.hidden and view.hides(segment, key) else found
        return None

    def find_live(self, view: View, key: bytes) -> Found | None:
        """Return the live record of `key` in `view`, or None."""
        found = self.find(view, key)
        # Not `Found.live`: where nothing expires, no clock is read. Else `contains` takes a fifth longer.
        if found is None or (found.expiry and found.expiry <= now_ms()):
            return None
        if view.marks:
            self._mark(found.segment, found.place)
        return found

    def is_lost(self, view: View, key: bytes) -> bool:
        """Whether a lookup of `key` ends at a damaged record, which may be its own and be mended some day."""
        if not self._reported:
            return False  # else the lookup that has just found nothing had reported it
        try:
            _sound(view.among(view.segments()), key)
        except CorruptionError:
            return True
        return False

    @staticmethod
    def _mark(segment: Segment, place: int) -> None:
        """Count a read in the hot byte, as `get` does; where the view says so."""
        if (heat := segment.hot[place]) < HOTTEST:
            segment.hot[place] = heat + 1

    def contains(self, key: bytes) -> bool:
        return self.find_live(self._views.current(), key) is not None

    def expiry(self, key: bytes) -> int | None:
        """Return when a live `key` expires, in ms since the epoch, 0 for never; None: no such key."""
        found = self.find_live(self._views.current(), key)
        return found.expiry if found else None

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """See `DB.get_many`. Writers are held off only where they never pause."""
        wanted = list(keys)
        for _ in range(_TRIES):
            found = self._get_many(wanted)
            if found is not None:
                return found
        # Refused in a signal handler that has interrupted a commit.
        with suppress(TransactionError), self._snapshots.held_off():
            found = self._get_many(wanted)
        return self._get_many_below(wanted) if found is None else found

    def _get_many_below(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the values before a commit that somebody is in the middle of, or has died in.

        For a process that may not write: it can neither keep writers off nor heal. And for a signal handler
        that has interrupted a commit. What the slots of the active segment no longer lead to is still in its
        log.
        """
        view, end = self._snapshots.take()
        found = {key: self.find(view, key) for key in keys}
        in_active = {key: each.offset for key, each in found.items() if each and each.segment is view.active}
        found |= _below(view, end, [key for key, offset in in_active.items() if offset >= end])
        now = now_ms()
        result = {key: each.value() for key, each in found.items() if each and each.live(now)}
        self.hits += len(result)
        self._control.row[_MISSES] += len(keys) - len(result)
        self.publish()
        return result

    def _get_many(self, keys: list[bytes]) -> dict[bytes, bytes] | None:
        """Return the live values of one moment, or None where a commit came between.

        The moment is that of the tip read first: everything below it is in the slots, and a lookup that
        hits a record beyond it shows that one of these very keys has been written since. `find` is written
        out: with a call of it for each key, all would take longer than as many `get`s (1.14 times, not 0.98).
        """
        words = self._words
        view = self._views.current()
        tip = words[W_TIP]
        if words[W_INDEXED] != tip or tip >> OFFSET_BITS != view.active.number:
            return None
        tip &= OFFSET_MASK
        active, now, hidden, marks = view.active, now_ms(), view.hidden, view.marks
        rows, older = view.rows, view.older
        result = {}
        hits = 0
        for key in together(view, keys) if active.lookup_bytes else keys:
            if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
                check_key(key)
            first, second = hash_key(key)
            pattern = PATTERNS[second & PATTERN_MASK]
            if older is not None:
                rows = view.rows + older.of(first)
            for filter_words, count, segment in rows:
                if filter_words[first % count] & pattern != pattern:
                    continue
                try:
                    hit = probe(segment, key, first)
                except CorruptionError as damage:
                    if self.report_damage(segment, damage.offset):
                        return None  # its index is healed, and there is another view
                    break
                if hit:
                    place, offset, value, end, expiry = hit
                    if segment is active and offset >= tip:
                        return None
                    if (not expiry or expiry > now) and not (hidden and view.hides(segment, key)):
                        hits += 1
                        result[key] = segment.log[value:end]
                        if marks:
                            self._mark(segment, place)
                    break
        self.hits += hits
        self._control.row[_MISSES] += len(keys) - hits
        self.publish()
        return result

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        """Yield each live key that begins with `prefix` once, oldest segment first."""
        check_prefix(prefix)
        return self._keys(prefix)

    def _keys(self, prefix: bytes) -> Iterator[bytes]:
        """A record counts where it is its key's newest. A key written again while we walk has its newest
        record beyond where the walk will end, so it is yielded at the first of its records.
        """
        view, end = self._snapshots.take()
        now = now_ms()
        rewritten: set[bytes] = set()
        for segment in reversed(tuple(view.segments())):
            for record in past_damage.records(
                segment, self.report_damage, end if segment is view.active else None
            ):
                if record.kind != PUT or not record.key.startswith(prefix):
                    continue
                last = self.find(view, record.key)
                if last is None or not last.live(now):
                    continue
                if last.segment is view.active and last.offset >= end:
                    if record.key in rewritten:
                        continue
                    rewritten.add(record.key)
                elif last.segment is not segment or last.offset != record.offset:
                    continue
                yield record.key

    def _again(self, segment: Segment, offset: int, key: bytes, default: Any) -> Any:
        """Answer a `get` that met damage: anew if that could be healed; older versions stay hidden."""
        return self.get(key, default) if self.report_damage(segment, offset) else self._missed(default)

    def report_damage(self, segment: Segment, offset: int) -> bool:
        """Count and report what cannot be believed; return whether it was the index, and is healed."""
        self._control.row[_DAMAGE] += 1
        if (segment.number, offset) in self._reported:
            return False
        self._reported.add((segment.number, offset))
        if self._views.heal(segment):
            return True
        logger.error(
            "%06d.log: the record at byte %d is damaged; its key reads as missing", segment.number, offset
        )
        return False


def _below(view: View, end: int, keys: Sequence[bytes]) -> dict[bytes, Found | None]:
    """Return the newest record of each of `keys`, of those below the offset `end` of the active log."""
    found: dict[bytes, Found | None] = dict.fromkeys(keys)
    sealed = view.among(view.sealed)
    with suppress(CorruptionError):  # any of them may be the key of the damaged record
        latest = view.active.latest(end) if keys else {}
        for key in keys:
            found[key] = _of_log(view.active, latest[key]) if key in latest else _of_sealed(view, sealed, key)
    return found


def _of_log(active: Segment, offset: int) -> Found:
    record = active.sound(offset)
    return Found(active, 0, offset, record.value_offset, record.end, record.expiry)


def _of_sealed(view: View, sealed: Candidates, key: bytes) -> Found | None:
    try:
        found = _sound(sealed, key)
    except CorruptionError:
        return None
    return None if found and view.hides(found.segment, key) else found


def _sound(segments: Candidates, key: bytes) -> Found | None:
    """Do as `newest`; raises CorruptionError where that record is damaged."""
    found = newest(segments, key)
    if found:
        found.segment.sound(found.offset)
    return found
