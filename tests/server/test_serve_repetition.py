"""Creations with an Idempotency-Key: repeated at once, after a crash of the server, after a lost response."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from support.managing import ROOT, Manager, fault_of
from support.running_server import Served, make_secret, make_store, serving
from tokctl.api_tokens.idempotency import derive_secret
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, CreationOutcomeUnknownError
from tokctl.api_tokens.registries.tokctl import KIND
from tokctl.api_tokens.secrets import is_tokctl_secret
from tokctl.client import Connection
from tokctl.model.api_tokens import VALID
from tokctl.server.salts import SaltRemover
from tokctl.store import open_store

ALLOWED = "/api/v1/processes?limit=1"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory) -> Manager:
    """A caller of a server with two workers."""
    store = make_store(tmp_path_factory.mktemp("keyed") / "keyed.db")
    secret, _ = make_secret(store, "every", "*", type_="full-access")
    with serving(store, "--workers", "2") as served:
        yield Manager(served, store, secret)


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def named(store, name):
    with open_store(str(store)) as opened:
        return [*opened.api_tokens.named(name)]


def test_requests_with_one_key_make_one_api_token(keyed):
    key, body = new_key(), {"name": "once", "scopes": ["process"], "description": "d"}

    def create(_):
        with httpx.Client(base_url=keyed.served.url, timeout=30, headers=keyed.headers | key) as client:
            return client.post(ROOT, json=body)

    with ThreadPoolExecutor(12) as threads:
        answers = [*threads.map(create, range(12))]
    assert {answer.status_code for answer in answers} == {201}
    (made,) = {answer.text for answer in answers}
    assert made == keyed("POST", json=body, headers=key, status=201).text
    secret = answers[0].json()["token"]
    assert is_tokctl_secret(secret)
    assert keyed.served.get(ALLOWED, secret).status_code == 200
    assert len(named(keyed.store, "once")) == 1
    audit = keyed("GET", f"/audit?tokenId={answers[0].json()['id']}").json()["data"]
    assert [one["action"] for one in audit] == ["create"]
    kept = b"".join(path.read_bytes() for path in keyed.store.parent.iterdir() if path.is_file())
    for text in (secret, secret[8:], key["Idempotency-Key"].strip('"')):
        assert text.encode() not in kept


def test_keys_are_of_their_caller_and_quotes_are_optional(keyed):
    key = new_key()
    first = keyed("POST", json={"name": "mine"}, headers=key, status=201).json()
    bare = {"Idempotency-Key": key["Idempotency-Key"].strip('"')}
    assert keyed("POST", json={"name": "mine"}, headers=bare, status=201).json() == first
    secret, _ = make_secret(keyed.store, "another", "*", type_="full-access")
    other = Manager(keyed.served, keyed.store, secret)("POST", json={"name": "mine"}, headers=key, status=201).json()
    assert other["id"] != first["id"]
    assert other["token"] != first["token"]
    unkeyed = [keyed("POST", json={"name": "mine"}, status=201).json()["id"] for _ in range(2)]
    assert len({first["id"], other["id"], *unkeyed}) == 4


@pytest.mark.parametrize("key", ["short", '"' + "x" * 256 + '"', "x" * 15 + " y", "", 'a"b"' + "x" * 16])
def test_a_key_that_is_none(keyed, key):
    fault = fault_of(keyed("POST", json={"name": "x"}, headers={"Idempotency-Key": key}, status=400))
    assert fault["details"] == {"header": "Idempotency-Key"}
    assert "16 to 255 visible ASCII characters" in fault["message"]


def test_what_is_not_repeated(keyed):
    key, body = new_key(), {"name": "not again"}
    made = keyed("POST", json=body, headers=key, status=201).json()
    old = keyed("POST", json={"name": "old one"}, status=201).json()["id"]
    for other in (
        body | {"scopes": ["token"]},
        {"name": "other"},
        body | {"type": "full-access"},
        body | {"replaces": old},
    ):
        fault = fault_of(keyed("POST", json=other, headers=key, status=422))
        assert (fault["name"], fault["details"]) == ("UnprocessableContentError", {"id": made["id"]})
    keyed("PUT", f"/{made['id']}", json={"description": "d"})
    fault = fault_of(keyed("POST", json=body, headers=key, status=409))
    assert "was changed or revoked since. Its secret is not repeated." in fault["message"]
    keyed("DELETE", f"/{made['id']}")
    keyed("POST", json=body, headers=key, status=409)
    assert named(keyed.store, "not again") == []


def age(store, name, minutes):
    with open_store(str(store), write=True) as opened:
        opened.connection.execute(
            "UPDATE api_token SET created_at = created_at - ?1, updated_at = updated_at - ?1 WHERE name = ?2",
            [int(minutes * 60e6), name],
        )


def test_after_ten_minutes_nobody_can_derive_the_secret(keyed):
    key = new_key()
    made = keyed("POST", json={"name": "old"}, headers=key, status=201).json()
    keyed("POST", json={"name": "young"}, headers=new_key(), status=201)
    age(keyed.store, "old", 9.9)
    assert keyed("POST", json={"name": "old"}, headers=key, status=201).json()["token"] == made["token"]
    age(keyed.store, "old", 0.2)
    fault = fault_of(keyed("POST", json={"name": "old"}, headers=key, status=409))
    assert "was created more than 10m ago. Its secret is not repeated." in fault["message"]

    def salts():
        with open_store(str(keyed.store)) as opened:
            rows = opened.connection.execute("SELECT name, creation_salt FROM api_token").fetchall()
            return {name: salt for name, salt in rows if salt is not None}

    before = salts()["old"]

    async def remove():
        remover = SaltRemover(str(keyed.store), pytest.fail, interval=timedelta(seconds=0.05))
        remover.note()
        await asyncio.sleep(0.5)
        await remover.finish()

    asyncio.run(remove())
    assert "old" not in salts()
    assert "young" in salts()
    assert before not in keyed.store.read_bytes()
    keyed("POST", json={"name": "old"}, headers=key, status=409)
    assert keyed.served.get(ALLOWED, made["token"]).status_code == 200  # it is only not derived again
    assert len(named(keyed.store, "old")) == 1


def test_a_derived_secret_needs_all_three():
    secrets = {
        derive_secret(pepper, salt, key) for pepper in (b"1", b"2") for salt in (b"a", b"b") for key in ("x", "y")
    }
    assert len(secrets) == 8
    assert all(map(is_tokctl_secret, secrets))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_killed_server_repeats_its_response_after_a_restart(own):
    store, caller = own
    port = free_port()
    for n in range(2):
        key, body, answers = new_key(), {"name": f"n{n}", "scopes": ["process"]}, []
        served = Served(store, "--port", str(port))

        def create(served=served, key=key, body=body, answers=answers):
            with suppress(httpx.HTTPError):
                answers.append(served.client.post(ROOT, json=body, headers={"X-API-Key": caller} | key).json())

        asking = threading.Thread(target=create)
        asking.start()
        time.sleep(random.uniform(0, 0.03))
        served.process.kill()
        asking.join()
        served.end(signal.SIGKILL)
        with serving(store, "--port", str(port)) as again:
            made = again.client.post(ROOT, json=body, headers={"X-API-Key": caller} | key).json()
            assert answers in ([], [made])
            assert again.get(ALLOWED, made["token"]).status_code == 200
        assert [one.id for one in named(store, f"n{n}")] == [made["id"]]


@contextmanager
def cutting(target, cuts):
    """A relay to a server that cuts so many connections once the response to a POST has come."""
    left, ended = [cuts], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def relay(client):
        with client, socket.create_connection(target) as server, suppress(OSError):
            while data := client.recv(1 << 16):
                head, _, body = data.partition(b"\r\n\r\n")
                if length := re.search(rb"(?i)content-length: *(\d+)", head):
                    while len(body) < int(length[1]):
                        body += client.recv(1 << 16)
                    data = head + b"\r\n\r\n" + body
                server.sendall(data)
                answer = server.recv(1 << 16)
                if data.startswith(b"POST /api/api-tokens HTTP") and left[0] > 0:
                    left[0] -= 1
                    return
                client.sendall(answer)

    def accept():
        with suppress(OSError):
            while not ended.is_set():
                threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", left
    finally:
        ended.set()
        listener.close()


@pytest.mark.parametrize("cuts", [1, 2, 9])
def test_a_client_asks_again_after_a_lost_response(keyed, monkeypatch, cuts):
    monkeypatch.setattr("tokctl.client.retries.INITIAL_BACKOFF_SECONDS", 0.01)
    name, caller = f"lost {cuts}", keyed.headers["Authorization"].split()[1]
    with cutting(keyed.served.address, cuts) as (url, left):
        connection = Connection(url, credential=lambda: caller)
        registry = KIND.open(connection, lambda: datetime.now(UTC), pytest.fail)
        if cuts < 4:
            made = registry.create(ApiTokenSpec(name=name))
            assert registry.verify(made.secret).state == VALID
            assert left == [0]
        else:
            with pytest.raises(CreationOutcomeUnknownError):
                registry.create(ApiTokenSpec(name=name))
            assert left == [cuts - 5]
        registry.close()
    assert len(named(keyed.store, name)) == 1
