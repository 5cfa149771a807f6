"""Text in a picture: escaping, its width, and breaking it into lines.

The font is that of the reader, so widths are estimates: those of Arial, rounded up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import combining, east_asian_width
from xml.sax.saxutils import escape, quoteattr

from tokctl.text import one_line

FONT_SIZE, LINE_HEIGHT = 12, 14.4
SMALL_FONT_SIZE, SMALL_LINE_HEIGHT = 11, 13.2
MAX_NAME_LENGTH = 500
_NARROW, _WIDE = frozenset("ijlt.,:;'!|()[]{}/\\fIr- "), frozenset("mwMW@%—…")
_BREAK = re.compile(r"[-_/.:](?=.)")
_INVALID = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, or discourages."""


def escape_text(text: str) -> str:
    """Return text as the content of an XML element."""
    return escape(_INVALID.sub("\ufffd", text))


def quote_attribute(text: str) -> str:
    """Return text as the value of an XML attribute, with quotes."""
    return quoteattr(_INVALID.sub("\ufffd", text))


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = FONT_SIZE) -> float:
    """Return about how wide a text is, in pixels."""
    return size * sum(map(_character_width, text))


def _character_width(sign: str) -> float:
    if sign in _NARROW:
        return 0.34
    if sign in _WIDE:
        return 0.95
    if combining(sign):
        return 0.0
    if east_asian_width(sign) in "WF":
        return 1.05
    return 0.72 if sign.isupper() else 0.57


def wrap(name: str, width: float, max_lines: int, size: float = FONT_SIZE) -> list[str]:
    """Break a name into lines that are at most as wide as given, if possible between words; one with … was cut.

    The line breaks of the name are kept. Words that are too long are broken.
    """
    lines: list[str] = []
    for paragraph in name[: 10 * MAX_NAME_LENGTH].splitlines():
        words = _split_words(one_line(paragraph, MAX_NAME_LENGTH), width, size)
        line = next(words, "")
        for word in words:
            if text_width(f"{line} {word}", size) <= width:
                line = f"{line} {word}"
            else:
                lines.append(line)
                line = word
        if line:
            lines.append(line)
        if len(lines) > max_lines:
            break
    if len(lines) > max_lines:
        lines = lines[:max_lines]
        last = lines[-1] if lines else ""
        while last and text_width(last + "…", size) > width:
            last = last[:-1]
        lines[-1:] = [last.rstrip() + "…"] * bool(max_lines)
    return lines


def _split_words(line: str, width: float, size: float) -> Iterator[str]:
    for word in line.split():
        rest = word
        while rest and text_width(rest, size) > width:
            end = next((n for n in range(1, len(rest)) if text_width(rest[: n + 1], size) > width), len(rest))
            end = max((match.end() for match in _BREAK.finditer(rest, 0, end)), default=end)
            yield rest[:end]
            rest = rest[end:]
        if rest:
            yield rest


def draw_lines(lines: list[str], x: float, top: float, *, size: float = FONT_SIZE, anchor: str = "middle") -> str:
    """Return lines of text below each other; ``x`` is that of the ``anchor`` (``middle`` or ``start``)."""
    height = LINE_HEIGHT if size == FONT_SIZE else SMALL_LINE_HEIGHT
    kinds = " ".join(filter(None, ("" if size == FONT_SIZE else "small", "" if anchor == "middle" else anchor)))
    kind = f' class="{kinds}"' if kinds else ""
    spans = "".join(
        f'<tspan x="{number(x)}" y="{number(top + n * height + size * 0.93)}">{escape_text(line)}</tspan>'
        for n, line in enumerate(lines)
    )
    return f"<text{kind}>{spans}</text>" if spans else ""


def number(value: float) -> str:
    """Return a number with at most two decimals, as short as possible."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
