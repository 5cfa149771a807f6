"""Models are cached in a directory of each test."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
