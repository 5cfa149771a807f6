"""What a server says when it does not give what was asked for, as one of ``errors``.

Read are the documented envelope, ``{"error": {"code", "message", "details"}, "request_id"}``, that of atomd, where
the request's id is in ``meta``, that of XiverCMS, ``{"error": "text"}``, and plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import msgspec

from tokctl.client.address import Base
from tokctl.client.patience import PassingError, asked_wait
from tokctl.client.text import one_line
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError

MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
"""Statuses of which the next attempt may be free. 500 is: servers send it for a store that is locked."""

REDIRECTS = {301, 302, 303, 307, 308}
LONGEST_QUOTED = 1 << 16
"""Bytes of an error's body that are looked at."""


class Said(NamedTuple):
    """What an error's body says, each text on one line; ``missing`` and ``has`` are permissions, ``after`` seconds."""

    message: str = ""
    code: str = ""
    request_id: str = ""
    missing: str = ""
    has: str = ""
    after: float | None = None

    @property
    def request(self) -> str:
        """The request's id, to be told to the server's operator."""
        return f" (request {self.request_id})" if self.request_id else ""


def said(body: bytes, headers: Mapping[str, str], hide: Callable[[str], str]) -> Said:
    """Read an error's body."""

    def line(value: Any, length: int = 200) -> str:
        return one_line(hide(value), length) if isinstance(value, str) else ""

    named = line(headers.get("x-request-id"), 80)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        page = "html" in headers.get("content-type", "") or body.lstrip()[:1] == b"<"
        return Said("" if page else line(body.decode("utf-8", "replace")), request_id=named)
    if not isinstance(document, dict):
        return Said(request_id=named)
    meta = document.get("meta")
    beside = meta if isinstance(meta, dict) else {}
    request_id = line(document.get("request_id"), 80) or line(beside.get("request_id"), 80) or named
    error = document.get("error")
    if isinstance(error, dict):
        given = error.get("details")
        details = given if isinstance(given, dict) else {}
        has, after = details.get("provided_permissions"), details.get("retry_after")
        return Said(
            message=line(error.get("message")),
            code=line(error.get("code"), 60) or line(error.get("name"), 60),
            request_id=request_id,
            missing=line(details.get("required_permission"), 60),
            has=line(", ".join(one for one in has if isinstance(one, str))) if isinstance(has, list) else "",
            after=float(after) if isinstance(after, int | float) and 0 <= after < 1e18 else None,
        )
    return Said(line(error) or line(document.get("message")) or line(document.get("detail")), request_id=request_id)


class Refusal(NamedTuple):
    """An answer that is none: where it came from and what it said."""

    status: int
    headers: Mapping[str, str]
    place: str
    url: str
    authorised: bool
    said: Said

    def error(self) -> TokctlError:
        """Return the error that it is."""
        if self.status in {401, 403, 407}:
            return self._not_allowed()
        told = f": {self.said.message.rstrip('.')}" if self.said.message else ""
        name = " ".join(filter(None, (str(self.status), self.said.code)))
        text = f"{told} ({name}){self.said.request}."
        if self.status == 404:
            return NotFoundError(f"{self.url}{told or ': not found'} ({name}){self.said.request}.",
                                 code=self.said.code or None)  # fmt: skip
        if self.status == 429:
            return PassingError(f"{self.place} limits how much it is asked{text}",
                                "Try again in a minute, or ask less at once.", after=self._after())  # fmt: skip
        if self.status in MAY_PASS:
            return PassingError(f"{self.url} failed on the server{text}", after=self._after())
        if self.status >= 500:
            return UnreachableError(f"{self.url} failed on the server{text}")
        if self.status >= 400:
            return UsageError(f"{self.url} was refused{text}")
        return InputError(f"{self.url} gave an answer that was not asked for ({self.status}).")

    def _after(self) -> float | None:
        waited = asked_wait(self.headers)
        return self.said.after if waited is None else waited

    def _not_allowed(self) -> TokctlError:
        told = f": {self.said.message.rstrip('.')}" if self.said.message else ""
        if self.status == 407:
            return NotAllowedError(f"{self.place}: the proxy asks for a password (407).",
                                   "Put it into the proxy's URL in HTTP_PROXY.")  # fmt: skip
        if self.status == 401 and not self.authorised:
            return NotAllowedError(f"{self.place} asks for a credential{told}{self.said.request}.",
                                   "Set one with 'tokctl auth login' or in TOKCTL_API_KEY.")  # fmt: skip
        if self.status == 401:
            return NotAllowedError(f"{self.place} does not accept the credential{told}{self.said.request}.",
                                   "It may have expired; 'tokctl auth login' sets another.")  # fmt: skip
        if not self.said.missing:
            return NotAllowedError(f"{self.url} is not allowed{told}{self.said.request}.")
        listed = f" (it has: {self.said.has})" if self.said.has else ""
        return NotAllowedError(f"{self.place}: the credential lacks the permission '{self.said.missing}'{listed}"
                               f"{self.said.request}.", "Use another, or have it extended.")  # fmt: skip


def redirected(base: Base, target: str, location: str, hide: Callable[[str], str]) -> UsageError:
    """Say where a redirect leads; it is not followed, as the credential is meant for the server that was named.

    What stands in the new address beside host and path, a password or a query, is not shown.
    """
    try:
        parts = urlsplit(urljoin(base.origin + target, location))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return UsageError(f"{base.shown} redirects to an address that is none.", "Check the server's address.")
    origin = Base(parts.scheme, host, port).origin
    shown = one_line(hide(origin + parts.path), 200)
    asked = target.partition("?")[0].removeprefix(base.path)
    if asked and parts.path.endswith(asked) and parts.scheme in {"http", "https"} and host:
        there = one_line(hide(origin + parts.path.removesuffix(asked)), 200)
        hint = f"If that is the server you mean, name it: --server {there}"
    else:
        hint = "If that is the server you mean, name its address with --server."
    return UsageError(f"{base.shown} redirects to {shown}, where a credential is not sent on.", hint)
