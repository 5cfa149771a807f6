"""How many requests each command sends to a Flowable server: few for one instance, and no more for a thousand."""

from __future__ import annotations

import pytest

from support.fake_flowable import CASES, FakeFlowable

COPIES = {"small": 1, "large": 72}
"""Of 14 instances: 14 and 1,008."""


@pytest.fixture(scope="module", params=COPIES)
def server(request):
    fake = FakeFlowable(copies=COPIES[request.param])
    yield fake
    fake.close()


@pytest.fixture
def ask(server, tokctl, monkeypatch, tmp_path):
    """Run a command; return the paths of its requests, without the models, which are cached."""

    def call(*words: str) -> list[str]:
        monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
        before = len(server.requests)
        done = tokctl(*words, "--server", server.address, "--engine-kind", "flowable")
        assert done.code in {0, 1}, done.err
        return [one.path for one in server.requests[before:] if not one.path.endswith("/resourcedata")]

    return call


def test_a_page_of_instances_takes_one_request_and_two_for_all_pages(ask):
    assert ask("instances", "list", "--limit", "5") == [
        "/process-api/history/historic-process-instances",
        "/process-api/runtime/process-instances",
        "/process-api/management/deadletter-jobs",
    ]


def test_a_page_of_live_instances_takes_no_more(server, tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    words = ("instances", "list", "--live", "--limit", "3", "-o", "id", "--server", server.address)
    before = len(server.requests)
    done = tokctl(*words, "--engine-kind", "flowable")
    assert len(done.out.splitlines()) == 3
    assert len(server.requests) - before <= 4  # and one to count them


def test_instances_that_have_ended_are_not_suspended(ask):
    assert len(ask("instances", "list", "--status", "COMPLETED,CANCELLED", "--limit", "5")) == 1


def test_no_incidents_take_one_request(tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    fake = FakeFlowable(cases=("trip4", "order20"))
    assert tokctl("incidents", "list", "--server", fake.address, "--engine-kind", "flowable").code == 0
    assert [one.path for one in fake.requests] == ["/process-api/management/deadletter-jobs"]
    fake.close()


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("command", ["tokens list", "tokens tree", "tokens history", "tokens trace", "explain", "flow"])
def test_one_instance_takes_ten_requests_at_most(ask, command, case):
    """One more for the model, which is requested once, and cached on disk."""
    asked = ask(*command.split(), CASES[case])
    failed = sum(path.endswith("/exception-stacktrace") for path in asked)
    most = 10
    if command == "explain":  # an id may be that of a token; a called instance is followed
        most += 1 + 10 * (case == "nested1")
    assert len(asked) - failed <= most
    assert failed <= 1


def test_an_instance_that_has_ended_takes_few_requests(ask):
    assert len(ask("tokens", "list", CASES["trip0"])) == 4


def test_a_token_by_its_id(ask):
    assert len(ask("tokens", "show", "e9b24ecf-eb4a-11f1-aada-02fc00000001")) <= 10
    assert len(ask("tokens", "show", "ship:e9894287-eb4a-11f1-aada-02fc00000001")) <= 10


@pytest.mark.parametrize(
    ("command", "most"),
    [
        ("incidents list", 14),
        ("incidents list --by error", 14),
        ("tokens list -A --state FAILED", 14),
        ("tokens list -A --live", 14),
        ("instances list --failed", 14),
        ("instances list --live", 14),
        ("instances list --since 1h", 14),
        ("perf", 15),
        ("debug --skip SLOWER_THAN_USUAL", 16),
        ("debug", 28),
        ("debug --all", 30),
    ],
)
def test_all_instances_take_a_constant_number_of_requests(ask, command, most):
    """Of debug, two for each of the five processes compare durations, and one more for each further version."""
    assert len(ask(*command.split())) <= most


def test_every_list_says_how_many_rows_it_wants(ask, server):
    ask("debug")
    ask("tokens", "list", CASES["order12"])
    lists = [one for one in server.requests if not one.path.endswith(("/resourcedata", "/exception-stacktrace"))]
    assert all("size" in dict(one.query) for one in lists if "-0" not in one.path)
    assert {one.method for one in server.requests} == {"GET"}
