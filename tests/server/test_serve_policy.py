"""Rules about API tokens: maximum lifetimes, networks, disabling, the last use, and the notice of expiry."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from support.jwt_making import secret_file, signed
from support.managing import ROOT, Manager, fault_of, later
from support.running_server import make_secret, make_store, refused, serving
from tokctl.api_tokens.audit import check_chain
from tokctl.errors import UsageError
from tokctl.model.api_tokens import FULL_ACCESS, READ_ONLY, ApiToken
from tokctl.model.times import parse_time
from tokctl.server.http_errors import HTTPError
from tokctl.server.lifetimes import MaxLifetimes
from tokctl.store import open_store

DAY = timedelta(days=1)
_number = count(1)


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    """A user of a server with rules, behind a proxy on this machine."""
    folder = tmp_path_factory.mktemp("ruled")
    store = make_store(folder / "ruled.db")
    rules = ("--max-lifetime", "timer=5d", "--max-lifetime", "full-access=25d", "--max-lifetime", "all=30d")
    make_secret(store, "first", "process")
    keys = secret_file(folder / "jwt")
    with serving(store, "--trusted-proxy", "127.0.0.1", "--jwt-secret-file", str(keys), *rules) as served:
        yield Manager(served, store, signed())


def caller(ruled, *scopes, lasts=20 * 86400.0, **changes):
    """Another API token that may manage others."""
    secret, number = make_secret(ruled.store, f"c{next(_number)}", *scopes, type_="full-access", lasts=lasts)
    if changes:
        ruled("PUT", f"/{number}", json=changes)
    return Manager(ruled.served, ruled.store, secret), number


def whose(address):
    return {"X-Forwarded-For": address}


# --- maximum lifetimes ---


def test_no_api_token_lives_longer_than_its_maximum(ruled):
    for members, days in (
        ({}, 30),
        ({"type": "full-access"}, 25),
        ({"scopes": ["timer"]}, 5),
        ({"scopes": ["*"]}, 5),  # it includes timer
        ({"scopes": ["process", "timer"], "type": "full-access"}, 5),
    ):
        for expires in (None, later(days + 1)):
            fault = fault_of(ruled("POST", json={"name": "x", "expiresAt": expires} | members, status=400))
            assert fault["details"]["member"] == "expiresAt"
        expires = later(days)
        assert ruled.make(expiresAt=expires, **members)["expiresAt"] == expires
    body = {"name": "x", "expiresAt": later(6), "scopes": ["timer"]}
    message = fault_of(ruled("POST", json=body, status=400))["message"]
    assert message.startswith("The expiry is too late: timer API tokens live at most 5d, this one until 2")


def test_a_change_cannot_exceed_the_maximum(ruled):
    made = ruled.make(expiresAt=later(4), scopes=["timer"])
    path = f"/{made['id']}"
    ruled("PUT", path, json={"expiresAt": later(7)}, status=400)
    ruled("PUT", path, json={"expiresAt": later(3)})
    plain = ruled.make(expiresAt=later(29))
    ruled("PUT", f"/{plain['id']}", json={"scopes": ["process", "timer"]}, status=400)
    assert ruled.kept(plain["id"]).scopes == ("process",)
    ruled("PUT", f"/{plain['id']}", json={"scopes": ["process", "timer"], "expiresAt": later(4)})


def test_one_of_before_the_rule_ends_at_its_maximum(ruled):
    secret, number = make_secret(ruled.store, "old", "timer", lasts=300 * 86400)  # created two days ago
    told = ruled("GET", f"/{number}").json()
    assert parse_time(told["expiresAt"]) - parse_time(told["createdAt"]) == 5 * DAY
    assert ruled.served.get("/api/v1/processes", secret).status_code == 403
    assert ruled("PUT", f"/{number}", json=told | {"description": "d"}).json()["expiresAt"] == told["expiresAt"]
    assert ruled.kept(number).expires_at - datetime.now(UTC) > 200 * DAY  # it was not changed
    ruled("PUT", f"/{number}", json={"type": "full-access"})  # the maximum stays the same
    ruled("PUT", f"/{number}", json={"expiresAt": later(299)})  # earlier, but still too late
    ruled("PUT", f"/{number}", json={"expiresAt": later(301)}, status=400)
    with open_store(str(ruled.store), write=True) as store:
        older = "UPDATE api_token SET created_at = created_at - 4 * 86400000000 WHERE id = ?"
        store.connection.execute(older, [number])
        store.connection.execute("UPDATE revision SET number = number + 1 WHERE kind = 'access'")
    answer = ruled.served.get("/api/v1/processes", secret)
    assert (answer.status_code, ruled.served.log(answer.headers["x-request-id"])[0]["reason"]) == (401, "expired")


def test_an_api_token_cannot_prolong_itself_or_make_one_that_outlives_it(ruled):
    chief, number = caller(ruled, "process", "api-tokens")
    own = chief("GET", f"/{number}").json()["expiresAt"]
    fault = fault_of(chief("PUT", f"/{number}", json={"expiresAt": later(21)}, status=403))
    assert fault["details"]["latest"] == own
    assert "cannot prolong itself" in fault["message"]
    chief("PUT", f"/{number}", json={"expiresAt": None}, status=403)
    chief("PUT", f"/{number}", json={"description": "still me"})
    chief("POST", json={"name": "x", "expiresAt": later(21)}, status=403)
    chief("POST", json={"name": "x"}, status=403)
    assert chief.make(expiresAt=own)["expiresAt"] == own
    other = make_secret(ruled.store, "other", "process", lasts=22 * 86400)[1]
    chief("PUT", f"/{other}", json={"expiresAt": later(23)}, status=403)
    chief("PUT", f"/{other}", json={"expiresAt": later(21)})  # it was later
    chief("PUT", f"/{number}", json={"expiresAt": later(10)})
    chief("POST", json={"name": "x", "expiresAt": own}, status=403)


def test_less_rights_do_not_prolong_an_api_token(ruled):
    secret, number = make_secret(ruled.store, "old", "timer", "api-tokens", type_="full-access", lasts=300 * 86400)
    chief = Manager(ruled.served, ruled.store, secret)
    with open_store(str(ruled.store), write=True) as store:
        store.connection.execute(
            "UPDATE api_token SET created_at = created_at + 2 * 86400000000 WHERE id = ?", [number]
        )
        store.connection.execute("UPDATE revision SET number = number + 1 WHERE kind = 'access'")
    own = chief("GET", f"/{number}").json()["expiresAt"]
    for changes in ({"scopes": ["api-tokens"]}, {"scopes": ["api-tokens"], "type": "read-only"}):
        fault = fault_of(chief("PUT", f"/{number}", json=changes, status=403))
        assert "cannot prolong itself" in fault["message"]
    assert chief("GET", f"/{number}").json()["expiresAt"] == own
    chief("PUT", f"/{number}", json={"scopes": ["api-tokens"], "expiresAt": own})


def token(type_=READ_ONLY, scopes=("process",), lasts=None, age=0):
    now = datetime(2027, 1, 1, tzinfo=UTC)
    until = None if lasts is None else now + lasts * DAY
    return ApiToken(id=1, name="", token="", type=type_, scopes=scopes, created_at=now - age * DAY, expires_at=until)


def test_the_shortest_maximum_counts():
    rules = MaxLifetimes(["all=30d", "Full-Access=10d", "timer = 5d", "*=2d"])
    assert rules.find(token()) == (30 * DAY, "all")
    assert rules.find(token(FULL_ACCESS)) == (10 * DAY, "full-access")
    assert rules.find(token(FULL_ACCESS, ("timer",))) == (5 * DAY, "timer")
    assert rules.find(token(scopes=("*",))) == (2 * DAY, "*")
    assert MaxLifetimes([]).limit(token()) == token()
    assert rules.limit(token(lasts=29)) == token(lasts=29)
    assert rules.limit(token(lasts=31)) == rules.limit(token()) == token(lasts=30)
    assert MaxLifetimes(["all=999999d", "timer=9999999d"]).limit(token(scopes=("timer",))).expires_at is not None


def test_a_change_for_the_better_is_allowed():
    rules = MaxLifetimes(["all=30d", "timer=5d"])
    long = token(lasts=90, scopes=("process", "timer"))
    rules.check(long, before=long)
    rules.check(token(lasts=80, scopes=("process", "timer")), before=long)
    for worse in (token(lasts=91), token(), token(lasts=90, scopes=("timer",))):
        with pytest.raises(HTTPError):
            rules.check(worse, before=token(lasts=90))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("30d", "Use NAME=DURATION"),
        ("full=30d", "unknown type or scope 'full'"),
        ("all=soon", "soon"),
        ("all=0s", "not positive"),
    ],
)
def test_a_maximum_that_is_none(setting, message):
    with pytest.raises(UsageError, match=message):
        MaxLifetimes([setting])


def test_a_server_with_an_invalid_maximum_does_not_start(ruled):
    refused(ruled.store, "--max-lifetime", "proces=1d", code=2, match="did you mean 'process'")


# --- networks ---


def test_an_api_token_is_limited_to_networks(ruled):
    made = ruled.make(expiresAt=later(9), allowedCidrs=["203.0.113.0/24", "2001:db8::7", "203.0.113.0/24"])
    assert made["allowedCidrs"] == ["203.0.113.0/24", "2001:db8::7/128"]
    secret = made["token"]
    for address, status in (
        ("203.0.113.9", 200),
        ("::ffff:203.0.113.9", 200),
        ("2001:db8::7", 200),
        ("2001:db8::8", 403),
        ("203.0.114.9", 403),
        ("198.51.100.1, 203.0.113.9", 200),  # the proxy appends the true one
        ("203.0.113.9, 198.51.100.1", 403),
    ):
        answer = ruled.served.get("/api/v1/processes", secret, headers=whose(address))
        assert answer.status_code == status, address
    assert ruled.served.get("/api/v1/processes", secret).status_code == 403  # the proxy itself
    error = answer.json()["error"]
    assert error["message"] == "This API token must not be used from this address, 198.51.100.1."
    (line,) = ruled.served.log(answer.headers["x-request-id"])
    assert (line["status"], line["reason"], line["client"]) == (403, "address", "198.51.100.1")
    ruled("PUT", f"/{made['id']}", json={"allowedCidrs": []})
    assert ruled.served.get("/api/v1/processes", secret).status_code == 200


def test_a_network_that_is_none(ruled):
    for given, message in (
        (["10.0.0.1/8"], "'allowedCidrs': '10.0.0.1/8' has bits of an address behind its prefix. Use 10.0.0.0/8, "),
        (["nowhere"], "'allowedCidrs': 'nowhere' is not a network."),
        ("10.0.0.0/8", "'allowedCidrs' must be a list of at most 100 networks in CIDR notation"),
        (["10.0.0.0/8"] * 101, "'allowedCidrs' must be a list of at most 100 networks in CIDR notation"),
    ):
        fault = fault_of(ruled("POST", json={"name": "x", "allowedCidrs": given}, status=400))
        assert fault["message"].startswith(message)
        assert fault["details"] == {"member": "allowedCidrs"}


def test_one_that_is_limited_cannot_free_itself_or_others(ruled):
    limited, number = caller(ruled, "process", "api-tokens", allowedCidrs=["10.0.0.0/8"])
    inside = whose("10.1.2.3")
    body = {"name": "x", "expiresAt": later(2), "scopes": ["process"]}
    for networks in ([], ["10.0.0.0/7"], ["10.0.0.0/8", "::/0"]):
        fault = fault_of(limited("POST", json=body | {"allowedCidrs": networks}, headers=inside, status=403))
        assert fault["details"]["allowed"] == ["10.0.0.0/8"]
        limited("PUT", f"/{number}", json={"allowedCidrs": networks}, headers=inside, status=403)
    limited("POST", json=body | {"allowedCidrs": ["10.9.0.0/16"]}, headers=inside, status=201)
    limited("PUT", f"/{number}", json={"description": "d"}, headers=inside)
    limited("PUT", f"/{number}", json={"allowedCidrs": ["10.1.0.0/16"]}, headers=inside)


def test_networks_are_told_to_services(ruled):
    made = ruled.make(expiresAt=later(2), allowedCidrs=["10.0.0.0/8"])
    told = ruled("POST", "/introspect", json={"token": made["token"]}).json()
    assert (told["active"], told["allowed_cidrs"]) == (True, ["10.0.0.0/8"])


# --- disabled ---


def test_a_disabled_api_token_is_told_apart_and_can_be_enabled(ruled):
    made = ruled.make(expiresAt=later(2))
    path, secret = f"/{made['id']}", made["token"]
    assert ruled.served.get("/api/v1/processes", secret).status_code == 200
    assert ruled("PUT", path, json={"disabled": True}).json()["disabled"] is True
    answer = ruled.served.get("/api/v1/processes", secret)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "This API token is disabled.")
    assert answer.json()["error"]["details"] == {"state": "disabled"}
    assert ruled.served.log(answer.headers["x-request-id"])[0]["reason"] == "disabled"
    told = ruled("POST", "/introspect", json={"token": secret}).json()
    assert (told["active"], told["state"]) == (False, "disabled")
    ruled("PUT", path, json={"disabled": "yes"}, status=400)
    ruled("PUT", path, json={"disabled": False})
    assert ruled.served.get("/api/v1/processes", secret).status_code == 200
    ruled("PUT", path, json={"disabled": True, "description": "both"})
    entries = ruled("GET", f"/audit?tokenId={made['id']}").json()["data"]
    assert [one["action"] for one in entries] == ["create", "disable", "enable", "update"]
    assert entries[1]["details"]["disabled"] == [False, True]
    assert entries[3]["details"] == {"description": [None, "both"], "disabled": [False, True]}
    with open_store(str(ruled.store)) as store:
        assert check_chain(store.audit.entries(), store.audit.head()).fault == ""


# --- the last use ---


def test_the_last_use_is_described(ruled):
    made = ruled.make(expiresAt=later(2))
    assert made["lastUse"] is None
    agent = f"nightly/1 {made['token']} " + "x" * 300
    headers = whose("203.0.113.5") | {"User-Agent": agent}
    ruled.served.get("/api/v1/processes/a%2Fb/tokens?limit=1", made["token"], headers=headers)
    deadline = time.monotonic() + 20
    while (found := ruled("GET", f"/{made['id']}").json())["lastUse"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    use = found["lastUse"]
    assert use["address"] == "203.0.113.5"
    assert use["userAgent"].startswith(f"nightly/1 {made['token'][:8]}... xxx")
    assert len(use["userAgent"]) == 200
    assert use["endpoint"].startswith("GET /api/v1/processes/{")
    ruled("DELETE", f"/{made['id']}")
    (*_, entry) = ruled("GET", f"/audit?tokenId={made['id']}").json()["data"]
    assert entry["action"] == "revoke"
    assert entry["details"] == {"lastUse": use | {"at": found["lastUsedAt"]}}


# --- the notice of expiry ---


def test_the_last_days_are_announced(ruled):
    near, far = ruled.make(expiresAt=later(6)), ruled.make(expiresAt=later(8))["token"]
    for method, path in (
        ("GET", "/api/v1/processes"),
        ("GET", "/nowhere"),
        ("POST", "/api/v1/processes"),
        ("OPTIONS", ROOT),
    ):
        for _ in range(2):  # the second one comes from the cache
            answer = ruled.served.client.request(method, path, headers={"X-API-Key": near["token"]})
            assert answer.headers["X-Token-Expires"] == near["expiresAt"], (method, path)
        assert "X-Token-Expires" not in ruled.served.client.request(method, path, headers={"X-API-Key": far}).headers
    assert "X-Token-Expires" not in ruled.served.get("/api/v1/processes").headers
    assert "X-Token-Expires" not in ruled.served.get("/health").headers


def test_commands_announce_them_alike(ruled, tokctl, monkeypatch):
    made = ruled.make(expiresAt=later(6), scopes=["process", "api-tokens"])
    monkeypatch.setenv("TOKCTL_API_KEY", made["token"])
    for noun in ("instances", "api-tokens"):
        said = tokctl(noun, "list", "--server", ruled.served.url).err
        assert said.count("warning: the API token for ") == said.count("expires in") == 1, said
