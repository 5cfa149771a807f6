"""Turns error responses into errors; ``connection_failures`` does so if there is no response.

It reads the documented envelope of error responses, ``{"error": {"code", "message", "details"}, "request_id"}``, that
of atomd, which has the request's id in ``meta``, that of XiverCMS, ``{"error": "text"}``, and plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from tokctl.client.credential import LOCKED_HINT, LOGIN_HINT, wants_password
from tokctl.client.retries import TransientError, parse_rate_limit_reset, parse_retry_after
from tokctl.errors import (
    ExpiryLimitError,
    InputError,
    NotAllowedError,
    NotFoundError,
    TokctlError,
    UnreachableError,
    UsageError,
)
from tokctl.model.times import parse_time
from tokctl.text import one_line

TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be transient. 500 is included: servers send it while a store is locked."""

_NO_ENDPOINT = "No endpoint "
"""The beginning of what Flowable says, with status 500, for a path that it does not have."""

MAX_ERROR_BODY_BYTES = 1 << 16
"""Maximum number of bytes read of the body of an error response."""


class ErrorBody(NamedTuple):
    """The content of an error response's body, each text on one line and without secrets."""

    message: str = ""
    code: str = ""  # such as NOT_FOUND
    request_id: str = ""  # under which the server has logged the request
    missing_permission: str = ""  # that the credential needs
    granted_permissions: str = ""  # that it has, separated by commas
    missing_scopes: str = ""  # that it cannot grant to another one, separated by commas
    member: str = ""  # of an API token, that the credential cannot give to another one
    latest: datetime | None = None  # expiry that is allowed
    client_address: str = ""  # from which the credential must not be used
    state: str = ""  # of the credential, if it says more than that it is not valid
    retry_after: float | None = None  # seconds

    @property
    def detail(self) -> str:
        """The message as the end of a sentence."""
        return f": {self.message.rstrip('.')}" if self.message else ""

    @property
    def request(self) -> str:
        """The id of the request in parentheses, for a report to the operator of the server."""
        return f" (request {self.request_id})" if self.request_id else ""


def parse_error_body(body: bytes, headers: Mapping[str, str], mask_secrets: Callable[[str], str]) -> ErrorBody:
    """Parse the body of an error response; fields that are missing or have another type are omitted."""

    def line(value: Any, length: int = 200) -> str:
        return one_line(mask_secrets(value), length) if isinstance(value, str) else ""

    header_id = line(headers.get("x-request-id"), 80)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        is_page = "html" in headers.get("content-type", "") or body.lstrip()[:1] == b"<"
        return ErrorBody("" if is_page else line(body.decode("utf-8", "replace")), request_id=header_id)
    if not isinstance(document, dict):
        return ErrorBody(request_id=header_id)
    meta = _mapping(document.get("meta"))
    request_id = line(document.get("request_id"), 80) or line(meta.get("request_id"), 80) or header_id
    error = document.get("error")
    if not isinstance(error, dict):
        cause = line(document.get("exception")) if document.keys() == {"message", "exception"} else ""
        message = line(error) or cause or line(document.get("message")) or line(document.get("detail"))
        return ErrorBody(message, request_id=request_id)
    details = _mapping(error.get("details"))
    retry_after = details.get("retry_after")

    def names(value: Any) -> str:
        return line(", ".join(name for name in value if isinstance(name, str))) if isinstance(value, list) else ""

    return ErrorBody(
        message=line(error.get("message")),
        code=line(error.get("code"), 60) or line(error.get("name"), 60),
        request_id=request_id,
        missing_permission=line(details.get("required_permission"), 60),
        granted_permissions=names(details.get("provided_permissions")),
        missing_scopes=names(details.get("missing_scopes")),
        member=line(details.get("member"), 60),
        latest=_parse_latest(details.get("latest")),
        client_address=line(details.get("client"), 60),
        state=line(details.get("state"), 60),
        retry_after=float(retry_after) if isinstance(retry_after, int | float) and 0 <= retry_after < 1e18 else None,
    )


def _parse_latest(value: Any) -> datetime | None:
    try:
        return parse_time(value)
    except ValueError:
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def status_error(
    status: int, headers: Mapping[str, str], body: ErrorBody, *, place: str, url: str, scheme: str
) -> TokctlError:
    """Return the error for an error response.

    ``place`` is the display address of the server, with the proxy if there is one, ``url`` that of the request.
    ``scheme`` is how the credential was sent: Basic, Bearer, or '' if there was none.
    """
    if status in {400, 403} and body.latest is not None:
        hint = "Set an earlier expiry, or use a credential that expires later."
        return ExpiryLimitError(f"{place}{body.detail}{body.request}.", hint, latest=body.latest)
    if status in {401, 403, 407}:
        return _not_allowed_error(status, headers, body, place, url, scheme=scheme)
    name = " ".join(filter(None, (str(status), body.code)))
    text = f"{body.detail} ({name}){body.request}."
    if status == 404 or (status == 500 and body.message.startswith(_NO_ENDPOINT)):
        return NotFoundError(f"{url}{body.detail or ': not found'} ({name}){body.request}.", code=body.code or None)
    if status in TRANSIENT_STATUSES:
        delay = parse_retry_after(headers)
        if delay is None and status == 429:
            delay = parse_rate_limit_reset(headers)
        delay = body.retry_after if delay is None else delay
        if status == 429:
            hint = "Try again in a minute, or send fewer requests."
            return TransientError(f"{place}: too many requests{text}", hint, retry_after=delay, status=status)
        return TransientError(f"{url}: server error{text}", retry_after=delay, status=status)
    if status >= 500:
        return UnreachableError(f"{url}: server error{text}", status=status)
    if status >= 400:
        return UsageError(f"{url}: the server rejected the request{text}")
    return InputError(f"{url}: unexpected response status {status}.")


def _not_allowed_error(
    status: int, headers: Mapping[str, str], body: ErrorBody, place: str, url: str, *, scheme: str
) -> NotAllowedError:
    tail = f"{body.detail}{body.request}."
    if status == 407:
        return NotAllowedError(
            f"{place}: the proxy requires a password (407).", "Add it to the proxy URL in HTTP_PROXY."
        )
    if status == 401 and (scheme == "Basic" or wants_password(headers)):
        if scheme == "Basic":
            message = f"{place} rejected the user name or the password{tail}"
            return NotAllowedError(
                message, f"Check them, and set them again with 'tokctl auth login --user NAME'. {LOCKED_HINT}"
            )
        what = "requires a user name and a password"
        given = ", but the credential is not of the form user:password" if scheme else ""
        return NotAllowedError(f"{place} {what}{given}{tail}", LOGIN_HINT)
    if status == 401 and not scheme:
        return NotAllowedError(
            f"{place} requires a credential{tail}", "Set one with 'tokctl auth login' or in TOKCTL_API_KEY."
        )
    if status == 401:
        return NotAllowedError(
            f"{place} rejected the credential{tail}",
            "An administrator can enable it with 'tokctl api-tokens enable'."
            if body.state == "disabled"
            else "It may have expired. Set a new one with 'tokctl auth login'.",
        )
    if body.missing_scopes:
        hint = f"It has the scopes {body.granted_permissions}. Use a credential with more."
        return NotAllowedError(f"{place}{body.detail}{body.request}.", hint)
    if not body.missing_permission:
        hint = _MEMBER_HINTS.get(body.member, "Use a credential with more rights, such as a full-access API token.")
        if body.client_address:
            hint = "Use it from one of its networks, or change them with 'tokctl api-tokens update --allowed-cidr'."
        return NotAllowedError(f"{url} is not allowed{tail}", hint)
    granted = f" (it has: {body.granted_permissions})" if body.granted_permissions else ""
    return NotAllowedError(
        f"{place}: the credential lacks the permission '{body.missing_permission}'{granted}{body.request}.",
        _ADMINISTRATION_HINT
        if body.missing_permission == "api-tokens"
        else "Use another credential, or ask for this permission.",
    )


_ADMINISTRATION_HINT = (
    "Use an API token that may manage others. To create one on the server's host: "
    "tokctl api-tokens create NAME --type full-access --scope api-tokens,process"
)
_MEMBER_HINTS = {
    "allowedCidrs": "Give networks within these, or use a credential without this limit.",
}
