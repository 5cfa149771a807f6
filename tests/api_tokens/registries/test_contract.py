"""What every registry does, whatever it is over; and what one cannot do is an error before anything is changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.registry_kinds import HOUR, Kind, now
from tokctl.api_tokens.audit import ChainHead, check_chain
from tokctl.api_tokens.registries.capabilities import FEATURES, REGISTRIES, load_capabilities
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, UnsupportedChangeError
from tokctl.api_tokens.secrets import generate, mask
from tokctl.capabilities import Support
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.api_tokens import DISABLED, EXPIRED, FULL_ACCESS, READ_ONLY, REVOKED, UNKNOWN, VALID

NAMES = ("ci", "CI", "ci  2", "c", "ключ \U0001f511 é", "'\"\\<>&;\t%2F", "n" * 255)
ODD_IDS = ("999999", "nope", "../7", "a/b", "a?b=c&d", "%2F", "#x", "٣", "introspect", "audit", ".", "..", "1e3", " ")


def make(kind: Kind, name: str = "ci", **wanted):
    return kind.registry.create(ApiTokenSpec(name=name, **wanted))


def mine(kind: Kind) -> list[str]:
    """The names of what the registry lists, without that of who asks."""
    return [one.name for one in kind.registry.list() if one.name != "administrator"]


def test_what_is_created_is_as_it_was_wanted(kind: Kind):
    able = kind.registry.capabilities()
    until = now() + kind.lifetime
    made = make(kind, type=FULL_ACCESS, description="for é", expires_at=until)
    token = made.token
    assert (token.name, token.type, token.description) == ("ci", FULL_ACCESS, "for é")
    accuracy = timedelta(milliseconds=1) if able.free_expiry.support is Support.YES else timedelta(seconds=10)
    assert abs(token.expires_at - until) < accuracy
    assert token.token == (mask(made.secret) if able.masks else "")
    assert (token.created_by is not None) == bool(able.creators)
    assert token.state(now()) == VALID
    assert kind.registry.get(str(token.id)) == token
    assert kind.registry.find_by_name("ci") == [token]
    assert kind.registry.verify(made.secret).state == VALID
    assert made.secret not in repr(made)


def test_what_is_not_said_is_the_least(kind: Kind):
    token = make(kind).token
    assert (token.type, token.expires_at) == (READ_ONLY, None)
    assert not token.description
    assert token.scopes == kind.default_scopes


def test_the_secret_is_nowhere_afterwards(kind: Kind):
    made = make(kind)
    kind.registry.update(str(made.token.id), {"description": "x"})
    seen = repr([made.token, *kind.registry.list(), kind.registry.get(str(made.token.id)), kind.records(), vars(kind)])
    assert made.secret not in seen
    assert made.secret[:9] not in seen


def test_names_are_exact(kind: Kind):
    for name in NAMES:
        make(kind, name)
    for name in NAMES:
        assert [one.name for one in kind.registry.find_by_name(name)] == [name]
    assert kind.registry.find_by_name("C") == kind.registry.find_by_name("") == []
    assert mine(kind) == [*reversed(NAMES)]
    if kind.registry.capabilities().unique_names:
        with pytest.raises(UsageError, match="already taken"):
            make(kind)
        return
    again = make(kind)
    assert next(iter(kind.registry.find_by_name("ci"))).id == again.token.id
    assert len(kind.registry.find_by_name("ci")) == 2
    assert mine(kind) == ["ci", *reversed(NAMES)]


def test_pages(kind: Kind):
    for n in range(5):
        make(kind, f"n{n}")
    before = len(kind.records()) - 5
    pages = [kind.registry.page(number, 2) for number in range(1, 6)]
    assert {total for _, total in pages} == {5 + before}
    names = [one.name for tokens, _ in pages for one in tokens]
    assert names[:5] == ["n4", "n3", "n2", "n1", "n0"]
    assert [len(tokens) for tokens, _ in pages[:2]] == [2, 2]
    assert [*pages[4][0]] == []
    assert [one.name for one in kind.registry.page(1, 100)[0]] == names


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other \U0001f511"),
        ("description", "new"),
        ("type", FULL_ACCESS),
        ("type", READ_ONLY),
        ("expires_at", now().replace(microsecond=0) + 5 * 24 * HOUR),
    ],
    ids=["name", "description", "wider", "the same", "expiry"],
)
def test_one_member_is_changed(kind: Kind, field: str, value: object):
    made = make(kind, description="old", expires_at=now().replace(microsecond=123456) + kind.lifetime)
    other = make(kind, "bystander").token
    before = kind.registry.get(str(made.token.id))
    if field == "expires_at" and not kind.registry.capabilities().change_expiry:
        with pytest.raises(UnsupportedChangeError, match="cannot change the expiry"):
            kind.registry.update(str(made.token.id), {field: value, "name": "new"})
        assert kind.registry.get(str(made.token.id)) == before
        return
    after = kind.registry.update(str(made.token.id), {field: value})
    assert getattr(after, field) == value
    kept = ("name", "description", "type", "scopes", "expires_at", "created_at", "token", "id")
    assert {name: getattr(after, name) for name in kept if name != field} == {
        name: getattr(before, name) for name in kept if name != field
    }
    assert getattr(kind.registry.get(str(made.token.id)), field) == value
    assert kind.registry.get(str(other.id)) == other
    assert kind.registry.verify(made.secret).state == VALID


def test_several_members_are_changed_at_once(kind: Kind):
    made = make(kind)
    after = kind.registry.update(str(made.token.id), {"name": "b", "description": "d", "type": FULL_ACCESS})
    assert (after.name, after.description, after.type) == ("b", "d", FULL_ACCESS)
    assert mine(kind) == ["b"]


@pytest.mark.parametrize(
    ("field", "was"), [("expires_at", timedelta()), ("description", "old")], ids=["expiry", "text"]
)
def test_a_member_is_cleared(kind: Kind, field: str, was: object):
    able = kind.registry.capabilities()
    made = make(kind, **{field: now() + kind.lifetime if field == "expires_at" else was})
    before = kind.records()
    assert kind.registry.update(str(made.token.id), {"name": "ci"}).id == made.token.id
    if able.clear_fields and (field == "description" or able.change_expiry):
        assert not getattr(kind.registry.update(str(made.token.id), {field: None}), field)
        assert not getattr(kind.registry.get(str(made.token.id)), field)
        return
    before = [dict(one) for one in kind.records()]
    with pytest.raises(UnsupportedChangeError, match=r"cannot (clear fields|change the expiry)"):
        kind.registry.update(str(made.token.id), {field: None, "name": "new"})
    assert kind.records() == before


def test_what_is_clear_stays_so(kind: Kind):
    made = make(kind)
    after = kind.registry.update(str(made.token.id), {"expires_at": None, "description": None, "name": "b"})
    assert (after.expires_at, after.description or None, after.name) == (None, None, "b")


def test_scopes(kind: Kind):
    if not kind.scopes:
        made = make(kind)
        before = [dict(one) for one in kind.records()]
        with pytest.raises(UnsupportedChangeError, match="does not support scopes"):
            make(kind, "scoped", scopes=("process",))
        with pytest.raises(UnsupportedChangeError, match="does not support scopes"):
            kind.registry.update(str(made.token.id), {"scopes": ("process",), "name": "b"})
        assert kind.records() == before
        return
    first, second = kind.scopes
    made = make(kind, scopes=(second, first))
    assert set(made.token.scopes) == {first, second}
    assert kind.registry.get(str(made.token.id)) == made.token
    assert kind.registry.update(str(made.token.id), {"scopes": (first,)}).scopes == (first,)
    assert kind.registry.get(str(made.token.id)).scopes == (first,)
    assert kind.registry.check_scopes([second, first, second]) in {(first, second), (second, first)}
    assert kind.registry.check_scopes([]) == ()
    with pytest.raises(UsageError, match="nope"):
        kind.registry.check_scopes([first, "nope"])


def test_networks(kind: Kind):
    networks = ("10.0.0.0/8", "2001:db8::/32")
    if not kind.registry.capabilities().allowed_cidrs:
        made = make(kind)
        before = [dict(one) for one in kind.records()]
        with pytest.raises(UnsupportedChangeError, match="cannot limit API tokens to networks"):
            make(kind, "limited", allowed_cidrs=networks)
        with pytest.raises(UnsupportedChangeError, match="cannot limit API tokens to networks"):
            kind.registry.update(str(made.token.id), {"allowed_cidrs": networks, "name": "b"})
        assert kind.records() == before
        assert made.token.allowed_cidrs is None
        return
    made = make(kind, allowed_cidrs=networks).token
    assert made.allowed_cidrs == networks
    assert kind.registry.update(str(made.id), {"allowed_cidrs": networks[:1]}).allowed_cidrs == networks[:1]
    assert kind.registry.update(str(made.id), {"allowed_cidrs": ()}).allowed_cidrs == ()
    assert kind.registry.get(str(made.id)).allowed_cidrs == ()


def test_a_disabled_one_can_be_enabled(kind: Kind):
    made = make(kind)
    ident = str(made.token.id)
    if not kind.registry.capabilities().disabling:
        before = [dict(one) for one in kind.records()]
        for disabled in (True, False):
            with pytest.raises(UnsupportedChangeError, match="cannot disable API tokens"):
                kind.registry.update(ident, {"disabled": disabled})
        assert kind.records() == before
        assert made.token.disabled is None
        return
    assert kind.registry.update(ident, {"disabled": True}).state(now()) == DISABLED
    assert kind.registry.verify(made.secret).state == DISABLED
    assert kind.registry.get(ident).disabled
    assert kind.registry.update(ident, {"disabled": False}).state(now()) == VALID
    assert kind.registry.verify(made.secret).state == VALID
    assert [one.action for one in kind.registry.audit(token_id=ident)] == ["create", "disable", "enable"]


@pytest.mark.parametrize("ident", ODD_IDS)
def test_what_is_not_there(kind: Kind, ident: str):
    make(kind)
    before = [*kind.records()]
    for act in (kind.registry.get, kind.registry.revoke, lambda one: kind.registry.update(one, {"name": "b"})):
        with pytest.raises(NotFoundError, match="not found"):
            act(ident)
    assert kind.records() == before


def test_an_id_is_not_read_as_a_number_in_another_form(kind: Kind):
    ident = str(make(kind).token.id)
    before = [*kind.records()]
    for other in (f"+{ident}", f"{ident} ", f"{ident}.0", f"{ident}/"):
        with pytest.raises(NotFoundError):
            kind.registry.revoke(other)
    assert kind.records() == before


def test_what_is_revoked_is_gone(kind: Kind):
    made, other = make(kind), make(kind, "other")
    ident = str(made.token.id)
    kind.registry.revoke(ident, reason="it leaked")
    for act in (kind.registry.get, kind.registry.revoke, lambda one: kind.registry.update(one, {"name": "b"})):
        with pytest.raises(NotFoundError):
            act(ident)
    assert kind.registry.find_by_name("ci") == []
    assert mine(kind) == ["other"]
    state = REVOKED if kind.registry.capabilities().revoked_secrets else UNKNOWN
    assert kind.registry.verify(made.secret).state == state
    assert kind.registry.verify(other.secret).state == VALID


def test_whose_a_secret_is(kind: Kind):
    made = make(kind, type=FULL_ACCESS)
    make(kind, "other")
    verdict = kind.registry.verify(made.secret)
    assert verdict.state == VALID
    if kind.registry.capabilities().owners:
        assert (verdict.token.id, verdict.token.name, verdict.token.type) == (made.token.id, "ci", FULL_ACCESS)
    else:
        assert verdict.token is None
    assert made.secret not in repr(verdict)
    for secret in (
        generate(),
        made.secret[:-1],
        made.secret + "x",
        made.secret.upper(),
        "",
        "x",
        "a b",
        "é\n",
        "\udcff",
    ):
        assert kind.registry.verify(secret).state == UNKNOWN


def test_a_secret_that_has_expired(kind: Kind):
    verdict = kind.registry.verify(kind.put_expired())
    able = kind.registry.capabilities()
    assert verdict.state == (EXPIRED if able.expired_secrets else UNKNOWN)
    assert (verdict.token and verdict.token.name) == ("ended" if able.owners else None)
    assert [one.name for one in kind.registry.find_by_name("ended")] == ["ended"]  # it is listed all the same


def test_the_audit(kind: Kind):
    if not kind.registry.capabilities().audit:
        for act in (kind.registry.audit, kind.registry.audit_head):
            with pytest.raises(UnsupportedChangeError, match="no audit"):
                act()
        return
    start = kind.registry.audit_head().number
    made = make(kind)
    ident = str(made.token.id)
    make(kind, "other")
    kind.registry.update(ident, {"description": "new"})
    kind.registry.revoke(ident, reason="it leaked")
    told = [(one.action, one.token_name, one.details.get("why")) for one in kind.registry.audit(after=start)]
    assert told == [
        ("create", "ci", None),
        ("create", "other", None),
        ("update", "ci", None),
        ("revoke", "ci", "it leaked"),
    ]
    entries = [*kind.registry.audit()]
    head = kind.registry.audit_head()
    assert check_chain(entries, head).fault == ""
    assert head == ChainHead(entries[-1].number, entries[-1].hash)
    assert [*kind.registry.audit(newest=True)] == entries[::-1]
    assert [*kind.registry.audit(newest=True, limit=2)] == entries[:-3:-1]
    assert [*kind.registry.audit(after=start, limit=2)] == entries[-4:-2]
    assert [*kind.registry.audit(newest=True, after=start)] == entries[:-5:-1]
    assert [*kind.registry.audit(newest=True, after=head.number - 1, limit=9)] == entries[-1:]
    assert [one.action for one in kind.registry.audit(token_id=ident)] == ["create", "update", "revoke"]
    assert [one.action for one in kind.registry.audit(token_id=ident, newest=True, limit=1)] == ["revoke"]
    assert [*kind.registry.audit(token_id="nope")] == [*kind.registry.audit(limit=0)] == []
    assert [*kind.registry.audit(newest=True, limit=0)] == []
    assert made.secret not in repr(entries)


def test_what_it_can_do(kind: Kind):
    assert kind.registry.capabilities() in [load_capabilities(name) for name in REGISTRIES]
    assert kind.registry.origin.startswith(("file:///", "postgresql:///", "http://127.0.0.1:"))
    assert kind.registry.where


def test_a_registry_of_ours_has_an_identity(kind: Kind):
    """It is the same however often one asks, and that of the store."""
    identity = kind.registry.identity()
    assert identity == kind.registry.identity()
    assert (identity is not None) is bool(kind.registry.capabilities().audit)
    kind.registry.find_by_name("ci")
    assert identity == kind.registry.identity()


def test_a_new_secret_in_place(kind: Kind):
    made, other = make(kind), make(kind, "other")
    ident = str(made.token.id)
    if kind.registry.capabilities().grace:
        with pytest.raises(UnsupportedChangeError, match="cannot replace the secret"):
            kind.registry.regenerate(ident)
        assert kind.registry.verify(made.secret).state == VALID
        return
    again = kind.registry.regenerate(ident)
    assert again.token.id == made.token.id
    assert again.secret not in repr(again) + repr(kind.records())
    states = {secret: kind.registry.verify(secret).state for secret in (made.secret, again.secret, other.secret)}
    assert states == {made.secret: UNKNOWN, again.secret: VALID, other.secret: VALID}
    with pytest.raises(NotFoundError):
        kind.registry.regenerate("999999")


@pytest.mark.parametrize("name", REGISTRIES)
def test_the_table_of_features(name: str):
    """Each kind names each feature, says yes or no plainly, and explains what it can do only partly."""
    able = load_capabilities(name)
    assert set(FEATURES) == set(able.__struct_fields__) - {"title"}
    for feature in FEATURES:
        note = able[feature].note
        assert not note.endswith(".")
        assert note or able[feature].support is not Support.PARTLY, feature
