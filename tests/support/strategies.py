"""Arbitrary tokens, instances, JSON and questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from support.builders import raw
from tokctl.model.element_types import ELEMENT_TYPES, TYPE_FAMILIES
from tokctl.model.filters import (
    INSTANCE_SORT_COLUMNS,
    TOKEN_SORT_COLUMNS,
    InstanceFilter,
    SortOrder,
    StuckLimits,
    TokenFilter,
)
from tokctl.model.instances import Instance
from tokctl.model.states import STATES
from tokctl.model.times import from_micros
from tokctl.model.tokens import NULL, Token
from tokctl.model.variables import VariableCondition

HUGE = 10**30
PRESENT = datetime.now(UTC)
"""Close to what a server takes for the present."""
DAY = 86_400_000_000
START = 1_736_596_800_000_000  # noon of the documented day

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
"""Any text: controls, right-to-left marks, characters beyond the first plane, quotes, line breaks."""
names = st.one_of(st.sampled_from(["a", "ab", "abc", "b", "B", "pay-1", "pay-2", "ключ", "[x]*?"]), texts).filter(bool)
few_names = st.sampled_from(["a", "ab", "b", "c", "ключ"])
moments = st.one_of(
    st.none(),
    st.integers(0, 9).map(lambda n: from_micros(START + n * 1_000_000)),  # ties
    st.integers(START - DAY, START + DAY).map(from_micros),
    st.integers(-3 * DAY, 3 * DAY).map(from_micros),
    st.sampled_from([from_micros(0), from_micros(-62_104_060_800_000_000), from_micros(253_402_300_799_999_999)]),
)
states = st.sampled_from([*STATES, *STATES, "STUCK", "Läuft"])
types = st.sampled_from([None, *ELEMENT_TYPES, *TYPE_FAMILIES, "customTask", "Gateway", "robot"])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([HUGE, -HUGE, 2**63, 2**63 - 1, -(2**63), 2**53 + 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
"""Any JSON value, numbers that no machine word holds among them."""

_small = st.integers(-1, 4)
time_texts = st.sampled_from(
    ["2025-01-11T10:31:30.789Z", "2025-01-11T12:00:02.000Z", "2025-01-11T14:00:05+02:00", "2025-01-11T12:00:07Z", None]
)
"""Times as a source writes them, some of them among ``moments``."""
contexts = st.fixed_dictionaries(
    {},
    optional={
        "job_key": names,
        "worker_id": st.one_of(few_names, names),
        "retries_left": _small,
        "retries_used": st.one_of(_small, _small, st.sampled_from([2**63 - 1, 2**63, HUGE])),
        "timeout_at": st.sampled_from(["2025-01-11T10:31:30.789Z", "2025-01-11T10:31:30.123456789+02:00", None]),
        "duration_ms": st.one_of(st.none(), _small, st.floats(-1e9, 1e9), st.just(0)),
        "gateway_decision": st.just({"condition_evaluated": "a = 1", "selected_flow": "f"}),
        "state_history": st.lists(st.fixed_dictionaries({"state": states, "at": time_texts.filter(bool)}), max_size=3),
        "note": json_values,
    },
)
wild_contexts = st.one_of(
    contexts,
    contexts,
    st.dictionaries(st.sampled_from(["worker_id", "retries_used", "duration_ms", "timeout_at", "x"]), json_values),
    json_values,
)
hops = st.lists(
    st.fixed_dictionaries(
        {"from_element": names, "via_flow": names, "timestamp": time_texts},
        optional={"note": json_values},
    ),
    max_size=3,
)


def _raws(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(NULL), values.map(raw))


extras = st.dictionaries(texts.map(lambda text: f"x-{text}"), json_values.map(raw), max_size=2)


def make_tokens(
    token_ids: st.SearchStrategy[str] = names, instance_ids: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[Token]:
    """Return arbitrary tokens."""
    return st.builds(
        Token,
        token_id=token_ids,
        instance_id=st.just("i1") if instance_ids is None else instance_ids,
        element_id=names,
        element_type=types,
        element_name=st.one_of(st.none(), texts),
        state=states,
        created_at=moments,
        updated_at=moments,
        completed_at=moments,
        cancelled_at=st.one_of(st.none(), st.none(), moments),
        variables=_raws(st.dictionaries(texts, json_values, max_size=2) | json_values),
        execution_context=_raws(wild_contexts),
        parent_token_id=st.one_of(st.none(), names),
        child_tokens=st.one_of(st.none(), st.lists(names, max_size=2).map(tuple)),
        flow_history=_raws(st.one_of(hops, hops, json_values)),
        extra=extras,
    ).filter(lambda one: one.state in STATES or one.completed_at is one.cancelled_at is None)


def token_sets(max_size: int = 8) -> st.SearchStrategy[list[Token]]:
    """Return tokens of one instance, each id once."""
    return st.lists(make_tokens(), max_size=max_size, unique_by=lambda one: one.token_id)


searched_values = st.sampled_from([12, 12.0, 10, "12", "x", "xy", True, "true", None, 1 << 70, -1.5, "x" * 300, [1]])
searched_variables = st.dictionaries(
    st.sampled_from(["a", "b", "b.c"]),
    searched_values | st.dictionaries(st.sampled_from(["c", "d"]), searched_values),
    max_size=3,
)


def make_instances(instance_ids: st.SearchStrategy[str] = names) -> st.SearchStrategy[Instance]:
    """Return arbitrary instances."""
    return st.builds(
        Instance,
        instance_id=instance_ids,
        process_id=st.one_of(st.none(), names),
        process_key=st.one_of(st.none(), names),
        version=st.one_of(st.none(), st.integers(0, 9)),
        status=st.one_of(st.none(), states),
        business_key=st.one_of(st.none(), names),
        tenant_id=st.one_of(st.none(), names),
        started_at=moments,
        updated_at=moments,
        completed_at=moments,
        cancelled_at=st.one_of(st.none(), moments),
        variables=_raws(json_values | searched_variables),
        extra=extras,
    )


globs = st.sampled_from(["*", "a*", "?", "[ab]", "[!a]", "pay-*", "*-1", "ключ", "[[]x*", "A", "b", ""])
_alternatives = {"min_size": 1, "max_size": 3}
filters = st.builds(
    lambda given: TokenFilter(**given),
    st.fixed_dictionaries(
        {},
        optional={
            "states": st.lists(states, **_alternatives).map(tuple),
            "types": st.lists(
                st.sampled_from([*TYPE_FAMILIES, "task", "serviceTask", "SERVICE_TASK", "robot", "customTask"]),
                **_alternatives,
            ).map(tuple),
            "elements": st.lists(globs, **_alternatives).map(tuple),
            "workers": st.lists(globs, **_alternatives).map(tuple),
            "since": moments,
            "until": moments,
            "live": st.booleans(),
            "include_completed": st.booleans(),
        },
    ),
)
spans = st.sampled_from([timedelta(0), timedelta(seconds=90), timedelta(days=20_000)])
variable_conditions = st.builds(
    VariableCondition,
    st.sampled_from(["a", "b", "b.c"]),
    st.sampled_from(["12", "12.0", "1e1", "x", "true", "null", "*", "1*", "x*", "-*", "[a-z]*"]),
    st.booleans(),
)
instance_filters = st.builds(
    lambda given: InstanceFilter(**given),
    st.fixed_dictionaries(
        {},
        optional={
            "statuses": st.lists(states, **_alternatives).map(tuple),
            "processes": st.lists(globs, **_alternatives).map(tuple),
            "since": moments,
            "until": moments,
            "live": st.booleans(),
            "failed": st.booleans(),
            "stuck": st.builds(StuckLimits, st.just(PRESENT), spans, spans),
            "business_keys": st.lists(globs, **_alternatives).map(tuple),
            "variables": st.lists(variable_conditions, **_alternatives).map(tuple),
        },
    ),
)
orders = st.builds(SortOrder, st.sampled_from(TOKEN_SORT_COLUMNS), st.booleans())
instance_orders = st.builds(SortOrder, st.sampled_from(INSTANCE_SORT_COLUMNS), st.booleans())
limits = st.one_of(st.none(), st.integers(0, 5))
offsets = st.integers(0, 4)
