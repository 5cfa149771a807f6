"""Reads answers: JSON of an expected shape, or an InputError that names the address and the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from tokctl.client.connection import Answer
from tokctl.client.text import one_line
from tokctl.errors import InputError

T = TypeVar("T")

_AT = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)
_QUOTED = re.compile(r"`([^`]*)`")
_WORDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "an array", "null": "null", "datetime": "a time",
}  # fmt: skip
WRONG_PLACE = "Check the server's address: what answers there is not the API."


def json_of(answer: Answer, shape: type[T]) -> T:
    """Decode the JSON of an answer into a type, of which msgspec knows how to.

    Raises:
        InputError: it is no JSON, or of another shape; says where, as in ``$.data.tokens[3].state``.
    """
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.ValidationError as error:
        raise wrong_shape(answer.url, error) from None
    except RecursionError:
        raise InputError(f"{answer.url}: the answer is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError):
        raise no_json(answer) from None


def wrong_shape(url: str, error: msgspec.ValidationError) -> InputError:
    """Say what is wrong where, in an answer that is JSON."""
    found = _AT.match(str(error))
    assert found is not None  # noqa: S101 - it matches any text
    reason = found["reason"]
    if reason.startswith("Expected "):
        reason = _QUOTED.sub(lambda name: " or ".join(_WORDS.get(one, one) for one in name[1].split(" | ")), reason)
    reason = _QUOTED.sub(r"'\1'", reason)
    return InputError(f"{url}: {found['path'] or '$'}: {one_line(reason[:1].lower() + reason[1:])}.")


def no_json(answer: Answer) -> InputError:
    """Say what came in the place of JSON."""
    if not answer.body:
        return InputError(f"{answer.url}: the answer is empty.", WRONG_PLACE)
    kind = one_line(answer.hide(answer.headers.get("content-type", "")) or "of no named type", 60)
    beginning = one_line(answer.hide(answer.body[:4096].decode("utf-8", "replace")), 60)
    hint = "" if "json" in kind else WRONG_PLACE
    return InputError(f"{answer.url}: the answer is no JSON ({kind}); it begins with '{beginning}'.", hint)
