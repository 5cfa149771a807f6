"""A server that behaves as XiverCMS does with its API tokens, oddities and all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any
from urllib.parse import unquote

from support.fake_cms import EMAIL, PASSWORD, FakeCms, make_jwt, time_text

API = "/api/api-tokens"


@dataclass
class FakeXiver(FakeCms):
    """What can be seen and set of it: records by their ids, as texts, and the secret of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.jwt = make_jwt({"userId": 1, "email": EMAIL, "exp": time.time() + 86400})

    def add(self, name: str, ident: Any = None, secret: str = "", **members: Any) -> str:
        """Put a record in, as the server's own page would; returns its secret."""
        with self.lock:
            if ident is None:
                self._last += 1
                ident = self._last
            secret = secret or "xvc_" + token_hex(32)
            now = time_text(self.clock())
            self.secrets[str(ident)] = secret
            self.records[str(ident)] = {
                "id": ident,
                "name": name,
                "description": "",
                "type": "read-only",
                "token": secret[:8] + "...",
                "lastUsedAt": None,
                "expiresAt": None,
                "createdBy": {"id": 1, "email": EMAIL},
                "createdAt": now,
                "updatedAt": now,
                "kind": "custom",
            } | members
            return secret

    # --- what it does; each returns status and answer ---

    def answer(self, method: str, path: str, _query: dict[str, list[str]], bearer: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            if path == "/api/auth/login":
                known = isinstance(body, dict) and (body.get("email"), body.get("password")) == (EMAIL, PASSWORD)
                return (200, {"jwt": self.jwt}) if known else (401, {"error": "Invalid credentials"})
            caller = self._caller(bearer)
            if caller is None:
                return 401, {"error": "Unauthorized"}
            if caller.get("expiresAt") and datetime.fromisoformat(caller["expiresAt"]) <= self.clock():
                return 401, {"error": "API token expired"}
            if caller:
                caller["lastUsedAt"] = time_text(self.clock())
            if caller and method != "GET" and caller["type"] == "read-only":
                return 403, {"error": "Token is read-only"}
            if path == API:
                return self._list(_query) if method == "GET" else self._create(caller, body)
            ident = unquote(path.removeprefix(API + "/"))
            if path.startswith(API + "/") and not ident.isdecimal():
                return 400, {"error": "Invalid token ID"}
            if not path.startswith(API + "/") or "/" in path.removeprefix(API + "/") or method == "POST":
                return 404, {"error": "Not Found"}
            return {"GET": self._one, "PUT": self._update, "DELETE": self._delete}[method](ident, body)

    def _caller(self, bearer: str) -> dict[str, Any] | None:
        """The record of the API token that asks; an empty one for the user, None for nobody."""
        if bearer == self.jwt:
            return {}
        for ident, secret in self.secrets.items():
            record = self.records.get(ident)
            if secret == bearer and record is not None:
                return record
        return None

    def _list(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        page, size = (int(query.get(name, [default])[0]) for name, default in (("page", "1"), ("pageSize", "10")))
        rows = [*self.records.values()][::-1]
        meta = {"pagination": {"page": page, "pageSize": size, "total": len(rows)}}
        return 200, {"data": rows[(page - 1) * size : page * size], "meta": meta}

    def _create(self, caller: dict[str, Any], body: Any) -> tuple[int, Any]:
        if caller:
            return 500, {"error": "Failed to create API token"}
        if not isinstance(body, dict) or not body.get("name"):
            return 400, {"error": "Name is required"}
        given = {name: body[name] for name in ("description", "type", "expiresAt") if body.get(name) is not None}
        secret = self.add(body["name"], **given)
        return 201, self.records[str(self._last)] | {"token": secret}

    def _one(self, ident: str, _body: Any) -> tuple[int, Any]:
        found = self.records.get(ident)
        return (404, {"error": "API token not found"}) if found is None else (200, found)

    def _update(self, ident: str, body: Any) -> tuple[int, Any]:
        self.puts.append(body)
        if ident not in self.records:
            return 404, {"error": "API token not found"}
        if not isinstance(body, dict) or not body.get("name"):
            return 400, {"error": "Name is required"}
        for name in ("name", "description", "type", "expiresAt"):
            if body.get(name):
                self.records[ident][name] = body[name]
        self.records[ident]["updatedAt"] = time_text(self.clock())
        return 200, self.records[ident]

    def _delete(self, ident: str, _body: Any) -> tuple[int, Any]:
        self.records.pop(ident, None)
        self.secrets.pop(ident, None)
        return 200, {"message": "API token deleted successfully"}
