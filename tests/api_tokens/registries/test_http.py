"""The registry over servers that do less than they say, or something else, or nothing: XiverCMS and worse."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from support import fake_cms, faulty_server
from support.fake_cms import DROPPED, EMAIL, FAILED, FAILED_AFTER, GARBLED, SLOW, TRUNCATED, UNHEARD, Fault
from support.fake_xiver import FakeXiver
from support.registry_kinds import HOUR, now, put
from support.serving import Served
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, CreationOutcomeUnknownError, UnsupportedChangeError
from tokctl.errors import (
    NotAllowedError,
    NotFoundError,
    StoreError,
    TokctlError,
    UnreachableError,
    UntrustedError,
    UsageError,
)
from tokctl.model.api_tokens import FULL_ACCESS

Open = Callable[..., Any]


@pytest.fixture
def xiver(opened: Open, fake: FakeXiver) -> Any:
    """A registry over a XiverCMS, logged in."""
    return opened(server=fake.url, credential=fake.jwt)


def shown(caught: pytest.ExceptionInfo[TokctlError]) -> str:
    """All that can be seen of an error."""
    assert "\n" not in str(caught.value)
    return "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + str(caught.value)


# --- no answer to a change --------------------------------------------------------------------------

LOST = {
    "unheard": (UNHEARD, 0),
    "dropped": (DROPPED, 1),
    "failed": (FAILED, 0),
    "failed after": (FAILED_AFTER, 1),
    "truncated": (TRUNCATED, 1),
    "garbled": (GARBLED, 1),
    "slow": (SLOW, 1),
}


@pytest.mark.parametrize("name", LOST)
def test_a_creation_that_may_have_been_done(opened: Open, fake: FakeXiver, name: str, caplog):
    caplog.set_level(logging.DEBUG)
    kind, done = LOST[name]
    fake.fault = Fault(kind)
    registry = opened(server=fake.url, credential=fake.jwt, timeout=0.3)
    with pytest.raises(CreationOutcomeUnknownError) as caught:
        registry.create(ApiTokenSpec(name="ci"))
    assert len(fake.asked("POST")) == 1
    assert len(registry.find_by_name("ci")) == len(fake.records) == done
    seen = shown(caught) + caplog.text
    assert not [secret for secret in fake.secrets.values() if secret[:12] in seen]


@pytest.mark.parametrize("name", LOST)
def test_other_changes_that_may_have_been_done(opened: Open, fake: FakeXiver, name: str):
    fake.add("ci")
    kind, done = LOST[name]
    registry = opened(server=fake.url, credential=fake.jwt, timeout=0.3)
    fake.fault = Fault(kind, "PUT")
    with pytest.raises(CreationOutcomeUnknownError, match="api-tokens show 1"):
        registry.update("1", {"name": "b"})
    assert (fake.records["1"]["name"] == "b") == bool(done)
    if kind != GARBLED:  # what is said of what is gone is not read
        fake.fault = Fault(kind, "DELETE")
        with pytest.raises(CreationOutcomeUnknownError, match="api-tokens show 1"):
            registry.revoke("1")
        assert ("1" not in fake.records) == bool(done)
    assert len(fake.asked("PUT")) == 1


def test_what_was_certainly_not_done(opened: Open, fake: FakeXiver):
    port = faulty_server.unused_port()
    ended = fake.add("ended", expiresAt=(now() - HOUR).isoformat())
    reader = fake.add("reader")
    for server, credential, error in (
        (f"http://127.0.0.1:{port}", fake.jwt, UnreachableError),
        (f"https://127.0.0.1:{fake.port}", fake.jwt, UntrustedError),
        (fake.url, ended, NotAllowedError),
        (fake.url, reader, NotAllowedError),
        (fake.url, "", NotAllowedError),
        (f"{fake.url}/elsewhere", fake.jwt, NotFoundError),
    ):
        with pytest.raises(error) as caught:
            opened(server=server, credential=credential).create(ApiTokenSpec(name="ci"))
        assert not isinstance(caught.value, CreationOutcomeUnknownError)
    with pytest.raises(UsageError, match="Name is required"):
        opened(server=fake.url, credential=fake.jwt).create(ApiTokenSpec(name=""))
    assert [one["name"] for one in fake.records.values()] == ["ended", "reader"]


def test_an_api_token_that_creates_another(opened: Open, fake: FakeXiver):
    full = fake.add("full", type=FULL_ACCESS)
    with pytest.raises(CreationOutcomeUnknownError, match=r"Log in as a user.*tokctl auth login --email") as caught:
        opened(server=fake.url, credential=full).create(ApiTokenSpec(name="ci"))
    assert full not in shown(caught)
    fake.fault = Fault(FAILED)
    with pytest.raises(CreationOutcomeUnknownError) as caught:
        opened(server=fake.url, credential=fake.jwt).create(ApiTokenSpec(name="ci"))
    assert EMAIL not in str(caught.value)
    assert "log in" not in str(caught.value)


# --- what is created otherwise ----------------------------------------------------------------------

USELESS = {
    "none": lambda made: made.pop("token"),
    "null": lambda made: made.update(token=None),
    "short": lambda made: made.update(token=made["token"][:12]),
    "masked": lambda made: made.update(token=made["token"][:8] + "..."),
    "starred": lambda made: made.update(token=made["token"][:12] + "*" * 56),
    "shown at both ends": lambda made: made.update(token=made["token"][:12] + "..." + made["token"][-8:]),
    "no time": lambda made: made.update(createdAt=f"at {made['token']}"),
}
OTHER = {
    "type": (lambda made: made.update(type=FULL_ACCESS), "type full-access for read-only"),
    "no expiry": (lambda made: made.update(expiresAt=None), "expires_at never for 20"),
    "later": (lambda made: made.update(expiresAt="2099-01-01T00:00:00Z"), "expires_at 2099-01-01T00:00:00.000Z for 20"),
}


def twisting(change: Callable[[dict[str, Any]], object], method: str = "POST") -> Callable[[str, str, Any], Any]:
    def twist(asked: str, _path: str, answer: Any) -> Any:
        if asked == method:
            change(answer)
        return answer

    return twist


@pytest.mark.parametrize("name", USELESS)
def test_a_secret_that_cannot_be_used(xiver: Any, fake: FakeXiver, name: str):
    fake.twist = twisting(USELESS[name])
    fake.add("bystander")
    with pytest.raises(UnsupportedChangeError, match=r"API token 2 without a usable secret\. It was revoked") as caught:
        xiver.create(ApiTokenSpec(name="ci"))
    assert [*fake.records] == ["1"]
    assert "xvc_" not in shown(caught)


@pytest.mark.parametrize("name", OTHER)
def test_more_than_was_wanted(xiver: Any, fake: FakeXiver, name: str):
    change, told = OTHER[name]
    fake.twist = twisting(change)
    with pytest.raises(UnsupportedChangeError) as caught:
        xiver.create(ApiTokenSpec(name="ci", expires_at=now() + HOUR))
    assert told in str(caught.value)
    assert "It was revoked" in str(caught.value)
    assert "xvc_" not in shown(caught)
    assert fake.records == {}


def test_times_may_be_blurred(xiver: Any, fake: FakeXiver):
    fake.twist = twisting(lambda made: made.update(expiresAt=made["expiresAt"][:19] + "Z"))
    made = xiver.create(ApiTokenSpec(name="ci", expires_at=now().replace(microsecond=999000) + HOUR))
    assert made.token.expires_at.microsecond == 0


def test_what_should_be_revoked_and_cannot_be(xiver: Any, fake: FakeXiver):
    fake.twist = twisting(lambda made: made.update(type=FULL_ACCESS))
    fake.fault = Fault(FAILED, "DELETE")
    with pytest.raises(
        CreationOutcomeUnknownError, match=r"could not be revoked: .*'tokctl api-tokens revoke 1'"
    ) as caught:
        xiver.create(ApiTokenSpec(name="ci"))
    assert "xvc_" not in shown(caught)
    fake.fault = None
    fake.twist = twisting(lambda made: made.update(id=1, token=None))
    with pytest.raises(CreationOutcomeUnknownError, match="Another API token has this id"):
        xiver.create(ApiTokenSpec(name="second"))
    assert [*fake.records] == ["1", "2"]


def test_the_secret_is_taken_out_of_all_of_the_answer(xiver: Any, fake: FakeXiver):
    fake.twist = twisting(lambda made: made.update(copy={"of": [f"Bearer {made['token']}"]}))
    made = xiver.create(ApiTokenSpec(name="ci"))
    assert made.secret not in repr(made.token)
    assert made.token.extra["copy"] == {"of": [f"Bearer {made.secret[:8]}..."]}


def test_a_list_that_tells_whole_secrets(xiver: Any, fake: FakeXiver):
    secret = fake.add("ci")
    fake.records["1"]["token"] = secret
    assert [one.token for one in (xiver.get("1"), *xiver.list())] == [secret[:8] + "..."] * 2


# --- what is not heeded -----------------------------------------------------------------------------


def test_an_update_that_is_not_heeded(xiver: Any, fake: FakeXiver):
    fake.add("ci")
    for member, value, field in (("type", "read-only", "type"), ("expiresAt", None, "expires_at")):
        fake.twist = twisting(lambda made, m=member, v=value: made.update({m: v}), "PUT")
        changes = {"type": FULL_ACCESS, "expires_at": now() + HOUR}
        with pytest.raises(UnsupportedChangeError, match=f"did not change {member} of API token 1") as caught:
            xiver.update("1", changes)
        (other,) = {"type", "expiresAt"} - {member}
        assert f"Changed: {other}." in str(caught.value)
        assert field in changes


def test_the_whole_object_is_sent_back(xiver: Any, fake: FakeXiver):
    fake.add("ci", note={"a": [1]}, expiresAt="2099-01-01T00:00:00.123456789Z", description="d")
    xiver.update("1", {"type": FULL_ACCESS})
    (sent,) = fake.puts
    assert sent == {
        "name": "ci",
        "description": "d",
        "type": FULL_ACCESS,
        "kind": "custom",
        "note": {"a": [1]},
        "expiresAt": "2099-01-01T00:00:00.123456789Z",
    }


@pytest.mark.parametrize("given", ["admin", "", "READ-ONLY", "xvc_" + "a" * 64])
def test_a_type_that_does_not_exist(xiver: Any, fake: FakeXiver, given: str):
    fake.add("ci")
    for act in (lambda: xiver.create(ApiTokenSpec(name="b", type=given)), lambda: xiver.update("1", {"type": given})):
        with pytest.raises(UnsupportedChangeError, match="unknown API token type"):
            act()
    assert fake.asked("POST", "PUT") == []


def test_nothing_is_sent_that_cannot_be_done(xiver: Any, fake: FakeXiver):
    fake.add("ci", description="d")
    for act in (
        lambda: xiver.create(ApiTokenSpec(name="b", scopes=("process",))),
        lambda: xiver.update("1", {"scopes": ("process",)}),
        lambda: xiver.update("1", {"description": ""}),
        lambda: xiver.revoke("2"),
    ):
        with pytest.raises((UnsupportedChangeError, NotFoundError)):
            act()
    assert fake.asked("POST", "PUT", "DELETE") == []


def test_a_name_is_never_part_of_a_path(xiver: Any, fake: FakeXiver):
    for name in ("a.b~c", "ключ", "a b+c", "..", "%2F", "?x=1&y#z", "7;8", "٣"):
        fake.add(name)
        for act in (xiver.get, xiver.revoke, lambda one: xiver.update(one, {"name": "b"})):
            with pytest.raises(NotFoundError):
                act(name)
        assert [one.name for one in xiver.find_by_name(name)] == [name]
    assert {path.partition("?")[0] for path in fake.asked("GET", "PUT", "DELETE")} == {"/api/api-tokens"}


def test_an_id_that_a_server_reads_as_another(xiver: Any, fake: FakeXiver):
    fake.add("ci")
    for ident in ("01", "+1", "1x"):
        fake.records[ident] = fake.records["1"]
        for act in (xiver.get, xiver.revoke, lambda one: xiver.update(one, {"name": "b"})):
            with pytest.raises(NotFoundError):
                act(ident)
    assert fake.asked("PUT", "DELETE") == []


# --- our server -------------------------------------------------------------------------------------


def test_a_change_by_another_meanwhile(opened: Open, served: Served):
    registry = opened(server=served.url, credential=served.secret)
    ident, _ = put(served.path, "ci", "process")
    times = iter(range(9))

    def meddle(target: str) -> None:
        if target.endswith(ident) and next(times) == 1:  # between reading and writing
            opened(store=str(served.path)).update(ident, {"description": "by another"})

    served.spoil = meddle
    with pytest.raises(StoreError, match="changed by another process"):
        registry.update(ident, {"description": "mine"})
    served.spoil = lambda _: None
    assert registry.get(ident).description == "by another"


def test_only_what_is_asked_for_of_the_audit_is_fetched(opened: Open, served: Served):
    registry = opened(server=served.url, credential=served.secret)
    assert len([*registry.audit(newest=True, limit=1)]) == 1
    assert served.asked[-1][0].endswith("/audit?newest=true&limit=1&after=0")


def test_nobody_gives_what_he_does_not_hold(opened: Open, served: Served):
    _, secret = put(served.path, "keeper", "api-tokens", "process")
    registry = opened(server=served.url, credential=secret)
    for scopes in (("token",), ("*",)):
        with pytest.raises(NotAllowedError):
            registry.create(ApiTokenSpec(name="ci", scopes=scopes))
    assert registry.create(ApiTokenSpec(name="ci", scopes=("process",))).token.scopes == ("process",)


def test_where_it_is(opened: Open, fake: FakeXiver):
    registry = opened(server=f"{fake.url}/", credential=fake.jwt)
    assert (registry.where, registry.origin) == (fake.url, fake.url)
    assert opened(server="http://other.example/", registry_server=fake.url).origin == fake.url
    elsewhere = opened(server="https://CMS.example:443/api", registry_kind="xivercms")
    assert elsewhere.origin == "https://cms.example"
    assert fake.asked("GET") == ["/api/api-tokens?page=1&pageSize=1"]  # what kind it is


def test_a_login_gives_what_opens_it(opened: Open, fake: FakeXiver):
    client = opened(server=fake.url).client
    answer = client.post(
        ("api", "auth", "login"), {"email": EMAIL, "password": fake_cms.PASSWORD}, with_credential=False
    )
    assert fake.jwt.encode() in answer.body


def test_our_server_looks_for_a_name_itself(opened, served):
    for n in range(150):
        put(served.path, "wanted" if n in {3, 140} else f"other {n}", "process")
    registry = opened(server=served.url, credential=served.secret)
    registry.capabilities()
    served.asked.clear()
    assert [one.id for one in registry.find_by_name("wanted")] == [142, 5]
    assert [path for path, _ in served.asked] == ["/api/api-tokens?page=1&pageSize=100&name=wanted"]
    assert registry.find_by_name("") == []
