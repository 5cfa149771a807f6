"""``tokctl tokens trace``: over a store, over a file, over what a simulation recorded."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

import tokctl.simulation.demo
from support.builders import DOCUMENTED, at, ndjson, token, tokens
from support.commandline import NOW, fill
from tokctl.analysis.encoding.trace import encode_trace
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.trace.report import build_trace
from tokctl.engines.file import FileEngine
from tokctl.input_files import read_chunks
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.readers.stream import read_records

ORDER = Path(tokctl.simulation.demo.__file__).with_name("order.bpmn")
SCENARIO = ORDER.with_name("order.yaml")


@pytest.fixture
def ask(tokctl, known):
    """Trace an instance of the known store as JSON."""

    def call(*words):
        ran = tokctl("tokens", "trace", *words, "-o", "json", "--store", known)
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return call


def refused(ran, code, *parts):
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    for part in parts:
        assert part in ran.err


def engine_of(path):
    return FileEngine(read_records(read_chunks(str(path)), name="x", instance_id="x"), name="x")


@pytest.mark.parametrize("options", [[], ["--variables"], ["--format", "summary"], ["--since", "2025-01-11 10:31"]])
@pytest.mark.parametrize("name", ["srv1-", "ord-1001", "ord-1002", "pay-2001"])
def test_a_store_and_a_file_give_the_same_bytes(tokctl, known, orders, name, options):
    file = DOCUMENTED if name == "srv1-" else orders
    for form in ("json", "ndjson", "yaml", "csv") if not options else ("json",):
        words = ("tokens", "trace", name, *options, "-o", form)
        stored, saved = tokctl(*words, "--store", known), tokctl(*words, "--file", file)
        assert (stored.code, stored.err) == (0, "")
        assert stored.out == saved.out
        assert stored.out


def test_the_answer_is_the_document_that_a_server_sends(tokctl, orders):
    engine = engine_of(orders)
    for instance_id in engine.instance_ids("", 5):
        whole = list(engine.tokens(instance_id, ALL_TOKENS, SortOrder("created")))
        for detailed in (True, False):
            made = build_trace(engine.instance(instance_id), whole, NOW, detailed=detailed)
            form = "detailed" if detailed else "summary"
            ran = tokctl("tokens", "trace", instance_id, "--file", orders, "-o", "json", "--format", form)
            assert ran.out.encode() == msgspec.json.encode(encode_trace(made)) + b"\n"


def test_a_period_bounds_the_timeline_and_nothing_else(ask):
    whole = ask("ord-1001")
    some = ask("ord-1001", "--since", "2025-01-11T10:00:12Z", "--until", "2025-01-11T10:00:30Z")
    assert some["execution_timeline"] == [
        e for e in whole["execution_timeline"] if "10:00:12" <= e["timestamp"][11:19] < "10:00:30"
    ]
    assert some["execution_timeline"]
    assert (some["start_time"], some["end_time"]) == ("2025-01-11T10:00:12.000Z", "2025-01-11T10:00:30.000Z")
    for key in ("execution_paths", "token_relationships", "performance_analysis", "summary"):
        assert some[key] == whole[key]


def test_a_table_shows_a_page_and_says_so(tokctl, tmp_path):
    path = tmp_path / "many.ndjson"
    path.write_bytes(ndjson(tokens(80)))
    assert "Showing 1 to 100 of 160 events" in tokctl("tokens", "trace", "--file", path, tty=True).out
    ran = tokctl("tokens", "trace", "--file", path, "-n", "100")
    assert "Showing 1 to 100 of 160 events" in ran.err
    assert ran.out.count("COMPLETED  task") == 50
    ran = tokctl("tokens", "trace", "--file", path, "--page", "2")
    assert "Showing 101 to 160 of 160 events" in ran.err
    assert "This page is empty." in tokctl("tokens", "trace", "--file", path, "--page", "3").out
    assert "Showing" not in tokctl("tokens", "trace", "--file", path, "-n", "0").err
    assert len(json.loads(tokctl("tokens", "trace", "--file", path, "-o", "json").out)["execution_timeline"]) == 160
    page = tokctl("tokens", "trace", "--file", path, "-o", "ndjson", "-n", "3", "--page", "2").out.splitlines()
    assert [json.loads(line)["sequence"] for line in page] == [4, 5, 6]
    assert "No events in this period." in tokctl("tokens", "trace", "--file", path, "--until", "1s").out


def test_a_summary_leaves_out_what_is_long(ask, tokctl, known):
    short, whole = ask("ord-1002", "--format", "summary"), ask("ord-1002")
    assert list(short) == ["instance_id", "process_id", "trace_generated_at", "performance_analysis", "summary"]
    assert short == {key: whole[key] for key in short}
    ran = tokctl("tokens", "trace", "ord-1002", "--format", "summary", "--store", known)
    assert "Bottlenecks" in ran.out
    assert "Timeline" not in ran.out
    assert (
        tokctl("tokens", "trace", "ord-1002", "--format", "summary", "-o", "id", "--store", known).out == "ord-1002\n"
    )


def test_variables_stand_at_events_where_they_are_asked_for(ask):
    assert not any("variables" in event for event in ask("ord-1001")["execution_timeline"])
    assert all(event["variables"]["orderId"] for event in ask("ord-1001", "--variables")["execution_timeline"])


def test_what_cannot_be_meant_is_refused(tokctl, known):
    def run(*words):
        return tokctl("tokens", "trace", *words, "--store", known)

    refused(run("ord-1001", "--format", "sumary"), 2, "did you mean 'summary'?", "detailed, summary")
    refused(run("ord-1001", "--since", "soon"), 2, "invalid time")
    refused(run("ord-1001", "--since", "5m", "--until", "10m"), 2, "must be before")
    refused(run("ord-1001", "--limit", "0", "--page", "2"), 2)
    refused(run("ord"), 3, "ambiguous")
    refused(run("bogus"), 3)
    refused(run("ord-1001", "--columns", "acton"), 2, "did you mean 'action'?")


def test_a_simulated_run(tokctl, tmp_path):
    store = tmp_path / "s.db"
    ran = tokctl("simulate", ORDER, "--scenario", SCENARIO, "--store", store, "--instances", "3", "--seed", "1")
    assert ran.code == 0, ran.err
    ids = tokctl("instances", "list", "--store", store, "-o", "id", "-n", "0").out.split()
    assert len(ids) >= 3
    saved = tmp_path / "s.ndjson"
    actions: Counter[str] = Counter()
    for instance_id in ids:
        saved.write_text(tokctl("store", "export", instance_id, "--store", store).out)
        visits = list(engine_of(saved).visits(instance_id, flows=True))
        made = json.loads(tokctl("tokens", "trace", instance_id, "--store", store, "-o", "json").out)
        assert made == json.loads(tokctl("tokens", "trace", "--file", saved, "-o", "json").out)
        timeline = made["execution_timeline"]
        actions.update(event["action"] for event in timeline)
        assert [e["action"] for e in timeline].count("TOKEN_CREATED") == len(visits)
        assert [e["timestamp"] for e in timeline] == sorted(e["timestamp"] for e in timeline)
        assert made["token_relationships"]["contradictions"]["total"] == 0
        flow = FlowAnalysis(visits, NOW)
        analysis = made["performance_analysis"]
        assert {b["element_id"]: b["total_duration_ms"] for b in analysis["bottlenecks"]} == {
            b.key: b.total_ms for b in flow.bottlenecks[:10]
        }
        assert analysis["parallel_execution"]["max_concurrent_tokens"] == flow.peak.max_concurrent
        listed = json.loads(tokctl("tokens", "list", instance_id, "--store", store, "-o", "json").out)["summary"]
        assert {key: made["summary"][key] for key in listed} == listed
    assert actions.keys() >= {
        "TOKEN_CREATED",
        "TOKEN_MOVED",
        "TOKEN_COMPLETED",
        "TOKEN_SPLIT",
        "GATEWAY_EVALUATED",
    }


STRANGE = {
    "none": [],
    "one": [token("t", created_at=at(0), state="ACTIVE")],
    "cycle": [token("a", parent_token_id="b"), token("b", parent_token_id="a"), token("c", parent_token_id="c")],
    "future": [token("t", created_at=at(1e7), completed_at=at(2e7)), token("u", created_at=at(1e7), state="WAITING")],
    "states": [token("t", state="LIMBO", created_at=at(0)), token("u", state="Läuft")],
    "contexts": [token("t", execution_context=7), token("u", execution_context=[]), token("v")],
    "nulls": [token("t", element_type=None, execution_context={"duration_ms": None}, flow_history=None)],
    "backwards": [token("t", created_at=at(9), completed_at=at(1), execution_context={"duration_ms": -5})],
}


@pytest.mark.parametrize("width", [20, 60, 100])
@pytest.mark.parametrize("name", STRANGE)
def test_strange_instances(tokctl, tmp_path, name, width):
    store = tmp_path / "strange.db"
    saved = tmp_path / "strange.ndjson"
    head = msgspec.json.encode({"instance_id": "i1", "process_id": "p", "tokens": []}) + b"\n"
    saved.write_bytes(head + ndjson(STRANGE[name]))
    fill(store, saved)
    for form in ("detailed", "summary"):
        words = ("tokens", "trace", "i1", "--format", form)
        assert tokctl(*words, "--store", store, width=width).code == 0
        ran = tokctl(*words, "--store", store, "-o", "json")
        assert ran.out == tokctl(*words, "--file", saved, "-o", "json").out
        assert json.loads(ran.out)["summary"]["total_tokens"] == len(STRANGE[name])
    assert tokctl("tokens", "trace", "i1", "--variables", "--file", saved, width=width).code == 0
