"""No number changes when JSON is decoded to be written in another format."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from support.strategies import json_values
from tokctl.model.json_values import decode_value


@given(json_values)
def test_other_values_are_decoded_as_ever(value):
    assert decode_value(json.dumps(value)) == value


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_a_number_is_exact(text):
    (value,) = decode_value(f"[{text}]")
    kept = bytes(value).decode() if isinstance(value, Raw) else repr(value)
    assert Decimal(kept) == Decimal(text) or float(kept) == 0 == Decimal(text)
    assert json.loads(msgspec.json.encode(value), parse_float=Decimal, parse_int=Decimal) == Decimal(text)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e-400", "1" * 5000, "0.1" + "0" * 30 + "1", "1e" + "9" * 30])
def test_what_python_cannot_represent_stays_as_it_is(text):
    assert decode_value(text) == Raw(text.encode())


@pytest.mark.parametrize("text", ["[1e400,NaN]", "[1e400,]", "1e400 2"])
def test_what_is_not_json(text):
    with pytest.raises(msgspec.DecodeError):
        decode_value(text)
