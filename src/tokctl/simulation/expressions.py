"""Translates conditions and timer values of BPMN models into Python.

SpiffWorkflow evaluates Python. Models made for other engines write ``${amount > 100}``, ``#{…}`` or, in FEEL, ``=
amount > 100``; they compare with a single ``=`` and know ``true``, ``false``, ``null``, ``&&``, ``||`` and ``!``.
Expressions with an equivalent in Python are translated; anything else is a syntax error when it is used.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

_NAMES = {"true": "True", "false": "False", "null": "None"}
_OPERATORS = {"&&": " and ", "||": " or "}
_STRING_OR_OPERATOR = re.compile(r"""'[^']*'?|"[^"]*"?|&&|\|\|""")


def to_python(expression: str) -> str:
    """Translate an expression; Python is returned unchanged, without surrounding spaces."""
    text = expression.strip()
    wrapped = text.startswith(("${", "#{")) and text.endswith("}")
    if wrapped:
        text = text[2:-1].strip()
    elif text.startswith("=") and not text.startswith("=="):
        text, wrapped = text[1:].strip(), True
    python = _is_python(text)
    if python and not wrapped:
        return text
    # In text that is Python already, a single "=" names an argument.
    translated = _translate(text, equals="=" if python else "==")
    return translated if _is_python(translated) else text


def timer_to_python(expression: str) -> str:
    """Return Python for a timer's value; a plain ISO 8601 date, duration or cycle is a literal."""
    text = expression.strip()
    if text[:1] in {"P", "R"} and not _is_variable_name(text):
        return repr(text)
    return repr(text) if text[:4].isdigit() else to_python(text)


def _is_variable_name(text: str) -> bool:
    """Tell a variable (``PERIOD``) from a duration (``PT5M``): digits follow P and R."""
    return text.isidentifier() and not any(letter.isdigit() for letter in text)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _translate(text: str, equals: str) -> str:
    """Rewrite the tokens that differ; strings and names are not changed."""
    text = _STRING_OR_OPERATOR.sub(lambda match: _OPERATORS.get(match[0], match[0]), text)
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
