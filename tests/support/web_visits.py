"""Visits to the web pages of a server as browsers make them, without a browser."""

from __future__ import annotations

from typing import Any

import httpx

from support.running_server import PEPPER
from tokctl.api_tokens.pepper import load_pepper
from tokctl.server.sessions import Sessions
from tokctl.store import open_store

LOGIN, LIST = "/ui/login", "/ui/"
COOKIE, SECURE_COOKIE = "tokctl-session", "__Secure-tokctl-session"


class Visitor:
    """A browser's view of a server: it has cookies, follows no redirect, and tells where its forms come from."""

    def __init__(self, served: Any, **client: Any) -> None:
        self.served = served
        self.url = str(client.pop("base_url", served.client.base_url)).rstrip("/")
        self.client = httpx.Client(base_url=self.url, timeout=30, **({"verify": False} | client))

    def get(self, path: str = LIST, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, data: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return self.client.post(path, data=data, headers={"Origin": self.url} | headers)

    def log_in(self, secret: str, target: str = "", **headers: str) -> httpx.Response:
        return self.post(LOGIN, {"token": secret, "next": target}, **headers)

    @property
    def cookie(self) -> str | None:
        """The value of the cookie of the session."""
        return self.client.cookies.get(COOKIE) or self.client.cookies.get(SECURE_COOKIE)


def visit(served: Any, cookie: str, path: str = LIST, *, name: str = COOKIE) -> httpx.Response:
    """Get a page with a cookie."""
    return served.client.get(path, headers={"Cookie": f"{name}={cookie}"})


def make_cookie(store: Any, number: int, started, renewed=None, pepper: str = PEPPER) -> str:
    """Return the cookie of a session of an API token that started, and was renewed, at these times."""
    sessions = Sessions(load_pepper({"TOKCTL_PEPPER": pepper}), None, None)
    with open_store(str(store)) as opened:
        token = opened.api_tokens.by_id(number)
    _, header = sessions._make_cookie(token, started, renewed or started, secure=False)
    return header.decode().partition(";")[0].partition("=")[2]
