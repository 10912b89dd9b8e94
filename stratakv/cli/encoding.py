"""Bytes as a line of text, and as JSON.

A line shows UTF-8 as it is. A backslash, a byte that is not UTF-8, and whatever would not print
(newline, tab, terminal controls) are escaped as the shell's `printf %b` reads them back.
"""

import base64

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def as_line(data: bytes) -> str:
    """`data` as printable text without line breaks, from which `printf %b` makes `data` again."""
    text = data.replace(b"\\", b"\\\\").decode("utf-8", "surrogateescape")
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    # In octal, as POSIX has it: not every shell knows \\x.
    return _SHORT.get(character) or "".join(
        f"\\0{byte:03o}" for byte in character.encode("utf-8", "surrogateescape")
    )


def as_field(name: str, data: bytes) -> dict[str, str]:
    """`{name: text}`, or `{name_base64: ...}` where `data` is not UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
