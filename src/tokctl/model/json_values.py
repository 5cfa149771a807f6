"""JSON of any content as Python values, without changing a number."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw

_MAX_INT_DIGITS = 4300  # int() refuses more
_LONG_NUMBER = re.compile(rb"[0-9][0-9.]{16}|[eE][+-]?[0-9]{3}")


def decode_value(text: str | bytes | Raw) -> Any:
    """Decode JSON. A number that neither int nor float represents exactly stays ``Raw``, the text that was sent.

    Raises:
        msgspec.DecodeError, UnicodeError, RecursionError: it is not JSON, or nested too deeply.
    """
    data = text.encode() if isinstance(text, str) else bytes(text)
    if _LONG_NUMBER.search(data) is None:
        return msgspec.json.decode(data)
    msgspec.json.decode(data, type=Raw)  # the standard library accepts more than JSON
    return json.loads(data, parse_int=_parse_int, parse_float=_parse_float)


def _parse_int(text: str) -> int | Raw:
    return int(text) if len(text) <= _MAX_INT_DIGITS else Raw(text.encode())


def _parse_float(text: str) -> float | Raw:
    number = float(text)
    try:
        is_exact = math.isfinite(number) and Decimal(repr(number)) == Decimal(text)
    except ArithmeticError:  # the exponent is beyond that of a Decimal
        is_exact = False
    return number if is_exact else Raw(text.encode())
