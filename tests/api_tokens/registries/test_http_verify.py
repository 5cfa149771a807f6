"""Whose a secret is, as servers tell it: ours by introspection, others by letting it in."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from support import faulty_server
from support.fake_xiver import FakeXiver
from support.registry_kinds import HOUR, now, put
from support.serving import Served
from tokctl.api_tokens.secrets import generate
from tokctl.errors import InputError, UnreachableError
from tokctl.model.api_tokens import REVOKED, UNKNOWN, VALID
from tokctl.store import open_store

Open = Callable[..., Any]


def test_xiver_tells_by_letting_it_in(opened: Open, fake: FakeXiver):
    xiver = opened(server=fake.url, credential=fake.jwt)
    secret = fake.add("ci")
    verdict = xiver.verify(secret)
    assert (verdict.state, verdict.token.id) == (VALID, 1)
    assert fake.asked("POST") == []  # the secret is sent nowhere but as what it is
    assert xiver.verify(generate()).state == UNKNOWN
    fake.add("twin", secret=secret[:8] + "0" * 60)
    verdict = xiver.verify(secret)
    assert (verdict.state, verdict.token) == (VALID, None)  # two have this mask
    fake.records["2"]["expiresAt"] = (now() - HOUR).isoformat()
    assert xiver.verify(secret).token.id == 1
    assert opened(server=fake.url).verify(secret).state == VALID
    xiver.revoke("1")
    assert xiver.verify(secret).state == UNKNOWN


def test_what_lets_everybody_in_is_no_registry(opened: Open):
    for answer in (faulty_server.page(), faulty_server.good(b'{"data":{}}'), faulty_server.good(b"[]")):
        has_none = faulty_server.good(b"", 404)
        for kind, answers in (("xivercms", (answer,)), ("tokctl", (has_none, has_none, answer))):
            with faulty_server.serving(*answers) as server, pytest.raises(InputError):
                opened(server=server.url, registry_kind=kind, credential="xvc_own").verify(generate())


def test_a_server_that_fails_says_nothing_of_a_secret(opened: Open, monkeypatch):
    monkeypatch.setattr("tokctl.client.retries.INITIAL_BACKOFF_SECONDS", 0.0)
    secret = generate()
    echo = faulty_server.good(f'{{"error":"no {secret}"}}'.encode(), 500)
    for answer in (faulty_server.good(b"", 503), faulty_server.good(b"", 429), faulty_server.raw(b""), echo):
        with faulty_server.serving(answer) as server:
            registry = opened(server=server.url, registry_kind="xivercms", credential="xvc_own")
            with pytest.raises(UnreachableError) as caught:
                registry.verify(secret)
        assert secret not in "".join(traceback.format_exception(caught.value))


def test_our_server_tells_of_any_secret_without_a_use(opened: Open, served: Served):
    registry = opened(server=served.url, credential=served.secret)
    _, secret = put(served.path, "ci", "process")
    ident, gone = put(served.path, "gone", "process")
    registry.revoke(ident)
    assert registry.verify(secret).state == VALID
    assert registry.verify(gone).state == REVOKED
    served.close()  # which writes what was used
    with open_store(str(served.path)) as store:
        assert next(iter(store.api_tokens.named("ci"))).last_used_at is None


@pytest.mark.parametrize(
    ("scopes", "type_"),
    [
        (("introspect",), "full-access"),
        (("introspect",), "read-only"),
        (("api-tokens",), "read-only"),
        (("process",), "full-access"),
        (None, ""),
    ],
)
def test_our_server_tells_whoever_asks(opened: Open, served: Served, scopes: tuple[str, ...] | None, type_: str):
    asks = None if scopes is None else put(served.path, "asks", *scopes, type_=type_)[1]
    _, secret = put(served.path, "ci", "process", type_="read-only")
    ident, gone = put(served.path, "gone")
    opened(server=served.url, credential=served.secret).revoke(ident)
    registry = opened(server=served.url, credential=asks)
    verdict = registry.verify(secret)
    assert (verdict.state, verdict.token.name, verdict.token.type) == (VALID, "ci", "read-only")
    assert verdict.token.scopes == ("process",)
    assert registry.verify(gone).state == UNKNOWN
    assert registry.verify(generate()).state == UNKNOWN
