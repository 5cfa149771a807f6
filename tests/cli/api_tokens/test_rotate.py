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


def test_what_is_over_is_not_done_again(own, kept, tokctl):
    assert tokctl("keys", "rotate", "1").code == 0
    secret = kept.read_text()
    again = tokctl("keys", "rotate", "1")
    assert (again.code, kept.read_text(), own.names()) == (0, secret, ["ci", "ci"])
    assert "is rotated already" in again.err
    assert tokctl("keys", "rotate", "ci").code == 0  # the newest of that name
    assert own.names() == ["ci", "ci", "ci"]
    assert whose(own, secret).expires_at == NOW + DAY


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
    assert "API token 1 was not used for 1h" in capsys.readouterr().err
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
