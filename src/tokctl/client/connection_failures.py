"""Turns failures of a connection into errors: the server, or the proxy before it, does not answer as it should.

``failures`` does so for error responses, ``redirects`` for redirects.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import NamedTuple

import httpcore

from tokctl.client.certificates import describe_trust, trusted_places
from tokctl.client.connection import Connection
from tokctl.client.proxies import Proxy
from tokctl.client.retries import TransientError
from tokctl.client.transport import TlsExpectedError
from tokctl.errors import NotAllowedError, TokctlError, UnreachableError, UntrustedError, UsageError
from tokctl.server_address import DEFAULT_PORTS, ServerAddress
from tokctl.text import one_line

TIMEOUT_HINT = "Set a longer timeout with --request-timeout."
UNSENT_ERRORS = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
    httpcore.LocalProtocolError,
    TlsExpectedError,
    UnicodeError,
)
"""Exceptions after which the server has certainly not received the request; after all others it may have."""

GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Statuses with which a proxy says that it cannot reach the server."""

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
    errno.EINVAL: (
        UnreachableError,
        "cannot reach {}: the address is invalid.",
        "A link-local IPv6 address needs the network interface, as in http://[fe80::1%eth0].",
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

_HTTPS_EXPECTED = re.compile(
    rb"plain HTTP request was sent to HTTPS port"  # nginx
    rb"|plain HTTP to an SSL-enabled server port"  # Apache
    rb"|HTTP request to an HTTPS server"  # Go
    rb"|combination of host and port requires TLS"  # Tomcat
)
"""How servers answer, with status 400, if they expect TLS."""


class Route(NamedTuple):
    """The way to a server: its address, and the proxy, or None."""

    base: ServerAddress
    proxy: Proxy | None

    def __str__(self) -> str:
        address = self.base.display_address
        return f"{address} (through the proxy {self.proxy.url})" if self.proxy else address

    @property
    def proxy_place(self) -> str:
        """The proxy for messages, with the variable that names it."""
        return f"the proxy {self.proxy} for {self.base.display_address}"

    @property
    def proxy_hint(self) -> str:
        """What to do if the proxy is wrong, or not needed for this server."""
        source = self.proxy.source if self.proxy else ""
        return f"Check {source}, or add {self.base.host_name} to NO_PROXY."

    def with_scheme(self, scheme: str) -> str:
        """The address of the same port with another scheme."""
        port = self.base.effective_port
        other = self.base._replace(scheme=scheme, port=None if port == DEFAULT_PORTS[scheme] else port)
        return other.display_address


def request_error(error: Exception, route: Route, connection: Connection) -> TokctlError:
    """Return the error for a request without a response.

    ``error`` is an exception of httpcore, or UnicodeError for a host name that DNS cannot represent.
    """
    # httpcore's pool removes ``__cause__``, but not the arguments.
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else None
    if isinstance(error, httpcore.TimeoutException):
        return _timeout_error(error, route, connection)
    if isinstance(error, UnicodeError):
        return UsageError(f"{route}: invalid host name.")
    if isinstance(error, httpcore.ProxyError):
        return proxy_error(one_line(str(error), 80), route)
    if isinstance(cause, ssl.SSLError):
        return _tls_error(cause, route, connection)
    if isinstance(error, httpcore.ConnectError):
        return _connect_error(cause, route)
    if isinstance(error, httpcore.ProtocolError):
        return _protocol_error(error, cause, route)
    return _cut_error(route)


def response_error(error: Exception, url: str, received: int, seconds: float) -> TokctlError:
    """Return the error for a body that stopped after ``received`` bytes; ``seconds`` is the timeout that passed."""
    so_far = f"after {received:,} bytes"
    if isinstance(error, httpcore.TimeoutException):
        return UnreachableError(f"{url}: timeout {so_far}: no more data within {seconds:g} s.", TIMEOUT_HINT)
    return TransientError(f"{url}: the response ended early, {so_far}.")


def _timeout_error(error: httpcore.TimeoutException, route: Route, connection: Connection) -> TransientError:
    if isinstance(error, httpcore.ConnectTimeout):
        hint = route.proxy_hint if route.proxy else _ADDRESS_HINT
        return TransientError(f"cannot reach {route}: no connection within {connection.connect_timeout:g} s.", hint)
    if isinstance(error, httpcore.PoolTimeout):
        return TransientError(f"{route}: all connections were in use for {connection.timeout:g} s.", TIMEOUT_HINT)
    return TransientError(f"{route}: no response within {connection.timeout:g} s.", TIMEOUT_HINT)


def _connect_error(cause: Exception | None, route: Route) -> TokctlError:
    """Return the error for a failed connection: to the proxy if there is one, as it makes the one to the server."""
    place = route.proxy_place if route.proxy else str(route)
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            hint = route.proxy_hint if route.proxy else "Check the host name and the network."
            return TransientError(f"cannot reach {place}: the host name lookup failed.", hint)
        what = "unknown address or network interface" if "%" in route.base.host else "unknown host name"
        hint = route.proxy_hint if route.proxy else "Check the address."
        return UnreachableError(f"cannot reach {place}: {what}.", hint)
    number, reason = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (None, None)
    kind, message, hint = _CONNECT_FAILURES.get(
        number, (TransientError, f"cannot reach {{}}: {one_line(str(reason or type(cause).__name__))}.", "")
    )
    if message == _CUT[1]:  # perhaps in the TLS handshake with the server
        return _cut_error(route)
    return kind(message.format(place), route.proxy_hint if route.proxy else hint)


def _protocol_error(error: httpcore.ProtocolError, cause: Exception | None, route: Route) -> TokctlError:
    if isinstance(error, TlsExpectedError):
        return https_expected_error(route)
    if isinstance(error, httpcore.LocalProtocolError):  # its text quotes the header, which may be the secret
        return UsageError(f"{route}: the request is not valid HTTP.")
    if cause is None:
        return _cut_error(route)
    return TransientError(f"{route}: the response is not HTTP.", "Check the port and the scheme (http:// or https://).")


def _cut_error(route: Route) -> TransientError:
    secure = route.base.scheme == "https"
    other = route.with_scheme("http" if secure else "https")
    hint = f"If the server {'does not use' if secure else 'expects'} TLS, use {other}."
    return TransientError(_CUT[1].format(route), "" if route.base.socket else hint)


# --- TLS ---


def _tls_error(cause: ssl.SSLError, route: Route, connection: Connection) -> TokctlError:
    tls_proxy = route.proxy if route.proxy and route.proxy.url.startswith("https:") else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        unnamed = (f"is not valid ({one_line(cause.verify_message, 80)}).", "")
        fault, hint = _CERTIFICATE_ERRORS.get(cause.verify_code, unnamed)
        if (fault, hint) == _UNKNOWN_AUTHORITY and trusted_places(connection.ca_file):
            hint += f" Trusted are {describe_trust(connection.ca_file)}."
        whose = "the certificate of the server or the proxy" if tls_proxy else "the server's certificate"
        return UntrustedError(f"{route}: {whose} {fault}", hint)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _cut_error(route)
    if cause.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}:
        if tls_proxy is not None:
            hint = f"Most proxies do not: use http:// in {tls_proxy.source}. If it is the server, check its port."
            return UntrustedError(f"{route}: the proxy or the server does not speak TLS.", hint)
        hint = f"Check the port, or use {route.with_scheme('http')} if the network is safe."
        return UntrustedError(f"{route} does not speak TLS.", hint)
    reason = one_line((cause.reason or "unknown reason").replace("_", " ").lower(), 80)
    return UntrustedError(f"{route}: TLS handshake failed ({reason}).")


def expects_https(status: int, body: bytes, route: Route) -> bool:
    """Tell whether a response says that the server expects TLS."""
    return status == 400 and route.base.scheme == "http" and _HTTPS_EXPECTED.search(body[:4096]) is not None


def https_expected_error(route: Route) -> TokctlError:
    """Return the error for an unencrypted request where TLS is expected: by the proxy, which gets it first."""
    if route.proxy is not None:
        hint = f"Use https:// in {route.proxy.source}."
        return UntrustedError(f"{route.proxy_place} expects TLS.", hint)
    return UntrustedError(f"{route} expects TLS.", f"Use {route.with_scheme('https')}.")


# --- proxies ---


def proxy_error(status: str, route: Route) -> TokctlError:
    """Return the error for a response in which the proxy refuses; ``status`` may have the reason behind the number."""
    place, proxy = route.proxy_place, route.proxy
    exception = f"or add {route.base.host_name} to NO_PROXY."
    if status.startswith("407") and proxy is not None:
        if proxy.auth is not None:
            message = f"{place} rejected the user name or the password ({status})."
            return NotAllowedError(message, f"Check them in {proxy.source}, {exception}")
        scheme, _, host = proxy.url.partition("://")
        hint = f"Set {proxy.source} to {scheme}://USER:PASSWORD@{host}, {exception}"
        return NotAllowedError(f"{place} requires a user name and a password ({status}).", hint)
    if status.startswith("4") and status[:3] not in {"408", "425", "429"}:
        message = f"{place} refuses the connection ({status})."
        return NotAllowedError(message, f"Ask the operator of the proxy, {exception}")
    return TransientError(f"{place} cannot connect to the server ({status}).", f"Check the address, {exception}")


def explain_gateway(error: TokctlError, status: int, content_type: str, route: Route) -> TokctlError:
    """Add to the error for a response that it may come from the proxy: one that is not JSON, to an http request."""
    may_be_proxy = route.proxy is not None and route.base.scheme == "http" and "json" not in content_type
    if may_be_proxy and status in {403, *GATEWAY_STATUSES}:
        error.hint = f"{error.hint} The response may come from {route.proxy_place}. {route.proxy_hint}".lstrip()
    return error
