"""Views of API tokens and their audit: what servers leave out, what they add, and what only some terminals can show."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from support.builders import NOON, TESTER, at
from support.commandline import Stream
from tokctl.api_tokens.audit import Actor, AuditEntry, ChainCheck, ChainHead
from tokctl.errors import UnreachableError
from tokctl.model.api_tokens import ApiToken, CreatedBy
from tokctl.render import emit
from tokctl.render.result import Output
from tokctl.render.views.api_tokens import (
    api_token_detail,
    api_token_listing,
    revocation_listing,
    update_detail,
    verification_detail,
)
from tokctl.render.views.audit import audit_listing, chain_check_detail
from tokctl.services.api_tokens.revocation import RevocationResult


def token(**fields) -> ApiToken:
    usual = {"id": 7, "name": "ci", "token": "xvc_a1b2...", "created_at": NOON - timedelta(days=3), "scopes": None}
    return ApiToken(**usual | fields)


def shown(result, form="table", **fields) -> str:
    out = Output(
        stream=Stream(),
        errors=Stream(),
        format=form,
        tty=False,
        now=NOON,
        **{"color": False, "unicode": True, "width": 200} | fields,
    )
    emit(result, out)
    return out.stream.written()


def test_scopes_that_a_server_does_not_tell():
    assert " ?  " in shown(api_token_listing([token()], NOON)).splitlines()[1]
    assert "scopes       not reported by the server" in shown(api_token_detail(token(), NOON))
    document = json.loads(shown(api_token_detail(token(), NOON), "json"))
    assert "scopes" not in document
    assert document["state"] == "valid"


def test_what_a_server_adds_is_shown():
    one = token(extra={"lifespan": 90, "tags": ["a"], "owner": "me"})
    assert shown(api_token_detail(one, NOON)).split("Other fields\n")[1].split() == [
        "lifespan",
        "90",
        "tags",
        '["a"]',
        "owner",
        "me",
    ]
    assert json.loads(shown(api_token_detail(one, NOON), "json"))["lifespan"] == 90


@pytest.mark.parametrize(
    ("by", "expected"),
    [(None, None), (CreatedBy(id=3), "3"), (CreatedBy(id=3, email="a@b"), "a@b"), (CreatedBy(), None)],
)
def test_who_created_it(by, expected):
    row = json.loads(shown(api_token_listing([token(created_by=by)], NOON), "json", columns=("createdBy",)))
    assert row["data"] == [{"createdBy": expected}]
    assert f"created by   {expected or 'unknown'}" in shown(api_token_detail(token(created_by=by), NOON))


@pytest.mark.parametrize(
    ("expires", "text", "style"),
    [
        (None, "never", "\x1b[2m"),
        (at(0), "0ms ago", "\x1b[31m"),
        (at(1), "in 1s", "\x1b[33m"),
        (at(14 * 86400), "in 14d", "\x1b[33m"),
        (at(14 * 86400 + 1), "in 14d", ""),
        (at(-60), "1m ago", "\x1b[31m"),
    ],
)
def test_when_it_expires(expires, text, style):
    listing = api_token_listing([token(expires_at=expires)], NOON)
    row = shown(listing, columns=("expiresAt",), color=True).splitlines()[1]
    assert re.fullmatch(f"{re.escape(style)} *{text}(\x1b\\[0m)?", row)


def test_an_update_in_ascii():
    detail = update_detail(token(scopes=("process",)), token(scopes=(), description="é"), NOON)
    assert shown(detail, unicode=False).splitlines()[2:] == [
        "  description  none -> \\u00e9",
        "  scopes       process -> none",
    ]


def test_a_verdict_without_a_record():
    detail = verification_detail("valid", None, {"job": False}, NOON, good=False)
    assert shown(detail).splitlines()[0] == "valid  the registry does not report the API token"
    assert detail.exit_code == 1
    assert shown(verification_detail("unknown", None, {}, NOON, good=False)) == "unknown\n"


def test_what_was_revoked_and_what_was_not():
    done = [
        RevocationResult(token=token(), revoked=True, removed_from="the keyring"),
        RevocationResult(token=token(id="a-b"), revoked=False, error=UnreachableError("no")),
    ]
    listing = revocation_listing(done, NOON, dry_run=False, exit_code=5)
    rows = shown(listing).splitlines()
    assert rows[1].endswith("revoked, and removed from the keyring")
    assert rows[2].endswith("not revoked")
    assert shown(listing, "id") == "7\n"
    assert [one["state"] for one in json.loads(shown(listing, "json"))["apiTokens"]] == ["revoked", "valid"]


# --- the audit ---


def entry(action="create", details=None, actor=TESTER) -> AuditEntry:
    return AuditEntry(number=1, at=NOON, action=action, actor=actor, token_id=7, token_name="ci", details=details or {})


@pytest.mark.parametrize(
    ("action", "details", "text"),
    [
        ("create", {"type": "read-only", "scopes": [], "expiresAt": None}, "read-only; never expires"),
        ("create", {}, "never expires"),
        ("update", {"scopes": [["a", "b"], []]}, "scopes a, b → none"),
        ("update", {"expiresAt": [None, "2025-01-01T00:00:00.000Z"]}, "expires none → 2025-01-01T00:00:00.000Z"),
        ("update", {"x": {"odd": 1}}, 'x {"odd":1}'),
        ("update", {"x": [{"odd": 1}, 0]}, 'x {"odd":1} → 0'),
        ("revoke", {}, "-"),
        ("revoke", {"why": "leaked"}, "leaked"),
        ("login", {"x": 1}, '{"x":1}'),
    ],
)
def test_what_was_done(action, details, text):
    listing = audit_listing([entry(action, details)], NOON)
    assert shown(listing, columns=("details",)).split("\n")[1] == text


@pytest.mark.parametrize(
    ("actor", "text"),
    [
        (TESTER, "tester"),
        (Actor(kind="user", id="3", name="me@example.org"), "me@example.org"),
        (Actor(kind="api-token", id="9", name="deploy"), "API token 9 deploy"),
        (Actor(kind="api-token", id="9"), "API token 9"),
    ],
)
def test_who_did_it(actor, text):
    assert shown(audit_listing([entry(actor=actor)], NOON), columns=("by",)).split("\n")[1] == text


def test_a_chain_that_does_not_hold():
    detail = chain_check_detail(ChainCheck(entries=3, head=ChainHead(3, "ab" * 32), fault="entry 4 was changed"))
    assert shown(detail).splitlines() == [
        "The audit log was modified: entry 4 was changed.",
        "",
        "  valid  the first 3 entries",
        f"  head   {'ab' * 32}",
    ]
