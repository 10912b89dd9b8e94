"""CONTROL: the page of words that all processes share, and the row of counters of each.

    page 0   u64 words
     0  magic "STRATACT"          7  chain: what the next record's link must be
     1  format, 1                 8  used: keys in the active index
     2  boot id, low half         9  indexed
     3  boot id, high half       10  busy: 1 while a holder of the writer lock is at work
     4  state, see `State`       11  synced: position up to which everything is known to be on disk
     5  generation               12  next: number of the next segment
     6  tip                      13  poisoned: number of the segment whose sync failed last, 0 for none
                                 14  logged: bytes of log written to the young segments sealed since boot
                                 15  ahead: position up to which zeros were written behind the tip
                                 16  turns: how often the lock was held for more than a single put
                                 17  bias: the number of the word whose process has the lock by it; `bias`
                                 18  last: a number of the process that last looked whether it is alone
                                 19  syncs: changes when a sync has ended; who waits for one sleeps here
                                 20  asleep: 1 where somebody may sleep there
                                 21  counts: how many processes needed each of the last 8 syncs, a byte each
                              32-95  words: 1 while the process whose word it is commits with the bias
                             96-159  wanted: the position that a process needs, or needed, to be on disk
    page 1…  rows of eight u64 words: process, then a count for each `Figure`; row 0 sums the departed

A position is `segment number << 40 | offset in its log`, so that one load tells both and positions
compare in the order of writing. tip: where the next record goes. indexed: how far the active index
reaches. The page is shared memory that happens to have a file: after a reboot nothing in it is believed.
"""

from __future__ import annotations

import enum
import os
import struct
from typing import Any

from stratakv.directory import CONTROL_NAME, Directory
from stratakv.log import HEADER_BYTES as LOG_HEADER_BYTES
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.manifest import Manifest

MAGIC = int.from_bytes(b"STRATACT", "little")
FORMAT = 1
PAGE = 4096
ROWS = 255
ROW_WORDS = 8
SIZE = PAGE + (1 + ROWS) * ROW_WORDS * 8

_EMPTY = memoryview(bytes(ROW_WORDS * 8)).cast("Q")
_U64 = (1 << 64) - 1
_U63 = (1 << 63) - 1

(
    W_MAGIC,
    W_FORMAT,
    W_BOOT_LOW,
    W_BOOT_HIGH,
    W_STATE,
    W_GENERATION,
    W_TIP,
    W_CHAIN,
    W_USED,
    W_INDEXED,
    W_BUSY,
    W_SYNCED,
    W_NEXT,
    W_POISONED,
    W_LOGGED,
    W_AHEAD,
    W_TURNS,
    W_BIAS,
    W_LAST,
    W_SYNCS,
    W_ASLEEP,
    W_COUNTS,
) = range(22)
BIAS_WORDS = range(32, 96)  # not among those above, which every commit stores to: they share no cache line
WANTED_WORDS = range(96, 160)


# A put reads all it needs by one call, which halves the cost. It cannot write them so: `pack_into`
# zeroes its target first, and a kill in that moment would leave the zeros behind.
COMMIT_STATE = 8 * W_GENERATION
# Generation, tip, chain, used, busy, ahead, bias.
read_commit_state = struct.Struct("@4Q8xQ32xQ8xQ").unpack_from


class State(enum.IntEnum):
    """What the last process that was alone with the store left behind."""

    NEW = 0
    OPEN = 1
    CLEAN = 2  # closed by its last user; the active index is sealed


class Figure(enum.IntEnum):
    """The words of a process's row; word 0 is the process id."""

    HITS = 1
    MISSES = 2
    WRITES = 3  # records
    DAMAGE = 4
    EVICTED = 5  # keys that left the store because of its budget
    REWRITTEN = 6  # bytes that maintenance has written


def position(number: int, offset: int) -> int:
    return number << OFFSET_BITS | offset


def bytes_below(reached: int, number: int, size: int) -> int:
    """How many of the `size` bytes of segment `number` lie below the position `reached`."""
    if reached >> OFFSET_BITS > number:
        return size
    return reached & OFFSET_MASK if reached >> OFFSET_BITS == number else 0


class Control:
    """The mapped page. `words` is what hot paths read; the methods are for everything else."""

    def __init__(self, directory: Directory, fd: int, *, write: bool) -> None:
        files = directory.files
        self.page: Any = files.map(fd, SIZE, write=write)
        self.identity = files.identity(fd)
        self.words = memoryview(self.page).cast("Q")[: PAGE // 8]
        self._files = files
        # A reader that may not write counts for itself alone.
        self.row = memoryview(bytearray(_EMPTY.nbytes)).cast("Q")

    def is_sound(self) -> bool:
        """Whether this is the page of a store, of whatever boot."""
        return (self.words[W_MAGIC], self.words[W_FORMAT]) == (MAGIC, FORMAT)

    def is_from(self, boot: int) -> bool:
        """Whether the page is sound and was written since the machine started."""
        words = self.words
        return self.is_sound() and (words[W_BOOT_HIGH] << 64 | words[W_BOOT_LOW]) == boot

    def start(self, boot: int, generation: int, next_number: int) -> None:
        """Begin anew after a reboot. Valid only once the caller has set tip and state."""
        words = self.words
        words[W_STATE] = State.NEW  # IMPORTANT: first, so that what is half written is not believed
        for rest in (words, self._rows):
            rest[:] = memoryview(bytes(rest.nbytes)).cast("Q")
        words[W_FORMAT], words[W_BOOT_LOW], words[W_BOOT_HIGH] = FORMAT, boot & _U64, boot >> 64
        words[W_GENERATION], words[W_NEXT], words[W_MAGIC] = generation, next_number, MAGIC

    def identify(self, boot: int) -> None:
        """Write what says that this is the page of an open store."""
        words = self.words
        self.forget_ahead()
        words[W_MAGIC], words[W_FORMAT], words[W_STATE] = MAGIC, FORMAT, State.OPEN
        words[W_BOOT_LOW], words[W_BOOT_HIGH] = boot & _U64, boot >> 64

    def forget_ahead(self) -> None:
        """Forget how far zeros were written: while nobody had the log open, it may have lost its blocks."""
        self.words[W_AHEAD] = 0

    def set_active(self, number: int, tip: int, chain: int, used: int) -> None:
        """Point the page at the active segment, its log filled and indexed up to the offset `tip`."""
        words = self.words
        words[W_CHAIN], words[W_USED] = chain, used
        words[W_INDEXED] = words[W_TIP] = position(number, tip)

    # -- counters --------------------------------------------------------------------------------------

    def claim_row(self) -> None:
        """Take a free row for this process, or that of one that is gone; else the last one is shared."""
        processes = self._column(0)
        numbers = range(1, ROWS + 1)
        row = next((number for number in numbers if not processes[number]), None)
        if row is None:
            gone = (number for number in numbers if not self._files.is_running(processes[number]))
            row = next(gone, None)
            if row:
                self._free(self._row(row))
        self.row = self._row(row or ROWS)
        self.row[0] = self._files.process()

    def leave_row(self) -> None:
        """Free the row of this process."""
        self._free(self.row)

    def collect_rows(self) -> None:
        """Free what processes had that were killed; only while nobody else is attached."""
        self.words[W_BIAS] = 0
        rows = self._rows
        for start in range(ROW_WORDS, len(rows), ROW_WORDS):
            row = rows[start : start + ROW_WORDS]
            if row != _EMPTY:
                self._free(row)

    def _free(self, row: memoryview) -> None:
        """Add the counts of a row to those of the departed, and make it nobody's."""
        departed = self._row(0)
        for figure in Figure:
            # Bounded, as nothing checks a row: a count that no longer fits would be an error in every `get`.
            departed[figure] = (departed[figure] + row[figure]) & _U63
            row[figure] = 0
        row[0] = 0

    def total(self, figure: Figure) -> int:
        """Sum of one figure over all processes since the machine started."""
        counts = sum(self._column(figure))
        return counts if self._is_shared() else counts + self.row[figure]

    def _is_shared(self) -> bool:
        return self.row.obj is self._rows.obj

    @property
    def _rows(self) -> memoryview:
        """All rows, each time as a view of its own: see `segment.sliceable`."""
        return memoryview(self.page).cast("Q")[PAGE // 8 :]

    def _column(self, word: int) -> list[int]:
        """Return one word of each row, that of row 0 first."""
        return self._rows[word::ROW_WORDS].tolist()

    def _row(self, number: int) -> memoryview:
        return self._rows[number * ROW_WORDS : (number + 1) * ROW_WORDS]


def open_control(directory: Directory, *, write: bool) -> Control:
    """Map CONTROL, made or brought to its size first where `write` allows it; its content is not judged."""
    files = directory.files
    with directory.open(directory.path / CONTROL_NAME, write=write, create=write) as file:
        if write:
            files.allocate(file.fileno(), SIZE)
        elif files.size(file.fileno()) < SIZE:
            raise FileNotFoundError(os.fspath(directory.path / CONTROL_NAME))
        return Control(directory, file.fileno(), write=write)


def start_control(directory: Directory, manifest: Manifest, first_link: int) -> None:
    """Begin CONTROL anew for a manifest whose active segment is empty, its chain starting at `first_link`."""
    control = open_control(directory, write=True)
    control.start(directory.files.boot_id(), manifest.generation, manifest.next_number)
    control.set_active(manifest.active, LOG_HEADER_BYTES, first_link, 0)
    control.words[W_SYNCED] = position(manifest.active, 0)
    control.words[W_STATE] = State.OPEN
