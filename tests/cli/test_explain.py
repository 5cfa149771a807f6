"""``tokctl explain``, over a store that was simulated, and over saved answers without a model."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime

import pytest

from support.builders import DOCUMENTED, ndjson, token
from support.paths import GOLDEN
from support.terminal import fits
from support.waiting import bpmn, timer
from tokctl.render.text import localize_times

NOW = datetime(2025, 1, 11, 11, tzinfo=UTC)
MODEL = bpmn(
    "start>split split>split2 split>c split2>a split2>b a>join2 b>join2 join2>join c>join join>end late>end2",
    '<serviceTask id="a" name="Pick the items"/><parallelGateway id="join" name="All is ready"/>',
    timer("late", "c", "PT20M"),
)
SCENARIO = """
start: 2025-01-11T10:00:00Z
until: 50m
instances: {count: 3, rate: 1/s}
tasks: {a: {worker: picker-01}}
cases:
  1: {tasks: {a: {hangs: true, timeout: 5m}}}
  2: {tasks: {a: {fails: true, retries: {max: 2, backoff: 5s}}}}
  3: {tasks: {c: {hangs: true}}}
"""
PLACES = {"waits": (0, "join"), "blocker": (0, "a"), "incident": (1, "join"), "dead": (2, "join")}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A store with three instances of the model; returns its path and their ids."""
    from tokctl.__main__ import run

    folder = tmp_path_factory.mktemp("explain")
    (folder / "pick.bpmn").write_text(MODEL)
    (folder / "plan.yaml").write_text(SCENARIO)
    store = folder / "store.db"
    words = ["simulate", folder / "pick.bpmn", "--scenario", folder / "plan.yaml", "--store", store]
    assert run([str(word) for word in words]) == 0
    return store


@pytest.fixture
def find(tokctl, simulated):
    """Find the (instance, token) ids of one of the places."""

    def call(place):
        number, element = PLACES[place]
        listed = tokctl("instances", "list", "--sort", "started", "-o", "id", "--store", simulated, now=NOW)
        instance_id = listed.out.split()[number]
        words = ("tokens", "list", instance_id, "-e", element, "-o", "json", "--store", simulated)
        found = [one for one in json.loads(tokctl(*words, now=NOW).out)["tokens"] if one["element_id"] == element]
        return instance_id, found[-1]["token_id"]

    return call


@pytest.fixture
def explained(tokctl, simulated, find):
    """Explain one of the places, as JSON."""

    def call(place):
        ran = tokctl("explain", *find(place), "-o", "json", "--store", simulated, now=NOW)
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return call


def test_json_says_why_and_on_what(explained, find):
    waits = explained("waits")
    assert (waits["verdict"], waits["can_continue"], waits["waited_ms"]) == ("WAITS_AT_JOIN", None, 3599000)
    assert [one["flow"] for one in waits["join"]["arrived"]] == ["c-join"]
    (missing,) = waits["join"]["missing"]
    assert (missing["flow"], missing["needed"], missing["possible"]) == ("join2-join", True, True)
    assert waits["blocker"]["token_id"] == find("blocker")[1]
    assert waits["blocker"]["verdict"] == "JOB_TIMED_OUT"
    assert {"name": "via_flow", "value": "c-join", "source": "token"} in waits["evidence"]
    assert explained("blocker")["chain"] == []
    incident = explained("incident")
    assert (incident["verdict"], incident["blocker"]["verdict"]) == ("DEADLOCKED_JOIN", "FAILED")
    dead = explained("dead")
    assert (dead["verdict"], dead["can_continue"], dead["blocker"]) == ("DEADLOCKED_JOIN", False, None)


def test_the_commands_that_it_names_work(tokctl, simulated, explained):
    for line in explained("waits")["next"]:
        ran = tokctl(*shlex.split(line)[1:], now=NOW, width=200)
        assert (ran.code, ran.err) == (0, "")


def test_the_commands_take_any_ids(tokctl, tmp_path):
    """Those that look like options, and workers that look like patterns, too."""
    saved = tmp_path / "saved answer.ndjson"
    saved.write_bytes(ndjson([token("-t", state="ACTIVE", execution_context={"worker_id": "w[1]"})]))
    told = json.loads(tokctl("explain", "-o", "json", "--file", saved, "--", "-t").out)
    assert len(told["next"]) == 3
    for line in told["next"]:
        ran = tokctl(*shlex.split(line)[1:], now=NOW)
        assert (ran.code, "-t" in ran.out) == (0, True)


def test_a_token_is_named_as_elsewhere(tokctl, simulated, find):
    instance_id, token_id = find("dead")
    whole = tokctl("explain", instance_id, token_id, "-o", "json", "--store", simulated, now=NOW)
    for words in ([token_id], [token_id[:-1]], [instance_id[:-1], token_id[:-1]]):
        assert tokctl("explain", *words, "-o", "json", "--store", simulated, now=NOW) == whole
    assert tokctl("explain", "nothing", "--store", simulated).code == 3
    assert tokctl("explain", instance_id, "--store", simulated).code == 0
    assert tokctl("explain", token_id, "-o", "id", "--store", simulated).out == f"{token_id}\n"


def test_everything_people_see_is_in_the_json(tokctl, simulated, find, explained):
    for place in PLACES:
        ran = tokctl("explain", *find(place), "--store", simulated, now=NOW, width=400)
        whole = localize_times(json.dumps(explained(place), ensure_ascii=False), NOW)
        for line in ran.out.partition("\nWhy\n")[2].partition("\n\n")[0].splitlines():
            assert json.dumps(line.strip(), ensure_ascii=False) in whole


def test_saved_answers_have_no_model(tokctl):
    ran = tokctl("explain", "srv1-token-aB3", "--file", DOCUMENTED)
    assert ran.code == 0
    assert "It waits for job srv1-job-xyz789 of the service task 'Process Payment'" in ran.out
    assert "JOB_TIMED_OUT" in ran.out


@pytest.mark.parametrize("context", [None, [], "text", 7, {}, {"job_key": 7, "error": None}])
def test_any_context_will_do(tokctl, context):
    known = [
        token("t", state="ACTIVE", execution_context=context),
        token("f", state="FAILED", execution_context=context),
    ]
    for one in known:
        ran = tokctl("explain", one.token_id, "--file", "-", "-o", "json", stdin=ndjson(known))
        assert (ran.code, ran.err) == (0, "")


def test_text_from_the_data_cannot_steer_the_terminal(tokctl):
    known = [
        token("t", state="FAILED", element_name="a\x1b[2Jb\nc", execution_context={"error_message": "x\x1b]0;y\x07"})
    ]
    ran = tokctl("explain", "t", "--file", "-", stdin=ndjson(known), tty=True)
    assert "\x1b[2J" not in ran.out
    assert "\x1b]" not in ran.out
    assert "a\\u001b[2Jb\\nc" in ran.out


@pytest.mark.parametrize("room", [80, 120])
@pytest.mark.parametrize("place", PLACES)
def test_screens(tokctl, simulated, find, place, room, monkeypatch):
    monkeypatch.setenv("TOKCTL_STORE", str(simulated))
    ran = tokctl("explain", *find(place), "--color", "never", now=NOW, width=room, tty=True)
    assert all(fits(line, room) for line in ran.out.splitlines())
    path = GOLDEN / f"explain-{place}-{room}.txt"
    if os.environ.get("TOKCTL_GOLDEN") == "write":
        path.write_text(ran.out)
    assert ran.out == path.read_text()


@pytest.mark.parametrize("room", [20, 40])
def test_narrow_screens_fit(tokctl, simulated, find, room):
    words = ("explain", *find("waits"), "--store", simulated, "--color", "never")
    ran = tokctl(*words, now=NOW, width=room, tty=True, encoding="ascii")
    assert all(fits(line, room) for line in ran.out.splitlines())


def test_an_instance_is_explained_token_by_token(tokctl, known):
    document = json.loads(tokctl("explain", "ord-1002", "-o", "json", "--store", known).out)
    assert [one["token_id"] for one in document["explanations"]] == ["b5-mail", "b3-pick", "b6-join"]
    ran = tokctl("explain", "ord-100", "--store", known)
    assert (ran.code, "ambiguous" in ran.err) == (3, True)
    ran = tokctl("explain", "ord-1002", "--store", known)
    assert ran.out.index("It FAILED at") < ran.out.index("It waits at the parallel gateway")
    assert ran.out.endswith("explain b5-mail\n")
    assert "This instance has no live tokens." in tokctl("explain", "ord-1001", "--store", known).out
    assert tokctl("explain", "ord-1002", "-o", "id", "--store", known).out.split()[0] == "b5-mail"


def test_an_instance_whose_id_begins_those_of_its_tokens(tokctl, tmp_path):
    tokens = [{"token_id": f"ord-1-{n:02}", "element_id": "e", "state": "FAILED"} for n in range(25)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": {"instance_id": "ord-1", "tokens": tokens}}))
    ran = tokctl("explain", "ord-1", "--file", path)
    assert (ran.code, ran.out.count("can continue: no")) == (0, 20)
    assert "… and 5 more. Use -o wide to list all." in ran.out
    assert tokctl("explain", "ord-1-00", "--file", path).out.startswith("e  FAILED  ord-1-00")


@pytest.mark.parametrize("words", ["debug", "explain ord-1002", "explain ord-1002 b6-join", "tokens list ord-1002"])
def test_a_suggested_command_is_on_one_line(tokctl, known, words):
    """A terminal folds it, and copies it as one line."""
    ran = tokctl(*words.split(), "--store", known, "--color", "never", now=NOW, width=30, tty=True)
    suggested = [line for line in ran.out.splitlines() if "tokctl " in line]
    assert suggested
    assert all(len(line) > 30 and line == line.rstrip() for line in suggested)
