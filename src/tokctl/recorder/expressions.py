"""Conditions and timer values in the spellings that BPMN models use, as Python.

SpiffWorkflow evaluates Python. Models made for other engines write ``${amount > 100}``,
``#{…}`` or, in FEEL, ``= amount > 100``; they compare with a single ``=`` and know ``true``,
``false``, ``null``, ``&&``, ``||`` and ``!``. What can be said in Python with the same meaning is
translated; anything else is a syntax error where it is used.
"""

from __future__ import annotations

import ast
import io
import tokenize

_NAMES = {"true": "True", "false": "False", "null": "None"}
_PAIRS = {"&&": "and", "||": "or"}


def to_python(expression: str) -> str:
    """Translate an expression; what is Python already comes back as it is, without outer blanks."""
    text = expression.strip()
    wrapped = text.startswith(("${", "#{")) and text.endswith("}")
    if wrapped:
        text = text[2:-1].strip()
    elif text.startswith("=") and not text.startswith("=="):
        text, wrapped = text[1:].strip(), True
    python = _parses(text)
    if python and not wrapped:
        return text
    # In text that is Python already, a single "=" names an argument.
    translated = _translate(text, equals="=" if python else "==")
    return translated if _parses(translated) else text


def timer_value(expression: str) -> str:
    """Return Python for a timer's value; a plain ISO 8601 date, duration or cycle is a literal."""
    text = expression.strip()
    if text[:1] in {"P", "R"} and not _is_name(text):
        return repr(text)
    return repr(text) if text[:4].isdigit() else to_python(text)


def _is_name(text: str) -> bool:
    """Tell a variable (``PERIOD``) from a duration (``PT5M``): digits follow P and R."""
    return text.isidentifier() and not any(letter.isdigit() for letter in text)


def _parses(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _translate(text: str, equals: str) -> str:
    """Rewrite the tokens that differ; strings and names stay as they are."""
    for pair, word in _PAIRS.items():
        text = _outside_strings(text, pair, f" {word} ")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):  # from Python 3.12 on, text that ends amid a character
        return text
    words: list[str] = []
    for token in tokens:
        word = token.string
        if token.type == tokenize.NAME:
            word = _NAMES.get(word, word)
        elif word == "=":
            word = equals
        elif word == "!":
            word = "not"
        words.append(word)
    return " ".join(word for word in words if word.strip())


def _outside_strings(text: str, old: str, new: str) -> str:
    """Replace outside of quotes."""
    parts: list[str] = []
    quote = ""
    i = 0
    while i < len(text):
        if not quote and text.startswith(old, i):
            parts.append(new)
            i += len(old)
            continue
        letter = text[i]
        if letter in "'\"" and quote in {"", letter}:
            quote = "" if quote else letter
        parts.append(letter)
        i += 1
    return "".join(parts)
