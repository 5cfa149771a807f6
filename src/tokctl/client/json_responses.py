"""Decodes JSON responses into types; anything else becomes an InputError that names the URL and the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from tokctl.client.connection import ClientResponse
from tokctl.errors import InputError
from tokctl.text import one_line

T = TypeVar("T")

_REASON_AND_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)
_QUOTED = re.compile(r"`([^`]*)`")
_TYPE_NAMES = {
    "str": "text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
    "datetime": "a time",
}
WRONG_ADDRESS_HINT = "Check the server address: this is not the API."


def decode_json(answer: ClientResponse, shape: type[T]) -> T:
    """Decode the JSON body of a response into a type that msgspec supports.

    Raises InputError: it is not JSON, or does not fit the type; the message has the path of the mismatch, such as
    ``$.data.tokens[3].state``.
    """
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.ValidationError as error:
        raise wrong_shape_error(answer.url, error) from None
    except RecursionError:
        raise InputError(f"{answer.url}: the response is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError):
        raise not_json_error(answer) from None


def wrong_shape_error(url: str, error: msgspec.ValidationError) -> InputError:
    """Return the error for a JSON response that does not fit the expected type."""
    found = _REASON_AND_PATH.match(str(error))
    assert found is not None  # noqa: S101 - the pattern matches any text
    reason = found["reason"]
    if reason.startswith("Expected "):
        reason = _QUOTED.sub(
            lambda name: " or ".join(_TYPE_NAMES.get(one, one) for one in name[1].split(" | ")), reason
        )
    reason = _QUOTED.sub(r"'\1'", reason)
    return InputError(f"{url}: {found['path'] or '$'}: {one_line(reason[:1].lower() + reason[1:])}.")


def not_json_error(answer: ClientResponse) -> InputError:
    """Return the error for a response that is not JSON; it quotes the beginning of the body."""
    if not answer.body:
        return InputError(f"{answer.url}: the response is empty.", WRONG_ADDRESS_HINT)
    kind = one_line(answer.mask_secrets(answer.headers.get("content-type", "")) or "no content type", 60)
    beginning = one_line(answer.mask_secrets(answer.body[:4096].decode("utf-8", "replace")), 60)
    hint = "" if "json" in kind else WRONG_ADDRESS_HINT
    return InputError(f"{answer.url}: the response is not JSON ({kind}). It starts with '{beginning}'.", hint)
