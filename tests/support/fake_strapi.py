"""A server that behaves as Strapi 5.54.0 does with its API tokens, as tests/live sees it.

``encrypts`` is whether the server has an encryption key, and so returns the secret of a single API token again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

from support.fake_cms import EMAIL, PASSWORD, FakeCms, make_jwt, time_text

API = "/admin/api-tokens"
LIFESPANS = (604_800_000, 2_592_000_000, 7_776_000_000)
PERMISSIONS = {
    "plugin::upload": {"controllers": {"content-api": ["find", "findOne"]}},
    "plugin::i18n": {"controllers": {"locales": ["listLocales"]}},
    "plugin::users-permissions": {"controllers": {"user": ["find", "me"], "role": ["find"]}},
    "api::article": {"controllers": {"article": ["find", "create"]}},
}
MAX_LOGINS = 5
NOT_FOUND = "API Token not found"
Answer = tuple[int, Any]


@dataclass
class FakeStrapi(FakeCms):
    """Records by their ids, as texts, without the secret of each. ``end_session`` is a logout."""

    encrypts: bool = True
    headers: tuple[tuple[str, str], ...] = (("X-Powered-By", "Strapi <strapi.io>"),)
    content: tuple[str, ...] = ("/api/i18n/locales", "/api/users/me", "/api/upload/files")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.logins = 0
        self.end_session()
        self.add("Read Only")
        self.add("Full Access", type="full-access")

    def end_session(self, lasts: float = 1800.0) -> None:
        """End the session; the next one lasts so many seconds."""
        now = int(time.time())
        self.jwt = make_jwt({"userId": "1", "sessionId": token_hex(16), "type": "access", "exp": now + int(lasts)})
        self.jwt_until = now + lasts

    def add(self, name: str, secret: str = "", **members: Any) -> str:
        """Put a record in; returns its secret."""
        with self.lock:
            self._last += 1
            now = time_text(self.clock())
            self.secrets[str(self._last)] = secret or token_hex(128)
            self.records[str(self._last)] = {
                "id": self._last,
                "kind": "content-api",
                "name": name,
                "description": "",
                "lastUsedAt": None,
                "type": "read-only",
                "lifespan": None,
                "expiresAt": None,
                "createdAt": now,
                "updatedAt": now,
                "permissions": [],
            } | members
            return self.secrets[str(self._last)]

    # --- what it does; each returns status and answer ---

    def answer(self, method: str, path: str, _query: dict[str, list[str]], bearer: str, body: Any) -> Answer:
        with self.lock:
            if (method, path) == ("POST", "/admin/login"):
                return self._log_in(body)
            if path.startswith("/admin"):
                if bearer != self.jwt or time.time() >= self.jwt_until:
                    return _error(401, "UnauthorizedError", "Missing or invalid credentials")
                return self._manage(method, path, body)
            return self._use(path, bearer) if path in self.content else _error(404, "NotFoundError", "Not Found")

    def error(self, message: str) -> Any:
        return _error(500, "InternalServerError", message)[1]

    def _log_in(self, body: Any) -> Answer:
        self.logins += 1
        if self.logins > MAX_LOGINS:
            return _error(429, "RateLimitError", "Too many requests, please try again later.")
        if not isinstance(body, dict) or (body.get("email"), body.get("password")) != (EMAIL, PASSWORD):
            return _error(400, "ApplicationError", "Invalid credentials")
        return 200, {"data": {"token": self.jwt, "accessToken": self.jwt, "user": {"id": 1, "email": EMAIL}}}

    def _use(self, path: str, bearer: str) -> Answer:
        if not bearer:
            return _error(403, "ForbiddenError", "Forbidden")
        ident = next((one for one, secret in self.secrets.items() if secret == bearer and one in self.records), None)
        if ident is None:
            return _error(401, "UnauthorizedError", "Missing or invalid credentials")
        record = self.records[ident]
        if record["expiresAt"] is not None and datetime.fromisoformat(record["expiresAt"]) <= self.clock():
            return _error(401, "UnauthorizedError", "Token expired")
        used = record["lastUsedAt"]
        if used is None or self.clock() - datetime.fromisoformat(used) >= timedelta(hours=1):
            record["lastUsedAt"] = record["updatedAt"] = time_text(self.clock())
        if record["type"] != "full-access" and path != "/api/upload/files":
            return _error(403, "ForbiddenError", "Forbidden")
        return 200, []

    def _manage(self, method: str, path: str, body: Any) -> Answer:
        if path == "/admin/users/me":
            return 200, {"data": {"id": 1, "email": EMAIL}}
        if path == "/admin/content-api/permissions":
            return 200, {"data": PERMISSIONS}
        if path == API:
            return self._list() if method == "GET" else self._create(body)
        ident, _, rest = path.removeprefix(f"{API}/").partition("/")
        if not path.startswith(f"{API}/") or rest not in {"", "regenerate"}:
            return _error(404, "NotFoundError", "Not Found")
        if method == "POST":
            return self._regenerate(ident)
        return {"GET": self._one, "PUT": self._update, "DELETE": self._delete}[method](ident, body)

    def _list(self) -> Answer:
        return 200, {"data": sorted(self.records.values(), key=lambda one: one["name"])}

    def _create(self, body: Any) -> Answer:
        wrong = self._find_fault(body, None)
        if wrong is not None:
            return wrong
        lifespan = body.get("lifespan")
        if lifespan not in {None, *LIFESPANS}:
            return _error(400, "ValidationError", "lifespan must be one of the following values: …")
        until = None if lifespan is None else time_text(self.clock() + timedelta(milliseconds=lifespan))
        secret = self.add(
            body["name"].strip(),
            description=(body.get("description") or "").strip(),
            type=body["type"],
            lifespan=None if lifespan is None else str(lifespan),
            expiresAt=until,
            permissions=body.get("permissions") or [],
        )
        return 201, {"data": self.records[str(self._last)] | {"accessKey": secret}}

    def _find_fault(self, body: Any, ident: str | None) -> Answer | None:
        before = self.records.get(ident or "", {})
        wanted = before | body
        if not isinstance(wanted.get("name"), str) or not wanted["name"].strip():
            return _error(400, "ValidationError", "name must be at least 1 characters")
        if any(one["name"] == wanted["name"].strip() for key, one in self.records.items() if key != ident):
            return _error(400, "ApplicationError", "Name already taken")
        if wanted.get("type") not in {"read-only", "full-access", "custom"}:
            return _error(400, "ValidationError", "type must be one of the following values: …")
        given = body.get("permissions")
        if wanted["type"] == "custom" and not (given or (given is None and before.get("permissions"))):
            return _error(400, "ValidationError", "Missing permissions attribute for custom token")
        if wanted["type"] != "custom" and given:
            return _error(400, "ValidationError", "Non-custom tokens should not reference permissions")
        unknown = [one for one in given or [] if one not in all_permissions()]
        return (
            _error(400, "ValidationError", f"Unknown permissions provided: {', '.join(unknown)}") if unknown else None
        )

    def _one(self, ident: str, _body: Any) -> Answer:
        if ident not in self.records:
            return _error(404, "NotFoundError", NOT_FOUND)
        return 200, {"data": self.records[ident] | ({"accessKey": self.secrets[ident]} if self.encrypts else {})}

    def _update(self, ident: str, body: Any) -> Answer:
        self.puts.append(body)
        if ident not in self.records:
            return _error(404, "NotFoundError", NOT_FOUND)
        if unknown := body.keys() - {"name", "description", "type", "permissions"}:
            return _error(400, "ValidationError", f"this field has unspecified keys: {', '.join(sorted(unknown))}")
        wrong = self._find_fault(body, ident)
        if wrong is not None:
            return wrong
        record = self.records[ident]
        record |= {name: value.strip() if isinstance(value, str) else value for name, value in body.items()}
        if record["type"] != "custom":
            record["permissions"] = []
        record["updatedAt"] = time_text(self.clock())
        return 200, {"data": record}

    def _regenerate(self, ident: str) -> Answer:
        if ident not in self.records:
            return _error(404, "NotFoundError", NOT_FOUND)
        self.secrets[ident] = token_hex(128)
        self.records[ident]["updatedAt"] = time_text(self.clock())
        return 201, {"data": {"id": int(ident), "accessKey": self.secrets[ident], "kind": "content-api"}}

    def _delete(self, ident: str, _body: Any) -> Answer:
        self.secrets.pop(ident, None)
        return 200, {"data": self.records.pop(ident, None)}


def all_permissions() -> list[str]:
    """The permissions of the content API, as custom API tokens have them."""
    return [
        f"{owner}.{controller}.{action}"
        for owner, parts in PERMISSIONS.items()
        for controller, actions in parts["controllers"].items()
        for action in actions
    ]


def _error(status: int, name: str, message: str) -> Answer:
    return status, {"data": None, "error": {"status": status, "name": name, "message": message, "details": {}}}
