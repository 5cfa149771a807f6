"""Each debug rule: what it finds, and the nearest thing to it that is no trouble."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import at, instance, raw, token
from support.examples import scaled
from tokctl.analysis.debug.child_lists import MISSING_PARENT, NO_PARENT
from tokctl.analysis.debug.rules import RULES, load
from tokctl.analysis.debug.rules.base import (
    HIGH,
    Rule,
    RuleContext,
    RuleMatch,
    duration_threshold,
    integer_threshold,
)
from tokctl.analysis.debug.rules.common_cause import describe_share
from tokctl.analysis.debug.rules.slower_than_usual import nth_excluding
from tokctl.analysis.debug.runner import DebugLimits, debug, parse_thresholds
from tokctl.engines.file import FileEngine
from tokctl.errors import InputError, UsageError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.durations import format_milliseconds, format_timedelta
from tokctl.model.filters import ALL_TOKENS, InstanceFilter
from tokctl.model.times import format_time
from tokctl.services.debug import DebugQuery, load_rules, resolve_thresholds, run_debug

NOW = at(36_000)  # ten hours after noon
MINUTE, HOUR = 60, 3600


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("TOKCTL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def ago_s(seconds, **more):
    """When something was that began so many seconds ago."""
    return NOW - timedelta(seconds=seconds, **more)


def look(rule, *records, now=NOW, **question):
    """Return what one rule reports of records, as {(instance, token) ids: hit}; one instance is named i1."""
    engine = FileEngine(records, name="records")
    report = run_debug(engine, None, now, DebugQuery(rules=(rule,), ended=True, **question))
    for finding in report.findings:
        assert finding.type == rule
        assert finding.count == len(finding.matches)
    return {(h.visit.instance_id, h.visit.token_id): h for f in report.findings for h in f.matches}


def live(token_id="t1", instance_id="i1", age=0.0, state="ACTIVE", **fields):
    context = {k: fields.pop(k) for k in list(fields) if k in _CONTEXT}
    if context:
        fields["execution_context"] = raw(context)
    return token(token_id, instance_id, **{"state": state, "created_at": ago_s(age), "updated_at": ago_s(age)} | fields)


def done(token_id="t1", instance_id="i1", took=1.0, end=HOUR, **fields):
    """A token that COMPLETED an hour ago and took a second."""
    times = {"created_at": ago_s(end + took), "updated_at": ago_s(end), "completed_at": ago_s(end)}
    return live(token_id, instance_id, state="COMPLETED", **times | fields)


def cancelled(token_id="t1", end=HOUR, began=2 * HOUR, **fields):
    times = {"created_at": ago_s(began), "updated_at": ago_s(end), "cancelled_at": ago_s(end)}
    return live(token_id, state="CANCELLED", **times | fields)


_CONTEXT = {
    "worker_id",
    "job_type",
    "job_key",
    "waiting_for",
    "waits_for",
    "called_instance_id",
    "is_scope",
    "retry_at",
    "retries_used",
    "retries_left",
    "timeout_at",
    "duration_ms",
    "state_history",
}


def chain(*tokens):
    """Tokens each below the one before."""
    linked = [tokens[0]]
    for above, below in pairwise(tokens):
        linked.append(_with(below, parent_token_id=above.token_id))
    return linked


def _with(one, **fields):
    from msgspec.structs import replace

    return replace(one, **fields)


def model(flows, **types):
    """A definition from flows such as ``"a>b"``, whose ids they are."""
    ends = [flow.split(">") for flow in flows.split()]
    names = dict.fromkeys(name for pair in ends for name in pair)
    return Definition(
        process_id="p",
        elements={
            name: Element(
                id=name,
                type=types.get(name, "task"),
                incoming=tuple(f"{a}>{b}" for a, b in ends if b == name),
                outgoing=tuple(f"{a}>{b}" for a, b in ends if a == name),
            )
            for name in names
        },
        flows={f"{a}>{b}": SequenceFlow(id=f"{a}>{b}", source=a, target=b) for a, b in ends},
    )


FORK = model("split>a split>b a>join b>join", split="parallelGateway", join="parallelGateway")


def came(element, flow, **fields):
    hop = {"from_element": flow.split(">")[0], "via_flow": flow, "timestamp": format_time(ago_s(HOUR))}
    return {"element_id": element, "process_id": "p", "flow_history": [hop], **fields}


def forked(*others):
    """An instance of FORK where a has come to the join, which waits; b is as told."""
    waits = live("j", age=HOUR, state="WAITING", element_type="parallelGateway", **came("join", "a>join"))
    split = done("s", element_id="split", element_type="parallelGateway", process_id="p")
    went = done("a", **came("a", "split>a"), parent_token_id="s")
    return [instance(process_id="p"), FORK, split, went, _with(waits, parent_token_id="a"), *others]


BRANCH = live("b", **came("b", "split>b"), parent_token_id="s")
"""A live token on the other branch of ``forked``."""


def usual(*took, element_id="task", first=0):
    """An instance for each of finished visits that took so many seconds."""
    return [done(f"u{n}", f"u{n}", seconds, element_id=element_id) for n, seconds in enumerate(took, first)]


def stuck(count, first=0, **fields):
    """Instances with one token each that has been ACTIVE for an hour."""
    return [live(f"s{n}", f"s{n}", HOUR, **fields) for n in range(first, first + count)]


def family(parent, *children, **fields):
    """A finished token that lists children, and its children."""
    return [done(parent, child_tokens=tuple(c.token_id for c in children)), *children]


GATEWAY = {"state": "WAITING", "element_type": "exclusiveGateway"}

# rule → name → (records, the tokens found, thresholds that are set)
CASES: dict[str, dict[str, tuple]] = {
    "JOB_NOT_TAKEN": {
        "a job without a worker": ([live(age=300.001, state="WAITING", waiting_for="job:1")], {"t1"}),
        "for five minutes exactly": ([live(age=300, state="WAITING", waiting_for="job:1")], set()),
        "an external task": ([live(age=HOUR, state="ACTIVE", waiting_for="external_task:pay")], {"t1"}),
        "a job that has a key alone": ([live(age=HOUR, job_key="1")], {"t1"}),
        "a job with a worker": ([live(age=HOUR, waiting_for="job:1", worker_id="w")], set()),
        "a job that waits for its next attempt": ([live(age=HOUR, waiting_for="retry:1", job_key="1")], set()),
        "a job with a later attempt": ([live(age=HOUR, job_key="1", retry_at=format_time(ago_s(-1)))], set()),
        "a job whose attempt is overdue": ([live(age=HOUR, job_key="1", retry_at=format_time(ago_s(1)))], {"t1"}),
        "a failed job": ([live(age=HOUR, state="FAILED", job_key="1")], set()),
        "a timer": ([live(age=HOUR, state="WAITING", waiting_for="timer:1", job_key="1")], set()),
        "several events, one of them a timer": (
            [live(age=HOUR, state="WAITING", waits_for=["message:m", "timer:1"], job_key="1")],
            set(),
        ),
        "no job": ([live(age=HOUR)], set()),
        "over now": ([done(took=HOUR, job_key="1")], set()),
        "as set": ([live(age=61, job_key="1"), live("t2", age=59, job_key="1")], {"t1"}, {"job_not_taken": "1m"}),
    },
    "LONG_RUNNING_TOKENS": {
        "longer than ten minutes": ([live(age=600.001)], {"t1"}),
        "ten minutes exactly": ([live(age=600)], set()),
        "waiting is no running": ([live(age=HOUR, state="WAITING")], set()),
        "waiting for a job": ([live(age=601, state="WAITING", waiting_for="job:1")], {"t1"}),
        "waiting for a job that has a key alone": ([live(age=601, state="WAITING", job_key="1")], {"t1"}),
        "waiting for a message": ([live(age=HOUR, state="WAITING", waiting_for="message:m", job_key="1")], set()),
        "a called instance that runs": ([live(age=HOUR, called_instance_id="i2", element_type="callActivity")], set()),
        "a scope that the engine names": ([live(age=HOUR, is_scope=True)], set()),
        "failed at a job": ([live(age=HOUR, state="FAILED", job_key="1")], set()),
        "a state that nobody knows": ([live(age=HOUR, state="STUCK")], set()),
        "over now": ([done(took=HOUR)], set()),
        "since nobody knows when": ([live(created_at=None)], set()),
        "created in the future": ([live(age=-HOUR)], set()),
        "as set": ([live(age=61), live("t2", age=60)], {"t1"}, {"long_running": "1m"}),
        "set to nothing": ([live(age=1), live("t2", age=0)], {"t1"}, {"long_running": "0s"}),
    },
    "STUCK_GATEWAY_TOKENS": {
        "longer than five minutes": ([live(age=300.001, **GATEWAY)], {"t1"}),
        "five minutes exactly": ([live(age=300, **GATEWAY)], set()),
        "a task that waits": ([live(age=HOUR, state="WAITING", element_type="userTask")], set()),
        "active at a gateway": ([live(age=HOUR, element_type="exclusiveGateway")], set()),
        "a gateway of an unknown kind": ([live(age=HOUR, state="WAITING", element_type="fuzzyGateway")], {"t1"}),
        "an element of no type": ([live(age=HOUR, state="WAITING")], set()),
        "one that waits for several events": (
            [live(age=HOUR, state="WAITING", element_type="eventBasedGateway", waits_for=["message:m", "signal:s"])],
            set(),
        ),
        "one that waits for an event": (
            [live(age=HOUR, state="WAITING", element_type="eventBasedGateway", waiting_for="signal:s")],
            set(),
        ),
        "as set": ([live(age=301, **GATEWAY)], set(), {"stuck_gateway": "302s"}),
        "a join that a live token can still reach": (forked(BRANCH), set()),
        "such a join, on request": (forked(BRANCH), {"j"}, {"waiting_joins": 1}),
        "a join that no token can reach any more": (
            forked(cancelled("b", **came("b", "split>b"), parent_token_id="s")),
            {"j"},
        ),
        "a join of an unknown model": ([r for r in forked(BRANCH) if r is not FORK], {"j"}),
        "a join of another model": (forked(BRANCH, live("x", element_id="elsewhere", process_id="p")), set()),
        "a join of another model that no token of this one can reach": (
            forked(live("x", element_id="elsewhere", process_id="p")),
            {"j"},
        ),
        "a join on all of whose flows tokens have arrived": (
            forked(
                live("j2", age=HOUR, state="WAITING", element_type="parallelGateway", **came("join", "b>join")),
            ),
            {"j", "j2"},
        ),
    },
    "HIGH_RETRY_TOKENS": {
        "three retries": ([live(retries_used=3)], {"t1"}),
        "two retries": ([live(retries_used=2)], set()),
        "over now": ([done(retries_used=3)], {"t1"}),
        "a count that is text": ([live(retries_used="many")], set()),
        "as set": ([live(retries_used=6), live("t2", retries_used=5)], {"t1"}, {"retries": 5}),
    },
    "FAILED_TOKENS": {
        "failed": ([live(state="FAILED", updated_at=ago_s(5))], {"t1"}),
        "the incident of a called instance": ([live(state="FAILED", called_instance_id="i2")], set()),
        "cancelled": ([cancelled()], set()),
        "at work after failing before": ([live(retries_used=2)], set()),
    },
    "FAILED_CALLS": {
        "the called instance failed": ([live(state="FAILED", called_instance_id="i2")], {"t1"}),
        "it runs": ([live(called_instance_id="i2")], set()),
        "a failure of its own": ([live(state="FAILED")], set()),
    },
    "RETRIES_EXHAUSTED": {
        "the last attempt": ([live(retries_left=0, retries_used=3)], {"t1"}),
        "the first attempt, with no retries allowed": ([live(retries_left=0, retries_used=0)], set()),
        "the same, where nobody counts": ([live(retries_left=0)], set()),
        "one retry left": ([live(retries_left=1, retries_used=3)], set()),
        "over now": ([done(retries_left=0, retries_used=3)], set()),
    },
    "TIMED_OUT_TOKENS": {
        "a moment ago": ([live(timeout_at=format_time(ago_s(0.001)))], {"t1"}),
        "this very moment": ([live(timeout_at=format_time(NOW))], set()),
        "not yet": ([live(timeout_at=format_time(ago_s(-60)))], set()),
        "over now": ([done(timeout_at=format_time(ago_s(2 * HOUR)))], set()),
        "no time": ([live(timeout_at="soon")], set()),
    },
    "SUSPENDED_TOKENS": {
        "suspended": ([live(state="SUSPENDED", age=5)], {"t1"}),
        "active": ([live(age=5)], set()),
        "since nobody knows when": ([live(state="SUSPENDED", created_at=None, updated_at=None)], {"t1"}),
        "since then or later": ([live(state="SUSPENDED", age=5, updated_at=None)], {"t1"}, {"suspended": "1m"}),
        "by a clock that is ahead": ([live(state="SUSPENDED", age=-5)], {"t1"}),
        "as set": (
            [live(state="SUSPENDED", age=60), live("t2", state="SUSPENDED", age=59)],
            {"t1"},
            {"suspended": "1m"},
        ),
    },
    "DEADLOCKED_JOIN": {
        "the other branch was cancelled": (forked(cancelled("b", **came("b", "split>b"), parent_token_id="s")), {"j"}),
        "the other branch failed": (
            forked(live("b", state="FAILED", **came("b", "split>b"), parent_token_id="s")),
            {"j"},
        ),
        "the other branch still lives": (forked(live("b", **came("b", "split>b"), parent_token_id="s")), set()),
        "the other branch is suspended": (
            forked(live("b", state="SUSPENDED", **came("b", "split>b"), parent_token_id="s")),
            set(),
        ),
        "the model is unknown": ([r for r in forked() if r is not FORK], set()),
        "the model does not fit": (forked(live("x", element_id="elsewhere", process_id="p")), set()),
    },
    "ZOMBIE_TOKENS": {
        "under an instance that has ended": ([instance(status="COMPLETED"), live()], {"t1"}),
        "under one whose end only shows in tokens": ([done(), live("t2")], set()),
        "under one that goes on": ([instance(status="ACTIVE"), live()], set()),
        "cancelled over its head": (chain(cancelled("a"), live("b", age=HOUR + 1)), {"b"}),
        "both that it was cancelled over": (
            [cancelled("a"), *[live(t, age=HOUR + 1, parent_token_id="a") for t in "bcd"]],
            {"b", "c", "d"},
        ),
        "far below it": (chain(cancelled("a"), done("b", end=HOUR + 5), live("c", age=HOUR + 1)), {"c"}),
        "the path behind an interrupting boundary event": (
            chain(cancelled("a"), done("b", element_type="boundaryEvent", end=HOUR, took=0), live("c", age=HOUR)),
            set(),
        ),
        "the path behind another boundary event, which did not interrupt": (
            chain(
                cancelled("a"), done("b", element_type="boundaryEvent", end=HOUR + 60, took=0), live("c", age=HOUR + 60)
            ),
            set(),
        ),
        "such a path, when all around it was cancelled": (
            chain(
                cancelled("sub"),
                cancelled("a"),
                done("b", element_type="boundaryEvent", end=HOUR + 60, took=0),
                live("c", age=HOUR + 60),
            ),
            {"c"},
        ),
        "a boundary event that still waits": (
            chain(cancelled("a"), live("b", age=HOUR + 60, state="WAITING", element_type="boundaryEvent")),
            {"b"},
        ),
        "beside a cancelled one": (
            [*chain(done("r"), cancelled("a")), live("b", age=HOUR + 1, parent_token_id="r")],
            set(),
        ),
        "below one that completed": (chain(done("a"), live("b", age=HOUR + 1)), set()),
        "in a ring": ([cancelled("a", parent_token_id="b"), live("b", age=HOUR + 1, parent_token_id="a")], {"b"}),
    },
    "LOOPING_TOKENS": {
        "once more than allowed": (chain(*[done(f"t{n}", end=HOUR - n) for n in range(4)]), {"t3"}, {"loops": 3}),
        "as often as allowed": (chain(*[done(f"t{n}", end=HOUR - n) for n in range(3)]), set(), {"loops": 3}),
        "others between": (
            chain(*[done(f"t{n}", end=HOUR - n, element_id=f"e{n % 2}") for n in range(8)]),
            {"t6", "t7"},
            {"loops": 3},
        ),
        "two hundred beside each other": (
            [done("r", element_id="r"), *[done(f"t{n}", parent_token_id="r") for n in range(200)]],
            set(),
        ),
        "two ways, neither too long": (
            [
                done("r", element_id="r"),
                *[
                    _with(t, parent_token_id=t.parent_token_id or "r")
                    for way in "ab"
                    for t in chain(*[done(f"{way}{n}") for n in range(3)])
                ],
            ],
            set(),
            {"loops": 3},
        ),
        "the longest of several ways": (
            [*chain(*[done(f"t{n}", end=HOUR - n) for n in range(5)]), done("x", parent_token_id="t2")],
            {"t4"},
            {"loops": 3},
        ),
        "a ring is another's business": ([done(f"t{n}", parent_token_id=f"t{(n + 1) % 30}") for n in range(30)], set()),
    },
    "ORPHANED_TOKENS": {
        "a parent that is not there": ([done(parent_token_id="gone")], {"t1"}),
        "a parent that is": (chain(done("a"), done("b")), set()),
        "no parent": ([done()], set()),
        "its own parent": ([done(parent_token_id="t1")], set()),
        "a parent of the same name elsewhere": ([done("a", "i2"), done("b", parent_token_id="a")], {"b"}),
    },
    "BROKEN_LINKS": {
        "a child that is not listed": (
            [done("a", child_tokens=("x",)), *[done(t, parent_token_id="a", child_tokens=()) for t in "xb"]],
            {"b"},
        ),
        "a join that lists itself": ([done("a", child_tokens=("a",), element_type="parallelGateway")], {"a"}),
        "a child that is not there": (
            [done("a", child_tokens=("b", "x")), done("b", parent_token_id="a", child_tokens=())],
            {"a"},
        ),
        "listed by two": (
            [
                done("r", child_tokens=("a", "b")),
                done("a", parent_token_id="r", child_tokens=("c",)),
                done("b", parent_token_id="r", child_tokens=("c",)),
                done("c", parent_token_id="a", child_tokens=()),
            ],
            {"c"},
        ),
        "two that come together at a join": (
            [
                done("r", child_tokens=("a", "b")),
                done("a", parent_token_id="r", child_tokens=("c",)),
                done("b", parent_token_id="r", child_tokens=("c",)),
                done("c", parent_token_id="a", child_tokens=(), element_type="parallelGateway"),
            ],
            set(),
        ),
        "a ring": ([done("a", parent_token_id="b"), done("b", parent_token_id="a")], {"a"}),
        "its own parent": ([done("a", parent_token_id="a")], {"a"}),
        "its own child, and another's that is missing": (
            [done("a", child_tokens=("a", "x")), done("b", parent_token_id="b", child_tokens=())],
            {"a", "b"},
        ),
        "nobody lists children": ([done("a", child_tokens=()), done("b", parent_token_id="a", child_tokens=())], set()),
        "nobody names parents": ([done("a", child_tokens=("b",)), done("b", child_tokens=())], set()),
        "all as it should be": (family("a", done("b", parent_token_id="a", child_tokens=())), set()),
        "a parent that is missing is another's business": ([done(parent_token_id="gone")], set()),
    },
    "TIME_ANOMALIES": {
        "completed before it was created": ([done(took=-1)], {"t1"}),
        "completed as it was created": ([done(took=0)], set()),
        "cancelled before it was created": ([cancelled(began=HOUR - 1)], {"t1"}),
        "updated before it was created": ([live(age=5, updated_at=ago_s(6))], {"t1"}),
        "a minute ahead": ([live(age=-60)], set()),
        "more than a minute ahead": ([live(age=-60.001)], {"t1"}),
        "created ahead, and not heard of since": ([live(age=-61, updated_at=None)], {"t1"}),
        "as set": ([live(age=-61)], set(), {"clock_skew": "2m"}),
        "less than no time": ([done(duration_ms=-1)], {"t1"}),
        "must be greater than 0": ([done(duration_ms=0)], set()),
        "times that nobody knows": ([live(created_at=None, updated_at=None)], set()),
        "an end without a beginning": ([done(created_at=None)], set()),
    },
    "SLOWER_THAN_USUAL": {
        "longer than every one of twenty": ([*usual(*range(20)), live(age=19.001)], {"t1"}),
        "as long as the longest": ([*usual(*range(20)), live(age=19)], set()),
        "nineteen say too little": ([*usual(*range(19)), live(age=HOUR)], set()),
        "longer than 99 of a hundred": ([*usual(*range(100)), live(age=98.5)], {"t1"}),
        "longer than 98 of a hundred": ([*usual(*range(100)), live(age=97.5)], set()),
        "its own instance says nothing": ([*[done(f"u{n}") for n in range(30)], live(age=HOUR)], set()),
        "its own slow visits are no excuse": (
            [*usual(*range(20)), *[done(f"o{n}", took=5000) for n in range(5)], live(age=19.5)],
            {"t1"},
        ),
        "another element says nothing": ([*usual(*range(30), element_id="other"), live(age=HOUR)], set()),
        "another process says nothing": (
            [*[_with(t, process_id="q") for t in usual(*range(30))], live(age=HOUR)],
            set(),
        ),
        "suspended has a rule of its own": ([*usual(*range(20)), live(age=HOUR, state="SUSPENDED")], set()),
        "over now": ([*usual(*range(20)), done(took=HOUR)], set()),
        "all at once": ([*usual(*[0] * 20), live(age=1)], {"t1"}),
        "as set": (
            [*usual(*range(10)), live(age=4.5), live("t2", age=4)],
            {"t1"},
            {"slow_visits": 10, "slow_percentile": 50},
        ),
    },
    "COMMON_CAUSE": {
        "three at one element": (stuck(3), {"s0", "s1", "s2"}),
        "two are few": (stuck(2), set()),
        "three at an element each": ([t for n in range(3) for t in stuck(1, n, element_id=f"e{n}")], set()),
        "one worker at three elements": (
            [t for n in range(3) for t in stuck(1, n, element_id=f"e{n}", worker_id="w")],
            {"s0", "s1", "s2"},
        ),
        "one type of job at three elements": (
            [t for n in range(3) for t in stuck(1, n, element_id=f"e{n}", job_type="w")],
            {"s0", "s1", "s2"},
        ),
        "three tokens of one instance": ([live(f"t{n}", age=HOUR) for n in range(3)], set()),
        "three of fifteen": (
            [*stuck(3), *[t for n in range(3, 15) for t in stuck(1, n, element_id=f"e{n}")]],
            {"s0", "s1", "s2"},
        ),
        "three of sixteen": ([*stuck(3), *[t for n in range(3, 16) for t in stuck(1, n, element_id=f"e{n}")]], set()),
        "at work, but not stuck": ([live(f"s{n}", f"s{n}", 10) for n in range(5)], set()),
        "one element of several processes": ([_with(t, process_id=f"p{n}") for n, t in enumerate(stuck(3))], set()),
        "they wait at a gateway for what is stuck": (
            [
                t
                for n in range(3)
                for t in (*stuck(1, n, element_id=f"e{n}"), live(f"w{n}", f"s{n}", HOUR, element_id="join", **GATEWAY))
            ],
            set(),
        ),
        "as set": (stuck(2), {"s0", "s1"}, {"common_instances": 2}),
    },
}


def test_every_rule_has_what_it_finds_and_what_it_must_not():
    assert CASES.keys() == RULES.keys()
    for rule, cases in CASES.items():
        assert {bool(case[1]) for case in cases.values()} == {True, False}, rule


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, cases in CASES.items() for name in cases])
def test_what_a_rule_finds(rule, name):
    records, found, *limits = CASES[rule][name]
    matches = look(rule, *records, thresholds=limits[0] if limits else {})
    assert {token_id for _, token_id in matches} == found
    for hit in matches.values():
        assert hit.text


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_says_of_itself(rule):
    kind = load(rule)
    assert kind.name == rule
    assert kind.meaning.endswith(".")
    assert kind.__doc__
    assert all(threshold.name.islower() and threshold.meaning for threshold in kind.thresholds)
    assert not (kind.uses_stuck_matches and kind.finds_stuck)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_found_where_there_is_nothing(rule):
    assert look(rule) == {}
    assert look(rule, instance()) == {}
    assert look(rule, instance(status="COMPLETED"), done()) == {}


@pytest.mark.parametrize("rule", RULES)
def test_contradicting_data_breaks_nothing(rule):
    ring = [done(f"r{n}", parent_token_id=f"r{(n + 1) % 3}", child_tokens=(f"r{n}", "gone")) for n in range(3)]
    odd = [
        token("a", state="?", element_type="?"),
        token("b", state="ACTIVE", execution_context=raw([1])),
        token("c", state="WAITING", execution_context=raw("x"), element_type="gateway"),
        live("d", age=-9e9, duration_ms=None, retries_used=-1),
        token("e", state="CANCELLED", parent_token_id="e"),
        token("f", state="ACTIVE", parent_token_id="e", created_at=ago_s(5)),
    ]
    look(rule, *ring, *odd)
    look(rule, *odd, thresholds={"clock_skew": "3650000d", "loops": 1})


@pytest.mark.parametrize(
    ("others", "found", "limits"),
    [
        (None, "unknown whether it can continue: the process model is unknown", {}),
        (
            [live("x", element_id="elsewhere", process_id="p")],
            "unknown whether it can continue: tokens are at elements that are not in the model",
            {},
        ),
        ([BRANCH], "can continue when tokens arrive on b>join", {"waiting_joins": 1}),
        ([], "no token can arrive on b>join", {}),
        (
            [live("j2", age=HOUR, state="WAITING", element_type="parallelGateway", **came("join", "b>join"))],
            "all required tokens have arrived",
            {},
        ),
    ],
)
def test_what_is_said_of_a_join(others, found, limits):
    records = forked(*others) if others is not None else [r for r in forked(BRANCH) if r is not FORK]
    hit = look("STUCK_GATEWAY_TOKENS", *records, thresholds=limits)["i1", "j"]
    assert hit.text == f"WAITING for 1h; {found}"


def test_a_deadlocked_join_names_the_branch_that_no_token_can_come_from():
    [hit] = look("DEADLOCKED_JOIN", *forked()).values()
    assert hit.text == "no token can arrive any more on b>join (from 'b'); has waited 1h"
    failed = live("b", state="FAILED", element_name="Pay", **came("b", "split>b"), parent_token_id="s")
    [hit] = look("DEADLOCKED_JOIN", *forked(failed)).values()
    assert hit.text == "no token can arrive on b>join (from 'b'), because Pay FAILED; has waited 1h"


def test_times_in_the_future_point_to_the_clock_once():
    records = [live(f"t{number}", f"i{number}", age=-60 * number) for number in range(10)]
    report = run_debug(FileEngine(records, name="records"), None, NOW, DebugQuery(rules=("TIME_ANOMALIES",)))
    [finding] = report.findings
    assert finding.count == 8
    assert report.notes == ("Times are up to 9m in the future. Check the clock of the source.",)
    report = run_debug(FileEngine([done(duration_ms=-5)], name="records"), None, NOW, DebugQuery(ended=True))
    assert (len(report.findings), report.notes) == (1, ())


def test_what_hits_carry():
    [hit] = look("LONG_RUNNING_TOKENS", live(age=630)).values()
    assert (hit.text, hit.facts, hit.since) == ("ACTIVE for 10m 30s", {"runningTime": 11}, ago_s(630))
    [hit] = look("STUCK_GATEWAY_TOKENS", live(age=629.9, **GATEWAY)).values()
    assert hit.facts == {"waitingTime": 10}
    suspended = [("SUSPENDED", ago_s(1230)), ("Active", ago_s(60))]
    history = [{"state": state, "at": format_time(time)} for state, time in suspended]
    [hit] = look("LONG_RUNNING_TOKENS", live(age=1380, state_history=history)).values()
    assert (hit.text, hit.facts) == ("ACTIVE now, there for 23m", {"runningTime": 23})
    [hit] = look("SUSPENDED_TOKENS", live(state="SUSPENDED", age=1380, state_history=history[:1])).values()
    assert (hit.text, hit.since) == ("SUSPENDED for 20m 30s", ago_s(1230))
    [hit] = look("HIGH_RETRY_TOKENS", done(retries_used=7)).values()
    assert (hit.text, hit.facts) == ("retried 7 times, ended", {"retries": 7})
    [hit] = look("TIMED_OUT_TOKENS", live(timeout_at="2025-01-11T21:59:00+00:00")).values()
    assert (hit.text, hit.facts["overdue_ms"], hit.since) == ("timed out 1m ago", 60_000, ago_s(60))
    [hit] = look("FAILED_TOKENS", live(state="FAILED", age=5, retries_used=1)).values()
    assert hit.text == "failed after 1 retry"
    [hit] = look("TIME_ANOMALIES", done(took=-5, duration_ms=-5, end=-HOUR)).values()
    assert hit.facts["anomalies"] == [
        "COMPLETED_BEFORE_CREATED",
        "UPDATED_BEFORE_CREATED",
        "CREATED_IN_FUTURE",
        "UPDATED_IN_FUTURE",
        "COMPLETED_IN_FUTURE",
        "NEGATIVE_DURATION",
    ]
    [hit] = look("SLOWER_THAN_USUAL", *usual(*range(20)), live(age=HOUR)).values()
    assert hit.text == "there for 1h; 99% of 20 visits took at most 19s, half 9s"
    assert (hit.facts["usual_ms"], hit.facts["compared_visits"]) == (19_000, 20)
    several = [done("a", child_tokens=("a", "x", "b")), done("b", child_tokens=()), done("c", parent_token_id="b")]
    hit = look("BROKEN_LINKS", *several)["i1", "a"]
    assert hit.text == "names itself as its own parent or child; lists x as its child, which is not in the list"
    assert [one["kind"] for one in hit.facts["anomalies"]] == ["SELF_PARENT", "CHILD_MISSING"]


def test_a_list_of_countless_missing_children_is_shortened():
    listed = [f"x{n}" for n in range(50_000)]
    tracemalloc.start()
    try:
        hit = look("BROKEN_LINKS", done("a", child_tokens=tuple(listed)), done("b", parent_token_id="a"))["i1", "a"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert hit.text.endswith("; and 49,980 more")
    assert len(hit.facts["anomalies"]) == 20
    assert most < 400 * len(listed)


# --- against plain ways to say the same ---


def above(one, by_id):
    """The tokens above one, and whether they lead to a root."""
    seen, way = {one.token_id}, []
    while (one := by_id.get(one.parent_token_id)) is not None:
        if one.token_id in seen:
            return way, False
        seen.add(one.token_id)
        way.append(one)
    return way, True


@st.composite
def forests(draw):
    """Tokens below each other as chance has it, in rings, too."""
    size = draw(st.integers(1, 12))
    links = draw(st.lists(st.one_of(st.none(), st.integers(0, size)), min_size=size, max_size=size))
    if draw(st.booleans()):  # every parent before its children
        links = [link % n if link is not None and n else None for n, link in enumerate(links)]
    return [
        live(
            f"t{n}",
            element_id=draw(st.sampled_from("ab")),
            age=draw(st.integers(1, 4)),
            parent_token_id=None if link is None else f"t{link}",
            element_type=draw(st.sampled_from(["task", "task", "boundaryEvent"])),
            state=state,
            cancelled_at=ago_s(draw(st.integers(0, 3))) if state == "CANCELLED" else None,
        )
        for n, link in enumerate(links)
        for state in [draw(st.sampled_from(["ACTIVE", "COMPLETED", "CANCELLED"]))]
    ]


@settings(max_examples=scaled(3))
@given(forests(), st.integers(1, 3))
def test_loops_are_what_counting_up_from_every_token_finds(tokens, limit):
    by_id = {one.token_id: one for one in tokens}
    most = {}
    for one in tokens:
        way, rooted = above(one, by_id)
        if rooted:
            entered = 1 + sum(other.element_id == one.element_id for other in way)
            most[one.element_id] = max(entered, most.get(one.element_id, 0))
    matches = look("LOOPING_TOKENS", *tokens, thresholds={"loops": limit}).values()
    assert {h.visit.element_id: h.facts["entered"] for h in matches} == {e: n for e, n in most.items() if n > limit}


@settings(max_examples=scaled(3))
@given(forests())
def test_zombies_are_what_going_up_from_every_live_token_finds(tokens):
    by_id = {one.token_id: one for one in tokens}
    expected = set()
    for one in tokens:
        way, rooted = above(one, by_id)
        if not rooted:  # where a ring is cut is a matter of taste
            return
        ends = [
            other.cancelled_at
            for before, other in pairwise([one, *way])
            if other.state == "CANCELLED" and not (before is not one and before.element_type == "boundaryEvent")
        ]
        if one.live and ends and one.created_at < max(ends):
            expected.add(("i1", one.token_id))
    assert look("ZOMBIE_TOKENS", *tokens).keys() == expected


few_times = st.lists(st.integers(0, 5), max_size=12)


@given(few_times, st.data())
def test_the_nth_of_those_that_are_left(values, data):
    left_out = data.draw(st.lists(st.sampled_from(values), max_size=len(values)) if values else st.just([]))
    left_out = list((Counter(left_out) & Counter(values)).elements())
    left = sorted((Counter(values) - Counter(left_out)).elements())
    for place, value in enumerate(left):
        assert nth_excluding(sorted(values), sorted(left_out), place) == value


def test_a_chain_of_any_length():
    far = [done(f"t{n}", parent_token_id=f"t{n - 1}" if n else None, element_id=f"e{n % 3}") for n in range(5000)]
    far[7] = _with(far[7], state="CANCELLED", completed_at=None, cancelled_at=ago_s(5), child_tokens=("t9",))
    far[-1] = live("t4999", age=10, parent_token_id="t4998")
    for ring in (False, True):
        case = _case(_with(far[0], parent_token_id="t4999") if ring else far[0], *far[1:])
        for rule in load_rules().values():
            found = list(rule(resolve_thresholds(load_rules(), {})).find(case))
            if not ring and rule.name not in {"LOOPING_TOKENS", "BROKEN_LINKS"}:
                assert len(found) == (rule.name == "ZOMBIE_TOKENS")


# --- what shows only in all instances together ---


def causes(*records, **question):
    engine = FileEngine(records, name="records")
    report = run_debug(engine, None, NOW, DebugQuery(rules=("COMMON_CAUSE",), **question))
    return [
        (
            {k: v for k, v in cause.items() if k in {"element_id", "worker_id", "job_type"}},
            cause["instances"],
            cause["stuck_instances"],
            cause["share"],
        )
        for finding in report.findings
        for cause in finding.evidence["causes"]
    ]


def test_a_cause_is_named_once_with_all_that_is_common():
    assert causes(*stuck(4, worker_id="w", job_type="pay")) == [
        ({"element_id": "task", "worker_id": "w", "job_type": "pay"}, 4, 4, 1.0)
    ]
    assert causes(*stuck(4, worker_id="w"), *stuck(6, 4, worker_id="v")) == [({"element_id": "task"}, 10, 10, 1.0)]


def test_a_cause_has_one_name_whichever_token_comes_first():
    nameless, named = stuck(3, element_id="a", element_name=None), stuck(3, 3, element_id="a", element_name="Pay")
    for records in ([*nameless, *named], [*named, *nameless]):
        [finding] = run_debug(FileEngine(records, name="in"), None, NOW, DebugQuery(rules=("COMMON_CAUSE",))).findings
        assert finding.evidence["causes"][0]["element_name"] == "Pay"


def test_what_one_cause_leaves_is_looked_at_again():
    mixed = [*stuck(5, element_id="a"), *stuck(3, 5, element_id="b"), *stuck(1, 8, element_id="c")]
    assert causes(*mixed) == [({"element_id": "a"}, 5, 9, 0.5556), ({"element_id": "b"}, 3, 9, 0.3333)]
    worker = [t for n in range(3) for t in stuck(1, n, element_id=f"e{n}", worker_id="w")]
    assert [traits for traits, *_ in causes(*worker, *stuck(3, 3, element_id="a"))] == [
        {"element_id": "a"},
        {"worker_id": "w"},
    ]
    matches = look("COMMON_CAUSE", *mixed)
    assert {matches[f"s{n}", f"s{n}"].facts["cause"] for n in range(5)} == {0}
    assert {matches[f"s{n}", f"s{n}"].facts["cause"] for n in range(5, 8)} == {1}


def test_a_cause_is_one_of_all_that_is_stuck_whatever_is_told():
    mixed = [*stuck(5, element_id="a"), *stuck(3, 5, element_id="b")]
    engine = FileEngine(mixed, name="records")
    [finding] = run_debug(engine, None, NOW, DebugQuery(rules=("COMMON_CAUSE",), elements=("b",))).findings
    assert {hit.visit.element_id for hit in finding.matches} == {"b"}
    assert [cause["share"] for cause in finding.evidence["causes"]] == [0.625, 0.375]
    assert "; at a: 5 of 8 stuck instances (62%); at b: 3 of 8 stuck instances (38%); the worst: " in finding.message
    # What waits at a join has that in common only because it waits for the same.
    joins = [live(f"j{n}", f"s{n}", age=HOUR, element_id="join", **GATEWAY) for n in range(5)]
    assert not look("COMMON_CAUSE", *stuck(5), *joins, elements=("join",))


def test_a_cause_builds_on_rules_that_are_not_shown():
    engine = FileEngine([*stuck(3)], name="records")
    report = run_debug(engine, None, NOW, DebugQuery(rules=("COMMON_CAUSE",)))
    assert [finding.type for finding in report.findings] == ["COMMON_CAUSE"]
    assert report.rules == ("COMMON_CAUSE",)
    skipping = DebugQuery(rules=("COMMON_CAUSE",), skip=("LONG_RUNNING_TOKENS",))
    assert not run_debug(engine, None, NOW, skipping).findings


# --- putting together ---


def test_most_severe_first_and_who_else_tells_of_it():
    records = [
        live("t1", age=2 * HOUR, retries_used=4, timeout_at=format_time(ago_s(HOUR)), parent_token_id="gone"),
        live("t2", age=HOUR),
    ]
    report = run_debug(FileEngine(records, name="x"), "i1", NOW)
    assert [(f.type, f.severity, f.count) for f in report.findings] == [
        ("TIMED_OUT_TOKENS", "HIGH", 1),
        ("LONG_RUNNING_TOKENS", "HIGH", 2),
        ("HIGH_RETRY_TOKENS", "MEDIUM", 1),
        ("ORPHANED_TOKENS", "LOW", 1),
    ]
    timed_out, long_running, *_ = report.findings
    assert timed_out.also == {"LONG_RUNNING_TOKENS": 1, "HIGH_RETRY_TOKENS": 1, "ORPHANED_TOKENS": 1}
    assert long_running.since == ago_s(2 * HOUR)
    assert [hit.visit.token_id for hit in long_running.matches] == ["t1", "t2"]  # the worst first
    assert (report.instances, report.tokens, report.live_tokens) == (1, 2, 2)
    assert (report.troubled_instances, report.troubled_tokens) == (1, 2)
    assert report.overlaps.keys() == {("i1", "t1")}
    assert (report.severity, report.has_severity("HIGH")) == ("HIGH", True)
    assert not run_debug(FileEngine([done()], name="x"), "i1", NOW).has_severity("LOW")


def test_counts_are_those_of_all_whatever_the_limit():
    records = [live(f"t{n:03}", f"i{n % 7}", age=HOUR + n) for n in range(500)]
    engine = FileEngine(records, name="x")
    rule = DebugQuery(rules=("LONG_RUNNING_TOKENS",))
    [finding] = run_debug(engine, None, NOW, rule, limits=DebugLimits(matches=3)).findings
    assert (finding.count, finding.instances, finding.since) == (500, 7, ago_s(HOUR + 499))
    assert [hit.visit.token_id for hit in finding.matches] == ["t499", "t498", "t497"]
    assert finding.message.startswith(
        "Tokens that have been ACTIVE, or WAITING for a job, for too long: 500 tokens in 7 instances; the worst: "
    )


def test_a_token_counts_once_however_often_a_rule_finds_it():
    class Twice(Rule):
        name, severity, meaning = "TWICE", HIGH, "Twice."

        def find(self, context):
            for visit in context.live:
                yield RuleMatch(visit, "one")
                yield RuleMatch(visit, "two")

    case = _case(live())
    report = debug([case], [Twice({})])
    assert [(f.count, [h.text for h in f.matches], f.also) for f in report.findings] == [(1, ["one"], {})]


def test_only_what_is_shown_is_put_into_words():
    class Counting(Rule):
        name, severity, meaning = "COUNTING", HIGH, "Counts."

        def find(self, context):
            return [RuleMatch(visit, self.describe, weight=n) for n, visit in enumerate(context.live)]

        def describe(self, visit):
            said.append(visit.token_id)
            return f"at {visit.element_id}"

    said = []
    limits = DebugLimits(matches=2, instances=1, tokens_per_instance=2)
    report = debug([_case(*[live(f"t{n}") for n in range(9)])], [Counting({})], limits=limits)
    assert [hit.text for hit in report.findings[0].matches] == ["at task"] * 2
    assert set(said) == {"t8", "t7"}
    assert [token.match.text for token in report.worst[0].tokens] == ["at task"] * 2


def test_what_only_a_comparison_finds_belongs_to_an_instance():
    class Oldest(Rule):
        name, severity, meaning = "OLDEST", HIGH, "The oldest."

        def __init__(self, limits):
            super().__init__(limits)
            self.seen = []

        def find(self, context):
            self.seen += context.live
            return ()

        def finalize(self, found):  # noqa: ARG002
            return [RuleMatch(min(self.seen, key=lambda visit: visit.created_at), "the oldest")]

    cases = [_case(live(f"t{n}", f"i{n}", age=n)) for n in range(3)]
    report = debug(cases, [Oldest({})])
    assert [(one.status.instance.instance_id, one.total) for one in report.worst] == [("i2", 1)]
    assert [(token.finding, token.match.text, token.also) for token in report.worst[0].tokens] == [
        ("OLDEST", "the oldest", {})
    ]
    assert (report.severities, report.worst_findings, report.across) == ({HIGH: 1}, {"OLDEST": 1}, {"OLDEST"})


def _case(*records):
    engine = FileEngine(records, name="records")
    [(status, visits)] = engine.all_visits(InstanceFilter(), ALL_TOKENS)
    return RuleContext(status, list(visits), NOW)


def test_a_broken_rule_of_another_package_is_named():
    class Broken(Rule):
        name, severity, meaning = "BROKEN", HIGH, "Broken."

        def find(self, context):  # noqa: ARG002
            raise KeyError("x")

    with pytest.raises(InputError, match=r"the debug rule BROKEN failed: KeyError: 'x'. Skip it with --skip BROKEN"):
        debug([_case(live())], [Broken({})])


@pytest.mark.parametrize(
    ("ids", "prefix", "command"),
    [
        (("i1", "t1"), "tokctl", "tokctl explain i1 t1"),
        (("i 1", "t'1"), "tokctl", """tokctl explain 'i 1' 't'"'"'1'"""),
        (("{token}", "t1"), "tokctl", "tokctl explain '{token}' t1"),
        (("-i", "t1"), "tokctl --file x", "tokctl --file x explain -- -i t1"),
        (("i1", "t1"), "tokctl --file '{token}'", "tokctl --file '{token}' explain i1 t1"),
    ],
)
def test_the_next_command_is_one_that_a_shell_takes(ids, prefix, command):
    engine = FileEngine([live(ids[1], ids[0], age=HOUR)], name="x")
    [finding] = run_debug(engine, None, NOW, DebugQuery(rules=("LONG_RUNNING_TOKENS",)), prefix=prefix).findings
    assert finding.next == command


def test_the_next_command_of_a_cause_takes_an_element_as_a_pattern():
    engine = FileEngine(stuck(3, element_id="pay [eu]*"), name="x")
    [finding] = run_debug(engine, None, NOW, DebugQuery(rules=("COMMON_CAUSE",))).findings
    assert finding.next == "tokctl perf --element 'pay [[]eu][*]'"


# --- cases ---


def test_a_case_knows_parents_by_position():
    case = _case(done("a"), done("b", parent_token_id="a"), done("c", parent_token_id="x"))
    assert list(case.parents) == [NO_PARENT, 0, MISSING_PARENT]
    assert case.live == []
    assert case.age(case.visits[0]) == timedelta(seconds=HOUR + 1)


# --- thresholds ---

_KINDS = [
    duration_threshold("wait", timedelta(minutes=5), "that long"),
    integer_threshold("tries", 3, "that often", minimum=1, maximum=9),
]


class _WithBoth(Rule):
    name, severity, meaning, thresholds = "BOTH", HIGH, "Both.", tuple(_KINDS)


@pytest.mark.parametrize(
    ("given", "value"),
    [({"wait": "1h30m"}, timedelta(minutes=90)), ({"tries": 4}, 4), ({"tries": "9"}, 9), ({"tries": 4.0}, 4), ({}, 3)],
)
def test_thresholds_are_read(given, value):
    values = parse_thresholds([_WithBoth], given)
    assert values.keys() == {"wait", "tries"}
    assert values[next(iter(given), "tries")] == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wait": 300}, "threshold wait: expected a duration such as 10m, got 300."),
        ({"wait": "soon"}, "invalid duration: 'soon'."),
        ({"tries": 0}, "threshold tries: expected an integer from 1 to 9, got 0."),
        ({"tries": "10"}, "threshold tries: expected an integer from 1 to 9, got '10'."),
        ({"tries": 2.5}, "expected an integer"),
        ({"tries": True}, "expected an integer"),
        ({"tries": None}, "expected an integer"),
        ({"tries": [1]}, "expected an integer"),
        ({"tries": float("inf")}, "expected an integer"),
        ({"tried": 1}, "unknown threshold 'tried' (did you mean 'tries'?). Valid: tries, wait."),
    ],
)
def test_thresholds_that_mean_nothing(given, message):
    with pytest.raises(UsageError) as error:
        parse_thresholds([_WithBoth], given)
    assert message in str(error.value)


def test_every_threshold_has_one_meaning():
    seen = {}
    for rule in load_rules().values():
        for threshold in rule.thresholds:
            assert seen.setdefault(threshold.name, threshold) == threshold


# --- words ---


def test_spans_in_words():
    assert [format_timedelta(timedelta(seconds=s)) for s in (0, 0.9999, 245, 3600, 3661, 90000)] == [
        "0ms",
        "1s",
        "4m 05s",
        "1h",
        "1h 01m",
        "1d 1h",
    ]
    assert [format_milliseconds(ms) for ms in (1500, 1e300, float("inf"))][0::2] == ["1.5s", "?"]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "failed"),
        ({"retries_used": 1}, "failed after 1 retry"),
        ({"retries_used": 3, "error_message": "HTTP 500\nTraceback"}, "failed after 3 retries: HTTP 500"),
        ({"errorMessage": " no route\x1b[31m "}, "failed: no route [31m"),
        ({"exception_message": "", "exceptionMessage": "gone"}, "failed: gone"),
        ({"incidentMessage": "no retries left"}, "failed: no retries left"),
        ({"error": "E1"}, "failed: E1"),
        ({"error": {"code": 5, "message": "refused"}}, "failed: refused"),
        ({"error": {"code": 5}, "failure_message": None}, "failed: 5"),
        ({"error": {"code": 5, "detail": "no room"}}, "failed: no room"),
        ({"error": 17, "retries_used": "x"}, "failed"),
    ],
)
def test_why_a_token_failed(context, message):
    [hit] = look("FAILED_TOKENS", live(state="FAILED", execution_context=context)).values()
    assert hit.text == message


def test_ages_are_rounded_to_minutes():
    tokens = [live(f"t{s}", age=s) for s in (29, 30, 89, 90)]
    hits = look("LONG_RUNNING_TOKENS", *tokens, thresholds={"long_running": "1s"}).values()
    assert {hit.visit.token_id: hit.facts["runningTime"] for hit in hits} == {"t29": 0, "t30": 1, "t89": 1, "t90": 2}


@pytest.mark.parametrize(("number", "share"), [(999, "99%"), (1000, "100%")])
def test_a_share_of_100_percent_is_all_of_them(number, share):
    cause = {"instances": number, "stuck_instances": 1000, "share": number / 1000}
    assert describe_share(cause).endswith(f"({share})")
