"""The API tokens over HTTP: what is told, made, changed and revoked, and what the audit says of it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt_making import secret_file, signed
from running_server import ENVIRONMENT, make_secret, make_store, serving

from builders import TESTER
from tokctl.access.audit import check_chain, decode_entry
from tokctl.access.scopes import PERMISSIONS
from tokctl.access.secret import digest, is_ours, mask
from tokctl.access.wire import api_token_document
from tokctl.pepper import load_pepper
from tokctl.process.model import format_time
from tokctl.store import open_store
from tokctl.store.api_tokens import ApiTokenTable

ROOT = "/api/api-tokens"
MEMBERS = ["id", "name", "description", "type", "scopes", "token", "lastUsedAt", "expiresAt", "createdBy",
           "createdAt", "updatedAt"]  # fmt: skip


class Manager:
    """Someone who asks, and the server and the store that he asks."""

    def __init__(self, served, store, secret):
        self.served, self.store, self.headers = served, store, {"Authorization": f"Bearer {secret}"}

    def __call__(self, method, path="", status=200, headers=None, **options):
        answer = self.served.client.request(method, ROOT + path, headers=self.headers | (headers or {}), **options)
        assert answer.status_code == status, answer.text
        return answer

    def make(self, name="made", **members):
        return self("POST", json={"name": name} | members, status=201).json()

    def kept(self, number):
        with open_store(str(self.store)) as store:
            return store.api_tokens.by_id(number)


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("managed")
    store = make_store(folder / "managed.db")
    secret, _ = make_secret(store, "manager", "*", type_="full-access")
    keys = secret_file(folder / "jwt")
    with serving(store, "--jwt-secret-file", str(keys)) as served:
        yield Manager(served, store, secret)


def later(days=30):
    return format_time(datetime.now(UTC).replace(microsecond=0) + timedelta(days=days))


def fault_of(answer):
    assert [*answer.json()] == ["error"]
    fault = answer.json()["error"]
    assert [*fault] == ["status", "name", "message", "details"]
    assert fault["status"] == answer.status_code
    return fault


# --- create and get ---


def test_a_new_api_token_tells_its_secret_once(manager):
    end = later()
    answer = manager("POST", status=201, json={"name": "ci", "description": "for CI", "type": "full-access",
                                               "expiresAt": end, "scopes": ["token", "process", "token"]})  # fmt: skip
    made = answer.json()
    assert [*made] == MEMBERS
    secret = made["token"]
    assert is_ours(secret)
    assert (made["name"], made["description"], made["type"]) == ("ci", "for CI", "full-access")
    assert (made["expiresAt"], made["scopes"]) == (end, ["process", "token"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"{ROOT}/{made['id']}"
    read = manager("GET", f"/{made['id']}")
    assert read.json() == made | {"token": mask(secret)}
    assert read.headers["etag"] == answer.headers["etag"]
    assert manager("GET").json()["data"][0] == read.json()
    assert manager.served.get("/api/v1/processes", secret).status_code == 200


def test_what_is_not_said_of_a_new_one(manager):
    made = manager.make()
    assert (made["type"], made["scopes"]) == ("read-only", ["process"])
    assert (made["description"], made["expiresAt"], made["lastUsedAt"]) == (None, None, None)
    assert manager.make(made["name"])["id"] != made["id"]  # names need not be unique


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
    assert manager.make()["createdBy"] is None  # nor has the manager's own token anyone


BAD = [
    ({}, "name"), ({"name": ""}, "name"), ({"name": " \t\n"}, "name"), ({"name": None}, "name"), ({"name": 1}, "name"),
    ({"name": "x" * 256}, "name"), ({"description": "x" * 4097}, "description"), ({"description": 1}, "description"),
    ({"type": "readonly"}, "type"), ({"type": None}, "type"), ({"type": ["read-only"]}, "type"),
    ({"expiresAt": ""}, "expiresAt"), ({"expiresAt": "tomorrow"}, "expiresAt"),
    ({"expiresAt": 4102444800}, "expiresAt"),
    ({"expiresAt": "2099-01-01"}, "expiresAt"), ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
    ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"), ({"expiresAt": "2099-13-01T00:00:00Z"}, "expiresAt"),
    ({"scopes": None}, "scopes"), ({"scopes": "process"}, "scopes"), ({"scopes": ["proces"]}, "scopes"),
    ({"scopes": [1]}, "scopes"), ({"scopes": ["Process"]}, "scopes"), ({"nmae": "x"}, "nmae"), ({"": 1}, ""),
    ({"secret": "x"}, "secret"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_body_that_means_nothing(manager, number):
    body, member = BAD[number]
    target = manager.make()
    whole = body if "name" in body or not body else {"name": "x"} | body
    cases = [("POST", "", whole)] + [("PUT", f"/{target['id']}", body)] * bool(body)
    before = manager("GET", "/audit?newest=1&limit=1").json()
    for method, path, sent in cases:
        fault = fault_of(manager(method, path, json=sent, status=400))
        assert (fault["name"], fault["details"]) == ("ValidationError", {"member": member})
        assert repr(member) in fault["message"]
    assert manager("GET", "/audit?newest=1&limit=1").json() == before


@pytest.mark.parametrize(("body", "offer"), [
    ({"nmae": "x"}, "name"), ({"type": "full-acces"}, "full-access"), ({"scopes": ["token", "proces"]}, "process"),
    ({"expiresat": None}, "expiresAt"), ({"scope": []}, "scopes"),
])  # fmt: skip
def test_the_nearest_is_offered(manager, body, offer):
    fault = fault_of(manager("POST", json={"name": "x"} | body, status=400))
    assert f"did you mean '{offer}'" in fault["message"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"name": "\\ud800"}', b"[" * 60_000, b'{"name": "x"} x',
             b"name=x", b'{"name": "\xff"}'],
    ids=range(11),
)  # fmt: skip
def test_a_body_that_is_no_object(manager, data):
    for method, path in (("POST", ""), ("PUT", "/1"), ("POST", "/introspect")):
        answer = manager(method, path, content=data, headers={"Content-Type": "application/json"}, status=400)
        assert fault_of(answer)["details"] == {"member": ""}


@pytest.mark.parametrize("headers", [
    {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
], ids=range(4))  # fmt: skip
def test_a_body_of_another_kind(manager, headers):
    for method, path in (("POST", ""), ("PUT", "/1")):
        answer = manager(method, path, content=b'{"name": "x"}', headers=headers, status=415)
        assert fault_of(answer)["name"] == "UnsupportedMediaTypeError"
        assert answer.headers["accept"] == "application/json"


def test_what_is_too_large_has_the_same_form(manager):
    def chunks():
        for _ in range(10):
            yield b" " * 10_000

    for body in ({"content": b" " * 70_000}, {"content": chunks()}):
        answer = manager("POST", status=413, headers={"Content-Type": "application/json"}, **body)
        assert fault_of(answer)["name"] == "PayloadTooLargeError"
    assert fault_of(manager("GET", "?page=" + "1" * 9000, status=414))["name"] == "UriTooLongError"
    headers = {f"X-Much-{n}": "x" * 1000 for n in range(20)}
    assert fault_of(manager("GET", headers=headers, status=431))["name"] == "HeadersTooLargeError"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300)
    | st.sampled_from(["read-only", "full-access", "process", "2099-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
names = st.sampled_from([*MEMBERS, "nmae"]) | st.text(max_size=5)


@given(st.dictionaries(names, values, max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_json_is_taken_as_it_is_meant_or_refused(manager, body):
    before = manager("GET", "?pageSize=1").json()["meta"]["pagination"]["total"]
    text = json.dumps(body).encode("utf-8")
    answer = manager.served.client.post(
        ROOT, content=text, headers=manager.headers | {"Content-Type": "application/json"}
    )
    after = manager("GET", "?pageSize=1").json()
    if answer.status_code == 201:
        made = answer.json()
        settable = {"name", "description", "type", "expiresAt"}
        for name in settable & body.keys():
            assert made[name] == body[name] or name == "expiresAt"
        assert {*made["scopes"]} == {*body.get("scopes", ["process"])}
        assert after["data"][0]["id"] == made["id"]
    else:
        assert answer.status_code == 400, answer.text
        assert fault_of(answer)["details"]["member"] in {*body, "name", ""}
    assert after["meta"]["pagination"]["total"] == before + (answer.status_code == 201)


# --- list ---


def test_pages(manager):
    for n in range(12):
        manager.make(f"n{n}")
    with open_store(str(manager.store)) as store:
        every = [api_token_document(token) for token in store.api_tokens.list()]
    whole = manager("GET", "?pageSize=100").json()
    assert whole["meta"]["permissions"] == [*PERMISSIONS]
    assert [one | {"lastUsedAt": None} for one in whole["data"]] == [one | {"lastUsedAt": None} for one in every][:100]
    total = len(every)
    assert whole["meta"]["pagination"] == {"page": 1, "pageSize": 100, "total": total}
    first = manager("GET").json()
    assert len(first["data"]) == 10
    assert first["meta"]["pagination"] == {"page": 1, "pageSize": 10, "total": total}
    ids = [one["id"] for page in range(1, total // 7 + 2)
           for one in manager("GET", f"?page={page}&pageSize=7").json()["data"]]  # fmt: skip
    assert ids == [one["id"] for one in every]
    for behind in (total // 7 + 2, 10**9, 2**53 - 1):
        beyond = manager("GET", f"?page={behind}&pageSize=7").json()
        assert (beyond["data"], beyond["meta"]["pagination"]["total"]) == ([], total)


@pytest.mark.parametrize("query", [
    "page=0", "page=-1", "page=x", "page=1.0", "page=", "pageSize=0", "pageSize=101", "pageSize=-1", "pageSize=ten",
    "page=1&page=2", "pagesize=5", "page=99999999999999999999",
])  # fmt: skip
def test_a_page_that_means_nothing(manager, query):
    fault = fault_of(manager("GET", f"?{query}", status=400))
    assert (fault["name"], fault["details"]) == ("ValidationError", {"parameter": query.partition("=")[0]})


# --- update ---


def test_what_is_left_out_stays(manager):
    made = manager.make("ci", description="d", scopes=["token"], expiresAt=later())
    path = f"/{made['id']}"
    expected = manager("GET", path).json()
    for changes in ({"name": "ci2"}, {"description": None}, {"type": "full-access"}, {"scopes": ["bpmn", "process"]},
                    {"expiresAt": later(60)}, {"expiresAt": None}):  # fmt: skip
        answer = manager("PUT", path, json=changes)
        expected |= changes
        if "scopes" in changes:
            expected["scopes"] = ["process", "bpmn"]
        expected["updatedAt"], before = answer.json()["updatedAt"], expected["updatedAt"]
        assert answer.json() == expected == manager("GET", path).json()
        assert expected["updatedAt"] > before
    assert "xvc_" in expected["token"]
    assert expected["token"] == mask(made["token"])


def test_what_was_read_can_be_sent_back(manager):
    _, number = make_secret(manager.store, "old", "process", lasts=-60)  # even when it has expired
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


def test_a_version_that_is_expected(manager):
    made = manager.make()
    path = f"/{made['id']}"
    old = manager("GET", path).headers["etag"]
    assert old.startswith('"')  # a strong one: If-Match takes no other
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


def test_a_revoked_one_is_gone(manager):
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


# --- what may be given ---


def test_nobody_gives_what_he_does_not_hold(manager):
    every = manager.make("target", scopes=["*"])
    secret = manager.make("some", type="full-access", scopes=["process", "api-tokens"])["token"]
    some = Manager(manager.served, manager.store, secret)
    assert some("GET").json()["meta"]["permissions"] == ["process", "api-tokens"]
    for scopes, missing in ((["token"], ["token"]), (["*"], ["*"]), (["process", "job", "bpmn"], ["bpmn", "job"])):
        own = some.make(scopes=["process"])
        for method, path in (("POST", ""), ("PUT", f"/{own['id']}")):
            answer = some(method, path, json={"name": "x", "scopes": scopes}, status=403)
            assert fault_of(answer)["details"] == {
                "missing_scopes": missing, "provided_permissions": ["process", "api-tokens"]
            }  # fmt: skip
            assert answer.headers["www-authenticate"].endswith(f'scope="{" ".join(missing)}"')
        assert some("GET", f"/{own['id']}").json()["scopes"] == ["process"]
    for changes in ({"name": "mine"}, {"type": "full-access"}, {"expiresAt": None}):  # its scopes would be his gift
        some("PUT", f"/{every['id']}", json=changes, status=403)
    assert some("PUT", f"/{every['id']}", json={"scopes": ["process"]}).json()["scopes"] == ["process"]


@pytest.mark.parametrize(("claims", "held"), [
    ({}, [*PERMISSIONS]), ({"scope": "openid process token"}, ["process", "token"]), ({"scopes": ["job"]}, ["job"]),
    ({"scope": "*"}, [*PERMISSIONS]), ({"scope": ""}, []), ({"scopes": []}, []), ({"scope": 1}, []),
    ({"scopes": {"process": 1}}, []), ({"scope": "process job", "scopes": ["job", "token", 1]}, ["job"]),
    ({"scopes": None, "scope": "bpmn"}, ["bpmn"]),
])  # fmt: skip
def test_the_scopes_of_a_jwt_bound_what_its_user_gives(manager, claims, held):
    user = Manager(manager.served, manager.store, signed(**claims))
    assert user("GET").json()["meta"]["permissions"] == held
    user("POST", json={"name": "x", "scopes": held}, status=201)
    missing = [name for name in PERMISSIONS if name not in held]
    if missing:
        user("POST", json={"name": "x", "scopes": missing[:1]}, status=403)


# --- the audit ---


def test_the_audit_tells_who_did_what(manager):
    start = manager("GET", "/audit?newest=true&limit=1").json()["meta"]["head"]["number"]
    user = Manager(manager.served, manager.store, signed())
    made = user.make("ci", type="full-access", scopes=["api-tokens"])
    token = Manager(manager.served, manager.store, made["token"])
    token("PUT", f"/{made['id']}", json={"name": "ci2"})
    token("DELETE", f"/{made['id']}")
    answer = manager("GET", f"/audit?after={start}").json()
    told = [(one["action"], one["actor"], one["from"], one["token"], one["details"]) for one in answer["data"]]
    number, origin = made["id"], "127.0.0.1"
    ada = {"kind": "user", "id": "7", "name": "ada@example.org"}
    assert told == [
        ("create", ada, origin, {"id": number, "name": "ci"},
         {"name": "ci", "description": None, "type": "full-access", "scopes": ["api-tokens"], "expiresAt": None}),
        ("update", {"kind": "api-token", "id": str(number), "name": "ci"}, origin, {"id": number, "name": "ci2"},
         {"name": ["ci", "ci2"]}),
        ("revoke", {"kind": "api-token", "id": str(number), "name": "ci2"}, origin, {"id": number, "name": "ci2"}, {}),
    ]  # fmt: skip
    assert answer["meta"]["head"] == {"number": start + 3, "hash": answer["data"][-1]["hash"]}


def test_the_audit_can_be_checked_from_outside(manager):
    entries, number = [], 0
    while page := manager("GET", f"/audit?after={number}&limit=7").json()["data"]:
        entries += [decode_entry(one) for one in page]
        number = entries[-1].number
    with open_store(str(manager.store)) as store:
        assert check_chain(entries, store.audit.head()).fault == ""
    assert len(entries) > 7
    ids = {entry.token_id for entry in entries}
    one = max(ids)
    only = manager("GET", f"/audit?tokenId={one}&newest=1").json()["data"]
    assert [entry["number"] for entry in only] == [e.number for e in reversed(entries) if e.token_id == one]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "tokenId=x", "newest=maybe", "tokenid=1", "newest="]
)
def test_entries_that_mean_nothing(manager, query):
    fault = fault_of(manager("GET", f"/audit?{query}", status=400))
    assert fault["details"] == {"parameter": query.partition("=")[0]}


# --- no leak ---


def test_a_secret_is_nowhere_but_in_its_answer(manager):
    user = signed()
    made = Manager(manager.served, manager.store, user).make("quiet", scopes=["process"])
    secret, name = made["token"], "a name of its own"
    manager.served.get("/api/v1/processes", secret)
    manager("POST", "/introspect", json={"token": secret})
    manager("POST", "/introspect", data={"token": secret})
    manager("POST", f"?token={secret}", json={"name": name}, status=400)
    manager("GET", f"/{secret}", status=404)
    manager("GET", f"/{user}", status=404)
    manager("POST", json={"name": name, "secret": secret}, status=400)
    manager("PUT", f"/{made['id']}", json={"type": secret}, status=400)
    manager("PUT", f"/{made['id']}", content=secret.encode(), headers={"Content-Type": "application/json"}, status=400)
    manager.served.client.get(ROOT, headers={"Authorization": f"Bearer {secret}x"})
    manager.served.client.get(ROOT, headers={"Authorization": f"Bearer {user[:-1]}x"})
    last = manager("GET", headers={"X-Request-ID": user[:100]})
    manager.served.log(last.headers["x-request-id"])
    texts = ["\n".join(manager.served.lines), manager("GET", "/audit?newest=1&limit=1000").text,
             manager("GET", "?pageSize=100").text]  # fmt: skip
    sqlite3.connect(manager.store).execute("PRAGMA wal_checkpoint").fetchone()
    kept = manager.store.read_bytes() + manager.store.with_name(manager.store.name + "-wal").read_bytes()
    texts.append(kept.decode("latin-1"))
    for text in texts:
        assert secret[8:] not in text
        assert user[10:30] not in text
        assert user.rpartition(".")[2] not in text
        assert name not in text  # what is sent is no business of the log's
    assert digest(load_pepper(ENVIRONMENT).key, secret) in kept


# --- a store that cannot be written ---


def test_a_change_waits_for_another_writer_and_not_for_long(manager):
    made = manager.make()
    writer = sqlite3.connect(manager.store, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        for method, path, body in (("POST", "", {"name": "x"}), ("PUT", f"/{made['id']}", {"name": "x"})):
            answer = manager(method, path, json=body, status=503)
            assert fault_of(answer)["name"] == "ServiceUnavailableError"
            assert answer.headers["retry-after"] == "2"
            assert "locked" in manager.served.log(answer.headers["x-request-id"])[0]["reason"]
            assert str(manager.store) not in answer.text
        assert manager("GET", f"/{made['id']}").json()["name"] == "made"
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert manager("PUT", f"/{made['id']}", json={"name": "x"}).json()["name"] == "x"


def test_a_store_under_another_pepper_gets_no_token_of_ours(tmp_path):
    store = make_store(tmp_path / "own.db")
    make_secret(store, "theirs", "*")
    secret_file(tmp_path / "jwt")
    other = {"TOKCTL_PEPPER": "another pepper, of thirty-two signs and more"}
    with serving(store, "--jwt-secret-file", str(tmp_path / "jwt"), env=other) as served:
        user = Manager(served, store, signed())
        answer = user("POST", json={"name": "x"}, status=503)
        assert "another pepper" in served.log(answer.headers["x-request-id"])[0]["reason"]
        assert user("GET").json()["meta"]["pagination"]["total"] == 1


def test_what_the_store_says_of_a_change_behind_our_back(manager):
    """The moment between a look and the change that rests on it is too short to be hit from outside."""
    import asyncio

    from tokctl.server.bodies import ApiTokenChanges
    from tokctl.server.callers import Caller
    from tokctl.server.endpoints.api_tokens import ONE
    from tokctl.server.operations import Call
    from tokctl.server.refusals import Refusal

    number = manager.make("raced")["id"]

    class Raced(ApiTokenTable):
        def by_id(self, token_id):
            found = super().by_id(token_id)
            if not self.connection.in_transaction:
                self.update(token_id, {"name": f"{found.name}+"}, datetime.now(UTC), by=TESTER)
            return found

    class Here:
        async def change(self, function):
            with open_store(str(manager.store), write=True) as store:
                return function(Raced(store.connection, "here"))

    caller = Caller(actor=TESTER, created_by=None, grants=PERMISSIONS)
    for if_match, status in ((None, 409), (b"*", 412)):
        call = Call(caller=caller, ids=(str(number),), values={"reason": None}, body=ApiTokenChanges(name="ours"),
                    now=datetime.now(UTC), if_match=if_match)  # fmt: skip
        with pytest.raises(Refusal) as caught:
            asyncio.run(ONE.operations["PUT"].run(Here(), call))
        assert caught.value.status == status
        if if_match is not None:
            with pytest.raises(Refusal) as caught:
                asyncio.run(ONE.operations["DELETE"].run(Here(), call))
            assert caught.value.status == 412
    assert manager.kept(number).name.startswith("raced+")
    assert manager.kept(number).revoked_at is None
