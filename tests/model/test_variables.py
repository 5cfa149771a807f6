"""Conditions on variables."""

from __future__ import annotations

import pytest
from msgspec import Raw

from tokctl.errors import UsageError
from tokctl.model.variables import VariableCondition, parse_variable_condition


@pytest.mark.parametrize(
    ("text", "name", "value", "is_pattern"),
    [
        ("orderId=ORD-13", "orderId", "ORD-13", False),
        ("orderId~ORD-1*", "orderId", "ORD-1*", True),
        ("a=b~c=d", "a", "b~c=d", False),
        ("a~b=c", "a", "b=c", True),
        ("a=", "a", "", False),
    ],
)
def test_a_condition_is_a_name_and_a_value_or_a_pattern(text, name, value, is_pattern):
    condition = parse_variable_condition(text)
    assert condition == VariableCondition(name, value, is_pattern)
    assert str(condition) == text


@pytest.mark.parametrize("text", ["", "orderId", "=x", "~x"])
def test_a_condition_without_a_name_or_a_value_is_refused(text):
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_variable_condition(text)


@pytest.mark.parametrize(
    ("text", "variables", "matches"),
    [
        ("a=12", b'{"a":12}', True),
        ("a=12", b'{"a":"12"}', True),
        ("a=12", b'{"a":12.0}', True),
        ("a=12.0", b'{"a":12}', True),
        ("a=12.0", b'{"a":"12"}', False),
        ("a=true", b'{"a":true}', True),
        ("a=1", b'{"a":true}', False),
        ("a=null", b'{"a":null}', True),
        ("a=", b'{"a":""}', True),
        ("a=123456789012345678901", b'{"a":123456789012345678901}', True),
        ("a.b=x", b'{"a":{"b":"x"}}', True),
        ("a.b=x", b'{"a.b":"x"}', True),
        ("a=x", b'{"a":["x"]}', False),
        ("a~x*", b'{"a":"xyz"}', True),
        ("a~X*", b'{"a":"xyz"}', False),
        ("a~1?", b'{"a":12}', True),
        ("a=x", b'{"b":"x"}', False),
        ("a=x", b"null", False),
        ("a=x", b'"x"', False),
        (f"a={'x' * 255}", b'{"a":"%s"}' % (b"x" * 255), True),
        ("a~x*", b'{"a":"%s"}' % (b"x" * 256), False),
    ],
)
def test_values_are_compared_as_text_and_as_json(text, variables, matches):
    assert parse_variable_condition(text).matches(Raw(variables)) is matches


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "1" * 200, "1.00000000000000000000000001e2"])
def test_a_number_beyond_64_bits_is_found_and_hides_no_other_variable(number):
    variables = Raw(f'{{"a":{number},"b":"x"}}'.encode())
    assert parse_variable_condition(f"a={number}").matches(variables)
    assert parse_variable_condition("b=x").matches(variables)
