"""The audit over HTTP, secrets that must not leak, and a store with other writers."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from support.builders import TESTER
from support.jwt_making import secret_file, signed
from support.managing import ROOT, Manager, fault_of
from support.running_server import ENVIRONMENT, make_secret, make_store, serving
from tokctl.api_tokens.audit import check_chain, decode_entry
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest
from tokctl.model.scopes import PERMISSIONS
from tokctl.server.callers import Caller
from tokctl.server.endpoint import Query, ResponseStats
from tokctl.server.endpoints.api_tokens import REVOKE, UPDATE
from tokctl.server.http_errors import HTTPError
from tokctl.server.lifetimes import MaxLifetimes
from tokctl.server.request_bodies import ApiTokenChanges
from tokctl.server.usage import Use
from tokctl.store import open_store
from tokctl.store.sql.api_tokens import SqlApiTokens

# --- the audit ---


def test_the_audit_records_who_did_what(manager):
    start = manager("GET", "/audit?newest=true&limit=1").json()["meta"]["head"]["number"]
    user = Manager(manager.served, manager.store, signed())
    made = user.make("ci", type="full-access", scopes=["api-tokens"])
    token = Manager(manager.served, manager.store, made["token"])
    token("PUT", f"/{made['id']}", json={"name": "ci2"})
    token("DELETE", f"/{made['id']}")
    answer = manager("GET", f"/audit?after={start}").json()
    told = [(one["action"], one["actor"], one["from"], one["token"], one["details"]) for one in answer["data"]]
    number, origin = made["id"], "127.0.0.1"
    ada = {"kind": "user", "id": "7", "name": "ada@example.org"}
    assert told == [
        (
            "create",
            ada,
            origin,
            {"id": number, "name": "ci"},
            {
                "name": "ci",
                "description": None,
                "type": "full-access",
                "scopes": ["api-tokens"],
                "allowedCidrs": [],
                "expiresAt": None,
            },
        ),
        (
            "update",
            {"kind": "api-token", "id": str(number), "name": "ci"},
            origin,
            {"id": number, "name": "ci2"},
            {"name": ["ci", "ci2"]},
        ),
        ("revoke", {"kind": "api-token", "id": str(number), "name": "ci2"}, origin, {"id": number, "name": "ci2"}, {}),
    ]
    assert answer["meta"]["head"] == {"number": start + 3, "hash": answer["data"][-1]["hash"]}


def test_a_client_can_verify_the_audit_chain(manager):
    for n in range(9):
        manager.make(f"n{n}")
    entries, number = [], 0
    while page := manager("GET", f"/audit?after={number}&limit=7").json()["data"]:
        entries += [decode_entry(one) for one in page]
        number = entries[-1].number
    with open_store(str(manager.store)) as store:
        assert check_chain(entries, store.audit.head()).fault == ""
    assert len(entries) > 7
    ids = {entry.token_id for entry in entries}
    one = max(ids)
    only = manager("GET", f"/audit?tokenId={one}&newest=1").json()["data"]
    assert [entry["number"] for entry in only] == [e.number for e in reversed(entries) if e.token_id == one]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "tokenId=x", "newest=maybe", "tokenid=1", "newest="]
)
def test_invalid_audit_queries(manager, query):
    fault = fault_of(manager("GET", f"/audit?{query}", status=400))
    assert fault["details"] == {"parameter": query.partition("=")[0]}


# --- no leak ---


@pytest.mark.parametrize("manager", ["sqlite"], indirect=True)
def test_a_secret_is_only_in_the_response_that_creates_it(manager):
    user = signed()
    made = Manager(manager.served, manager.store, user).make("quiet", scopes=["process"])
    secret, name = made["token"], "a name of its own"
    manager.served.get("/api/v1/processes", secret)
    manager("POST", "/introspect", json={"token": secret})
    manager("POST", "/introspect", data={"token": secret})
    manager("POST", f"?token={secret}", json={"name": name}, status=400)
    manager("GET", f"/{secret}", status=404)
    manager("GET", f"/{user}", status=404)
    manager("POST", json={"name": name, "secret": secret}, status=400)
    manager("PUT", f"/{made['id']}", json={"type": secret}, status=400)
    manager("PUT", f"/{made['id']}", content=secret.encode(), headers={"Content-Type": "application/json"}, status=400)
    manager.served.client.get(ROOT, headers={"Authorization": f"Bearer {secret}x"})
    manager.served.client.get(ROOT, headers={"Authorization": f"Bearer {user[:-1]}x"})
    last = manager("GET", headers={"X-Request-ID": user[:100]})
    manager.served.log(last.headers["x-request-id"])
    texts = [
        "\n".join(manager.served.lines),
        manager("GET", "/audit?newest=1&limit=1000").text,
        manager("GET", "?pageSize=100").text,
    ]
    sqlite3.connect(manager.store).execute("PRAGMA wal_checkpoint").fetchone()
    kept = manager.store.read_bytes() + manager.store.with_name(manager.store.name + "-wal").read_bytes()
    texts.append(kept.decode("latin-1"))
    for text in texts:
        assert secret[8:] not in text
        assert user[10:30] not in text
        assert user.rpartition(".")[2] not in text
        assert name not in text  # the log does not contain bodies
    assert digest(load_pepper(ENVIRONMENT).key, secret) in kept


# --- a store that cannot be written ---


def test_a_change_waits_a_short_time_for_another_writer(manager):
    made = manager.make()
    with open_store(str(manager.store), write=True) as other, other.database.transaction("access"):
        for method, path, body in (("POST", "", {"name": "x"}), ("PUT", f"/{made['id']}", {"name": "x"})):
            answer = manager(method, path, json=body, status=503)
            assert fault_of(answer)["name"] == "ServiceUnavailableError"
            assert answer.headers["retry-after"] == "2"
            assert manager.served.log(answer.headers["x-request-id"])[0]["reason"]
            assert str(manager.store) not in answer.text
        assert manager("GET", f"/{made['id']}").json()["name"] == "made"
    assert manager("PUT", f"/{made['id']}", json={"name": "x"}).json()["name"] == "x"


def test_no_token_is_created_in_a_store_with_another_pepper(tmp_path):
    store = make_store(tmp_path / "own.db")
    make_secret(store, "theirs", "*")
    secret_file(tmp_path / "jwt")
    other = {"TOKCTL_PEPPER": "another pepper, of thirty-two signs and more"}
    with serving(store, "--jwt-secret-file", str(tmp_path / "jwt"), env=other) as served:
        user = Manager(served, store, signed())
        answer = user("POST", json={"name": "x"}, status=503)
        assert "another pepper" in served.log(answer.headers["x-request-id"])[0]["reason"]
        assert user("GET").json()["meta"]["pagination"]["total"] == 1


def test_a_concurrent_change_that_the_store_detects(manager):
    """The time between reading and changing is too short for a test over HTTP."""
    number = manager.make("raced")["id"]

    class Raced(SqlApiTokens):
        has_changed = False

        def by_id(self, token_id):
            found = super().by_id(token_id)
            if not self.has_changed:
                self.has_changed = True
                self.update(token_id, {"name": f"{found.name}+"}, datetime.now(UTC), by=TESTER)
            return found

    class Here:
        async def change(self, _token, function):
            with open_store(str(manager.store), write=True) as store:
                return function(Raced(store.database))

    services = SimpleNamespace(writer=Here(), lifetimes=MaxLifetimes(()))
    caller = Caller(actor=TESTER, created_by=None, grants=PERMISSIONS)
    for if_match, status in ((None, 409), (b"*", 412)):
        query = Query(
            caller=caller,
            ids=(str(number),),
            values={"reason": None},
            body=ApiTokenChanges(name="ours"),
            use=Use(datetime.now(UTC)),
            if_match=if_match,
            stats=ResponseStats(),
        )
        with pytest.raises(HTTPError) as caught:
            asyncio.run(UPDATE.handler(services, query))
        assert caught.value.status == status
        if if_match is not None:
            with pytest.raises(HTTPError) as caught:
                asyncio.run(REVOKE.handler(services, query))
            assert caught.value.status == 412
    assert manager.kept(number).name.startswith("raced+")
    assert manager.kept(number).revoked_at is None
