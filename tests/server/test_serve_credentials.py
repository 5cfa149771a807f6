"""Who may ask for what: every endpoint with every kind of credential."""

from __future__ import annotations

import time

import pytest

from builders import TESTER
from running_server import API, ENDED, SMALL, make_secret, path_of, serving
from tokctl.server.endpoints import ENDPOINTS
from tokctl.server.routes import Resource

PATHS = {
    "getProcessInstance": path_of("processes", SMALL),
    "listProcessInstances": f"{API}/processes",
    "listTokens": path_of("processes", SMALL, "tokens"),
    "traceTokens": path_of("processes", ENDED, "tokens", "trace"),
    "getToken": path_of("tokens", "l1"),
    "findTokens": f"{API}/tokens?token=l1&limit=2",
    "getDefinition": f"{API}/bpmn/processes/p",
    "listDurations": f"{API}/bpmn/processes/p/durations",
    "getHealth": "/health",
    "getOpenApi": "/openapi.json",
    "getMetrics": "/metrics",
}
READ = [one for one in ENDPOINTS if not isinstance(one, Resource)]  # the others have a suite of their own
GUARDED = [one for one in READ if one.permissions]
each = pytest.mark.parametrize("endpoint", GUARDED, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def calm(served_store, secrets, tmp_path_factory):
    """A server that never slows anybody down."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text("serve: {limits: {failures: 100000}}", encoding="utf-8")
    with serving(served_store, env={"TOKCTL_CONFIG": str(config)}) as running:
        yield running


def test_every_endpoint_is_in_this_suite():
    assert {one.name for one in READ} == set(PATHS)


def ask(served, endpoint, headers):
    return served.client.get(PATHS[endpoint.name], headers=headers)


FORMS = {
    "X-API-Key": lambda s: {"X-API-Key": s},
    "Bearer": lambda s: {"Authorization": f"Bearer {s}"},
    "bearer": lambda s: {"Authorization": f"bEARER  {s}"},
    "bare": lambda s: {"Authorization": s},
    "both": lambda s: {"Authorization": f"Bearer {s}", "X-API-Key": s},
    "with another scheme beside": lambda s: {"Authorization": "Basic dTpw", "X-API-Key": s},
    "with a stale one beside": lambda s: {"Authorization": f"Bearer {s}", "X-API-Key": "xvc_old"},
}


@each
def test_every_form_of_a_credential(calm, secrets, endpoint):
    for form, headers in FORMS.items():
        answer = ask(calm, endpoint, headers(secrets["every"]))
        assert answer.status_code == 200, form


BAD = {
    "no credential": {},
    "malformed": {"X-API-Key": ""},
    "malformed: basic": {"Authorization": "Basic dXNlcjpwYXNz"},
    "malformed: words": {"X-API-Key": "two words"},
    "malformed: long": {"X-API-Key": "x" * 5000},
    "malformed: twice": [("X-API-Key", "xvc_1"), ("X-API-Key", "xvc_2")],
    "unknown": {"X-API-Key": "xvc_" + "a" * 40},
    "unknown: bytes": {"X-API-Key": b"\xff\xfe"},
    "expired": "expired",
    "revoked": "revoked",
}


@each
def test_what_is_no_valid_credential_gets_one_answer(calm, secrets, endpoint):
    ids = {}
    for case, bad in BAD.items():
        answer = ask(calm, endpoint, {"X-API-Key": secrets[bad]} if isinstance(bad, str) else bad)
        assert answer.status_code == 401, case
        challenge = 'Bearer realm="tokctl"' + (', error="invalid_token"' if bad else "")
        assert answer.headers["www-authenticate"] == challenge
        document = answer.json()
        assert document["success"] is False
        assert document["error"] == {"code": "UNAUTHORIZED", "message": "A valid API token is needed.", "details": {}}
        ids[case] = answer.headers["x-request-id"]
    for case, request_id in reversed(ids.items()):  # the last comes into the log last
        (line,) = calm.log(request_id)
        assert line["reason"] == case.partition(":")[0]
        assert "token_id" not in line


@each
def test_a_permission_that_is_missing_is_named(calm, secrets, endpoint):
    ids = {}
    for who in ("process", "token", "bpmn", "metrics", "none", "reader"):
        scopes = {"none": ["job"], "reader": ["process", "token", "metrics"]}.get(who, [who])
        answer = ask(calm, endpoint, {"X-API-Key": secrets[who]})
        if {*scopes} & {*endpoint.permissions}:
            assert answer.status_code == 200, who
            continue
        assert answer.status_code == 403, who
        error = answer.json()["error"]
        assert error["code"] == "FORBIDDEN"
        assert error["details"] == {"required_permission": endpoint.permissions[0], "provided_permissions": scopes}
        assert answer.headers["www-authenticate"] == (
            f'Bearer realm="tokctl", error="insufficient_scope", scope="{endpoint.permissions[0]}"'
        )
        ids[who] = answer.headers["x-request-id"]
    for who, request_id in reversed(ids.items()):
        (line,) = calm.log(request_id)
        assert (line["reason"], line["token_name"]) == ("permission", who)


@each
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_token_that_may_only_read(calm, secrets, endpoint, method):
    url = PATHS[endpoint.name].partition("?")[0]
    asked = {who: calm.client.request(method, url, headers={"X-API-Key": secrets[who]}) for who in ("reader", "every")}
    assert (asked["reader"].status_code, asked["every"].status_code) == (403, 405)
    assert asked["reader"].json()["error"]["details"]["provided_type"] == "read-only"


def test_what_is_not_there_is_told_to_nobody_else(calm, secrets):
    for path in (f"{API}/nothing", path_of("processes", "nobody"), f"{API}/processes?nonsense=1"):
        assert calm.get(path).status_code == 401
    assert calm.get(path_of("processes", "nobody"), secrets["token"]).status_code == 403
    assert calm.get(f"{API}/processes?nonsense=1", secrets["token"]).status_code == 403


def test_a_token_works_from_its_creation_to_its_revocation(own):
    from datetime import UTC, datetime

    from tokctl.store import open_store

    path, secret = own
    with serving(path) as served:
        assert served.get(PATHS["listTokens"], secret).status_code == 200
        late, number = make_secret(path, "late", "process")
        assert served.get(PATHS["listTokens"], late).status_code == 200
        brief, _ = make_secret(path, "brief", "process", lasts=1.5)
        assert served.get(PATHS["listTokens"], brief).status_code == 200
        with open_store(str(path), write=True) as store:
            store.api_tokens.revoke(number, datetime.now(UTC), by=TESTER)
        assert served.get(PATHS["listTokens"], late).status_code == 401
        assert served.get(PATHS["listTokens"], secret).status_code == 200
        time.sleep(1.6)
        assert served.get(PATHS["listTokens"], brief).status_code == 401


def test_who_fails_often_is_slowed_down_and_a_valid_token_passes(served_store, secrets):
    with serving(served_store) as served:
        statuses = []
        for _ in range(14):
            answer = served.get(PATHS["listTokens"], "xvc_wrong")
            statuses.append(answer.status_code)
        assert statuses == [401] * 10 + [429] * 4
        assert answer.json()["error"]["code"] == "RATE_LIMITED"
        assert answer.json()["error"]["details"] == {"retry_after": int(answer.headers["retry-after"])}
        assert served.log(answer.headers["x-request-id"])[0]["reason"] == "throttled: unknown"
        assert served.get(PATHS["listTokens"], secrets["process"]).status_code == 200
        assert served.get(PATHS["listTokens"]).status_code == 401  # nobody guesses by saying nothing
        assert served.get("/health").status_code == 200
        text = served.get("/metrics", secrets["metrics"]).text
        assert "tokctl_auth_throttled_total 4.0" in text
        assert 'tokctl_auth_failures_total{reason="unknown"} 14.0' in text


@pytest.mark.parametrize("trusted", [True, False])
def test_a_forwarded_address_is_believed_of_a_trusted_proxy_only(served_store, secrets, trusted):
    options = ["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8"] if trusted else []
    with serving(served_store, *options) as served:
        for n in range(12):
            made_up = f"6.6.6.{n}, 203.0.113.7, 10.1.1.1"
            answer = served.get(PATHS["listTokens"], "xvc_wrong", headers={"X-Forwarded-For": made_up})
        assert answer.status_code == 429
        assert {line["client"] for line in served.log(answer.headers["x-request-id"])} == {
            "203.0.113.7" if trusted else "127.0.0.1"
        }
        other = served.get(PATHS["listTokens"], "xvc_wrong", headers={"X-Forwarded-For": "198.51.100.9"})
        assert other.status_code == (401 if trusted else 429)
