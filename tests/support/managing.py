"""Someone who manages API tokens over HTTP, and what tests of that share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tokctl.model.times import format_time
from tokctl.store import open_store

ROOT = "/api/api-tokens"
MEMBERS = [
    "id",
    "name",
    "description",
    "type",
    "scopes",
    "allowedCidrs",
    "disabled",
    "token",
    "lastUsedAt",
    "lastUse",
    "expiresAt",
    "createdBy",
    "createdAt",
    "updatedAt",
]


class Manager:
    """Someone who asks, and the server and the store that he asks."""

    def __init__(self, served, store, secret):
        self.served, self.store, self.headers = served, store, {"Authorization": f"Bearer {secret}"}

    def __call__(self, method, path="", status=200, headers=None, **options):
        answer = self.served.client.request(method, ROOT + path, headers=self.headers | (headers or {}), **options)
        assert answer.status_code == status, answer.text
        return answer

    def make(self, name="made", **members):
        return self("POST", json={"name": name} | members, status=201).json()

    def kept(self, number):
        with open_store(str(self.store)) as store:
            return store.api_tokens.by_id(number)


def later(days=30):
    return format_time(datetime.now(UTC).replace(microsecond=0) + timedelta(days=days))


def fault_of(answer):
    assert [*answer.json()] == ["error"]
    fault = answer.json()["error"]
    assert [*fault] == ["status", "name", "message", "details"]
    assert fault["status"] == answer.status_code
    return fault
