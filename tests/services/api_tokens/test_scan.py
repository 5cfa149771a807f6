"""Verdicts on leaked secrets, and what is marked as revoked."""

from __future__ import annotations

import io
from io import BufferedReader

from support.commandline import NOW
from support.own_api_tokens import OwnStore
from tokctl import open_registry
from tokctl.errors import UnreachableError
from tokctl.services.api_tokens.revocation import revoke_api_tokens
from tokctl.services.api_tokens.scan import list_live_tokens, mark_revoked, search_secrets, verify_hits


def search(data: bytes):
    return search_secrets(["-"], stdin=BufferedReader(io.BytesIO(data)))


def test_a_live_secret_is_found_and_its_token_revoked(own: OwnStore):
    own.add("ci")
    own.add("other")
    hits, totals = search(f"key={own.secrets['ci']}\nagain {own.secrets['ci']}\n".encode())
    assert (len(hits), totals.complete, list(totals.unread)) == (2, True, [])
    registry = open_registry(store=str(own.path), write=True, clock=lambda: NOW)
    leaks, error = verify_hits(registry, hits)
    assert error is None
    assert [(leak.line, leak.live, leak.token.name) for leak in leaks] == [(1, True, "ci"), (2, True, "ci")]
    assert own.secrets["ci"] not in repr(leaks)
    [token] = list_live_tokens(leaks)
    results = revoke_api_tokens(registry, [token], "leaked")
    registry.close()
    assert [leak.revoked for leak in mark_revoked(leaks, results)] == [True, True]
    assert own.names() == ["other"]


def test_without_a_registry_nothing_is_known_of_a_secret(own: OwnStore):
    own.add("ci")
    [leak], error = verify_hits(None, search(own.secrets["ci"].encode())[0])
    assert (leak.state, leak.token, leak.live, error) == (None, None, False, None)


def test_a_registry_that_fails_is_asked_once(own: OwnStore):
    own.add("ci")
    own.add("other")
    asked = []

    class Failing:
        def verify(self, secret):
            asked.append(secret)
            raise UnreachableError("no answer.")

    leaks, error = verify_hits(Failing(), search(" ".join(own.secrets.values()).encode())[0])
    assert (len(asked), len(leaks), str(error)) == (1, 2, "no answer.")
