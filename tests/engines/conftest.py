"""See ``commandline`` and ``watchers``; clients lose no time between two attempts."""

import pytest

from support.commandline import orders, tokctl  # noqa: F401 - fixtures
from support.watchers import clock  # noqa: F401 - a fixture
from tokctl.client import Client


@pytest.fixture(autouse=True)
def _restless(monkeypatch):
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "sleep", lambda _: None)
