"""Fixtures of the tests of the web pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.builders import at, instance, tokens
from support.running_server import ENDED, SMALL, Served, make_secret, make_store, serving
from support.web_visits import Visitor
from tokctl.store import STORES, open_store


@pytest.fixture(scope="session", params=sorted(STORES))
def site(request, tmp_path_factory) -> Served:
    """A server with the pages that throttles late, behind a proxy on this machine, for each kind of store."""
    config = tmp_path_factory.mktemp("site") / "config.yaml"
    config.write_text("serve: {ui: true, limits: {failures: 1000}}", encoding="utf-8")
    if request.param == "sqlite":
        store = str(make_store(config.with_name("site.db")))
    else:
        store = request.getfixturevalue("postgresql").new_schema()
        with open_store(store, write=True, create=True) as opened, opened.write() as batch:
            batch.put(instance(SMALL, process_id="p", status="ACTIVE", version=1), tokens(3, SMALL))
            batch.put(instance(ENDED, process_id="p", status="COMPLETED", completed_at=at(9)), tokens(5, ENDED))
    make_secret(store, "first", "process")
    with serving(store, "--trusted-proxy", "127.0.0.1", env={"TOKCTL_CONFIG": str(config)}) as served:
        yield served


@pytest.fixture
def visitor(site) -> Visitor:
    """Someone without a session."""
    with (found := Visitor(site)).client:
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
