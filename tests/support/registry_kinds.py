"""Registries of each kind over something real, and what is to be seen of it beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.builders import TESTER
from support.fake_strapi import FakeStrapi
from support.fake_xiver import FakeXiver
from support.serving import PEPPER, Served
from tokctl.api_tokens.registries import open_registry
from tokctl.api_tokens.registries.protocol import Registry
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.config import Settings
from tokctl.model.api_tokens import CreatedBy, NewApiToken
from tokctl.store import open_store

HOUR = timedelta(hours=1)


def now() -> datetime:
    """The time, as the registries are told it."""
    return datetime.now(UTC)


def put(
    path: Path | str, name: str, *scopes: str, type_: str = "full-access", lasts: timedelta | None = None
) -> tuple[str, str]:
    """Put an API token into a store; returns its id and its secret."""
    secret, began = generate(), now()
    with open_store(str(path), write=True, create=True) as store:
        made = store.api_tokens.create(
            NewApiToken(
                name=name,
                token=mask(secret),
                type=type_,
                scopes=scopes,
                created_at=began - 2 * HOUR,
                expires_at=None if lasts is None else began + lasts,
                created_by=CreatedBy(id="tester"),
            ),
            digest(PEPPER.key, secret),
            PEPPER.id,
            by=TESTER,
        )
    return str(made.id), secret


@dataclass
class Kind:
    """A registry, what it keeps, and how to put an expired API token into it."""

    registry: Registry
    records: Callable[[], list[Any]]
    put_expired: Callable[[], str]
    scopes: tuple[str, ...] = ("process", "token")
    """Two that API tokens can have; none where there are no scopes."""
    default_scopes: tuple[str, ...] | None = ("process",)
    changes_expiry: bool = True
    lifetime: timedelta = 90 * 24 * HOUR
    """A lifetime that API tokens can have."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Opens registries as commands do, and closes them after the test."""
    monkeypatch.setattr("tokctl.api_tokens.registries.store.load_pepper", lambda *_, **__: PEPPER)
    made: list[Registry] = []

    def opening(*, credential: str | None = None, **settings: Any) -> Registry:
        monkeypatch.delenv("TOKCTL_API_KEY", raising=False)
        if credential is not None:
            monkeypatch.setenv("TOKCTL_API_KEY", credential)
        registry = open_registry(Settings(**settings), now, write=True, warn=pytest.fail)
        made.append(registry)
        if credential is not None:  # read now: the next one may have another
            registry._connection.credential()
        return registry

    yield opening
    for registry in made:
        registry.close()


@pytest.fixture
def fake() -> Iterator[FakeXiver]:
    with FakeXiver() as server:
        yield server


@pytest.fixture
def strapi() -> Iterator[FakeStrapi]:
    with FakeStrapi() as server:
        server.records.clear()
        server.secrets.clear()
        yield server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Our server, and the secret of one who may do everything there."""
    path = tmp_path / "served.db"
    server = Served(path, secret=put(path, "administrator", "*")[1])
    yield server
    server.close()


def in_store(path: Path | str) -> list[Any]:
    with open_store(str(path)) as store:
        return [*store.api_tokens.list()]


@pytest.fixture(params=["local", "postgresql", "server", "xiver", "strapi"])
def kind(request: pytest.FixtureRequest, opened: Callable[..., Any], tmp_path: Path) -> Kind:
    """Each kind of registry, without an API token but the one that asks."""
    if request.param == "xiver":
        fake = request.getfixturevalue("fake")
        ended = (now() - HOUR).isoformat()
        return Kind(
            opened(server=fake.url, credential=fake.jwt),
            lambda: [*fake.records.values()],
            lambda: fake.add("ended", expiresAt=ended),
            scopes=(),
            default_scopes=None,
        )
    if request.param == "strapi":
        cms = request.getfixturevalue("strapi")
        was = (now() - HOUR).isoformat()
        return Kind(
            opened(server=cms.url, credential=cms.jwt),
            lambda: [*cms.records.values()],
            lambda: cms.add("ended", expiresAt=was),
            scopes=("api::article.article.find", "plugin::upload.content-api.find"),
            default_scopes=None,
            changes_expiry=False,
        )
    if request.param == "server":
        served = request.getfixturevalue("served")
        path, registry = served.path, opened(server=served.url, credential=served.secret)
    else:
        is_local = request.param == "local"
        path = tmp_path / "local.db" if is_local else request.getfixturevalue("postgresql").new_schema()
        put(path, "administrator", "*")
        registry = opened(store=str(path))
    return Kind(registry, lambda: in_store(path), lambda: put(path, "ended", "process", lasts=-HOUR)[1])
