"""What is wrong with a text that is not JSON, and where."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.strategies import json_values
from tokctl.readers.json_faults import TRUNCATED, find_fault, line_and_column

PIECES = ["", ",", '"', "\\", "]", "}", "[", "{", ":", "0", "-", "e", ".", "\\ud800", "\n", "NaN"]
containers = st.one_of(st.dictionaries(st.text(max_size=3), json_values, min_size=1), st.lists(json_values, min_size=1))


def is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_json_has_no_fault(value, indent, ascii_only):
    assert find_fault(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) is None


@given(json_values, st.data())
@settings(max_examples=scaled(2))
def test_a_fault_is_found_if_and_only_if_it_is_not_json(value, data):
    text = json.dumps(value)
    position = data.draw(st.integers(0, len(text)))
    removed = data.draw(st.integers(0, 3))
    added = data.draw(
        st.sampled_from(["", ",", '"', "\\", "]", "}", "[", "{", ":", "0", "-", "e", ".", "\\ud800", "\n", "NaN"])
    )
    changed = text[:position] + added + text[position + removed :]
    fault = find_fault(changed)
    assert (fault is None) == is_json(changed), changed
    assert fault is None or 0 <= fault.offset <= len(changed)


@given(
    st.one_of(st.dictionaries(st.text(max_size=3), json_values, min_size=1), st.lists(json_values, min_size=1)),
    st.data(),
)
def test_a_truncated_document_is_said_to_be_truncated(value, data):
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    fault = find_fault(cut)
    assert fault is not None
    assert fault.reason == TRUNCATED
    assert fault.offset == len(cut)


@pytest.mark.parametrize(
    ("text", "place", "path", "words"),
    [
        ('{"a":[1,{"b":NaN}]}', (1, 14), "a[1].b", "NaN is not JSON: write null"),
        ("[1,\n -Infinity]", (2, 2), "[1]", "-Infinity is not JSON: write null"),
        ('{"a":1,}', (1, 8), "a", "remove the comma before '}'"),
        ("[1,]", (1, 4), "[0]", "remove the comma before ']'"),
        ('{"a":1}{"b":2}', (1, 8), "", "a second JSON value starts here"),
        ('{"a":1} x', (1, 9), "", "expected the end"),
        ('{"a" 1}', (1, 6), "a", "expected ':'"),
        ('{"a b":True}', (1, 8), '"a b"', "True is not JSON: write true"),
        ("{'a':1}", (1, 2), "", "names must be in double quotes"),
        ("['a']", (1, 2), "[0]", "strings must be in double quotes"),
        ("[1 2]", (1, 4), "[0]", "expected ',' or ']'"),
        ("[01]", (1, 2), "[0]", "invalid number '01'"),
        ('["a\nb"]', (1, 4), "[0]", "a line break within a string"),
        ('["\\q"]', (1, 3), "[0]", "invalid escape"),
        ('["\\ud800x"]', (1, 3), "[0]", "half a surrogate pair"),
        ("[1, // one\n2]", (1, 5), "[1]", "JSON has no comments"),
    ],
)
def test_the_place_the_field_and_the_reason(text, place, path, words):
    fault = find_fault(text)
    assert (line_and_column(text, fault.offset), fault.path) == (place, path)
    assert fault.reason.startswith(words)


def test_depth_is_no_limit():
    fault = find_fault("[" * 100_000)
    assert fault is not None
    assert fault.reason == TRUNCATED
