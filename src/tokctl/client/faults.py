"""What went wrong on the way to a server, as one of ``errors``. What a server says is in ``statuses``."""

from __future__ import annotations

import errno
import socket
import ssl

import httpcore

from tokctl.client.connection import Connection
from tokctl.client.patience import PassingError
from tokctl.client.text import one_line
from tokctl.errors import NotAllowedError, TokctlError, UnreachableError, UntrustedError, UsageError

_TRUST = "Name the certificate of its authority with --ca-file."
_RAISE = "Give it longer with --request-timeout."
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_RESET = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}
UNSENT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
    httpcore.LocalProtocolError,
    UnicodeError,
)
"""Errors behind which no request has left; behind all others it may have arrived."""
# OpenSSL's X509_V_ERR_…, from its x509_vfy.h
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}


def before_answer(error: Exception, place: str, connection: Connection) -> TokctlError:
    """Say why no answer came.

    Args:
        error: an error of httpcore's, or UnicodeError for a host that can be none.
        place: the server, and the proxy to it where there is one.
        connection: for its time limits.
    """
    cause = _cause(error)
    if isinstance(error, httpcore.TimeoutException):
        return _too_late(error, place, connection)
    if isinstance(error, UnicodeError):
        return UsageError(f"{place}: there can be no host of that name.")
    if isinstance(error, httpcore.ProxyError):
        return _proxy_refused(str(error), place)
    if isinstance(cause, ssl.SSLError):
        return _tls(cause, place)
    if isinstance(error, httpcore.ConnectError):
        return _unconnected(cause, place)
    if isinstance(error, httpcore.RemoteProtocolError) and cause is not None:
        return PassingError(f"{place} speaks no HTTP, or something else than this address says.",
                            "Check the port, and whether it is http:// or https://.")  # fmt: skip
    if isinstance(error, httpcore.LocalProtocolError):  # its text quotes the header, and that may be the secret
        return UsageError(f"{place}: the request cannot be put into HTTP.")
    return PassingError(f"{place} cut the connection before it answered.")


def _too_late(error: httpcore.TimeoutException, place: str, connection: Connection) -> PassingError:
    if isinstance(error, httpcore.ConnectTimeout):
        return PassingError(f"{place} cannot be reached: no answer to a connection within "
                            f"{connection.connect_timeout:g} s.", "Check the address and the network.")  # fmt: skip
    if isinstance(error, httpcore.PoolTimeout):
        return PassingError(f"{place}: all connections were in use for {connection.timeout:g} s.", _RAISE)
    return PassingError(f"{place} did not answer within {connection.timeout:g} s.", _RAISE)


def _cause(error: Exception) -> Exception | None:
    """What httpcore made an error of; its pool cuts the chain of causes, but the error still holds it."""
    return error.args[0] if error.args and isinstance(error.args[0], Exception) else None


def within_answer(error: Exception, url: str, received: int, seconds: float) -> TokctlError:
    """Say why an answer did not come to its end."""
    so_far = f"after {received:,} bytes"
    if isinstance(error, httpcore.TimeoutException):
        return UnreachableError(f"{url}: the answer stopped {so_far}: nothing more within {seconds:g} s.", _RAISE)
    return PassingError(f"{url}: the answer broke off {so_far}.")


def _unconnected(cause: Exception | None, place: str) -> TokctlError:
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return PassingError(f"{place}: the name of the host cannot be looked up now.",
                                "Check the name and the network.")  # fmt: skip
        return UnreachableError(f"{place}: there is no host of that name.", "Check the address.")
    number = cause.errno if isinstance(cause, OSError) else None
    if number == errno.ECONNREFUSED:
        return PassingError(f"{place} refuses the connection.", "Check the address, and that the server is running.")
    if number in _NO_ROUTE:
        return PassingError(f"{place}: there is no route to the host.", "Check the address and the network.")
    if number in _RESET:
        return PassingError(f"{place} cut the connection before it answered.")
    if number == errno.ENOENT:
        return UnreachableError(f"{place}: there is no such socket.", "Check the address, and that the server runs.")
    if number in {errno.EACCES, errno.EPERM}:
        return NotAllowedError(f"{place}: connecting to it is not allowed here.")
    reason = getattr(cause, "strerror", None) or type(cause).__name__
    return PassingError(f"{place} cannot be reached: {one_line(str(reason))}.")


def _tls(cause: ssl.SSLError, place: str) -> TokctlError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(cause, place)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return PassingError(f"{place} cut the connection before it answered.")
    if cause.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}:
        return UntrustedError(f"{place} does not speak TLS.", "Check the port, or use http:// if that is safe there.")
    reason = one_line((cause.reason or "of an unknown kind").replace("_", " ").lower(), 80)
    return UntrustedError(f"{place}: no secure connection can be agreed on ({reason}).")


def _certificate(cause: ssl.SSLCertVerificationError, place: str) -> UntrustedError:
    if cause.verify_code == _EXPIRED:
        return UntrustedError(f"{place}: the server's certificate has expired.", "Its operator has to renew it.")
    if cause.verify_code == _NOT_YET:
        return UntrustedError(
            f"{place}: the server's certificate is not valid yet.", "Check the clock of this machine."
        )
    if cause.verify_code in {_WRONG_NAME, _WRONG_ADDRESS}:
        return UntrustedError(f"{place}: the server's certificate is for another name.",
                              "Use the name that it is for.")  # fmt: skip
    if cause.verify_code in _UNKNOWN_AUTHORITY:
        return UntrustedError(f"{place}: the server's certificate comes from an unknown authority.", _TRUST)
    return UntrustedError(f"{place}: the server's certificate does not hold ({one_line(cause.verify_message, 80)}).")


def _proxy_refused(text: str, place: str) -> TokctlError:
    status = one_line(text, 80)
    if status.startswith("407"):
        return NotAllowedError(f"{place}: the proxy asks for a password ({status}).",
                               "Put it into the proxy's URL in HTTPS_PROXY.")  # fmt: skip
    return PassingError(f"{place}: the proxy cannot make the connection ({status}).")
