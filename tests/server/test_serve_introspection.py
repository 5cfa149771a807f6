"""Introspection: what other services learn about a secret, and when a check counts as a use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.builders import TESTER
from support.jwt_making import secret_file, signed
from support.running_server import ENVIRONMENT, make_secret, make_store, serving
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.model.api_tokens import CreatedBy, NewApiToken
from tokctl.store import open_store

URL = "/api/api-tokens/introspect"
NEVER = {"active": False}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    store = make_store(folder / "asked.db")
    made = {
        "manager": make_secret(store, "manager", "api-tokens", type_="full-access"),
        "asker": make_secret(store, "asker", "introspect", type_="full-access"),
        "reader": make_secret(store, "reader", "process", "token", lasts=3600),
        "expired": make_secret(store, "expired", "process", lasts=-60),
        "revoked": make_secret(store, "revoked", "process"),
    }
    with open_store(str(store), write=True) as opened:
        opened.api_tokens.revoke(made["revoked"][1], datetime.now(UTC), by=TESTER)
    with serving(store, "--jwt-secret-file", str(secret_file(folder / "jwt"))) as served:
        yield served, made, store


def ask(served, secret, token, status=200, form=True, **more):
    body = {"token": token} | more
    answer = served.client.post(
        URL, headers={"Authorization": f"Bearer {secret}"}, **({"data": body} if form else {"json": body})
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


@pytest.mark.parametrize("form", [True, False], ids=["form", "json"])
@pytest.mark.parametrize("who", ["manager", "asker", "user", "itself"])
def test_an_active_token(asked, who, form):
    served, made, store = asked
    secret, number = made["reader"]
    caller = {"user": signed(), "itself": secret}.get(who) or made[who][0]
    told = ask(served, caller, secret, form=form, token_type_hint="access_token")
    with open_store(str(store)) as opened:
        kept = opened.api_tokens.by_id(number)
    assert told == {
        "active": True,
        "scope": "process token",
        "client_id": str(number),
        "token_type": "Bearer",
        "exp": int(kept.expires_at.timestamp()),
        "iat": int(kept.created_at.timestamp()),
        "id": number,
        "name": "reader",
        "type": "read-only",
    }


def test_a_token_with_a_creator_and_no_expiry(asked):
    served, made, store = asked
    secret, pepper, now = generate(), load_pepper(ENVIRONMENT), datetime.now(UTC)
    with open_store(str(store), write=True) as opened:
        opened.api_tokens.create(
            NewApiToken(name="n", token=mask(secret), scopes=(), created_by=CreatedBy(id=5, email="e"), created_at=now),
            digest(pepper.key, secret),
            pepper.id,
            by=TESTER,
        )
    told = ask(served, made["asker"][0], secret)
    assert (told["sub"], told["scope"]) == ("5", "")
    assert "exp" not in told


def test_inactive_tokens(asked):
    served, made, _ = asked
    others = {"expired": made["expired"][0], "revoked": made["revoked"][0], "unknown": "xvc_" + "b" * 40}
    others |= {f"unknown {n}": odd for n, odd in enumerate(("two words", "ü" * 40, "x" * 5000, signed(), "\x00"))}
    for case, secret in others.items():
        state = case.partition(" ")[0]
        assert ask(served, made["asker"][0], secret) == NEVER, case
        full = NEVER | {"state": state}
        if state != "unknown":
            full |= {"id": made[state][1], "name": state}
        for who in (made["manager"][0], signed()):
            told = ask(served, who, secret)
            assert told | full == told, case
            assert {"iat", "scope", "type"} <= told.keys() or state == "unknown"


def test_only_some_callers_can_check_other_tokens(asked):
    served, made, _ = asked
    reader = made["reader"][0]
    for token in (made["asker"][0], made["expired"][0], "xvc_x"):
        assert ask(served, reader, token, status=403)["error"]["name"] == "ForbiddenError"


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({}, "token"),
        ({"token": ""}, "token"),
        ({"token": "x", "use": "maybe"}, "use"),
        ({"token": ["x", "y"]}, "token"),
    ],
)
def test_invalid_forms(asked, body, member):
    served, made, _ = asked
    headers = {"Authorization": made["asker"][0], "Content-Type": "application/x-www-form-urlencoded"}
    answer = served.client.post(URL, headers=headers, data=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"member": member}


def test_a_body_that_is_not_a_form(asked):
    served, made, _ = asked
    form = {"Authorization": made["asker"][0], "Content-Type": "application/x-www-form-urlencoded"}
    for data in (b"token=%FF", b"\xff", b"&".join(b"a%d=1" % n for n in range(200))):
        assert served.client.post(URL, headers=form, content=data).status_code == 400
    assert served.client.post(URL, headers=form, content=b"token=x&client_id=7&client_id=8&=1").json() == NEVER
    for body in ({"token": 1}, {"token": "x", "use": "false"}, {"token": None}):
        assert served.client.post(URL, headers={"Authorization": form["Authorization"]}, json=body).status_code == 400


def test_which_checks_count_as_a_use(tmp_path):
    store = make_store(tmp_path / "own.db")
    made = {
        name: make_secret(store, name, *scopes, type_="full-access")
        for name, scopes in (
            ("asker", ["introspect"]),
            ("used", ["process"]),
            ("looked at", ["process"]),
            ("itself", ["process"]),
            ("itself, used", ["process"]),
            ("listing", ["*"]),
        )
    }
    expired = make_secret(store, "expired", "process", lasts=-60)
    with serving(store) as served:
        asker = made["asker"][0]
        ask(served, asker, made["used"][0])
        ask(served, asker, made["looked at"][0], use="false")
        ask(served, asker, expired[0])
        ask(served, made["itself"][0], made["itself"][0], form=False, use=False)
        ask(served, made["itself, used"][0], made["itself, used"][0], use="1")
        served.client.get("/api/api-tokens", headers={"Authorization": made["listing"][0]})
        assert served.end() == 0
    with open_store(str(store)) as opened:
        used = {token.name for token in opened.api_tokens.list() if token.last_used_at is not None}
        recent = opened.api_tokens.by_id(made["used"][1]).last_used_at
    assert used == {"asker", "used", "itself, used", "listing"}
    assert datetime.now(UTC) - recent < timedelta(minutes=1)
