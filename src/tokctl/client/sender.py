"""Sends one request over httpx and reads its response: headers, credential, deadlines, limits, errors for failures.

Imported by the first request of a client, as httpx takes a while to import. ``session`` does the retries.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic

import httpcore
import httpx

from tokctl.client.connection import ClientRequest, ClientResponse, Connection
from tokctl.client.credential import RequestCredential
from tokctl.client.failures import (
    MAX_ERROR_BODY_BYTES,
    REDIRECTS,
    TIMEOUT_HINT,
    UNSENT_ERRORS,
    parse_error_body,
    redirect_error,
    request_error,
    response_error,
    status_error,
)
from tokctl.client.json_responses import is_foreign, not_json_error
from tokctl.client.rate_limit import rate_limiter
from tokctl.client.retries import OutcomeUnknownError, TransientError
from tokctl.client.transport import TARGET, Deadline, DeadlineTransport, create_ssl_context, proxy_for
from tokctl.errors import InputError, TokctlError, UnreachableError, UsageError
from tokctl.input_files import decompress
from tokctl.model.api_tokens import EXPIRES_HEADER
from tokctl.readers.foreign_formats import BEGINNING_CHARACTERS
from tokctl.server_address import ServerAddress
from tokctl.server_clock import ServerClock
from tokctl.text import one_line
from tokctl.verbose_log import TRAFFIC, trace

BODY_TIMEOUT_FACTOR = 10
"""How many timeouts the body of a response may take if it is read as a whole."""

MIN_BYTES_PER_SECOND = 256
"""The slowest acceptable rate of a body; checked whenever a timeout's worth of waiting has passed."""

_UNSAFE_METHODS = frozenset({"POST", "PUT", "DELETE"})
_TRANSPORT_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    UnicodeError,  # a host name that DNS cannot represent
)


class HttpSender:
    """Sends requests to one server. Several threads may use it at once.

    ``base`` is the parsed URL of the connection; ``warn`` is called with each warning for the user, and
    ``server_clock`` learns of each response. Raises UsageError: the host name or the proxy is invalid; and as
    ``create_ssl_context``.
    """

    def __init__(
        self, connection: Connection, base: ServerAddress, warn: Callable[[str], object], server_clock: ServerClock
    ) -> None:
        self._connection = connection
        self._base = base
        self._warn = warn
        self._server_clock = server_clock
        self._deadline = Deadline()
        self._credential = RequestCredential(connection.credential, base, warn, basic=connection.basic)
        self._limiter = None if connection.rate is None else rate_limiter(base.origin, connection.rate)
        try:
            self._url = httpx.URL(base.origin)
            _ = self._url.host  # decoded only now; each request needs it
        except (httpx.InvalidURL, UnicodeError):
            raise UsageError(f"{base.display_address}: invalid host name.") from None
        proxy = proxy_for(base)
        self._display_address = (
            f"{base.display_address} (through the proxy {proxy.url})" if proxy else base.display_address
        )
        secure = base.scheme == "https" or (proxy is not None and proxy.url.startswith("https:"))
        transport = DeadlineTransport(
            self._deadline,
            ssl_context=self._create_ssl_context() if secure else None,
            proxy=proxy,
            socket=base.socket,
        )
        # Of the environment only the proxy is used, which proxy_for has read: no .netrc, no certificates.
        self._client = httpx.Client(
            transport=transport,
            trust_env=False,
            timeout=httpx.Timeout(connection.timeout, connect=connection.connect_timeout),
            event_hooks={"response": [self._refuse_redirect]},  # before httpx parses the Location
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def send_request(self, request: ClientRequest) -> httpx.Response:
        """Send a request and read the head of its response, which the caller has to close.

        Raises:
            OutcomeUnknownError: the request changes something, and the server may have processed it.
            TokctlError: there is no response, or its status is an error.
        """
        if request.with_credential and self._credential.is_password:
            with self._credential.shared.password_attempt(self._display_address):
                return self._send(request)
        return self._send(request)

    def _send(self, request: ClientRequest) -> httpx.Response:
        credential = self._credential.headers() if request.with_credential else {}
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._connection.user_agent}
        # A plain Request, not one that the client builds, has no cookies and no headers of httpx's own.
        sent = httpx.Request(
            request.method,
            self._url,
            headers={**headers, **credential, **request.headers},
            content=request.content,
            extensions={TARGET: request.target.encode()},
        )
        called = f"{request.method} {self._base.display_target(request.target)}"
        if self._limiter is not None:
            self._limiter.wait()
        begin = monotonic()
        TRAFFIC.count_request(begin)
        try:
            with self._deadline.limit(self._connection.connect_timeout + self._connection.timeout):
                response = self._client.send(sent, stream=True)
        except _TRANSPORT_ERRORS as error:
            trace("%s: no response (%s)", called, type(error).__name__)
            fault = request_error(error, self._display_address, self._connection)
            raise (fault if isinstance(error, UNSENT_ERRORS) else _outcome_unknown(request.method, fault)) from None
        status = response.status_code
        TRAFFIC.count_bytes(0, monotonic())
        self._server_clock.compare(response.headers, datetime.now(UTC), timedelta(seconds=monotonic() - begin))
        if credential and self._credential.is_password:
            self._credential.shared.note_password_result(status)
        trace("%s: %s in %.0f ms", called, status, (monotonic() - begin) * 1000)
        if credential and (expiry := response.headers.get(EXPIRES_HEADER)):
            self._credential.announce_expiry(expiry)
        if response.is_success or status in request.accept:
            return response
        refusal = self._status_error(response, request.target, scheme=_scheme(credential))
        raise _outcome_unknown(request.method, refusal, status) if status >= 500 else refusal

    def fetch(self, request: ClientRequest) -> ClientResponse:
        """Send a request and read its whole response. Raises as ``send_request`` and ``iter_body``."""
        begun = monotonic()
        with closing(self.send_request(request)) as response:
            try:
                seconds = BODY_TIMEOUT_FACTOR * self._connection.timeout
                max_bytes = min(self._connection.max_document_bytes, self._connection.max_bytes)
                body = b"".join(self.iter_body(response, request.target, seconds, max_bytes))
                self._check_values(body, request.target)
            except TokctlError as fault:
                raise _outcome_unknown(request.method, fault) from None
        return self._to_response(response, request.target, body, monotonic() - begun)

    def stream_json(self, response: httpx.Response, target: str) -> Iterator[bytes]:
        """Return the body of a response as ``iter_body`` does. Raises InputError: it is a web page, XML or binary."""
        pieces = self.iter_body(response, target)
        beginning = b""
        while (
            len(beginning) < BEGINNING_CHARACTERS
            and beginning.lstrip()[:1] not in {b"{", b"["}
            and (piece := next(pieces, None)) is not None
        ):
            beginning += piece
        answer = self._to_response(response, target, beginning)
        if is_foreign(answer):
            raise not_json_error(answer)
        return chain([beginning], pieces)

    def _to_response(self, response: httpx.Response, target: str, body: bytes, elapsed: float = 0.0) -> ClientResponse:
        url = self._credential.mask(self._base.display_target(target))
        return ClientResponse(response.status_code, body, dict(response.headers), elapsed, url, self._credential.mask)

    def _check_values(self, body: bytes, target: str) -> None:
        """Raise InputError if decoding the JSON of a body could need far more memory than the body."""
        if body.count(b",") + body.count(b"[") + body.count(b"{") > self._connection.max_document_values:
            url = self._credential.mask(self._base.display_target(target))
            raise InputError(
                f"{url}: the response has more than {self._connection.max_document_values:,} values.",
                "Use a filter or a limit.",
            )

    def iter_body(
        self, response: httpx.Response, target: str, seconds: float | None = None, max_bytes: int | None = None
    ) -> Iterator[bytes]:
        """Yield the body of a response as it arrives, decompressed; ``seconds`` limits the whole body.

        Raises UnreachableError: it breaks off, stops, or is too slow; InputError: it is too large or damaged.
        """
        url = self._credential.mask(self._base.display_target(target))
        max_bytes = self._connection.max_bytes if max_bytes is None else max_bytes
        length = response.headers.get("content-length", "")
        try:
            encoding = response.headers.get("content-encoding", "")
            declared = int(length[:20]) if length.isdecimal() else 0
            yield from decode_body(self._iter_raw(response, url, seconds), encoding, max_bytes, declared=declared)
        except TruncatedBodyError:
            raise TransientError(f"{url}: the response ended early: the compressed body is truncated.") from None
        except BodyTooLargeError:
            raise InputError(
                f"{url}: the response is larger than {max_bytes:,} bytes.", "Use a filter or a limit."
            ) from None
        except CorruptBodyError as fault:
            raise InputError(f"{url}: the response {self._credential.mask(str(fault))}.") from None

    def _iter_raw(self, response: httpx.Response, url: str, seconds: float | None) -> Iterator[bytes]:
        timeout = self._connection.timeout
        until = None if seconds is None else monotonic() + seconds
        chunks = response.iter_raw()
        received = recent = 0
        waited = 0.0  # seconds of waiting for the server; time that the caller spends between two chunks does not count
        while True:
            begun = monotonic()
            try:
                with self._deadline.limit(timeout if until is None else min(timeout, until - begun)):
                    chunk = next(chunks, None)
            except _TRANSPORT_ERRORS as error:
                if seconds is not None and until is not None and monotonic() >= until:
                    message = f"{url}: timeout: the response was not complete after {seconds:g} s."
                    raise UnreachableError(message, TIMEOUT_HINT) from None
                raise response_error(error, url, received, timeout) from None
            if chunk is None:
                return
            received += len(chunk)
            TRAFFIC.count_bytes(len(chunk), monotonic())
            recent += len(chunk)
            waited += monotonic() - begun
            if waited >= timeout:
                if recent < MIN_BYTES_PER_SECOND * waited:
                    raise UnreachableError(
                        f"{url}: the response is too slow: {recent:,} bytes in the last {waited:.3g} s."
                    )
                recent, waited = 0, 0.0
            yield chunk

    def _create_ssl_context(self) -> ssl.SSLContext:
        if self._connection.insecure:
            self._warn(
                f"the TLS certificate of {self._base.display_address} is not verified (insecure): others on "
                "the network can read and change all data, including the credential."
            )
        return create_ssl_context(self._connection.ca_file, insecure=self._connection.insecure)

    def _refuse_redirect(self, response: httpx.Response) -> None:
        location = response.headers.get("location")
        if response.status_code in REDIRECTS and location:
            target = response.request.extensions[TARGET].decode()
            raise redirect_error(self._base, target, location, self._credential.mask)

    def _status_error(self, response: httpx.Response, target: str, *, scheme: str) -> TokctlError:
        body = b""
        with closing(response), suppress(UnreachableError, InputError):  # the body is only for the message
            for piece in self.iter_body(response, target, self._connection.connect_timeout):
                body += piece
                if len(body) >= MAX_ERROR_BODY_BYTES:
                    break
        error = status_error(
            response.status_code,
            response.headers,
            parse_error_body(body, response.headers, self._credential.mask),
            place=self._display_address,
            url=self._credential.mask(self._base.display_target(target)),
            scheme=scheme,
        )
        if response.status_code == 401:
            error.hint = self._connection.rejection_hint(self._credential.get() if scheme else None) or error.hint
        return error


def _scheme(headers: Mapping[str, str]) -> str:
    """Return the authentication scheme of a request: Basic, Bearer, or '' without a credential."""
    return headers.get("Authorization", "").partition(" ")[0]


def _outcome_unknown(method: str, fault: TokctlError, status: int | None = None) -> TokctlError:
    """If the request changes something, return an error with the hint that it may have been processed."""
    return OutcomeUnknownError(fault.message, fault.hint, status=status) if method in _UNSAFE_METHODS else fault


class BodyError(Exception):
    """An unusable body; the sender converts it into one of ``tokctl.errors``."""


class TruncatedBodyError(BodyError):
    """The compressed body ended too early."""


class BodyTooLargeError(BodyError):
    """The body is larger than the limit."""


class CorruptBodyError(BodyError):
    """The body does not match the response's headers."""


def decode_body(raw: Iterable[bytes], encoding: str, max_bytes: int, *, declared: int = 0) -> Iterator[bytes]:
    """Yield a body in pieces, decompressed, as they arrive. Raises BodyError.

    ``encoding`` is the value of the header Content-Encoding, ``declared`` the bytes that Content-Length promises, 0 if
    there is none; ``max_bytes`` is the limit of the decompressed size.
    """
    if declared > max_bytes:
        raise BodyTooLargeError
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        pieces: Iterable[bytes] = raw
    elif name in {"gzip", "x-gzip", "deflate"}:
        pieces = decompress(raw)
    else:
        raise CorruptBodyError(f"is compressed as '{one_line(name, 80)}', which was not requested")
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            if total > max_bytes:
                raise BodyTooLargeError
            yield piece
    except zlib.error:
        raise CorruptBodyError("is damaged: it cannot be decompressed") from None
    except EOFError:
        raise TruncatedBodyError from None
