"""Fixtures of the server's tests, such as one server for all tests that only read."""

from __future__ import annotations

import os

import pytest

from support.builders import TESTER
from support.commandline import *  # noqa: F403
from support.examining import examined
from support.jwt_making import secret_file
from support.managing import Manager
from support.raw_http import LIMITS
from support.running_server import Served, make_secret, make_store, multiply, serving
from tokctl.store import STORES, open_store


@pytest.fixture(scope="session")
def served_store(tmp_path_factory):
    """The store that the shared server serves."""
    return make_store(tmp_path_factory.mktemp("served") / "served.db")


@pytest.fixture(scope="session")
def secrets(served_store) -> dict[str, str]:
    """Secrets by what they allow."""
    made = {
        "every": make_secret(served_store, "every", "*", type_="full-access")[0],
        "reader": make_secret(served_store, "reader", "process", "token", "metrics")[0],
        "process": make_secret(served_store, "process", "process")[0],
        "token": make_secret(served_store, "token", "token")[0],
        "bpmn": make_secret(served_store, "bpmn", "bpmn")[0],
        "metrics": make_secret(served_store, "metrics", "metrics")[0],
        "none": make_secret(served_store, "none", "job", type_="full-access")[0],
        "expired": make_secret(served_store, "expired", "*", lasts=-60)[0],
    }
    revoked, number = make_secret(served_store, "revoked", "*")
    from datetime import UTC, datetime

    with open_store(str(served_store), write=True) as store:
        assert store.api_tokens.revoke(number, datetime.now(UTC), by=TESTER)
    return made | {"revoked": revoked}


@pytest.fixture(scope="session")
def served(served_store, secrets) -> Served:
    """A server for tests that only read."""
    with serving(served_store) as running:
        yield running


@pytest.fixture(scope="session")
def examination(served_store, secrets, tmp_path_factory):
    """The process of schemathesis, and its output."""
    with examined(served_store, tmp_path_factory.mktemp("schemathesis")) as found:
        yield found


@pytest.fixture(scope="session", autouse=True)
def examined_early(request):
    """Start schemathesis with the first test if any test needs it, so that it runs in parallel with the others."""
    if "PYTEST_XDIST_WORKER" not in os.environ and any(
        "examination" in getattr(item, "fixturenames", ()) for item in request.session.items
    ):
        request.getfixturevalue("examination")


@pytest.fixture(scope="session")
def limits(tmp_path_factory):
    """The environment of a server with short limits."""
    config = tmp_path_factory.mktemp("limits") / "config.yaml"
    config.write_text(LIMITS, encoding="utf-8")
    return {"TOKCTL_CONFIG": str(config)}


@pytest.fixture(scope="session")
def strict(served_store, secrets, limits) -> Served:
    """A server with short limits."""
    with serving(served_store, env=limits) as running:
        yield running


@pytest.fixture(scope="session")
def big(tmp_path_factory, limits):
    """A server with short limits over a store with an instance of 15,000 tokens, and a secret for it."""
    store = make_store(tmp_path_factory.mktemp("big") / "big.db")
    multiply(store, "big", 15_000)
    secret, _ = make_secret(store, "own", "*")
    with serving(store, env=limits) as running:
        yield running, secret


@pytest.fixture(scope="session", params=sorted(STORES))
def manager(request, tmp_path_factory) -> Manager:
    """A caller with all permissions, with a server that accepts JWTs and its own store, of each kind."""
    folder = tmp_path_factory.mktemp("managed")
    if request.param == "sqlite":
        store = make_store(folder / "managed.db")
    else:
        store = request.getfixturevalue("postgresql").new_schema()
        open_store(store, write=True, create=True).close()
    secret, _ = make_secret(store, "manager", "*", type_="full-access")
    keys = secret_file(folder / "jwt")
    with serving(store, "--jwt-secret-file", str(keys)) as served:
        yield Manager(served, store, secret)


@pytest.fixture
def own(tmp_path):
    """A store of the test's own, and a secret with all permissions."""
    path = make_store(tmp_path / "own.db")
    return path, make_secret(path, "own", "*", type_="full-access")[0]
