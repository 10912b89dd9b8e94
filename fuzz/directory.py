"""A sound store in which one file is not: opened, used, recovered.

An input is a byte for the file, one for what happens to it, one for what is done then, and what is put in:
p and q: patches of three bytes (where, and what); c: a cut; all else: the whole file. The checksums of what
was patched by q or put in by m are mended.
"""

from __future__ import annotations

import re
import struct

from fuzz import mending, stores

_NAMES = sorted(name for name in stores.FILES if not name.endswith(".lock"))


def run(data: bytes) -> None:
    if len(data) < 3:
        return
    name, how, step = _NAMES[data[0] % len(_NAMES)], data[1:2], data[2]
    stores.reset({name: _changed(name, how, data[3:])})
    if step % 4:
        stores.recover(("point-in-time", "strict", "salvage")[step % 4 - 1], honest=how not in b"mq")
    else:
        stores.use()


def _changed(name: str, how: bytes, rest: bytes) -> bytes:
    file = stores.FILES[name]
    if how in b"pq":
        file = _patched(file, rest)
    elif how == b"c":
        (at,) = struct.unpack("<H", rest[:2].ljust(2, b"\0"))
        file = file[: at % (len(file) + 1)] + rest[2:]
    else:
        file = rest
    return _mended(name, file) if how in b"mq" else file


def _patched(file: bytes, rest: bytes) -> bytes:
    out = bytearray(file)
    for at, byte in struct.iter_unpack("<HB", rest[: len(rest) // 3 * 3]):
        out[at % len(out)] = byte
    return bytes(out)


def _mended(name: str, file: bytes) -> bytes:
    number = re.match(r"(\d{6})\.(log|idx)", name)
    if number and number[2] == "log":
        # Behind the records of an active log is nothing.
        written = file.rstrip(b"\0")
        return mending.log(written) + bytes(len(file) - len(written))
    if number:
        return mending.index(file, int(number[1]))
    if name.startswith("MANIFEST"):
        _, newline, body = file.partition(b"\n")
        return mending.manifest((body if newline else file).removesuffix(b"\n"))
    return file
