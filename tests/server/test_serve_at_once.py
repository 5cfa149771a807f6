"""Concurrent changes of API tokens: races, revocation in every worker, a caller that is revoked during its request."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.raw_http import Raw, parsed
from support.running_server import SMALL, make_secret, make_store, path_of, serving
from tokctl.api_tokens.audit import check_chain
from tokctl.store import open_store

ROOT = "/api/api-tokens"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers, their store, and a secret with all permissions."""
    folder = tmp_path_factory.mktemp("workers")
    store = make_store(folder / "own.db")
    (folder / "config.yaml").write_text("serve: {limits: {failures: 100000}}", encoding="utf-8")
    secret, _ = make_secret(store, "every", "*", type_="full-access")
    with serving(store, "--workers", "2", env={"TOKCTL_CONFIG": str(folder / "config.yaml")}) as served:
        yield served, store, secret


def clients(served, secret, number):
    """Separate connections, so that both workers get some."""
    made = [httpx.Client(base_url=served.url, timeout=30, headers={"Authorization": secret}) for _ in range(number)]
    for client in made:
        client.get("/health")
    return made


def test_only_one_of_concurrent_changes_to_a_version_succeeds(workers):
    served, _, secret = workers
    each = clients(served, secret, 8)
    number = each[0].post(ROOT, json={"name": "raced"}).json()["id"]
    for round_ in range(3):
        etag = each[0].get(f"{ROOT}/{number}").headers["etag"]

        def put(n, etag=etag, round_=round_):
            return each[n].put(f"{ROOT}/{number}", json={"name": f"{round_}-{n}"}, headers={"If-Match": etag})

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(put, range(8)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] + [412] * 7
        (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert each[0].get(f"{ROOT}/{number}").json()["name"] == winner["name"]


def test_one_concurrent_revocation_succeeds_and_no_creation_is_lost(workers):
    served, store, secret = workers
    each = clients(served, secret, 8)
    number = each[0].post(ROOT, json={"name": "raced"}).json()["id"]
    with ThreadPoolExecutor(8) as threads:
        gone = sorted(threads.map(lambda client: client.delete(f"{ROOT}/{number}").status_code, each))
        made = [
            answer.json() for answer in threads.map(lambda n: each[n % 8].post(ROOT, json={"name": f"n{n}"}), range(24))
        ]
    assert gone == [200] + [404] * 7
    assert len({one["id"] for one in made}) == len({one["token"] for one in made}) == 24
    with open_store(str(store)) as opened:
        assert {f"n{n}" for n in range(24)} <= {token.name for token in opened.api_tokens.list()}
        assert check_chain(opened.audit.entries(), opened.audit.head()).fault == ""


def test_every_worker_sees_a_revocation_at_once(workers):
    served, _, secret = workers
    each = clients(served, secret, 8)
    for _ in range(3):
        made = each[0].post(ROOT, json={"name": "brief"}).json()
        headers = {"Authorization": made["token"]}
        path = path_of("processes", SMALL)
        assert [client.get(path, headers=headers).status_code for client in each] == [200] * 8
        assert each[1].delete(f"{ROOT}/{made['id']}").status_code == 200
        assert [client.get(path, headers=headers).status_code for client in each] == [401] * 8


def test_a_caller_revoked_while_sending_changes_nothing(workers):
    served, store, secret = workers
    (client,) = clients(served, secret, 1)
    caller = client.post(ROOT, json={"name": "slow", "type": "full-access", "scopes": ["*"]}).json()
    body = json.dumps({"name": "late"}).encode()
    with Raw(served) as slow:
        slow.send(
            f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nAuthorization: {caller['token']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body[:3]
        )
        time.sleep(0.2)
        assert client.delete(f"{ROOT}/{caller['id']}").status_code == 200
        slow.send(body[3:])
        status, document = parsed(slow.rest())
    assert (status, document["error"]["name"]) == (401, "UnauthorizedError")
    with open_store(str(store)) as opened:
        assert list(opened.api_tokens.named("late")) == []


def test_a_caller_that_loses_a_permission_while_sending_changes_nothing(workers):
    served, store, secret = workers
    (client,) = clients(served, secret, 1)
    caller = client.post(ROOT, json={"name": "slow", "type": "full-access", "scopes": ["api-tokens"]}).json()
    for change in ({"scopes": []}, {"scopes": ["api-tokens"], "type": "read-only"}):
        body = json.dumps({"name": "late", "scopes": []}).encode()
        with Raw(served) as slow:
            slow.send(
                f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nAuthorization: {caller['token']}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body[:3]
            )
            time.sleep(0.2)
            assert client.put(f"{ROOT}/{caller['id']}", json=change).status_code == 200
            slow.send(body[3:])
            status, document = parsed(slow.rest())
        assert (status, document["error"]["name"]) == (403, "ForbiddenError")
        assert client.put(f"{ROOT}/{caller['id']}", json={"scopes": ["api-tokens"], "type": "full-access"})
    with open_store(str(store)) as opened:
        assert list(opened.api_tokens.named("late")) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("revoked_at = updated_at + 1", 401),
        ("scopes = '[]'", 403),
        ("description = 'x'", 201),
    ],
)
def test_a_caller_that_changes_while_its_request_waits_for_a_writer(workers, change, status):
    served, store, secret = workers
    (client,) = clients(served, secret, 1)
    caller = client.post(ROOT, json={"name": "early", "type": "full-access", "scopes": ["api-tokens"]}).json()
    (asker,) = clients(served, caller["token"], 1)
    with ThreadPoolExecutor(1) as threads, open_store(str(store), write=True) as writer:
        with writer.database.transaction("access"):
            made = threads.submit(asker.post, ROOT, json={"name": f"waited {status}", "scopes": []})
            time.sleep(0.3)
            writer.database.execute(
                f"UPDATE api_token SET {change}, updated_at = updated_at + 1 WHERE id = ?", [caller["id"]]
            )
            writer.database.increment_revision("access")
        assert made.result().status_code == status
    with open_store(str(store)) as opened:
        assert len(list(opened.api_tokens.named(f"waited {status}"))) == (status == 201)


def test_a_client_that_disconnects_while_sending_is_logged_and_changes_nothing(workers):
    served, store, secret = workers
    with Raw(served) as gone:
        gone.send(
            f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\nX-Request-ID: gone\r\n"
            'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name": "gone"'.encode()
        )
        time.sleep(0.2)
    (line,) = served.log("gone")
    assert line["reason"] == "the client disconnected"
    with open_store(str(store)) as opened:
        assert list(opened.api_tokens.named("gone")) == []
