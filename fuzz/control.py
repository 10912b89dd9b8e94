"""CONTROL, in the boot that wrote it, so that it is believed: the words of its page, and of a row."""

from __future__ import annotations

import struct

from fuzz import stores

_WORDS = 16
_ROWS = 4096  # where they begin


def run(data: bytes) -> None:
    """An input is a byte for what is done, then patches: a byte for the word, from 64 on in the rows; one for
    how; and eight of value.
    """
    page = bytearray(stores.FILES["CONTROL"])
    patches = data[1 : 1 + (len(data) - 1) // 10 * 10] if data else b""
    for place, how, value in struct.iter_unpack("<BBQ", patches):
        at = 8 * (place % _WORDS) if place < 64 else _ROWS + 8 * (place - 64)
        (before,) = struct.unpack_from("<Q", page, at)
        # A little more or less than it was is what a wrong value looks like that is nearly right.
        after = value if how % 2 else before + value % 512 - 256
        struct.pack_into("<Q", page, at, after % 2**64)
    stores.reset({"CONTROL": bytes(page)})
    if data[:1] == b"r":
        stores.recover("point-in-time", honest=True)
    else:
        stores.use()
