"""Text by strangers, made fit to stand in an error's one line."""

from __future__ import annotations


def one_line(text: str, length: int = 200) -> str:
    """Text on one line, without anything that could steer a terminal, cut to a length."""
    # A hundred times as much is enough to find that many characters in, whatever else stands between them.
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 100 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"
