"""Permissions below /api/api-tokens: every operation with every kind of caller."""

from __future__ import annotations

import jwt
import pytest

from support.builders import TESTER
from support.jwt_making import LATE, NOT_YET_VALID, SECRET, claims, ec_key, forged, jwk, jwks_file, pem, rsa_key, signed
from support.running_server import API, SMALL, make_secret, make_store, path_of, serving
from tokctl.server.endpoints import ENDPOINTS
from tokctl.store import open_store

ROOT = "/api/api-tokens"
OPERATIONS = {
    "listApiTokens": ("GET", ROOT, None),
    "createApiToken": ("POST", ROOT, {"name": "made", "scopes": []}),
    "getApiToken": ("GET", f"{ROOT}/{{id}}", None),
    "updateApiToken": ("PUT", f"{ROOT}/{{id}}", {"name": "new"}),
    "deleteApiToken": ("DELETE", f"{ROOT}/{{id}}", None),
    "introspectApiToken": ("POST", f"{ROOT}/introspect", {"token": "xvc_other"}),
    "listAuditEntries": ("GET", f"{ROOT}/audit", None),
}
HEAD = {"alg": "HS256", "typ": "JWT", "kid": "r"}
UNKNOWN_JWT = {
    "expired": lambda: signed(rsa_key(), "RS256", "r", exp=claims()["exp"] - 300 + LATE),
    "not valid yet": lambda: signed(rsa_key(), "RS256", "r", nbf=claims()["exp"] - 300 + NOT_YET_VALID),
    "without an end": lambda: signed(rsa_key(), "RS256", "r", exp=None),
    "unsigned": lambda: forged(HEAD | {"alg": "none"}, None),
    "unsigned, in other words": lambda: forged(HEAD | {"alg": "nOnE"}, None),
    "signed with the public key": lambda: forged(HEAD, pem(rsa_key())),
    "signed with a secret": lambda: signed(SECRET, "HS256", "r"),
    "of another key": lambda: signed(rsa_key(1), "RS256", "r"),
    "of another algorithm": lambda: signed(rsa_key(), "RS512", "r"),
    "of the other key's id": lambda: signed(rsa_key(), "RS256", "e"),
    "of an unknown key's id": lambda: signed(rsa_key(), "RS256", "x"),
    "of no key's id": lambda: signed(rsa_key(), "RS256"),
    "of nobody": lambda: signed(rsa_key(), "RS256", "r", userId=None),
    "with a critical head": lambda: jwt.encode(
        claims(), rsa_key(), "RS256", headers={"kid": "r", "crit": ["x"], "x": 1}
    ),
    "torn": lambda: signed(rsa_key(), "RS256", "r")[:-9],
    "of no JSON": lambda: "eyJh.eyJh.eyJh",
}


@pytest.fixture(scope="module")
def managed(tmp_path_factory):
    """A server that accepts JWTs of two keys and does not throttle, its secrets, and its store."""
    folder = tmp_path_factory.mktemp("managed")
    store = make_store(folder / "managed.db")
    keys = jwks_file(folder / "keys.json", jwk(rsa_key(), "r"), jwk(ec_key(), "e"))
    (folder / "config.yaml").write_text("serve: {limits: {failures: 100000}}", encoding="utf-8")
    secrets = {
        "reader": make_secret(store, "reader", "process")[0],
        "full": make_secret(store, "full", "process", type_="full-access")[0],
        "manager who reads": make_secret(store, "watcher", "api-tokens")[0],
        "asker": make_secret(store, "asker", "introspect", type_="full-access")[0],
        "asker who reads": make_secret(store, "asker2", "introspect")[0],
        "manager": make_secret(store, "manager", "api-tokens", type_="full-access")[0],
        "every": make_secret(store, "every", "*", type_="full-access")[0],
        "expired": make_secret(store, "expired", "*", type_="full-access", lasts=-60)[0],
        "wrong": "xvc_" + "a" * 40,
        "malformed": "two words",
        "revoked": make_secret(store, "revoked", "*", type_="full-access")[0],
    }
    with open_store(str(store), write=True) as opened:
        (gone,) = opened.api_tokens.named("revoked")
        opened.api_tokens.revoke(gone.id, gone.created_at, by=TESTER)
    with serving(store, "--jwt-jwks-file", str(keys), env={"TOKCTL_CONFIG": str(folder / "config.yaml")}) as running:
        yield running, secrets, store


def ask(managed, name, secret):
    served, _, store = managed
    method, path, body = OPERATIONS[name]
    _, number = make_secret(store, "target")
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return served.client.request(method, path.replace("{id}", str(number)), json=body, headers=headers)


each = pytest.mark.parametrize("name", OPERATIONS)


def test_every_operation_is_covered():
    assert {one.name for one in ENDPOINTS if one.is_api_tokens} == set(OPERATIONS)


@each
def test_all_invalid_credentials_get_the_same_response(managed, name):
    served, secrets, _ = managed
    bad = {who: secrets[who] for who in ("expired", "wrong", "malformed", "revoked")}
    bad |= {f"JWT {kind}": make() for kind, make in UNKNOWN_JWT.items()}
    reasons = {}
    for case, secret in bad.items():
        answer = ask(managed, name, secret)
        assert answer.status_code == 401, case
        assert answer.headers["www-authenticate"] == 'Bearer realm="tokctl", error="invalid_token"'
        assert answer.json() == {
            "error": {
                "status": 401,
                "name": "UnauthorizedError",
                "message": "A valid API token is required.",
                "details": {},
            }
        }
        reasons[case] = answer.headers["x-request-id"]
    last = [*reasons.values()][-1]
    lines = served.log(last) and served.log()
    told = {line["request_id"]: line for line in lines if "request_id" in line}  # not the changes
    wanted = {
        "expired": "expired",
        "wrong": "unknown",
        "malformed": "malformed",
        "revoked": "revoked",
        "JWT expired": "expired JWT",
        "JWT not valid yet": "JWT not valid yet",
    }
    for case, request_id in reasons.items():
        assert told[request_id]["reason"] == wanted.get(case, "invalid JWT"), case
        assert not {"token_id", "user"} & told[request_id].keys()
    nothing = ask(managed, name, None)
    assert nothing.status_code == 401
    assert nothing.headers["www-authenticate"] == 'Bearer realm="tokctl"'


@each
def test_permissions_of_api_tokens(managed, name):
    _, secrets, _ = managed
    reads = OPERATIONS[name][0] == "GET"
    good = 201 if name == "createApiToken" else 200
    asks = name == "introspectApiToken"
    may = {"manager", "every", *(["asker"] if asks else ["manager who reads"] if reads else [])}
    for who in ("reader", "full", "manager who reads", "asker", "asker who reads", "manager", "every"):
        answer = ask(managed, name, secrets[who])
        if who in may:
            assert answer.status_code == good, (who, answer.text)
            continue
        assert answer.status_code == 403, (who, answer.text)
        fault = answer.json()["error"]
        assert (fault["status"], fault["name"]) == (403, "ForbiddenError")
        challenge = 'Bearer realm="tokctl", error="insufficient_scope"'
        if not reads and who in {"reader", "manager who reads", "asker who reads"}:
            assert fault["details"] == {"required_type": "full-access", "provided_type": "read-only"}
            assert answer.headers["www-authenticate"] == challenge
        else:
            needed = "introspect" if asks else "api-tokens"
            assert fault["details"]["required_permission"] == needed
            assert answer.headers["www-authenticate"] == f'{challenge}, scope="{needed}"'


@each
@pytest.mark.parametrize("kind", ["RS256", "ES256"])
def test_a_jwt_allows_every_operation(managed, name, kind):
    served, _, _ = managed
    key, kid = (rsa_key(), "r") if kind == "RS256" else (ec_key(), "e")
    answer = ask(managed, name, signed(key, kind, kid))
    assert answer.status_code == (201 if name == "createApiToken" else 200), answer.text
    (line,) = served.log(answer.headers["x-request-id"])
    assert line["user"] == "7"
    assert "token_id" not in line


def test_a_jwt_allows_nothing_else(managed):
    served, _, _ = managed
    headers = {"Authorization": f"Bearer {signed(rsa_key(), 'RS256', 'r')}"}
    for path in (path_of("processes", SMALL), f"{API}/processes", "/metrics"):
        assert served.client.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{ROOT}/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("PATCH", f"{ROOT}/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("PUT", ROOT, "GET, HEAD, POST, OPTIONS"),
        ("DELETE", ROOT, "GET, HEAD, POST, OPTIONS"),
        ("GET", f"{ROOT}/introspect", "POST, OPTIONS"),
        ("POST", f"{ROOT}/audit", "GET, HEAD, OPTIONS"),
        ("DELETE", f"{ROOT}/audit", "GET, HEAD, OPTIONS"),
    ],
)
def test_methods_of_each_path(managed, method, path, allowed):
    served, secrets, _ = managed
    answer = served.client.request(method, path, headers={"X-API-Key": secrets["every"]}, json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json()["error"]["name"] == "MethodNotAllowedError"
    assert answer.json()["error"]["details"] == {"allowed": allowed.split(", ")}
    options = served.client.options(path, headers={"X-API-Key": secrets["reader"]})
    assert (options.status_code, options.headers["allow"]) == (204, allowed)


@pytest.mark.parametrize(
    "path", ["/", "/1/", "/1/2", "/x", "/0", "/01x", "/-1", "/1.0", "/%31%30%30%30%30", "/" + "9" * 19, "/٣"]
)
def test_unknown_paths(managed, path):
    served, secrets, _ = managed
    answer = served.client.get(ROOT + path, headers={"X-API-Key": secrets["every"]})
    assert answer.status_code == 404
    assert answer.json()["error"]["name"] == "NotFoundError"
    assert served.client.get(ROOT + path).status_code == 401
    user = {"Authorization": f"Bearer {signed(rsa_key(), 'RS256', 'r')}"}
    assert served.client.get(ROOT + path, headers=user).status_code == 404


def test_head_has_the_headers_of_get(managed):
    served, secrets, store = managed
    _, number = make_secret(store, "head")
    for path in (ROOT, f"{ROOT}/{number}", f"{ROOT}/audit"):
        whole, head = (
            served.client.request(method, path, headers={"X-API-Key": secrets["every"]}) for method in ("GET", "HEAD")
        )
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == whole.headers["content-length"]
        assert whole.headers["cache-control"] == "no-store"


def test_failed_jwts_are_throttled(tmp_path):
    store = make_store(tmp_path / "own.db")
    keys = jwks_file(tmp_path / "keys.json", jwk(rsa_key(), "r"))
    with serving(store, "--jwt-jwks-file", str(keys)) as served:
        bad = {"Authorization": f"Bearer {signed(rsa_key(1), 'RS256', 'r')}"}
        statuses = [served.client.get(ROOT, headers=bad).status_code for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        answer = served.client.get(ROOT, headers=bad)
        assert answer.json()["error"]["name"] == "RateLimitError"
        assert answer.json()["error"]["details"] == {"retry_after": int(answer.headers["retry-after"])}
        good = {"Authorization": f"Bearer {signed(rsa_key(), 'RS256', 'r')}"}
        assert served.client.get(ROOT, headers=good).status_code == 200
