"""All formats, read back by other readers: they have the figures of tokctl, and no more than it knows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from support.engine_visits import simulate_random_model
from support.export_readers import (
    LATER,
    attributes,
    prepared,
    read_chrome_trace,
    read_otlp,
    read_xes,
    written,
)
from support.strategies import make_instances, token_sets
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.trace.report import build_trace
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.exports import chrome_trace, event_log_csv, otlp, xes
from tokctl.model.filters import ALL_TOKENS
from tokctl.model.states import COMPLETED
from tokctl.model.times import format_time, from_micros, parse_rfc3339

PHASES = [Phase.explicit, Phase.generate]  # shrinking so much takes minutes
EVENTS = {"start": "TOKEN_CREATED", "complete": "TOKEN_COMPLETED", "ate_abort": "TOKEN_CANCELLED"}


@pytest.fixture(scope="module")
def runs():
    """Instances of random models, some of them unfinished."""
    found = []
    for seed in range(12):
        _, several = simulate_random_model(seed, "{uniform: [1s, 9s]}")
        found += [list(tokens.values()) for tokens in several]
    return found


def figures(tokens):
    """The number of visits of each element, and the time of its COMPLETED ones in ms, as 'tokctl perf' tells them."""
    measured = Performance(("element",), LATER)
    loaded = InstanceTokens(prepared(tokens).read.status.instance, tokens)
    measured.add("i1", "p", loaded.visit_batches(ALL_TOKENS))
    return {
        group.element_id: (group.visits, group.stats.total if group.stats.count else 0) for group in measured.groups()
    }


def add_up(slices):
    """The same of (element, ms or None)."""
    visits, total = Counter(), Counter()
    for element, ms in slices:
        visits[element] += 1
        total[element] += ms or 0
    return {element: (count, pytest.approx(total[element], abs=0.01)) for element, count in visits.items()}


def test_durations_are_those_of_perf(runs):
    compared = 0
    for tokens in runs:
        expected, instance = figures(tokens), prepared(tokens)
        done = {one.token_id for one in tokens if one.state == COMPLETED}
        spans = [attributes(span) | {"span": span} for span in read_otlp(written(otlp.FORMAT, instance))[1:]]
        slices = [one for one in read_chrome_trace(written(chrome_trace.FORMAT, instance)) if one["ph"] in "XB"]
        ((_, events),) = read_xes(written(xes.FORMAT, instance))
        times = {(one["concept:instance"], one["lifecycle:transition"]): one["time:timestamp"] for one in events}
        rows = list(csv.DictReader(io.StringIO(written(event_log_csv.FORMAT, instance))))
        starts = [one for one in events if one["lifecycle:transition"] == "start"]

        def took(token, ms, done=done):
            return ms if token in done else None

        def length(start, end):
            return (end - start) / timedelta(milliseconds=1)

        assert expected == add_up(
            (
                one["tokctl.element_id"],
                took(one["tokctl.token_id"], (one["span"].end_time_unix_nano - one["span"].start_time_unix_nano) / 1e6),
            )
            for one in spans
        )
        assert expected == add_up(
            (one["args"]["element_id"], took(one["args"]["token_id"], one.get("dur", 0) / 1000)) for one in slices
        )
        assert expected == add_up(
            (
                one["element_id"],
                length(one["time:timestamp"], times[one["concept:instance"], "complete"])
                if one["concept:instance"] in done
                else None,
            )
            for one in starts
        )
        assert expected == add_up(
            (
                one["element_id"],
                length(parse_rfc3339(one["start"]), parse_rfc3339(one["end"])) if one["token_id"] in done else None,
            )
            for one in rows
        )
        compared += len(tokens)
    assert compared > 300


def test_the_order_of_events_is_that_of_the_trace(runs):
    for tokens in runs:
        instance = prepared(tokens)
        ((_, events),) = read_xes(written(xes.FORMAT, instance))
        timeline = build_trace(instance.read.status, tokens, LATER).timeline
        expected = [
            (one.action, one.token_id, one.timestamp)
            for one in timeline.events(range(len(timeline)))
            if one.action in EVENTS.values()
        ]
        assert expected == [
            (EVENTS[one["lifecycle:transition"]], one["concept:instance"], one["time:timestamp"])
            for one in events
            if one["lifecycle:transition"] in EVENTS
        ]


@given(st.lists(st.tuples(make_instances(), token_sets()), max_size=2))
@settings(max_examples=8, phases=PHASES)
def test_any_tokens_are_written_as_they_are_known(several):
    instances = [
        prepared(tokens, **{name: getattr(about, name) for name in about.__struct_fields__})
        for about, tokens in several
    ]
    tokens = [one for instance in instances for one in instance.tokens]

    spans = read_otlp(written(otlp.FORMAT, *instances))
    of_tokens = [span for span in spans if "tokctl.token_id" in attributes(span)]
    assert len(of_tokens) == len(tokens) - sum(map(otlp.omits, tokens))
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    before = set()
    for span in spans:  # each after its parent
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert not span.parent_span_id or (span.trace_id, span.parent_span_id) in before
        before.add((span.trace_id, span.span_id))

    events = read_chrome_trace(written(chrome_trace.FORMAT, *instances))
    shown = [one for one in events if "token_id" in one.get("args", {})]
    assert len(shown) == len(tokens) - sum(map(chrome_trace.FORMAT.omits, tokens))
    assert [one for one in shown if one["ph"] == "X" and one["args"].get("open")] == []

    traces = read_xes(written(xes.FORMAT, *instances))
    for instance, (about, changes) in zip(instances, traces, strict=True):
        assert about["instance_id"] == instance.instance_id or not instance.instance_id.isprintable()
        times = [one["time:timestamp"] for one in changes if "time:timestamp" in one]
        assert times == sorted(times)
        ended = [one for one in changes if one["lifecycle:transition"] in {"complete", "ate_abort"}]
        assert len(ended) == sum(not one.visit.live for one in instance.tokens)
        assert sum(one["lifecycle:transition"] == "start" for one in changes) == len(instance.tokens)

    rows = list(csv.DictReader(io.StringIO(written(event_log_csv.FORMAT, *instances), newline="")))
    assert [(one["start"] or None, one["end"] or None) for one in rows] == [
        (format_time(one.start), format_time(one.end)) for one in tokens
    ]


def test_times_of_chrome_are_microseconds(runs):
    for tokens in runs[:4]:
        known = {one.token_id: one.created_at for one in tokens}
        for event in read_chrome_trace(written(chrome_trace.FORMAT, prepared(tokens))):
            if event["ph"] == "X":
                assert from_micros(event["ts"]) == known[event["args"]["token_id"]]
