"""Authentication and permissions: every endpoint with every kind of credential."""

from __future__ import annotations

import time

import pytest

from support.builders import TESTER
from support.running_server import API, ENDED, SMALL, make_secret, path_of, serving
from tokctl.server.endpoints import ENDPOINTS

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
READ = [one for one in ENDPOINTS if not one.is_api_tokens]  # the others are in test_serve_callers.py
GUARDED = [one for one in READ if one.permissions]
each = pytest.mark.parametrize("endpoint", GUARDED, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def calm(served_store, secrets, tmp_path_factory):
    """A server that does not throttle."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text("serve: {limits: {failures: 100000}}", encoding="utf-8")
    with serving(served_store, env={"TOKCTL_CONFIG": str(config)}) as running:
        yield running


def test_every_endpoint_is_covered():
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
def test_every_format_of_credentials(calm, secrets, endpoint):
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
def test_all_invalid_credentials_get_the_same_response(calm, secrets, endpoint):
    ids = {}
    for case, bad in BAD.items():
        answer = ask(calm, endpoint, {"X-API-Key": secrets[bad]} if isinstance(bad, str) else bad)
        assert answer.status_code == 401, case
        challenge = 'Bearer realm="tokctl"' + (', error="invalid_token"' if bad else "")
        assert answer.headers["www-authenticate"] == challenge
        document = answer.json()
        assert document["success"] is False
        assert document["error"] == {"code": "UNAUTHORIZED", "message": "A valid API token is required.", "details": {}}
        ids[case] = answer.headers["x-request-id"]
    for case, request_id in reversed(ids.items()):  # when the last is in the log, all are
        (line,) = calm.log(request_id)
        assert line["reason"] == case.partition(":")[0]
        assert "token_id" not in line


@each
def test_a_missing_permission_is_named(calm, secrets, endpoint):
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
def test_a_read_only_token(calm, secrets, endpoint, method):
    url = PATHS[endpoint.name].partition("?")[0]
    asked = {who: calm.client.request(method, url, headers={"X-API-Key": secrets[who]}) for who in ("reader", "every")}
    assert (asked["reader"].status_code, asked["every"].status_code) == (403, 405)
    assert asked["reader"].json()["error"]["details"]["provided_type"] == "read-only"


def test_authorization_comes_before_unknown_paths_and_ids(calm, secrets):
    for path in (f"{API}/nothing", path_of("processes", "nobody"), f"{API}/processes?nonsense=1"):
        assert calm.get(path).status_code == 401
    assert calm.get(path_of("processes", "nobody"), secrets["token"]).status_code == 403
    assert calm.get(f"{API}/processes?nonsense=1", secrets["token"]).status_code == 403


def test_a_token_is_valid_from_creation_to_revocation(own):
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


def test_failures_are_throttled_and_a_valid_token_passes(served_store, secrets):
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
        assert served.get(PATHS["listTokens"]).status_code == 401  # a missing credential is not a guess
        assert served.get("/health").status_code == 200
        text = served.get("/metrics", secrets["metrics"]).text
        assert "tokctl_auth_throttled_total 4.0" in text
        assert 'tokctl_auth_failures_total{reason="unknown"} 14.0' in text


@pytest.mark.parametrize("trusted", [True, False])
def test_a_forwarded_address_is_used_from_a_trusted_proxy_only(served_store, secrets, trusted):
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
