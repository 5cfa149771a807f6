"""A store with API tokens that a test knows, and fixtures around it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.builders import TESTER
from support.commandline import NOW
from tokctl.api_tokens.audit import AuditEntry
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.model.api_tokens import ApiToken, CreatedBy, LastUse, NewApiToken
from tokctl.store import open_store

PEPPER = "a pepper that is long enough to be one"
DAY = timedelta(days=1)
USE = LastUse("192.0.2.4", "curl/8.5", "GET /api/v1/processes")


class OwnStore:
    """A store whose API tokens have the ids 1, 2, 3 … in the order in which they are added; knows their secrets."""

    def __init__(self, path: Path, environ: dict[str, str]) -> None:
        self.path = path
        self.environ = environ
        self.secrets: dict[str, str] = {}

    def add(self, name: str, *, used: datetime | None = None, age: timedelta = DAY, **fields: Any) -> ApiToken:
        pepper, secret = load_pepper({"TOKCTL_PEPPER": PEPPER}), generate()
        token = NewApiToken(
            **{
                "name": name,
                "token": mask(secret),
                "scopes": ("process",),
                "created_at": NOW - age,
                "expires_at": NOW + 90 * DAY,
                "created_by": CreatedBy(id=1, email="me@example.org"),
            }
            | fields
        )
        with open_store(str(self.path), write=True, create=True) as store:
            made = store.api_tokens.create(token, digest(pepper.key, secret), pepper.id, by=TESTER)
            if used is not None:
                store.api_tokens.touch({int(made.id): (used, USE)})
        self.secrets[name] = secret
        return made

    def names(self) -> list[str]:
        """The names of those that are not revoked, the newest first."""
        with open_store(str(self.path)) as store:
            return [token.name for token in store.api_tokens.list()]

    def get(self, number: int) -> ApiToken:
        with open_store(str(self.path)) as store:
            found = store.api_tokens.by_id(number)
        assert found is not None
        return found

    def audit(self) -> list[AuditEntry]:
        with open_store(str(self.path)) as store:
            return list(store.audit.entries())


@pytest.fixture
def own(monkeypatch, tmp_path) -> OwnStore:
    """A store that the command line finds by itself, without any API tokens yet; nothing of the user's is touched."""
    environ = {
        "TOKCTL_STORE": str(tmp_path / "own.db"),
        "TOKCTL_PEPPER": PEPPER,
        "TOKCTL_STATE_DIR": str(tmp_path / "state"),
        "TOKCTL_CONFIG": str(tmp_path / "config.yaml"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config.yaml").write_text("{}")
    open_store(str(tmp_path / "own.db"), write=True, create=True).close()
    return OwnStore(tmp_path / "own.db", environ)


@pytest.fixture
def keys(own) -> OwnStore:
    """Five of them: one is used, one idle, one expires soon, one has expired, one may do everything."""
    own.add("idle", age=200 * DAY)
    own.add("grafana", used=NOW - timedelta(hours=3), age=100 * DAY, description="dashboards")
    own.add("soon", age=50 * DAY, expires_at=NOW + 5 * DAY, scopes=("process", "token"))
    own.add("gone", age=40 * DAY, expires_at=NOW - 2 * DAY, created_by=CreatedBy(id=7, email="You@example.org"))
    own.add("admin", type="full-access", scopes=("*",), expires_at=None, age=10 * DAY)
    return own
