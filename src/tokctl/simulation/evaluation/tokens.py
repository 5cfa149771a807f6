"""Splits expressions and scripts into tokens, without interpreting them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokctl.simulation.evaluation.limits import CannotEvaluate


class Lexeme(NamedTuple):
    """One token; ``kind`` is number, string, name, symbol, newline or end."""

    kind: str
    text: str
    end: int
    """The offset behind it."""
    value: Any = None
    """The text of a string; for a newline, the column where the next line starts."""


_PATTERN = r"""
    (?P<space>(?:[^\S\n]|\\\n)+)
  | (?P<newline>\n\s*)
  | (?P<comment>{comment})
  | (?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w]))
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<name>(?:{phrases})(?=\s*\()|[^\W\d]\w*)
  | (?P<symbol>===|!==|==|!=|<=|>=|<>|&&|\|\||\*\*=?|//=?|[-+*/%|&^]=|->|=>|:=|\.\.|\?[.?:]|\+\+|--|<<|>>
      |[-+*/%<>=!?:.,;()\[\]{{}}@])
"""
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


def token_pattern(comment: str, phrases: tuple[str, ...] = ()) -> re.Pattern[str]:
    """Return the pattern of a language's tokens; phrases are names of functions that contain spaces."""
    spaced = "|".join(r"\s+".join(phrase.split()) for phrase in phrases)
    return re.compile(_PATTERN.format(comment=comment, phrases=spaced or "(?!)"), re.VERBOSE)


def split_tokens(text: str, pattern: re.Pattern[str], start: int = 0, *, until_brace: bool = False) -> Iterator[Lexeme]:
    """Yield the tokens from an offset on, the last one an end; ``until_brace`` ends at an unmatched ``}``.

    Raises ``CannotEvaluate`` for characters that the language does not use.
    """
    depth = 0
    while start < len(text):
        match = pattern.match(text, start)
        if match is None:
            raise CannotEvaluate(f"has an unexpected {quote(text[start])}")
        kind, word, start = str(match.lastgroup), match[0], match.end()
        if kind == "symbol":
            if until_brace and word == "}" and depth == 0:
                yield Lexeme("end", "}", start)
                return
            depth += (word in "([{") - (word in ")]}")
        if kind in {"number", "symbol"}:
            yield Lexeme(kind, word, start)
        elif kind == "name":
            yield Lexeme(kind, " ".join(word.split()), start)
        elif kind == "string":
            yield Lexeme(kind, word, start, _unescape(word[1:-1]))
        elif kind == "comment" and word.startswith("/*") and (len(word) < 4 or not word.endswith("*/")):
            raise CannotEvaluate("has a comment without an end")
        elif kind == "newline":
            yield Lexeme(kind, "the end of the line", start, len(word) - 1 - word.rfind("\n"))
    if until_brace:
        raise CannotEvaluate("has no '}' at its end")
    yield Lexeme("end", "", start)


def quote(text: str) -> str:
    """Return a piece of a text in quotes, shortened and printable, for a message."""
    short = text if len(text) <= 40 else f"{text[:39]}…"
    return f"'{short}'" if short.isprintable() else ascii(short)


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] and not 0xD800 <= int(match[1], 16) <= 0xDFFF:  # half a character cannot be written as UTF-8
            return chr(int(match[1], 16))
        if match[2] not in _ESCAPES:
            raise CannotEvaluate(f"has an unknown escape {quote(match[0])}")
        return _ESCAPES[match[2]]

    return _ESCAPE.sub(replace, text)
