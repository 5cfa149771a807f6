"""API tokens over HTTP: list, get, create, update, revoke."""

from __future__ import annotations

import re

import msgspec
import pytest

from support.jwt_making import signed
from support.managing import MEMBERS, ROOT, Manager, fault_of, later
from support.running_server import make_secret
from tokctl.api_tokens.secrets import is_tokctl_secret, mask
from tokctl.documents.api_tokens import encode_api_token
from tokctl.model.scopes import PERMISSIONS
from tokctl.store import open_store

# --- create and get ---


def test_a_new_api_token_shows_its_secret_once(manager):
    end = later()
    answer = manager(
        "POST",
        status=201,
        json={
            "name": "ci",
            "description": "for CI",
            "type": "full-access",
            "expiresAt": end,
            "scopes": ["token", "process", "token"],
        },
    )
    made = answer.json()
    assert [*made] == MEMBERS
    secret = made["token"]
    assert is_tokctl_secret(secret)
    assert (made["name"], made["description"], made["type"]) == ("ci", "for CI", "full-access")
    assert (made["expiresAt"], made["scopes"]) == (end, ["process", "token"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"{ROOT}/{made['id']}"
    read = manager("GET", f"/{made['id']}")
    assert read.json() == made | {"token": mask(secret)}
    assert read.headers["etag"] == answer.headers["etag"]
    assert manager("GET").json()["data"][0] == read.json()
    assert manager.served.get("/api/v1/processes", secret).status_code == 200


def test_defaults_of_a_new_api_token(manager):
    made = manager.make()
    assert (made["type"], made["scopes"]) == ("read-only", ["process"])
    assert (made["description"], made["expiresAt"], made["lastUsedAt"]) == (None, None, None)
    assert manager.make(made["name"])["id"] != made["id"]  # names need not be unique


def test_the_audit_records_what_it_replaces(manager):
    old = manager.make("ci")
    new = manager.make("ci", replaces=old["id"])
    assert "replaces" not in new
    created, rotated = manager("GET", "/audit?newest=1&limit=2").json()["data"][::-1]
    assert (created["action"], created["token"]["id"]) == ("create", new["id"])
    assert created["details"]["replaces"] == old["id"]
    assert (rotated["action"], rotated["token"]["id"]) == ("rotate", old["id"])
    assert rotated["details"] == {"successor": new["id"]}
    manager("DELETE", f"/{old['id']}")
    for wrong in (old["id"], 999999, 0, "1", -1, 1 << 63):
        fault = fault_of(manager("POST", json={"name": "ci", "replaces": wrong}, status=400))
        assert fault["details"] == {"member": "replaces"}
    _, number = make_secret(manager.store, "admin", "*", type_="full-access")
    secret, _ = make_secret(manager.store, "small", "api-tokens", type_="full-access")
    small = Manager(manager.served, manager.store, secret)
    small("POST", json={"name": "ci", "scopes": [], "replaces": int(number)}, status=403)


def test_who_created_it(manager):
    users = {
        "number": (signed(), {"id": 7, "email": "ada@example.org"}),
        "text": (signed(userId="u-1", email=None), {"id": "u-1", "email": None}),
        "subject": (signed(userId=None, sub="s"), {"id": "s", "email": "ada@example.org"}),
    }
    for who, (secret, creator) in users.items():
        user = Manager(manager.served, manager.store, secret)
        made = user.make(type="full-access", scopes=["api-tokens"])
        assert made["createdBy"] == creator, who
        assert user("GET", f"/{made['id']}").json()["createdBy"] == creator
        token = Manager(manager.served, manager.store, made["token"])
        assert token.make(scopes=[])["createdBy"] == creator
    assert manager.make()["createdBy"] is None  # the manager's own token has no creator either


# --- list ---


def test_pages(manager):
    for n in range(12):
        manager.make(f"n{n}")
    with open_store(str(manager.store)) as store:
        every = [msgspec.to_builtins(encode_api_token(token)) for token in store.api_tokens.list()]
    whole = manager("GET", "?pageSize=100").json()
    assert whole["meta"]["permissions"] == [*PERMISSIONS]
    assert re.fullmatch("[0-9a-f]{32}", whole["meta"]["store"])
    assert [one | {"lastUsedAt": None} for one in whole["data"]] == [one | {"lastUsedAt": None} for one in every][:100]
    total = len(every)
    assert whole["meta"]["pagination"] == {"page": 1, "pageSize": 100, "total": total}
    first = manager("GET").json()
    assert len(first["data"]) == 10
    assert first["meta"]["pagination"] == {"page": 1, "pageSize": 10, "total": total}
    ids = [
        one["id"]
        for page in range(1, total // 7 + 2)
        for one in manager("GET", f"?page={page}&pageSize=7").json()["data"]
    ]
    assert ids == [one["id"] for one in every]
    for behind in (total // 7 + 2, 10**9, 2**53 - 1):
        beyond = manager("GET", f"?page={behind}&pageSize=7").json()
        assert (beyond["data"], beyond["meta"]["pagination"]["total"]) == ([], total)


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=x",
        "page=1.0",
        "page=",
        "pageSize=0",
        "pageSize=101",
        "pageSize=-1",
        "pageSize=ten",
        "page=1&page=2",
        "pagesize=5",
        "page=99999999999999999999",
    ],
)
def test_invalid_pages(manager, query):
    fault = fault_of(manager("GET", f"?{query}", status=400))
    assert (fault["name"], fault["details"]) == ("ValidationError", {"parameter": query.partition("=")[0]})


# --- update ---


def test_omitted_members_are_unchanged(manager):
    made = manager.make("ci", description="d", scopes=["token"], expiresAt=later())
    path = f"/{made['id']}"
    expected = manager("GET", path).json()
    for changes in (
        {"name": "ci2"},
        {"description": None},
        {"type": "full-access"},
        {"scopes": ["bpmn", "process"]},
        {"expiresAt": later(60)},
        {"expiresAt": None},
    ):
        answer = manager("PUT", path, json=changes)
        expected |= changes
        if "scopes" in changes:
            expected["scopes"] = ["process", "bpmn"]
        expected["updatedAt"], before = answer.json()["updatedAt"], expected["updatedAt"]
        assert answer.json() == expected == manager("GET", path).json()
        assert expected["updatedAt"] > before
    assert "xvc_" in expected["token"]
    assert expected["token"] == mask(made["token"])


def test_an_expiry_at_the_maximum_date(manager):
    end = {"expiresAt": "9999-12-31T23:59:59-12:00"}
    made = manager.make(**end)
    path = f"/{manager.make()['id']}"
    manager("PUT", path, json=end)
    listed = manager("GET").json()["data"][:2]
    assert [one["expiresAt"] for one in listed] == [made["expiresAt"]] * 2
    assert manager("PUT", path, json=listed[0]).json() == manager("GET", path).json() == listed[0]


def test_a_document_that_was_read_can_be_sent_back(manager):
    _, number = make_secret(manager.store, "old", "process", lasts=-60)  # also if it has expired
    read = manager("GET", f"/{number}")
    entries = manager("GET", "/audit?newest=1&limit=1").json()
    for body in (read.json(), {}):
        answer = manager("PUT", f"/{number}", json=body)
        assert answer.json() == read.json()
        assert answer.headers["etag"] == read.headers["etag"]
    assert manager("GET", "/audit?newest=1&limit=1").json() == entries
    odd = read.json() | {"id": "x", "token": [1], "createdBy": 3, "updatedAt": "never", "createdAt": {}, "name": "new"}
    assert manager("PUT", f"/{number}", json=odd).json()["name"] == "new"
    assert manager("GET", f"/{number}").json()["createdAt"] == read.json()["createdAt"]


# --- If-Match ---


def test_if_match(manager):
    made = manager.make()
    path = f"/{made['id']}"
    old = manager("GET", path).headers["etag"]
    assert old.startswith('"')  # a strong one: If-Match accepts no other
    new = manager("PUT", path, json={"name": "b"}, headers={"If-Match": old}).headers["etag"]
    assert new != old
    for wrong in (old, f"W/{new}", '"x"', "", new.strip('"')):
        for method, body in (("PUT", {"json": {"name": "c"}}), ("DELETE", {})):
            answer = manager(method, path, headers={"If-Match": wrong}, status=412, **body)
            assert fault_of(answer)["name"] == "PreconditionFailedError"
    assert manager("GET", path).json()["name"] == "b"
    manager("PUT", path, json={"name": "c"}, headers={"If-Match": f'"x", {new}'})
    manager("PUT", path, json={"name": "d"}, headers={"If-Match": "*"})
    last = manager("GET", path).headers["etag"]
    manager("DELETE", path, headers={"If-Match": last})
    manager("DELETE", path, headers={"If-Match": last}, status=404)


# --- delete ---


def test_a_revoked_api_token_is_not_found(manager):
    made = manager.make()
    path = f"/{made['id']}"
    assert manager.served.get("/api/v1/processes", made["token"]).status_code == 200
    answer = manager("DELETE", path, params={"reason": "leaked"})
    assert [*answer.json()] == ["message"]
    assert manager.served.get("/api/v1/processes", made["token"]).status_code == 401
    for method, body in (("GET", {}), ("PUT", {"json": {}}), ("DELETE", {})):
        assert fault_of(manager(method, path, status=404, **body))["details"] == {"id": str(made["id"])}
    assert made["id"] not in [one["id"] for one in manager("GET", "?pageSize=100").json()["data"]]
    (entry,) = manager("GET", "/audit?newest=1&limit=1").json()["data"]
    assert (entry["action"], entry["details"]) == ("revoke", {"why": "leaked"})
    assert fault_of(manager("DELETE", "/999999999", status=404))["name"] == "NotFoundError"


# --- which scopes may be granted ---


def test_callers_can_grant_only_scopes_that_they_hold(manager):
    every = manager.make("target", scopes=["*"])
    secret = manager.make("some", type="full-access", scopes=["process", "api-tokens"])["token"]
    some = Manager(manager.served, manager.store, secret)
    assert some("GET").json()["meta"]["permissions"] == ["process", "api-tokens"]
    for scopes, missing in ((["token"], ["token"]), (["*"], ["*"]), (["process", "job", "bpmn"], ["bpmn", "job"])):
        own = some.make(scopes=["process"])
        for method, path in (("POST", ""), ("PUT", f"/{own['id']}")):
            answer = some(method, path, json={"name": "x", "scopes": scopes}, status=403)
            assert fault_of(answer)["details"] == {
                "missing_scopes": missing,
                "provided_permissions": ["process", "api-tokens"],
            }
            assert answer.headers["www-authenticate"].endswith(f'scope="{" ".join(missing)}"')
        assert some("GET", f"/{own['id']}").json()["scopes"] == ["process"]
    for changes in (
        {"name": "mine"},
        {"type": "full-access"},
        {"expiresAt": None},
    ):  # any change would grant its scopes
        some("PUT", f"/{every['id']}", json=changes, status=403)


def test_callers_can_change_and_revoke_only_what_they_could_grant(manager):
    admin = manager.make("admin", type="full-access", scopes=["*"])
    reader = manager.make("reader", scopes=["process", "token"])
    some = make_caller(manager, scopes=["process", "api-tokens"])
    user = Manager(manager.served, manager.store, signed(scope="process api-tokens"))
    for caller in (some, user):
        for target, missing in ((admin, "*"), (reader, "token")):
            for method, changes in (
                ("DELETE", None),
                ("PUT", {"scopes": []}),
                ("PUT", {"scopes": ["process"]}),
                ("PUT", {"expiresAt": later()}),
                ("PUT", {"type": "read-only"}),
            ):
                fault = fault_of(caller(method, f"/{target['id']}", json=changes, status=403))
                assert fault["details"]["missing_scopes"] == [missing]
            kept = manager.kept(target["id"])
            assert (kept.revoked_at, [*kept.scopes], kept.type) == (None, target["scopes"], target["type"])
    for target in (reader, admin):
        manager("DELETE", f"/{target['id']}")
    small = manager.make("small", scopes=["process"])
    some("PUT", f"/{small['id']}", json={"scopes": []})
    user("DELETE", f"/{small['id']}")


def test_callers_can_always_shrink_and_revoke_themselves(manager):
    some = make_caller(manager, scopes=["process", "api-tokens"])
    (own,) = some("GET", "?name=caller").json()["data"]
    some("PUT", f"/{own['id']}", json={"scopes": ["*"]}, status=403)
    some("PUT", f"/{own['id']}", json={"scopes": ["api-tokens"]})
    some("DELETE", f"/{own['id']}")
    some("GET", status=401)


def make_caller(manager, **members):
    """Someone with a new full-access API token."""
    for one in manager("GET", "?name=caller").json()["data"]:
        manager("DELETE", f"/{one['id']}")
    secret = manager.make("caller", type="full-access", **members)["token"]
    return Manager(manager.served, manager.store, secret)


@pytest.mark.parametrize(
    ("claims", "held"),
    [
        ({}, [*PERMISSIONS]),
        ({"scope": "openid process token"}, ["process", "token"]),
        ({"scopes": ["job"]}, ["job"]),
        ({"scope": "*"}, [*PERMISSIONS]),
        ({"scope": "process job", "scopes": ["job", "token", 1]}, ["job"]),
        ({"scopes": None, "scope": "bpmn"}, ["bpmn"]),  # left out of the claims
    ],
)
def test_the_scopes_of_a_jwt_limit_what_its_user_can_grant(manager, claims, held):
    user = Manager(manager.served, manager.store, signed(**claims))
    assert user("GET").json()["meta"]["permissions"] == held
    user("POST", json={"name": "x", "scopes": held}, status=201)
    missing = [name for name in PERMISSIONS if name not in held]
    if missing:
        user("POST", json={"name": "x", "scopes": missing[:1]}, status=403)


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": ""},
        {"scopes": []},
        {"scope": 1},
        {"scope": "openid profile"},
        {"scopes": {"process": 1}},
        {"scope": "process", "scopes": ["job"]},
    ],
)
def test_a_jwt_without_scopes_allows_nothing(manager, claims):
    target = manager.make("target", scopes=[])
    user = Manager(manager.served, manager.store, signed(**claims))
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/audit", None),
        ("GET", f"/{target['id']}", None),
        ("POST", "", {"name": "x", "scopes": []}),
        ("POST", "/introspect", {"token": target["token"]}),
        ("PUT", f"/{target['id']}", {"name": "x"}),
        ("DELETE", f"/{target['id']}", None),
    ):
        assert fault_of(user(method, path, json=body, status=403))["details"] == {"provided_permissions": []}
    assert manager.kept(target["id"]).revoked_at is None
