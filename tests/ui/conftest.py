"""Fixtures of the tests of the web pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.builders import instance, tokens
from support.running_server import SMALL, Served, make_secret, make_store, serving
from support.web_visits import Visitor
from tokctl.store import STORES, open_store


@contextmanager
def serving_site(store: str, folder: Path) -> Iterator[Served]:
    """Run a server with the pages that throttles late, behind a proxy on this machine."""
    config = folder / "config.yaml"
    config.write_text("serve: {ui: true, limits: {failures: 1000}}", encoding="utf-8")
    with serving(store, "--trusted-proxy", "127.0.0.1", env={"TOKCTL_CONFIG": str(config)}) as served:
        yield served


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Served]:
    """A server of a store in a file."""
    folder = tmp_path_factory.mktemp("site")
    with serving_site(str(make_store(folder / "site.db")), folder) as served:
        yield served


@pytest.fixture
def visitor(site) -> Iterator[Visitor]:
    """A browser without a session."""
    with (found := Visitor(site)).client:
        yield found


@pytest.fixture(scope="session")
def postgresql_site(postgresql, tmp_path_factory) -> Iterator[Served]:
    """A server of a store in PostgreSQL."""
    store = postgresql.new_schema()
    with open_store(store, write=True, create=True) as opened, opened.write() as batch:
        batch.put(instance(SMALL, process_id="p", status="ACTIVE", version=1), tokens(3, SMALL))
    with serving_site(store, tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture(params=sorted(STORES))
def any_visitor(request) -> Iterator[Visitor]:
    """A browser without a session, at a server of a store of each kind."""
    with (found := Visitor(request.getfixturevalue({"sqlite": "site"}.get(request.param, "postgresql_site")))).client:
        yield found


@pytest.fixture(scope="session")
def pages_store(tmp_path_factory) -> Path:
    """A store in a file, for a server that some tests share."""
    return make_store(tmp_path_factory.mktemp("pages") / "pages.db")


@pytest.fixture(scope="session")
def pages(pages_store) -> Served:
    """A server with the pages."""
    with serving(pages_store, "--ui") as served:
        yield served


@pytest.fixture
def own_store(tmp_path) -> Path:
    """A store of the test's own."""
    return make_store(tmp_path / "own.db")


@pytest.fixture
def reader(pages, pages_store) -> Visitor:
    """Someone who has logged in."""
    secret, _ = make_secret(pages_store, "reader", "process")
    with (found := Visitor(pages)).client:
        assert found.log_in(secret).status_code == 303
        yield found
