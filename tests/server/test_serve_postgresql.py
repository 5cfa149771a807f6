"""Several servers of one PostgreSQL store."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.builders import instance, tokens
from support.managing import Manager
from support.postgresql_server import temporary_server
from support.running_server import Served, make_secret, serving
from tokctl.store import open_store

TOKENS = "/api/v1/processes/i1/tokens"


@pytest.fixture(scope="module")
def place(postgresql) -> str:
    """A store with an instance."""
    url = postgresql.new_schema()
    fill(url)
    return url


def fill(url: str) -> None:
    with open_store(url, write=True, create=True) as store, store.write() as batch:
        batch.put(instance("i1", process_id="p"), tokens(700))


@pytest.fixture(scope="module")
def secret(place) -> str:
    """The secret of a caller that may do everything."""
    return make_secret(place, "manager", "*", type_="full-access")[0]


@pytest.fixture(scope="module")
def managers(place, secret) -> Iterator[tuple[Manager, Manager]]:
    """The caller at two servers, one of them with two processes."""
    with serving(place) as first, serving(place, "--workers", "2") as second:
        yield Manager(first, place, secret), Manager(second, place, secret)


def test_what_one_server_grants_and_revokes_counts_at_once_for_the_other(managers):
    made = managers[0].make("shared", scopes=["process", "token"])
    for one in managers:
        assert one.served.get(TOKENS, made["token"]).status_code == 200
    managers[0]("DELETE", f"/{made['id']}")
    for one in managers * 2:
        assert one.served.get(TOKENS, made["token"]).status_code == 401


def test_both_have_the_same_tags(managers, place, secret):
    tags = [one.served.get(TOKENS, secret, params={"limit": 3}).headers["etag"] for one in managers]
    assert tags[0] == tags[1]
    with open_store(place, write=True) as store, store.write() as batch:
        batch.put(instance("i1"), tokens(1, state="ACTIVE", variables={"n": 1}))
    for one in managers:
        answer = one.served.get(TOKENS, secret, params={"limit": 3}, headers={"If-None-Match": tags[0]})
        assert answer.status_code == 200


def test_a_repeated_creation_at_the_other_server_returns_the_same_secret(managers):
    first, second = (
        one("POST", json={"name": "once"}, headers={"Idempotency-Key": "0123456789-repeated"}, status=201).json()
        for one in managers
    )
    assert first == second


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/processes/%00/tokens", 404),
        ("/api/v1/processes/i1/tokens?element=%00*", 200),
        ("/api/v1/processes?business_key=%00", 200),
        ("/api/v1/processes?var=a%3D%00", 200),
        ("/api/v1/processes?var=%00~%00*", 200),
        ("/api/v1/bpmn/processes/p/durations?element=%00", 200),
        ("/api/api-tokens?name=%00", 200),
    ],
)
def test_what_cannot_be_stored_is_not_found(managers, secret, path, status):
    """PostgreSQL has no character NUL, but clients may ask for it."""
    assert managers[0].served.get(path, secret).status_code == status


def test_what_cannot_be_stored_is_an_invalid_value(managers):
    managers[0]("POST", json={"name": "a\0b"}, status=400)


def test_a_database_that_is_read_only_can_be_served(place, secret):
    """As a standby, which other servers than the writing ones may use."""
    with serving(f"{place}%20-cdefault_transaction_read_only%3Don", "--read-only") as served:
        assert served.get(TOKENS, secret).status_code == 200
        answer = served.client.post("/api/api-tokens", headers={"X-API-Key": secret}, json={"name": "n"})
        assert answer.status_code == 503
        assert served.end() == 0
        assert served.lines[1:]
        assert not [line for line in served.lines if "not recorded" in line or "not removed" in line]


def test_an_outage_is_answered_with_503_and_ends_by_itself():
    with temporary_server(synchronous_commit="on") as database:
        fill(database.url())
        secret, _ = make_secret(database.url(), "manager", "*", type_="full-access")
        with serving(database.url()) as served:
            assert served.get(TOKENS, secret).status_code == 200
            database.stop()
            for _ in range(3):
                answer = served.get(TOKENS, secret)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
                assert "postgres" not in answer.text
            database.start()
            wait_for(served, secret)


def wait_for(served: Served, secret: str) -> None:
    deadline = time.monotonic() + 10
    while served.get(TOKENS, secret).status_code != 200:
        assert time.monotonic() < deadline, served.lines
        time.sleep(0.05)
