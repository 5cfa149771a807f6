"""The registry over the store: who is told to have done it, and what becomes of its pepper."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.builders import TESTER, at
from support.registry_kinds import now
from tokctl.api_tokens.registries import open_registry
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry
from tokctl.config import Settings
from tokctl.errors import NotAllowedError, NotFoundError, StoreError, UsageError
from tokctl.model.api_tokens import UNKNOWN, VALID, NewApiToken
from tokctl.store import open_store

Open = Callable[..., Registry]


@pytest.fixture
def local(store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the test's store as a registry; its pepper goes beside a configuration of its own."""
    monkeypatch.setenv("TOKCTL_CONFIG", str(tmp_path / "config" / "config.toml"))
    for name in ("TOKCTL_PEPPER", "TOKCTL_PEPPER_FILE"):
        monkeypatch.delenv(name, raising=False)
    opened: list[Registry] = []

    def opening(*, write: bool = True, clock: Callable = now, **settings) -> Registry:
        given = {"store": str(store_path)} | settings
        registry = open_registry(Settings(**given), clock, write=write, warn=pytest.fail)
        opened.append(registry)
        return registry

    yield opening
    for registry in opened:
        registry.close()


def test_the_first_token_makes_store_and_pepper(local: Open, store_path: Path, tmp_path: Path):
    made = local().create(ApiTokenSpec(name="ci"))
    pepper = tmp_path / "config" / "pepper"
    assert pepper.stat().st_mode & 0o777 == 0o600
    key = pepper.read_text().strip()
    assert made.secret.encode() not in store_path.read_bytes()
    assert key.encode() not in store_path.read_bytes()
    assert local(write=False).verify(made.secret).state == VALID


def test_who_did_it(local: Open):
    registry = local()
    made = registry.create(ApiTokenSpec(name="ci"))
    registry.update(str(made.token.id), {"name": "b"})
    registry.revoke(str(made.token.id), reason="w")
    assert made.token.created_by.id == getpass.getuser()
    assert {(one.actor.kind, one.actor.id, one.actor.origin) for one in registry.audit()} == {
        ("cli", getpass.getuser(), socket.gethostname())
    }


def test_who_has_no_name_is_a_number(local: Open, monkeypatch: pytest.MonkeyPatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert local().create(ApiTokenSpec(name="ci")).token.created_by.id == str(os.getuid())


def test_times_are_those_of_the_clock(local: Open):
    times = iter(map(at, (0, 5, 9)))
    registry = local(clock=lambda: next(times))
    ident = str(registry.create(ApiTokenSpec(name="ci")).token.id)
    registry.update(ident, {"name": "b"})
    registry.revoke(ident)
    assert [one.at for one in registry.audit()] == [at(0), at(5), at(9)]


def test_another_pepper(local: Open, monkeypatch: pytest.MonkeyPatch):
    secret = local().create(ApiTokenSpec(name="ci")).secret
    monkeypatch.setenv("TOKCTL_PEPPER", "another " * 8)
    for act in (lambda one: one.create(ApiTokenSpec(name="b")), lambda one: one.verify(secret)):
        with pytest.raises(StoreError, match="with another pepper") as caught:
            act(local())
        assert secret not in str(caught.value)
    assert len(local().find_by_name("ci")) == 1
    assert local().find_by_name("b") == []


def test_a_pepper_that_is_gone(local: Open, tmp_path: Path):
    registry = local()
    assert registry.verify("x").state == UNKNOWN
    secret = registry.create(ApiTokenSpec(name="ci")).secret
    (tmp_path / "config" / "pepper").unlink()
    for act in (lambda one: one.create(ApiTokenSpec(name="b")), lambda one: one.verify(secret)):
        with pytest.raises(NotFoundError, match="no pepper"):  # not made anew: it would fit nothing that is there
            act(local())
    (tmp_path / "config" / "pepper").write_text("p" * 40)
    (tmp_path / "config" / "pepper").chmod(0o644)
    with pytest.raises(NotAllowedError, match="can be read by others"):
        local().verify(secret)


def test_a_secret_of_whose_pepper_nobody_knows_is_not_called_unknown(local: Open, store_path: Path):
    local().create(ApiTokenSpec(name="ci"))
    with open_store(str(store_path), write=True) as store:
        store.api_tokens.create(
            NewApiToken(name="old", token="xvc_abcd...", created_at=at(0)), b"1" * 32, "other", by=TESTER
        )
    with pytest.raises(StoreError, match="with another pepper"):
        local().verify("xvc_nobodys")


def test_nothing_is_made_to_read(local: Open, store_path: Path):
    with pytest.raises(StoreError, match="no store found"):
        local(write=False)
    assert not store_path.exists()


def test_ids_that_can_be_none(local: Open):
    registry = local()
    for ident in ("9" * 30, "-1", "", "1\0", "²"):
        with pytest.raises(NotFoundError):
            registry.get(ident)
        with pytest.raises(NotFoundError):
            registry.revoke(ident)


def test_which_registry(local: Open, store_path: Path):
    assert local().origin == store_path.resolve().as_uri()
    assert str(store_path) in local().where
    assert local(registry_server="http://cms.example", registry_kind="xivercms").origin == "http://cms.example"
    with pytest.raises(UsageError, match="--file"):
        local(store=None, file="saved.json")
