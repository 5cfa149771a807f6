"""Hops that an engine did not record: marked in every view, kept in files, stores, snapshots and at earlier times."""

from __future__ import annotations

import json

import pytest

from support.builders import at, ndjson, token
from tokctl.bpmn.reconstruction import Certainty, VisitHop, encode_flow_history
from tokctl.model.tokens import FlowHop

NOON = "2025-01-11T12:00:00Z"


def hop(element, flow, seconds, certainty=Certainty.RECONSTRUCTED):
    return encode_flow_history([VisitHop(None, element, flow, at(seconds), certainty)])


def step(name, seconds, parent=None, history=None, **fields):
    times = {"created_at": at(seconds), "updated_at": at(seconds), "completed_at": at(seconds + 1)}
    return token(name, element_id=name, parent_token_id=parent, flow_history=history or [], **times | fields)


TOKENS = [
    step("start", 0, element_type="startEvent"),
    step("recorded", 1, "start", hop("start", "f1", 1, Certainty.RECORDED)),
    step("found", 2, "recorded", hop("recorded", "f2", 2)),
    step("either", 3, None, hop("merge", None, 3, Certainty.AMBIGUOUS)),
    step("any", 4, None, encode_flow_history([VisitHop(None, None, None, None, Certainty.AMBIGUOUS)])),
]


@pytest.fixture(params=["file", "store"])
def source(request, tokctl, tmp_path):
    """Options that read the tokens from a file, or from a store."""
    file = tmp_path / "tokens.ndjson"
    file.write_bytes(ndjson(TOKENS))
    if request.param == "file":
        return "--file", file
    store = tmp_path / "tokens.db"
    assert tokctl("store", "import", file, "--store", store).code == 0
    return "--store", store


def read(tokctl, *words):
    ran = tokctl(*words, now=at(100))
    assert ran.code == 0, ran.err
    return ran.out


def rows(text):
    """The lines of a table that name a token, by the token."""
    names = [one.token_id for one in TOKENS]
    return {name: line for line in text.splitlines() for name in names if line.rstrip().endswith(name)}


def test_json_of_hops_has_the_member_only_if_the_hop_is_not_recorded():
    histories = [json.loads(bytes(one.flow_history)) for one in TOKENS[1:]]
    assert [history[0].get("certainty", "none") for history in histories] == [
        "none",
        "reconstructed",
        "ambiguous",
        "ambiguous",
    ]
    assert TOKENS[1].hops == [FlowHop("start", "f1", at(1))]
    assert TOKENS[2].hops == [FlowHop("recorded", "f2", at(2), Certainty.RECONSTRUCTED)]
    assert TOKENS[4].hops == [FlowHop(certainty=Certainty.AMBIGUOUS)]


def test_files_and_stores_keep_it(tokctl, source):
    listed = json.loads(read(tokctl, "tokens", "list", "i1", *source, "-o", "json"))["tokens"]
    for one, found in zip(TOKENS, listed, strict=True):
        assert found["flow_history"] == json.loads(bytes(one.flow_history))


def test_history(tokctl, source):
    found = rows(read(tokctl, "tokens", "history", "i1", *source, "-o", "table"))
    assert "≈" not in found["recorded"]
    assert "?" not in found["recorded"]
    assert "≈ recorded → f2" in found["found"]
    assert "? merge" in found["either"]
    hops = json.loads(read(tokctl, "tokens", "history", "i1", *source, "-o", "json"))["history"]
    assert {one["token_id"]: one.get("certainty") for one in hops} == {
        "start": None,
        "recorded": None,
        "found": "reconstructed",
        "either": "ambiguous",
        "any": "ambiguous",
    }


def test_trace(tokctl, source):
    shown = read(tokctl, "tokens", "trace", "i1", *source, "-o", "table")
    assert "≈ recorded → f2" in shown
    assert "? merge" in shown
    events = json.loads(read(tokctl, "tokens", "trace", "i1", *source, "-o", "json"))["execution_timeline"]
    moves = {one["token_id"]: one.get("certainty") for one in events if one["action"] == "TOKEN_MOVED"}
    assert (moves["recorded"], moves["found"], moves["either"]) == (None, "reconstructed", "ambiguous")


def test_tree(tokctl, source):
    shown = read(tokctl, "tokens", "tree", "i1", *source, "-o", "table")
    assert all(label in shown for label in ("recorded  ", "found ≈", "either ?", "any ?"))
    lines = json.loads(read(tokctl, "tokens", "tree", "i1", *source, "-o", "json"))["tree"]
    assert {one["token_id"]: one.get("certainty") for one in lines}["found"] == "reconstructed"
    assert {one["token_id"]: one.get("certainty") for one in lines}["any"] == "ambiguous"


def test_show_and_explain(tokctl, source):
    assert "≈ recorded" in read(tokctl, "tokens", "show", "found", *source, "-o", "table")
    evidence = json.loads(read(tokctl, "explain", "found", *source, "-o", "json"))["evidence"]
    assert {"name": "certainty", "value": "reconstructed", "source": "token"} in evidence
    evidence = json.loads(read(tokctl, "explain", "recorded", *source, "-o", "json"))["evidence"]
    assert "certainty" not in {one["name"] for one in evidence}


def test_an_earlier_time_keeps_it(tokctl, source):
    hops = json.loads(read(tokctl, "tokens", "history", "i1", *source, "--at", "2025-01-11T12:00:02.5Z", "-o", "json"))[
        "history"
    ]
    assert {one["token_id"]: one.get("certainty") for one in hops} == {
        "start": None,
        "recorded": None,
        "found": "reconstructed",
    }


def test_an_unknown_certainty_is_not_taken_for_certain(tokctl, tmp_path):
    odd = step("odd", 0, None, [{"from_element": "a", "via_flow": "f", "timestamp": NOON, "certainty": "guessed"}])
    out = read(tokctl, "tokens", "history", "i1", "--file", write(tmp_path, odd), "-o", "json")
    (found,) = json.loads(out)["history"]
    assert (found["from_element"], found["certainty"]) == ("a", "ambiguous")


def write(folder, *several):
    path = folder / "odd.ndjson"
    path.write_bytes(ndjson(list(several)))
    return path
