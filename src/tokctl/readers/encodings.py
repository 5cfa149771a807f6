"""The encodings of JSON text: UTF-8, UTF-16 and UTF-32, with a byte order mark or without one."""

from __future__ import annotations

import codecs

BEGINNING_BYTES = 4
"""How many bytes of a text show its encoding."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BY_ZERO_BYTES = {
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
    (True, False): "utf-16-be",
    (False, True): "utf-16-le",
}
"""JSON starts with two ASCII characters (RFC 4627, section 3): which bytes are zero shows the encoding."""
_ASCII = frozenset(b"\0\t\n\r\x1e") | frozenset(range(0x20, 0x7F))


def detect_encoding(beginning: bytes) -> tuple[str, int]:
    """Return the encoding of JSON that begins with these bytes, and the length of its byte order mark.

    Text that shows no other encoding is UTF-8.
    """
    for mark, encoding in _MARKS:
        if beginning.startswith(mark):
            return encoding, len(mark)
    first = beginning[:BEGINNING_BYTES]
    detected = _BY_ZERO_BYTES.get(tuple(byte == 0 for byte in first)) if _ASCII.issuperset(first) else None
    return detected or "utf-8", 0


def encoding_name(encoding: str) -> str:
    """Return the name of an encoding for messages."""
    return encoding.upper().removesuffix("-LE").removesuffix("-BE")


def to_utf8(text: bytes) -> bytes:
    """Return JSON in UTF-8 without a byte order mark. Raises UnicodeError: it is in none of the encodings."""
    encoding, mark = detect_encoding(text[:BEGINNING_BYTES])
    if encoding == "utf-8":
        return text[mark:] if mark else text
    return text[mark:].decode(encoding).encode()


def decode_beginning(text: bytes) -> str:
    """Return at most the first 16 KiB as text; invalid bytes become replacement characters."""
    encoding, mark = detect_encoding(text[:BEGINNING_BYTES])
    return text[mark : 16 << 10].decode(encoding, "replace")
