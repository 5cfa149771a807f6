"""``tokctl api-tokens rotate``."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest

from support.commandline import NOW
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, mask
from tokctl.model.api_tokens import VALID, LastUse
from tokctl.store import open_store

DAY = timedelta(days=1)


@pytest.fixture
def kept(own, tokctl, tmp_path, monkeypatch):
    """One API token, whose secret is in a file; the tokctl fixture takes TOKCTL_* out of the environment."""
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "kept"
    ran = tokctl("keys", "create", "ci", "--save", f"file:{file}", "--description", "for CI", "--scope", "token")
    assert ran.code == 0, ran.err
    return file


def whose(own, secret: str):
    with open_store(str(own.path)) as store:
        return store.api_tokens.find_by_digest(digest(load_pepper(os.environ).key, secret.strip()))


def test_the_successor_is_where_the_old_one_was_and_may_do_the_same(own, kept, tokctl):
    first = kept.read_text()
    ran = tokctl("keys", "rotate", "ci", "-o", "json")
    document, second = json.loads(ran.out), kept.read_text()
    old, new = whose(own, first), whose(own, second)
    assert first != second
    assert (new.name, new.description, new.type, new.scopes) == (old.name, old.description, old.type, old.scopes)
    assert new.expires_at - NOW == 90 * DAY
    assert old.expires_at == NOW + DAY
    assert document["token"] == mask(second.strip())
    assert document["replaces"] == {"id": 1, "expiresAt": "2025-01-12T10:40:00.000Z", "revoked": False}
    assert document["saved"] == f"file:{kept}"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_successor_has_the_same_networks_and_is_not_of_a_disabled_one(own, kept, tokctl):
    assert tokctl("keys", "update", "1", "--allowed-cidr", "10.0.0.0/8").code == 0
    assert tokctl("keys", "disable", "1").code == 0
    first = kept.read_text()
    ran = tokctl("keys", "rotate", "1", "--grace", "0")
    assert (ran.code, kept.read_text()) == (2, first)
    assert "API token 1 is disabled. Enable it first" in ran.err
    assert tokctl("keys", "enable", "1").code == 0
    assert tokctl("keys", "rotate", "1", "--grace", "0").code == 0
    assert whose(own, kept.read_text()).allowed_cidrs == ("10.0.0.0/8",)


def test_without_grace_the_old_one_is_revoked(own, kept, tokctl):
    first = kept.read_text()
    assert "which is revoked" in tokctl("keys", "rotate", "1", "--grace", "0").out
    assert whose(own, first).revoked_at is not None
    assert whose(own, kept.read_text()).state(NOW) == VALID
    assert own.audit()[-1].details == {"why": "rotated to 2"}


def test_the_audit_calls_it_rotate(own, kept, tokctl):
    assert tokctl("keys", "rotate", "1").code == 0
    told = [(entry.action, entry.token_id) for entry in own.audit()]
    assert told == [("create", 1), ("create", 2), ("rotate", 1), ("update", 1)]
    assert own.audit()[1].details["replaces"] == 1
    assert own.audit()[2].details == {"successor": 2}
    told = tokctl("keys", "audit", width=200).out
    assert "expires 2025-04-11; replaces 1\n" in told
    assert [line.split()[-2:] for line in told.splitlines() if " rotate " in line] == [["to", "2"]]
    assert tokctl("keys", "audit", "verify").code == 0


def test_what_is_over_is_not_done_again(own, kept, tokctl):
    assert tokctl("keys", "rotate", "1").code == 0
    secret = kept.read_text()
    again = tokctl("keys", "rotate", "1")
    assert (again.code, kept.read_text(), own.names()) == (0, secret, ["ci", "ci"])
    assert "is rotated already" in again.err
    assert tokctl("keys", "rotate", "ci").code == 0  # the newest of that name
    assert own.names() == ["ci", "ci", "ci"]
    assert whose(own, secret).expires_at == NOW + DAY


def test_a_new_grace_applies_to_a_rotation_that_is_over(own, kept, tokctl):
    first = kept.read_text()
    assert tokctl("keys", "rotate", "1").code == 0
    second = kept.read_text()
    for words, ends in ((["--grace", "2h"], NOW + timedelta(hours=2)), (["--grace", "30d"], NOW + 30 * DAY)):
        assert tokctl("keys", "rotate", "1", *words).code == 0
        assert whose(own, first).expires_at == ends
    assert tokctl("keys", "rotate", "1", "--grace", "200d").code == 0
    assert whose(own, first).expires_at == NOW + 90 * DAY  # its own
    assert tokctl("keys", "rotate", "1").code == 0  # without one nothing is changed
    ran = tokctl("keys", "rotate", "1", "--grace", "0")
    assert ran.code == 0
    assert "which is revoked" in ran.out
    assert whose(own, first).revoked_at is not None
    assert (own.names(), kept.read_text()) == (["ci"], second)


def test_a_grace_does_not_revive_what_has_expired(own, kept, tokctl):
    tokctl("keys", "update", "1", "--expires", "2h")
    first = kept.read_text()
    late = NOW + timedelta(hours=3)
    assert tokctl("keys", "rotate", "1", "--grace", "7d", now=late).code == 0
    assert tokctl("keys", "rotate", "1", "--grace", "9d", now=late).code == 0
    assert whose(own, first).expires_at == NOW + timedelta(hours=2)


# --- what is in the place ---


def put(place: str, path, secret: str) -> None:
    path.write_text(f"A=1\nTOKCTL_API_KEY={secret}\nB=2\n" if place == "env-file" else f"{secret}\n")
    path.chmod(0o600)


@pytest.mark.parametrize("place", ["file", "env-file"])
def test_another_secret_is_kept_unless_it_may_be_replaced(own, kept, tokctl, tmp_path, place):
    path = tmp_path / "target"
    own.add("another")
    for other in (own.secrets["another"], "written-by-hand"):
        put(place, path, other)
        before = own.audit()
        ran = tokctl("keys", "rotate", "ci", "--save", f"{place}:{path}")
        assert (ran.code, own.audit()) == (2, before)
        assert "already" in ran.err
        assert "or --replace." in ran.err
        assert other in path.read_text()
    assert tokctl("keys", "rotate", "ci", "--save", f"{place}:{path}", "--replace").code == 0
    assert "written-by-hand" not in path.read_text()


@pytest.mark.parametrize("place", ["file", "env-file"])
@pytest.mark.parametrize("grace", ["0", "1h"])
def test_the_secret_of_a_predecessor_is_replaced(own, kept, tokctl, tmp_path, place, grace):
    path = tmp_path / "target"
    first = kept.read_text().strip()
    put(place, path, first)
    assert tokctl("keys", "rotate", "ci", "--grace", grace).code == 0
    assert tokctl("keys", "rotate", "ci", "--save", f"{place}:{path}", "--grace", grace).code == 0
    assert first not in path.read_text()
    assert kept.read_text() != first


def test_the_own_secret_of_one_that_was_created_elsewhere_is_replaced(own, kept, tokctl, tmp_path):
    own.add("another")
    put("env-file", tmp_path / ".env", own.secrets["another"])
    assert tokctl("keys", "rotate", "another", "--save", f"env-file:{tmp_path}/.env").code == 0
    assert own.secrets["another"] not in (tmp_path / ".env").read_text()


def test_a_value_that_does_not_look_like_its_secret_is_not_sent_anywhere(own, kept, tokctl, tmp_path, monkeypatch):
    from tokctl.api_tokens.registries.store import StoreRegistry

    asked = []
    monkeypatch.setattr(StoreRegistry, "verify", lambda _, secret: asked.append(secret))
    put("file", tmp_path / "hand", "written-by-hand")
    assert tokctl("keys", "rotate", "1", "--save", f"file:{tmp_path}/hand").code == 2
    assert asked == []


def test_an_old_id_does_not_take_the_file_of_a_newer_secret(own, kept, tokctl, tmp_path):
    """The first rotation went elsewhere; meanwhile another API token's secret came into the file."""
    assert tokctl("keys", "rotate", "1", "--save", f"file:{tmp_path}/new").code == 0
    assert tokctl("keys", "revoke", "2", "--yes").code == 0
    assert tokctl("keys", "create", "other", "--save", f"file:{kept}", "--replace").code == 0
    other = kept.read_text()
    assert tokctl("keys", "rotate", "1").code == 2
    assert kept.read_text() == other


def test_an_expiry_before_the_end_of_the_grace_stays(own, kept, tokctl):
    tokctl("keys", "update", "1", "--expires", "2h")
    first = kept.read_text()
    tokctl("keys", "rotate", "1", "--expires", "never")
    assert whose(own, first).expires_at == NOW + timedelta(hours=2)
    assert whose(own, kept.read_text()).expires_at is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["2"], "the place of the old secret is unknown"),
        (["nobody"], "API token 'nobody' not found"),
        (["1", "--grace", "soon"], "soon"),
        (["1", "--save", "file:/nonexistent/x"], "the directory does not exist"),
        (["1", "--save", "file:x", "--show-secret"], "cannot be used together"),
        (["1", "--wait-until-unused", "2d"], "shorter than --grace"),
        (["1", "--wait-until-unused", "59s"], "at least 1m"),
        (["1", "-o", "jsn"], "did you mean 'json'"),
        (["1", "--query", "["], "invalid --query"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_changed(own, kept, tokctl, words, said):
    own.add("other")
    before, secret = own.audit(), kept.read_text()
    ran = tokctl("keys", "rotate", *words)
    assert ran.code in {2, 3, 7}
    assert said in ran.err
    assert (own.audit(), kept.read_text()) == (before, secret)


def test_a_secret_that_the_registry_does_not_accept_changes_nothing(own, kept, tokctl, monkeypatch):
    from tokctl.api_tokens.registries.protocol import VerificationResult
    from tokctl.api_tokens.registries.store import StoreRegistry
    from tokctl.model.api_tokens import UNKNOWN

    first = kept.read_text()
    monkeypatch.setattr(StoreRegistry, "verify", lambda *_: VerificationResult(state=UNKNOWN))
    ran = tokctl("keys", "rotate", "1")
    assert ran.code == 4
    assert "API token 1 is unchanged" in ran.err
    assert (kept.read_text(), own.names()) == (first, ["ci"])
    assert whose(own, first).expires_at == NOW + 90 * DAY


# --- watching the old one ---


def run(own, monkeypatch, words, clock):
    from tokctl.__main__ import run

    for name, value in own.environ.items():  # the clock's fixture has taken some of it out
        monkeypatch.setenv(name, value)
    return run(words, clock=clock)


def test_it_is_revoked_when_nobody_uses_it_any_more(own, kept, clock, capsys, monkeypatch):
    first = kept.read_text()

    def use() -> None:
        with open_store(str(own.path), write=True) as store:
            store.api_tokens.touch({1: (clock.now, LastUse())})

    clock.at(600, use)
    assert run(own, monkeypatch, ["keys", "rotate", "1", "--wait-until-unused", "1h"], clock) == 0
    waiting, done = capsys.readouterr().err.splitlines()
    assert waiting.startswith("Waiting until API token 1 has not been used for 1h. ")
    assert done == "API token 1 was not used for 1h and is revoked."
    assert whose(own, first).revoked_at - NOW == timedelta(seconds=600) + timedelta(hours=1)
    assert max(clock.waits) <= 30


def test_one_that_is_used_to_its_end_is_told(own, kept, clock, capsys, monkeypatch):
    def use() -> None:
        with open_store(str(own.path), write=True) as store:
            store.api_tokens.touch({1: (clock.now, LastUse())})

    for minute in range(1, 20):
        clock.at(minute * 60, use)
    assert run(own, monkeypatch, ["keys", "rotate", "1", "--grace", "10m", "--wait-until-unused", "5m"], clock) == 1
    assert "in use until it expired. It was last used at 2025-01-11 10:50" in capsys.readouterr().err
