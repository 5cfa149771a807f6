"""How many requests each command sends to an atomd server, which accepts 100 a minute, also with 1,000 instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from support.fake_atomd import RECORDED_SITUATIONS, SECRET, FakeAtomd, Made, Recorded

NOW = datetime(2026, 11, 28, 18, 0, 30, tzinfo=UTC)
SITUATIONS = Recorded(RECORDED_SITUATIONS)
IDS = SITUATIONS.index["ids"]
MODEL = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="urn:zeebe" id="d">
<process id="order" isExecutable="true"><startEvent id="start"/><serviceTask id="pay" name="Pay">
<extensionElements><zeebe:taskDefinition type="charge"/></extensionElements></serviceTask><endEvent id="end"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="pay"/><sequenceFlow id="f2" sourceRef="pay" targetRef="end"/>
</process></definitions>"""
FAILED, DEFERRED, SILENT = 8, 4, 30
"""Of 1,000 live instances, those with a FAILED job, those with a DEFERRED one, and those without a job."""


def made_instance(number: int) -> str:
    return f"srv1-{number:018}"


def made_token(number: int) -> str:
    return f"srv1-tok{number:015}"


def large() -> Made:
    """1,000 live instances at a service task, most of them in order, and 20 that have ended."""
    made = Made(page=1000, xml=MODEL)
    for number in range(1020):
        began = NOW - timedelta(seconds=100 + number / 100)
        made.instances.append(
            {
                "instance_id": made_instance(number),
                "process_definition_id": "order",
                "process_key": "order:v1",
                "version": 1,
                "status": "ACTIVE" if number < 1000 else "COMPLETED",
                "started_at": began.isoformat(),
                "updated_at": began.isoformat(),
            }
        )
        made.tokens[made_instance(number)] = [
            {
                "token_id": made_token(number),
                "process_instance_id": made_instance(number),
                "element_id": "pay",
                "status": "FAILED" if number < FAILED else "WAITING",
                "created_at": began.isoformat(),
                "updated_at": began.isoformat(),
            }
        ]
        if number < 1000 - SILENT:
            state = "FAILED" if number < FAILED else "DEFERRED" if number < FAILED + DEFERRED else "RUNNING"
            made.jobs.append(
                {
                    "key": f"srv1-job{number:015}",
                    "type": "charge",
                    "process_instance_id": made_instance(number),
                    "variables": {"_tokenID": made_token(number)},
                    "worker": "w",
                    "retries": 0 if state == "FAILED" else 2,
                    "state": state,
                    "created_at": int(began.timestamp()),
                    "error_message": "" if state == "RUNNING" else "no stock",
                }
            )
    return made


@pytest.fixture
def count(tokctl, monkeypatch, tmp_path) -> Iterator[Callable]:
    """Run a command against a server; return the requests that it sent, and what it said."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    servers: dict[object, FakeAtomd] = {}

    def run(answer, *words: str, code: int = 0):
        if answer not in servers:
            servers[answer] = FakeAtomd(answer)
        server = servers[answer]
        server.asked.clear()
        ran = tokctl(*words, "--server", server.url, "--engine-kind", "atomd", now=NOW)
        assert ran.code == code, ran.err
        return server.asked[:], ran

    yield run
    for server in servers.values():
        server.close()


COMMANDS = {
    ("instances", "list"): 1,
    ("instances", "list", "--status", "ACTIVE", "--process", "o*"): 1,
    ("instances", "show", "INSTANCE"): 4,
    ("tokens", "list", "INSTANCE"): 4,
    ("tokens", "list", "@latest"): 5,
    ("tokens", "show", "TOKEN"): 4,
    ("tokens", "tree", "INSTANCE"): 4,
    ("tokens", "history", "INSTANCE"): 4,
    ("tokens", "trace", "INSTANCE"): 4,
    ("flow", "INSTANCE"): 4,
    ("perf", "INSTANCE"): 4,
    ("explain", "INSTANCE"): 4,
    ("explain", "INSTANCE", "TOKEN"): 4,
    ("explain", "TOKEN"): 4,
    ("debug", "INSTANCE"): 4,
}
"""Command → the most requests, with the process model not on disk yet."""
PLACES = {
    "a single token": (SITUATIONS, IDS["failing"][1], "atom-6GqByfsUz7ZUqhkDIF"),
    "several tokens": (SITUATIONS, IDS["split"][0], "atom-6Sf2mwK24_Wd-jpG17"),
    "1,000 instances": (large(), made_instance(500), made_token(500)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_requests_of_a_command(count, words, place):
    answer, instance_id, token_id = PLACES[place]
    given = [{"INSTANCE": instance_id, "TOKEN": token_id}.get(word, word) for word in words]
    cold, first = count(answer, *given)
    more = int(words[:2] == ("instances", "list") and place == "1,000 instances")  # the second page
    assert len(cold) <= COMMANDS[words] + more, cold
    warm, again = count(answer, *given)
    assert len(warm) <= 4, warm
    assert not any(path.endswith("/xml") for path in warm), "a definition is fetched once"
    assert (first.out, first.err) == (again.out, again.err)


def test_latest_is_at_most_two_requests(count):
    for answer in (SITUATIONS, PLACES["1,000 instances"][0]):
        asked, _ = count(answer, "tokens", "list", "@latest")
        assert sum(path.startswith("/api/v1/processes/typed") for path in asked) <= 2


def test_a_list_is_one_request_a_page(count):
    made = large()
    made.page = 100
    asked, ran = count(made, "instances", "list", "-o", "id", "--limit", "0")
    assert len(asked) == 11
    assert len(ran.out.splitlines()) == 1020


def test_debug_of_1000_instances(count):
    """At most 30 requests, and one for each instance in trouble."""
    asked, ran = count(PLACES["1,000 instances"][0], "debug")
    assert len(asked) <= 30 + FAILED + DEFERRED
    assert sum("/info" in path for path in asked) == FAILED + DEFERRED
    assert "failed: no stock" in ran.out
    assert "1,000 instances running" in ran.out
    notes = ran.out + ran.err
    assert "only tokens that wait for jobs were checked" in notes
    assert f"{SILENT - 10} open instances have neither a job nor a timer" in notes
    assert "20 ended instances are not checked" in notes


@pytest.mark.parametrize(
    ("words", "stream"),
    [
        (("debug", "-o", "json"), "out"),
        (("debug", "-o", "junit"), "out"),
        (("debug", "-o", "csv"), "err"),
        (("instances", "list", "--stuck"), "err"),
    ],
)
def test_what_was_not_checked_is_told_in_every_format(count, words, stream):
    _, ran = count(PLACES["1,000 instances"][0], *words)
    assert f"{SILENT - 10} open instances have neither a job nor a timer" in getattr(ran, stream)


def test_incidents_of_1000_instances(count):
    asked, ran = count(PLACES["1,000 instances"][0], "tokens", "list", "-A", "--state", "FAILED", "-o", "id")
    assert ran.out.split() == [made_token(number) for number in reversed(range(FAILED))]
    assert len(asked) <= 30 + 3 * FAILED
    assert f"{SILENT - 10} open instances have neither a job nor a timer" in ran.err


def test_what_is_not_recorded_is_said(count):
    """The token was at a timer for 20 seconds before it came to the end event."""
    instance_id = IDS["timer"][1]
    _, ran = count(SITUATIONS, "tokens", "tree", instance_id)
    assert "It is not recorded where 1 token came from." in ran.out + ran.err
    _, ran = count(SITUATIONS, "tokens", "history", instance_id)
    assert "not recorded" in ran.out
    _, ran = count(SITUATIONS, "tokens", "list", instance_id, "--at", "2026-11-28T17:56:30Z")
    assert "the server does not tell where they were at that time" in ran.err


def test_a_limit_that_is_used_up_ends_a_sweep_at_once(tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    fake = FakeAtomd(SITUATIONS)
    fake.limit = 10
    ran = tokctl("perf", "--server", fake.url, "--engine-kind", "atomd", now=NOW)
    assert ran.code == 5
    assert "100 requests a minute" in ran.err
    assert len(fake.asked) < 25, "no request for each of 40 instances"
    fake.close()
