"""Redaction: what patterns match is gone, all else is as it was, and what is needed cannot be matched."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import at, instance, raw, token
from support.strategies import json_values, make_tokens
from tokctl.analysis.redaction import REDACTED, Redactor
from tokctl.documents.tokens import encode_token
from tokctl.errors import UsageError
from tokctl.model.tokens import NULL, Token


def redact(value, *patterns):
    """Redact variables; returns what is left of them."""
    return json.loads(bytes(Redactor(patterns).token(token(variables=value)).variables))


@pytest.mark.parametrize(
    ("pattern", "before", "after"),
    [
        ("variables.card.number", {"card": {"number": 4, "cvc": 1}}, {"card": {"number": REDACTED, "cvc": 1}}),
        ("variables.*", {"card": {"number": 4}, "n": None}, {"card": REDACTED, "n": REDACTED}),
        ("variables", {"a": 1}, REDACTED),
        ("variables.**", {"a": {"b": 1}}, {"a": REDACTED}),
        ("*.password", {"password": "x", "a": {"password": "y"}}, {"password": REDACTED, "a": {"password": "y"}}),
        (
            "**.password",
            {"password": "x", "a": [{"password": "y"}]},
            {"password": REDACTED, "a": [{"password": REDACTED}]},
        ),
        ("variables.**.b", {"b": 1, "a": {"c": {"b": 2}}}, {"b": REDACTED, "a": {"c": {"b": REDACTED}}}),
        ("variables.items.1", {"items": [1, 2, 3]}, {"items": [1, REDACTED, 3]}),
        ("variables.items.*.name", {"items": [{"name": 1, "x": 2}, 3]}, {"items": [{"name": REDACTED, "x": 2}, 3]}),
        ("variables.card*", {"card": 1, "cards": 2, "Card": 3}, {"card": REDACTED, "cards": REDACTED, "Card": 3}),
        ("variables.card.number", {"card.number": 4}, {"card.number": REDACTED}),
        ("variables.*", {"card.number": 4}, {"card.number": REDACTED}),
        ("variables.a.*.c", {"a.b": {"c": 1}}, {"a.b": {"c": REDACTED}}),
        ("variables.x.y", {"x": 5}, {"x": 5}),
        ("execution_context.*", {"a": 1}, {"a": 1}),
    ],
)
def test_what_a_pattern_matches(pattern, before, after):
    assert redact(before, pattern) == after


def test_everything_a_token_says_can_be_redacted_but_what_is_needed():
    one = token(
        element_name="Ask Mrs Smith",
        variables={"a": 1},
        execution_context={"worker_id": "smith", "retries_left": 3},
        flow_history=[{"from_element": "a", "via_flow": "f", "timestamp": "2025-01-11T10:00:00Z", "note": "smith"}],
        child_tokens=("c",),
        parent_token_id="p",
        updated_at=at(1),
        extra={"who": raw("smith")},
    )
    done = Redactor(["element_name", "execution_context.worker_id", "flow_history.*.note", "who"]).token(one)
    document = json.loads(msgspec.json.encode(encode_token(done)))
    assert "mith" not in str(document)
    assert document["execution_context"] == {"worker_id": REDACTED, "retries_left": 3}
    assert done.hops == one.hops
    assert done.extra == {"who": raw(REDACTED)}
    assert (
        msgspec.structs.replace(
            done,
            element_name=one.element_name,
            execution_context=one.execution_context,
            flow_history=one.flow_history,
            extra=one.extra,
        )
        == one
    )


def test_an_instance():
    one = instance(variables=raw({"card": 1}), tenant_id="smith", process_key="k", extra={"note": raw("smith")})
    done = Redactor(["variables.*", "tenant_id", "note"]).instance(one)
    assert json.loads(bytes(done.variables)) == {"card": REDACTED}
    assert (done.tenant_id, done.process_key, done.extra) == (REDACTED, "k", {"note": raw(REDACTED)})


def test_where_it_came_from_is_kept():
    one = instance(extra={"snapshot": raw({"source": "https://x", "password": "?"})})
    assert Redactor(["**.password"]).instance(one) == one


@pytest.mark.parametrize(
    "pattern",
    [
        "token_id",
        "*",
        "*_id",
        "**",
        "*.*",
        "*.*.*",
        "state",
        "stat?",
        "created_at",
        "*_at",
        "child_tokens.*",
        "child_tokens.3",
        "child_tokens.12345",
        "flow_history",
        "flow_history.*",
        "flow_history.7.via_flow",
        "flow_history.[1-3]",
        "*.*.from_element",
        "**.via_flow",
        "element_type",
        "instance_id",
        "snapshot",
    ],
)
def test_what_is_needed_is_refused(pattern):
    with pytest.raises(UsageError, match="which the store requires"):
        Redactor([pattern])


@pytest.mark.parametrize("pattern", ["", ".", "variables.", ".a", "variables..a", " "])
def test_no_path(pattern):
    with pytest.raises(UsageError, match="is not a path"):
        Redactor([pattern])


@pytest.mark.parametrize("pattern", ["varables.card", "variable.card", "executioncontext.worker_id"])
def test_a_slip_is_no_silent_leak(pattern):
    with pytest.raises(UsageError, match="did you mean"):
        Redactor([pattern])


def test_a_name_that_stands_twice_leaves_nothing_behind():
    text = msgspec.Raw(b'{"a": {"password": "one"}, "a": {"x": 1}, "b": 1}')
    left = Redactor(["variables.a.password"]).token(token(variables=text)).variables
    assert b"one" not in bytes(left)


@pytest.mark.parametrize(
    "text", [b'{"a": "secret", "b": 1', b'{"a": "secret"} x', b'{"secret": ' * 3000 + b"1" + b"}" * 3000]
)
def test_what_cannot_be_read_is_redacted_as_a_whole(text):
    one = token(variables=msgspec.Raw(text))
    left = Redactor(["variables.**.b"]).token(one).variables
    if text.startswith(b'{"secret"'):  # as deep as it can be looked into, nothing matched
        assert bytes(left).endswith(b'"[redacted]"' + b"}" * (bytes(left).count(b"{")))
    else:
        assert bytes(left) == b'"[redacted]"'


def test_numbers_beside_it_stay_as_they_were_written():
    text = b'{"secret":1,"huge":' + b"9" * 40 + b',"real":1.50e10,"text":"\\u00e4"}'
    left = Redactor(["variables.secret"]).token(token(variables=msgspec.Raw(text))).variables
    assert bytes(left) == text.replace(b'"secret":1', b'"secret":"[redacted]"')


def test_it_is_counted_what_each_pattern_matched():
    redaction = Redactor(["variables.a", "variables.b"])
    redaction.token(token(variables={"a": 1}))
    redaction.token(token(variables={"a": 1}))
    assert redaction.match_counts == {"variables.a": 2}


PATTERNS = [
    "variables.a",
    "variables.*",
    "variables.*.a",
    "variables.**.b",
    "variables.a.*",
    "variables.[0-9]",
    "variables.a.b.a",
]
inner = st.recursive(
    st.integers(0, 3),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b", "0"]), below, max_size=3)
    ),
    max_leaves=8,
)


def paths(value, *above):
    """Every place in a value, each name both whole and in parts."""
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in items:
        yield from paths(below, *above, str(name))


def spelled(path):
    if not path:
        return [()]
    rest = spelled(path[1:])
    ways = {(path[0],), tuple(path[0].split("."))}
    return [(*way, *more) for way in ways for more in rest]


def fits(pattern, path):
    """The plain meaning of a pattern."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(fits(pattern[1:], path[cut:]) for cut in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and fits(pattern[1:], path[1:])


def plainly(value, patterns, *above):
    if any(fits(tuple(pattern.split(".")), way) for pattern in patterns for way in spelled(above)):
        return REDACTED
    if isinstance(value, dict):
        return {name: plainly(below, patterns, *above, name) for name, below in value.items()}
    if isinstance(value, list):
        return [plainly(below, patterns, *above, str(n)) for n, below in enumerate(value)]
    return value


@given(inner, st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3))
def test_exactly_what_matches_is_gone(value, patterns):
    assert redact(value, *patterns) == plainly(value, patterns, "variables")


@given(
    make_tokens(),
    st.lists(st.sampled_from([*PATTERNS, "variables", "execution_context", "**.note", "element_name"]), max_size=3),
)
def test_any_token_stays_one_and_redacting_again_changes_nothing(one, patterns):
    redaction = Redactor(patterns)
    done = redaction.token(one)
    assert redaction.token(done) == done
    for name in Token.__struct_fields__:
        if name not in {"variables", "execution_context", "flow_history", "element_name", "extra"}:
            assert getattr(done, name) == getattr(one, name)
    assert done.hops == one.hops
    for name in ("variables", "execution_context", "flow_history"):
        assert (getattr(done, name) == NULL) is (getattr(one, name) == NULL)


@given(json_values)
def test_without_patterns_everything_stays(value):
    one = token(variables=value)
    assert Redactor([]).token(one) is one
