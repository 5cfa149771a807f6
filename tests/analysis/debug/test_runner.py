"""The same trouble is found however the tokens are read, whatever is asked, and in whatever order they come."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.builders import NOON
from support.examples import scaled
from tokctl.analysis.debug.rules import RULES
from tokctl.analysis.debug.runner import DebugLimits
from tokctl.analysis.encoding.debug import encode_debug_summary
from tokctl.engines.file import FileEngine
from tokctl.errors import UsageError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.times import format_time
from tokctl.model.visits import FlowHistoryMode
from tokctl.readers import stream as reader
from tokctl.readers.stream import read_records, read_visit_records
from tokctl.render.views.debug import report_listing
from tokctl.services.debug import DebugQuery, load_rules, run_debug, select_rules
from tokctl.store import open_store
from tokctl.store.importing import import_records

NOW = NOON + timedelta(hours=3)
TYPES = {"split": "parallelGateway", "join": "parallelGateway", "a": "serviceTask", "b": "userTask", "x": None}
FLOWS = ["split>a", "split>b", "a>join", "b>join", "join>x"]
MODEL = Definition(
    process_id="p",
    elements={
        name: Element(
            id=name,
            type=kind or "task",
            incoming=tuple(f for f in FLOWS if f.endswith(f">{name}")),
            outgoing=tuple(f for f in FLOWS if f.startswith(f"{name}>")),
        )
        for name, kind in TYPES.items()
    },
    flows={f: SequenceFlow(id=f, source=f.split(">")[0], target=f.split(">")[1]) for f in FLOWS},
)


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("TOKCTL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def _time(seconds):
    return None if seconds is None else format_time(NOW - timedelta(seconds=seconds))


ages = st.one_of(st.sampled_from([None, 0, 1, 300, 301, 600, 601, 3600]), st.floats(-120, 9000))
token_ids = st.sampled_from([f"t{n}" for n in range(6)])
contexts = st.one_of(
    st.sampled_from([None, [], "x", {}]),
    st.fixed_dictionaries(
        {},
        optional={
            "worker_id": st.sampled_from(["w", "v"]),
            "job_type": st.sampled_from(["pay", "ship"]),
            "retries_used": st.one_of(st.integers(0, 5), st.none(), st.just("many"), st.just(2**70)),
            "retries_left": st.integers(0, 1),
            "timeout_at": ages.map(_time),
            "duration_ms": st.one_of(st.none(), st.integers(-1, 100_000)),
        },
    ),
)


@st.composite
def token_objects(draw):
    state = draw(st.sampled_from(["ACTIVE", "WAITING", "SUSPENDED", "FAILED", "COMPLETED", "CANCELLED", "STUCK"]))
    element = draw(st.sampled_from([*TYPES, "join"]))
    created, ended = draw(ages), draw(ages)
    fields = {
        "token_id": None,
        "element_id": element,
        "element_type": draw(st.sampled_from([TYPES[element]] * 4 + ["parallelGateway", None, "robot"])),
        "element_name": draw(st.sampled_from([None, "", "Name"])),
        "state": state,
        "created_at": _time(created),
        "updated_at": _time(draw(st.sampled_from([ended, created]))),
        "completed_at": _time(ended) if state == "COMPLETED" else None,
        "cancelled_at": _time(ended) if state == "CANCELLED" else None,
        "execution_context": draw(contexts),
        "parent_token_id": draw(st.one_of(st.none(), token_ids, token_ids, st.just("gone"))),
        "child_tokens": draw(st.one_of(st.just([]), st.none(), st.lists(token_ids, max_size=2))),
        "flow_history": draw(
            st.one_of(
                st.none(),
                st.lists(st.sampled_from(FLOWS), max_size=2).map(
                    lambda ways: [{"from_element": way.split(">")[0], "via_flow": way} for way in ways]
                ),
            )
        ),
    }
    if fields["element_id"] in {"a", "b", "join"} and draw(st.booleans()):
        way = draw(st.sampled_from([f for f in FLOWS if f.endswith(f">{element}")]))
        fields["flow_history"] = [{"from_element": way.split(">")[0], "via_flow": way}]
    return fields


@st.composite
def answers(draw, *, unique_times=False):
    """Answers of a few instances: (instance id, what stands around the tokens, tokens)."""
    found = []
    for number in range(draw(st.integers(0, 4))):
        several = draw(st.lists(token_objects(), max_size=6))
        if draw(st.booleans()):  # alike, so that they have something in common
            several = [t | {"element_id": "a", "element_type": "serviceTask", "state": "ACTIVE"} for t in several]
        several = [t | {"token_id": f"t{n}"} for n, t in enumerate(several)]
        if unique_times:
            several = [t | {"created_at": _time(1000 * n + 5)} for n, t in enumerate(several)]
        head = {"instance_id": f"i{number}"} | draw(st.sampled_from([{"process_id": "p"}] * 3 + [{}]))
        head |= draw(st.sampled_from([{}] * 3 + [{"status": "ACTIVE"}, {"status": "COMPLETED"}]))
        found.append((head, several))
    return found


def document(given, *, indent=None, model=True):
    """Answers as documents one after another, the model before them."""
    parts = [msgspec.to_builtins(MODEL)] * model + [head | {"tokens": several} for head, several in given]
    return "\n".join(json.dumps(part, indent=indent) for part in parts).encode() or b"[]"


names = st.sampled_from(list(RULES))
questions = st.builds(
    lambda thresholds, **fields: DebugQuery(thresholds=thresholds, **fields),
    st.fixed_dictionaries(
        {},
        optional={
            "long_running": st.sampled_from(["0s", "10m", "1h"]),
            "stuck_gateway": st.sampled_from(["0s", "5m"]),
            "retries": st.integers(0, 4),
            "loops": st.integers(1, 3),
            "suspended": st.sampled_from(["0s", "10m"]),
            "clock_skew": st.sampled_from(["0s", "1m"]),
            "slow_visits": st.integers(1, 2),
            "slow_percentile": st.integers(1, 100),
            "common_instances": st.integers(2, 3),
            "common_share": st.integers(1, 100),
        },
    ),
    rules=st.one_of(st.just(()), st.lists(names, max_size=3).map(tuple)),
    skip=st.one_of(st.just(()), st.just(()), st.lists(names, max_size=3).map(tuple)),
    severity=st.sampled_from(["LOW", "LOW", "MEDIUM", "HIGH"]),
    elements=st.sampled_from([()] * 3 + [("a",), ("[aj]*", "Name")]),
    since=st.sampled_from([None] * 3 + [NOW - timedelta(minutes=30)]),
    ended=st.booleans(),
)


def told(engine, instance_id, question, limit=None):
    """Everything that is said, as documents."""
    report = run_debug(engine, instance_id, NOW, question, limits=DebugLimits(matches=limit))
    listing = report_listing(report, NOW, about={}, headline=tuple, several=True, fail_on=None, notes=list)
    findings = [msgspec.to_builtins(listing.document(finding)) for finding in listing.items]
    return findings, msgspec.to_builtins(encode_debug_summary(report))


def lean(data, *, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(reader, "MAX_VALUE_CHARACTERS", 200)
            patch.setattr(reader, "BATCH_CHARACTERS", 1500)
            patch.setattr(reader, "_SINGLE_READS_AFTER_FAILURE", 2)
        return FileEngine(read_visit_records([data], name="in", flows=FlowHistoryMode.JOINS), name="in")


def answerable(question):
    try:
        return select_rules(load_rules(), question)
    except UsageError:
        return None


@settings(max_examples=scaled(1.5))
@given(
    answers(),
    questions,
    st.one_of(st.none(), st.integers(1, 3)),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from([None, "i0", "i1"]),
)
def test_store_file_and_lean_reading_find_the_same(given_, question, limit, small, indent, instance_id):
    assume(answerable(question))
    assume(instance_id is None or any(head["instance_id"] == instance_id for head, _ in given_))
    data = document(given_, indent=indent)
    whole = told(FileEngine(read_records([data], name="in"), name="in"), instance_id, question, limit)
    assert told(lean(data, small=small), instance_id, question, limit) == whole
    with TemporaryDirectory() as directory:
        store = open_store(str(Path(directory) / "s.db"), write=True, create=True)
        with store.write() as batch:
            import_records(batch, read_records([data], name="in"), pytest.fail)
        assert told(store, instance_id, question, limit) == whole
        store.close()


@settings(max_examples=scaled(1))
@given(answers(), questions, st.integers(1, 3))
def test_counts_and_the_worst_do_not_hang_on_the_limit(given_, question, limit):
    assume(answerable(question))
    engine = FileEngine(read_records([document(given_)], name="in"), name="in")
    (all_, summary), (few, same) = told(engine, None, question), told(engine, None, question, limit)
    assert same == summary
    for one, short in zip(all_, few, strict=True):
        assert short["tokens"] == one["tokens"][:limit]
        assert one["count"] == len(one["tokens"])
        assert {k: v for k, v in short.items() if k != "tokens"} == {k: v for k, v in one.items() if k != "tokens"}


@settings(max_examples=scaled(1))
@given(answers(unique_times=True), questions, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(given_, question, chance):
    assume(answerable(question))
    mixed = [(head, chance.sample(several, len(several))) for head, several in given_]
    chance.shuffle(mixed)

    def plain(given):
        found, summary = told(FileEngine(read_records([document(given)], name="in"), name="in"), None, question)
        for finding in found:
            for hit in finding["tokens"]:
                hit["also"] = sorted(hit["also"])
        return found, summary

    assert plain(mixed) == plain(given_)


@settings(max_examples=scaled(0.6))
@given(answers(), questions)
def test_what_is_shown_is_part_of_what_there_is(given_, question):
    """--rule, --skip, --severity and --element leave things out, and change nothing of the rest."""
    assume(answerable(question))
    engine = FileEngine(read_records([document(given_)], name="in"), name="in")
    alike = DebugQuery(thresholds=question.thresholds, ended=question.ended)
    everything = {finding["type"]: finding for finding in told(engine, None, alike)[0]}
    for finding in told(engine, None, question)[0]:
        if finding["type"] == "COMMON_CAUSE" and (question.skip or question.since):  # it counts only what is left
            continue
        whole = {(hit["instance_id"], hit["id"]): hit for hit in everything[finding["type"]]["tokens"]}
        for hit in finding["tokens"]:
            assert hit | {"also": []} == whole[hit["instance_id"], hit["id"]] | {"also": []}
            assert set(hit["also"]) <= set(whole[hit["instance_id"], hit["id"]]["also"])


# --- the documented algorithm ---


def documented(tokens, now_ms):
    """``debugTokenIssues`` of the document, line by line, in Python."""
    from datetime import datetime

    def ms(text):
        return datetime.fromisoformat(text).timestamp() * 1000

    def rounded(value):
        import math

        return math.floor(value + 0.5)

    issues = []
    found = [t for t in tokens if t["state"] == "ACTIVE" and now_ms - ms(t["created_at"]) > 600_000]
    if found:
        issues.append(
            (
                "LONG_RUNNING_TOKENS",
                "HIGH",
                [
                    {
                        "id": t["token_id"],
                        "element": t["element_name"],
                        "runningTime": rounded((now_ms - ms(t["created_at"])) / 60_000),
                    }
                    for t in found
                ],
            )
        )
    found = [t for t in tokens if t["execution_context"].get("retries_used", 0) > 2]
    if found:
        issues.append(
            (
                "HIGH_RETRY_TOKENS",
                "MEDIUM",
                [
                    {
                        "id": t["token_id"],
                        "element": t["element_name"],
                        "retries": t["execution_context"]["retries_used"],
                    }
                    for t in found
                ],
            )
        )
    found = [
        t
        for t in tokens
        if "Gateway" in t["element_type"] and t["state"] == "WAITING" and now_ms - ms(t["created_at"]) > 300_000
    ]
    if found:
        issues.append(
            (
                "STUCK_GATEWAY_TOKENS",
                "HIGH",
                [
                    {
                        "id": t["token_id"],
                        "element": t["element_name"],
                        "waitingTime": rounded((now_ms - ms(t["created_at"])) / 60_000),
                    }
                    for t in found
                ],
            )
        )
    worst = {severity for _, severity, _ in issues}
    return issues, "HIGH" if "HIGH" in worst else "MEDIUM" if "MEDIUM" in worst else "LOW"


as_documented = st.fixed_dictionaries(
    {
        "element_id": st.sampled_from(["a", "b"]),
        "element_name": st.sampled_from(["A", "B"]),
        "element_type": st.sampled_from(["serviceTask", "exclusiveGateway", "parallelGateway", "eventBasedGateway"]),
        "state": st.sampled_from(["ACTIVE", "WAITING", "COMPLETED", "CANCELLED", "SUSPENDED"]),
        "created_at": st.one_of(
            st.sampled_from([0, 300_000, 300_001, 600_000, 600_001, 629_999, 630_000]), st.integers(0, 9_000_000)
        ).map(lambda ms: _time(ms / 1000)),
        "execution_context": st.fixed_dictionaries({}, optional={"retries_used": st.integers(0, 5)}),
    }
)
DOCUMENTED_RULES = ("LONG_RUNNING_TOKENS", "HIGH_RETRY_TOKENS", "STUCK_GATEWAY_TOKENS")


@settings(max_examples=scaled(2))
@given(st.lists(as_documented, max_size=12))
def test_the_documented_rules_say_what_the_documented_code_says(several):
    several = [one | {"token_id": f"t{n}"} for n, one in enumerate(several)]
    data = json.dumps({"success": True, "data": {"instance_id": "i1", "tokens": several}}).encode()
    found, summary = told(lean(data, small=False), "i1", DebugQuery(rules=DOCUMENTED_RULES))
    issues, severity = documented(several, NOW.timestamp() * 1000)
    assert summary["severity"] == severity
    assert summary["totalIssues"] == len(issues)
    ours = {finding["type"]: finding for finding in found}
    assert ours.keys() == {name for name, _, _ in issues}
    for name, severity, tokens in issues:
        assert list(ours[name])[:4] == ["type", "severity", "count", "tokens"]
        assert (ours[name]["severity"], ours[name]["count"]) == (severity, len(tokens))
        got = [{key: hit[key] for key in tokens[0]} for hit in ours[name]["tokens"]]
        assert sorted(got, key=lambda t: t["id"]) == sorted(tokens, key=lambda t: t["id"])
        assert list(ours[name]["tokens"][0])[:3] == list(tokens[0])


@pytest.mark.parametrize("kind", ["parallelGateway", None])
def test_a_join_whose_tokens_do_not_say_that_they_are_at_one(kind):
    came = {"element_type": kind, "created_at": _time(60)}
    several = [
        {"token_id": "s", "element_id": "split", "element_type": "parallelGateway", "state": "COMPLETED"},
        {"token_id": "j", "element_id": "join", "state": "WAITING", "flow_history": [{"via_flow": "a>join"}], **came},
        {"token_id": "b", "element_id": "b", "element_type": "userTask", "state": "CANCELLED"},
    ]
    data = document([({"instance_id": "i1", "process_id": "p"}, several)])
    question = DebugQuery(rules=("DEADLOCKED_JOIN",))
    whole = told(FileEngine(read_records([data], name="in"), name="in"), "i1", question)
    assert [finding["count"] for finding in whole[0]] == [1]
    assert told(lean(data, small=True), "i1", question) == whole
