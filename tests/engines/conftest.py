"""See ``commandline`` and ``watchers``; clients lose no time between two attempts."""

import pytest

from support.commandline import orders, tokctl  # noqa: F401 - fixtures
from support.watchers import clock  # noqa: F401 - a fixture
from tokctl.client import Client


@pytest.fixture(autouse=True)
def _restless(monkeypatch):
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "sleep", lambda _: None)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch, tmp_path):
    """Keep models that an earlier test has cached, perhaps of a server with the same port, out of this one."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
