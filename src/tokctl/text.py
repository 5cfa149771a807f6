"""Text helpers for messages: quoting text from outside, suggestions, counts and sizes."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAME_LENGTH = 100
"""Characters of a misspelt name that are compared with valid names."""


def shorten(text: str, length: int = 40) -> str:
    """Return a text of at most ``length`` characters, with an ellipsis if it was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def one_line(text: str, length: int = 200) -> str:
    """Return a text from outside on one line, cut to a length, without characters that could control a terminal."""
    # A hundred times as many characters contain enough printable ones, whatever is between them.
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 100 * length]).split())
    return shorten(line, length)


def suggest(given: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'X'?)`` if a valid name is close to the given one, else ''.

    The edit distance to it is the smallest one, and at most a quarter of the length (at least 1). Of several, it is the
    one with the same letters: a letter is more often forgotten than replaced.
    """
    given = given[:MAX_NAME_LENGTH]
    distances = {name: edit_distance(given, name) for name in valid}
    nearest = min(distances, key=lambda name: (distances[name], len({*given} ^ {*name})), default="")
    return f" (did you mean '{nearest}'?)" if nearest and distances[nearest] <= max(1, len(given) // 4) else ""


def edit_distance(first: str, second: str) -> int:
    """Return how many characters have to be inserted, removed, replaced or swapped with their neighbour.

    This is the optimal string alignment distance.
    """
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, 1):
        above, row = rows[-1], [i]
        for j, b in enumerate(second, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, b) == (second[j - 2], first[i - 2]):
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def is_utf8(text: str) -> bool:
    """Tell whether a text of the command line is valid UTF-8: other bytes are lone surrogates in it."""
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


def count(number: int, thing: str, things: str | None = None) -> str:
    """``1 token``, ``12,345 tokens``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(octets: float) -> str:
    """A number of bytes: ``512 B``, ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"
