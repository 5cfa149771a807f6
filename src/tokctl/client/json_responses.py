"""Decodes JSON responses into types; anything else becomes an InputError that names the URL and the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from tokctl.client.connection import ClientResponse
from tokctl.errors import InputError
from tokctl.readers.encodings import decode_beginning, encoding_name, to_utf8
from tokctl.readers.foreign_formats import ForeignFormat, detect_foreign_format, detect_magic
from tokctl.readers.json_faults import find_fault, line_and_column
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
MAX_EXPLAINED_BYTES = 8 << 20
"""The largest response in which a fault is searched for; that takes a second for each million bytes."""
WRONG_ADDRESS_HINT = "Check the server address: this is not the API."


def decode_json(answer: ClientResponse, shape: type[T]) -> T:
    """Decode the JSON body of a response into a type that msgspec supports.

    Raises InputError: it is not JSON, or does not fit the type; the message has the path of the mismatch, such as
    ``$.data.tokens[3].state``.
    """
    try:
        return msgspec.json.decode(to_utf8(answer.body), type=shape)
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
    """Return the error for a response that is not JSON: its status, its content type, and what is wrong where."""
    if not answer.body:
        return InputError(f"{answer.url}: the response is empty.", WRONG_ADDRESS_HINT)
    kind = one_line(answer.mask_secrets(answer.headers.get("content-type", "")) or "no content type", 60)
    hint = "" if "json" in kind else WRONG_ADDRESS_HINT
    return InputError(f"{answer.url}: status {answer.status}, {kind}: {_describe_fault(answer)}.", hint)


def is_foreign(answer: ClientResponse) -> bool:
    """Tell from the beginning of a response whether it is something else than JSON, such as a page of a proxy."""
    if decode_beginning(answer.body).lstrip()[:1] in {"{", "["}:
        return False
    return "html" in answer.headers.get("content-type", "") or _detect_foreign_format(answer) is not None


def _detect_foreign_format(answer: ClientResponse) -> ForeignFormat | None:
    return detect_magic(answer.body) or detect_foreign_format(answer.mask_secrets(decode_beginning(answer.body)))


def _describe_fault(answer: ClientResponse) -> str:
    if foreign := _detect_foreign_format(answer):
        return str(foreign)
    if len(answer.body) > MAX_EXPLAINED_BYTES:
        return "not JSON"
    try:
        text = answer.mask_secrets(to_utf8(answer.body).decode())
    except UnicodeDecodeError as error:
        return f"not JSON: byte {error.start + 1} is not {encoding_name(error.encoding)} text"
    fault = find_fault(text)
    if fault is None:
        return "not JSON"
    if fault.offset == 0:
        return f"not JSON: it starts with '{one_line(text, 60)}'"
    line, column = line_and_column(text, fault.offset)
    return f"not JSON: line {line}, column {column}: {fault.path and fault.path + ': '}{fault.reason}"
