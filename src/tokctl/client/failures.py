"""Turns failures into errors: those of the connection, error responses, and redirects.

It reads the documented envelope of error responses, ``{"error": {"code", "message", "details"}, "request_id"}``, that
of atomd, which has the request's id in ``meta``, that of XiverCMS, ``{"error": "text"}``, and plain text.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpcore
import msgspec

from tokctl.client.connection import Connection
from tokctl.client.credential import LOCKED_HINT, LOGIN_HINT, wants_password
from tokctl.client.retries import TransientError, parse_rate_limit_reset, parse_retry_after
from tokctl.errors import (
    ExpiryLimitError,
    InputError,
    NotAllowedError,
    NotFoundError,
    TokctlError,
    UnreachableError,
    UntrustedError,
    UsageError,
)
from tokctl.model.times import parse_time
from tokctl.server_address import ServerAddress
from tokctl.text import one_line

TIMEOUT_HINT = "Set a longer timeout with --request-timeout."
UNSENT_ERRORS = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
    httpcore.LocalProtocolError,
    UnicodeError,
)
"""Exceptions after which the request was certainly not sent; after all others the server may have received it."""

TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be transient. 500 is included: servers send it while a store is locked."""

_NO_ENDPOINT = "No endpoint "
"""The beginning of what Flowable says, with status 500, for a path that it does not have."""

REDIRECTS = {301, 302, 303, 307, 308}
MAX_ERROR_BODY_BYTES = 1 << 16
"""Maximum number of bytes read of the body of an error response."""

# --- failures of the connection ---

_ADDRESS_HINT = "Check the address and the network."
_Failure = tuple[type[TokctlError], str, str]
_CUT: _Failure = (TransientError, "{}: the server closed the connection without a response.", "")
_NO_ROUTE: _Failure = (TransientError, "cannot reach {}: no route to the host.", _ADDRESS_HINT)
_CONNECT_FAILURES: dict[int | None, _Failure] = {
    errno.ECONNREFUSED: (
        TransientError,
        "cannot reach {}: connection refused.",
        "Check the address or start the server.",
    ),
    errno.ENOENT: (
        UnreachableError,
        "cannot reach {}: the socket does not exist.",
        "Check the path or start the server.",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), (NotAllowedError, "cannot reach {}: permission denied.", "")),
    **dict.fromkeys((errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED), _CUT),
    **dict.fromkeys(
        (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL), _NO_ROUTE
    ),
}
"""By errno: the error, its message with {} for the server, the hint."""

_WRONG_NAME = ("is for another host name.", "Use the host name of the certificate.")
_UNKNOWN_AUTHORITY = ("is from an unknown authority.", "Give the certificate of the authority with --ca-file.")
_CERTIFICATE_ERRORS = {
    9: ("is not valid yet.", "Check the clock of this machine."),
    10: ("has expired.", "The operator of the server must renew it."),
    62: _WRONG_NAME,
    64: _WRONG_NAME,  # an IP address
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_AUTHORITY),
}
"""OpenSSL's X509_V_ERR_…, from its x509_vfy.h."""


def request_error(error: Exception, place: str, connection: Connection) -> TokctlError:
    """Return the error for a request without a response.

    ``error`` is an exception of httpcore, or UnicodeError for a host name that DNS cannot represent; ``place`` is the
    display address of the server, with the proxy if there is one.
    """
    # httpcore's pool removes ``__cause__``, but not the arguments.
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else None
    if isinstance(error, httpcore.TimeoutException):
        return _timeout_error(error, place, connection)
    if isinstance(error, UnicodeError):
        return UsageError(f"{place}: invalid host name.")
    if isinstance(error, httpcore.ProxyError):
        return _proxy_error(one_line(str(error), 80), place)
    if isinstance(cause, ssl.SSLError):
        return _tls_error(cause, place)
    if isinstance(error, httpcore.ConnectError):
        return _connect_error(cause, place)
    if isinstance(error, httpcore.RemoteProtocolError) and cause is not None:
        return TransientError(
            f"{place}: the response is not HTTP.",
            "Check the port and the scheme (http:// or https://).",
        )
    if isinstance(error, httpcore.LocalProtocolError):  # its text quotes the header, which may be the secret
        return UsageError(f"{place}: the request is not valid HTTP.")
    return _to_error(_CUT, place)


def response_error(error: Exception, url: str, received: int, seconds: float) -> TokctlError:
    """Return the error for a body that stopped after ``received`` bytes; ``seconds`` is the timeout that passed."""
    so_far = f"after {received:,} bytes"
    if isinstance(error, httpcore.TimeoutException):
        return UnreachableError(f"{url}: timeout {so_far}: no more data within {seconds:g} s.", TIMEOUT_HINT)
    return TransientError(f"{url}: the response ended early, {so_far}.")


def _to_error(failure: _Failure, place: str) -> TokctlError:
    kind, message, hint = failure
    return kind(message.format(place), hint)


def _timeout_error(error: httpcore.TimeoutException, place: str, connection: Connection) -> TransientError:
    if isinstance(error, httpcore.ConnectTimeout):
        seconds = connection.connect_timeout
        return TransientError(f"cannot reach {place}: no connection within {seconds:g} s.", _ADDRESS_HINT)
    if isinstance(error, httpcore.PoolTimeout):
        return TransientError(f"{place}: all connections were in use for {connection.timeout:g} s.", TIMEOUT_HINT)
    return TransientError(f"{place}: no response within {connection.timeout:g} s.", TIMEOUT_HINT)


def _connect_error(cause: Exception | None, place: str) -> TokctlError:
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return TransientError(
                f"cannot reach {place}: the host name lookup failed.", "Check the host name and the network."
            )
        return UnreachableError(f"cannot reach {place}: unknown host name.", "Check the address.")
    number, reason = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (None, None)
    if number in _CONNECT_FAILURES:
        return _to_error(_CONNECT_FAILURES[number], place)
    return TransientError(f"cannot reach {place}: {one_line(str(reason or type(cause).__name__))}.")


def _tls_error(cause: ssl.SSLError, place: str) -> TokctlError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        unnamed = (f"is not valid ({one_line(cause.verify_message, 80)}).", "")
        fault, hint = _CERTIFICATE_ERRORS.get(cause.verify_code, unnamed)
        return UntrustedError(f"{place}: the server's certificate {fault}", hint)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _to_error(_CUT, place)
    if cause.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}:
        return UntrustedError(f"{place} does not speak TLS.", "Check the port, or use http:// if the network is safe.")
    reason = one_line((cause.reason or "unknown reason").replace("_", " ").lower(), 80)
    return UntrustedError(f"{place}: TLS handshake failed ({reason}).")


def _proxy_error(status: str, place: str) -> TokctlError:
    if status.startswith("407"):
        return NotAllowedError(
            f"{place}: the proxy requires a password ({status}).", "Add it to the proxy URL in HTTPS_PROXY."
        )
    return TransientError(f"{place}: the proxy cannot connect to the server ({status}).")


# --- error responses ---


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
        latest=parse_time(details["latest"]) if isinstance(details.get("latest"), str) else None,
        client_address=line(details.get("client"), 60),
        state=line(details.get("state"), 60),
        retry_after=float(retry_after) if isinstance(retry_after, int | float) and 0 <= retry_after < 1e18 else None,
    )


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


def redirect_error(base: ServerAddress, target: str, location: str, mask_secrets: Callable[[str], str]) -> UsageError:
    """Return the error for a redirect, which is not followed: the credential is for the configured server only.

    The message has the host and the path of the new location, but no password and no query.
    """
    try:
        parts = urlsplit(urljoin(base.origin + target, location))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return UsageError(f"{base.display_address} redirects to an invalid address.", "Check the server address.")
    origin = ServerAddress(parts.scheme, host, port).origin
    shown = one_line(mask_secrets(origin + parts.path), 200)
    asked = target.partition("?")[0].removeprefix(base.path)
    if asked and parts.path.endswith(asked) and parts.scheme in {"http", "https"} and host:
        there = one_line(mask_secrets(origin + parts.path.removesuffix(asked)), 200)
        hint = f"If this is the right server, use --server {there}"
    else:
        hint = "If this is the right server, set its address with --server."
    return UsageError(
        f"{base.display_address} redirects to {shown}. Redirects are not followed, to protect the credential.", hint
    )
