"""What people type for times, spans, orders, states and types; and what a filter lets through."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import NOON, at, token, tokens
from support.examples import scaled
from support.strategies import filters, orders, token_sets
from tokctl.errors import UsageError
from tokctl.model.durations import parse_duration
from tokctl.model.element_types import ELEMENT_TYPES, TYPE_FAMILIES
from tokctl.model.filters import (
    TOKEN_SORT_COLUMNS,
    SortOrder,
    StuckLimits,
    TokenFilter,
    parse_sort_order,
    sort_tokens,
    token_sort_key,
    validate_states,
    validate_types,
)
from tokctl.model.states import STATES
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.text import suggest

# --- spans and moments ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        (" 15M ", 900),
        ("0s", 0),
    ],
)
def test_spans(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-5m", "1h30", "five minutes", "1y", "1h;", "9" * 30 + "d", "9" * 400 + "s"]
)
def test_what_is_no_span(text):
    with pytest.raises(UsageError) as caught:
        parse_duration(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOON),
        ("NOW", NOON),
        ("15m", at(-900)),
        ("1h30m", at(-5400)),
        ("0s", NOON),
        ("2025-01-11T10:30:00Z", datetime(2025, 1, 11, 10, 30, tzinfo=UTC)),
        ("2025-01-11T10:30:00+02:00", datetime(2025, 1, 11, 8, 30, tzinfo=UTC)),
        ("2025-01-11 10:30:00", datetime(2025, 1, 11, 10, 30, tzinfo=UTC)),
        ("2025-01-11 10:30", datetime(2025, 1, 11, 10, 30, tzinfo=UTC)),
        ("2025-01-11T10:30Z", datetime(2025, 1, 11, 10, 30, tzinfo=UTC)),
        ("2025-01-11 10:30+02:00", datetime(2025, 1, 11, 8, 30, tzinfo=UTC)),
        (" 2025-01-11 ", datetime(2025, 1, 11, tzinfo=UTC)),
        ("0001-01-01T00:00:00+10:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_moments(text, moment):
    assert parse_time_or_age(text, NOON) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2025", "2025-13-01", "2025-01-11T25:00:00Z", "999999d", "10:30", "15x", "-5m"]
)
def test_what_is_no_moment(text):
    with pytest.raises(UsageError) as caught:
        parse_time_or_age(text, NOON)
    assert text.strip() in str(caught.value)


@given(st.text(max_size=12))
@settings(max_examples=scaled(2))
def test_any_text_is_a_moment_or_a_usage_error(text):
    for read in (lambda: parse_time_or_age(text, NOON), lambda: parse_duration(text)):
        with suppress(UsageError):
            read()


# --- orders ---


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("created", SortOrder("created")),
        ("-created", SortOrder("created", descending=True)),
        (" Duration ", SortOrder("duration")),
        ("+state", SortOrder("state")),
        ("-RETRIES", SortOrder("retries", descending=True)),
    ],
)
def test_orders(text, order):
    assert parse_sort_order(text, TOKEN_SORT_COLUMNS) == order


def test_an_unknown_order_names_the_valid_ones():
    with pytest.raises(
        UsageError, match=r"cannot sort by 'creatd' \(did you mean 'created'\?\).*Valid: created, updated"
    ):
        parse_sort_order("creatd", TOKEN_SORT_COLUMNS)
    with pytest.raises(UsageError, match="cannot sort by ''"):
        parse_sort_order("", TOKEN_SORT_COLUMNS)


def test_what_is_unknown_comes_first_and_last_when_descending():
    several = [token("late", created_at=at(9)), token("never"), token("early", created_at=at(1))]
    assert [one.token_id for one in sort_tokens(several, SortOrder("created"))] == ["never", "early", "late"]
    assert [one.token_id for one in sort_tokens(several, SortOrder("created", descending=True))] == [
        "late",
        "early",
        "never",
    ]


def test_equal_tokens_stand_in_the_order_of_creation_either_way():
    several = [token("b", created_at=at(2)), token("a", created_at=at(1)), token("c", created_at=at(2))]
    for descending in (False, True):
        found = sort_tokens(several, SortOrder("state", descending=descending))
        assert [one.token_id for one in found] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("created", at(1)),
        ("updated", at(2)),
        ("finished", at(3)),
        ("duration", 2000.0),
        ("element", "task"),
        ("type", "userTask"),
        ("state", "COMPLETED"),
        ("worker", "w"),
        ("retries", 2),
    ],
)
def test_every_order_has_its_key(column, value):
    one = token(
        created_at=at(1),
        updated_at=at(2),
        completed_at=at(3),
        element_type="userTask",
        execution_context={"worker_id": "w", "retries_used": 2},
    )
    assert token_sort_key(one, column) == (True, value)
    if column not in {"element", "state"}:
        assert token_sort_key(token(), column) == (False, 0)


@given(token_sets(), orders)
@settings(max_examples=scaled(0.6))
def test_sorting_loses_nothing(several, order):
    found = sort_tokens(several, order)
    assert sorted(map(id, found)) == sorted(map(id, several))
    keys = [token_sort_key(one, order.column) for one in found]
    assert keys == sorted(keys, reverse=order.descending)


# --- states and types ---


def test_states_are_checked():
    assert validate_states(["active", " Waiting ", "CANCELED", "terminated"]) == (
        "ACTIVE",
        "WAITING",
        "CANCELLED",
        "CANCELLED",
    )
    with pytest.raises(UsageError) as caught:
        validate_states(["ACTIV"])
    assert "(did you mean 'ACTIVE'?)" in str(caught.value)
    assert all(state in str(caught.value) for state in STATES)
    with pytest.raises(UsageError, match="unknown state 'INCIDENT'"):
        validate_states(["INCIDENT"])
    with pytest.raises(UsageError, match="cannot be used together"):
        validate_states(["completed"], include_completed=False)
    assert validate_states(["ACTIVE"], include_completed=False) == ("ACTIVE",)


def test_types_are_checked():
    assert validate_types(["SERVICE_TASK", "Gateway", " task ", "robotArm"]) == (
        "serviceTask",
        "gateway",
        "task",
        "robotArm",
    )
    for slip, meant in (("serviceTsk", "serviceTask"), ("gatway", "gateway"), ("evnt", "event")):
        with pytest.raises(UsageError, match=rf"unknown element type '{slip}' \(did you mean '{meant}'\?\)"):
            validate_types([slip])
    for name in (*ELEMENT_TYPES, *TYPE_FAMILIES):
        assert validate_types([name]) == (name,)


def test_suggestions():
    assert suggest("creatd", TOKEN_SORT_COLUMNS) == " (did you mean 'created'?)"
    assert not suggest("zebra", TOKEN_SORT_COLUMNS)


# --- the filter ---

TASK = token(
    "task",
    element_id="pay",
    element_name="Pay",
    element_type="serviceTask",
    state="ACTIVE",
    created_at=at(0),
    updated_at=at(10),
    execution_context={"worker_id": "worker-02"},
)
GATE = token("gate", element_id="split", element_type="parallelGateway", created_at=at(5), completed_at=at(6))
BARE = token("bare", element_id="x", state="STUCK")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, "task gate bare"),
        ({"states": ("ACTIVE",)}, "task"),
        ({"states": ("ACTIVE", "STUCK")}, "task bare"),
        ({"types": ("task",)}, "task"),
        ({"types": ("task", "gateway")}, "task gate"),
        ({"types": ("SERVICE_TASK",)}, "task"),
        ({"types": ("",)}, ""),
        ({"elements": ("p*",)}, "task"),
        ({"elements": ("Pay",)}, "task"),
        ({"elements": ("PAY",)}, ""),
        ({"elements": ("[px]*",)}, "task bare"),
        ({"workers": ("worker-*",)}, "task"),
        ({"workers": ("*",)}, "task"),
        ({"live": True}, "task bare"),
        ({"include_completed": False}, "task bare"),
        ({"since": at(10)}, "task"),
        ({"since": at(11)}, ""),
        ({"since": at(5)}, "task gate"),
        ({"until": at(5)}, "task"),
        ({"until": at(6)}, "task gate"),
        ({"since": at(1), "until": at(1)}, "task"),
        ({"states": ("ACTIVE",), "types": ("gateway",)}, ""),
    ],
)
def test_what_a_filter_lets_through(where, found):
    matching = [one.token_id for one in (TASK, GATE, BARE) if TokenFilter(**where).matches(one)]
    assert matching == found.split()


@given(token_sets(), filters)
@settings(max_examples=scaled(0.6))
def test_a_filter_answers_for_any_token(several, where):
    assert {where.matches(one) for one in several} <= {True, False}


def test_live_and_final_share_out_every_token():
    several = [token(state, state=state) for state in (*STATES, "STUCK")] + tokens(3)
    live = [one for one in several if TokenFilter(live=True).matches(one)]
    assert {one.state for one in live} == {"ACTIVE", "WAITING", "SUSPENDED", "FAILED", "STUCK"}


def test_an_instance_that_its_source_calls_live_has_not_ended():
    from tokctl.model.instance_status import derive_status
    from tokctl.model.instances import Instance
    from tokctl.model.tokens import Token

    end = datetime(2025, 1, 11, tzinfo=UTC)
    done = Token(token_id="t", element_id="e", state="COMPLETED", instance_id="i", completed_at=end)
    assert derive_status(Instance(instance_id="i", status="ACTIVE"), [done]).ended_at is None
    assert derive_status(Instance(instance_id="i"), [done]).ended_at == end


@given(token_sets())
@settings(max_examples=scaled(0.6))
def test_stuck_is_what_three_debug_rules_find(several):
    """Their default thresholds are those of the filter."""
    from tokctl.analysis.debug.rules import load
    from tokctl.analysis.debug.rules.base import RuleContext
    from tokctl.model.instance_status import derive_status
    from tokctl.model.instances import Instance
    from tokctl.model.visits import Visit

    now = datetime(2025, 1, 11, 12, 10, tzinfo=UTC)
    visits = [Visit.from_token(one) for one in several]
    context = RuleContext(derive_status(Instance(instance_id="i1"), visits), visits, now)
    rules = [load(name) for name in ("TIMED_OUT_TOKENS", "LONG_RUNNING_TOKENS", "STUCK_GATEWAY_TOKENS")]
    defaults = {threshold.name: threshold.default for rule in rules for threshold in rule.thresholds}
    found = {match.visit.token_id for rule in rules for match in rule(defaults).find(context)}
    assert found == {visit.token_id for visit in visits if StuckLimits(now).matches(visit)}
