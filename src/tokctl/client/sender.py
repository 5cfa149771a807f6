"""Sends one request over httpx and reads its response: headers, credential, deadlines, limits, errors for failures.

Imported by the first request of a client, as httpx takes a while to import. ``session`` does the retries.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic

import httpcore
import httpx

from tokctl.client.bodies import BodyTooLargeError, CorruptBodyError, TruncatedBodyError, decode_body
from tokctl.client.certificates import create_ssl_context, describe_trust
from tokctl.client.connection import ClientRequest, ClientResponse, Connection
from tokctl.client.connection_failures import (
    TIMEOUT_HINT,
    UNSENT_ERRORS,
    Route,
    expects_https,
    explain_gateway,
    https_expected_error,
    proxy_error,
    request_error,
    response_error,
)
from tokctl.client.credential import RequestCredential
from tokctl.client.failures import MAX_ERROR_BODY_BYTES, parse_error_body, status_error
from tokctl.client.json_responses import is_foreign, not_json_error
from tokctl.client.proxies import proxy_for
from tokctl.client.rate_limit import rate_limiter
from tokctl.client.redirects import REDIRECTS, SEE_OTHER, Redirect, RedirectPolicy
from tokctl.client.retries import OutcomeUnknownError, TransientError
from tokctl.client.transport import TARGET, Deadline, DeadlineTransport
from tokctl.errors import InputError, TokctlError, UnreachableError, UsageError
from tokctl.model.api_tokens import EXPIRES_HEADER
from tokctl.readers.foreign_formats import BEGINNING_CHARACTERS
from tokctl.server_address import ServerAddress, parse_url
from tokctl.server_clock import ServerClock
from tokctl.verbose_log import TRAFFIC, trace

BODY_TIMEOUT_FACTOR = 10
"""How many timeouts the body of a response may take if it is read as a whole."""

MIN_BYTES_PER_SECOND = 256
"""The slowest acceptable rate of a body; checked whenever a timeout's worth of waiting has passed."""

_REDIRECT = "tokctl_redirect"
"""The extension of a response that redirects its request: a ``Redirect``."""

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
            self._url = httpx.URL(scheme=base.scheme, host=base.host, port=base.port)
            _ = self._url.host  # decoded only now; each request needs it
        except (httpx.InvalidURL, UnicodeError):
            raise UsageError(f"{base.display_address}: invalid host name.") from None
        given = parse_url(connection.given_url) if connection.given_url else base
        self._redirects = RedirectPolicy(base, given, self._credential.mask)
        proxy = proxy_for(base)
        self._route = Route(base, proxy)
        if proxy is not None:
            trace("proxy for %s: %s", base.display_address, proxy)
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
            event_hooks={"response": [_take_location]},  # before httpx parses it
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
            with self._credential.shared.password_attempt(str(self._route)):
                return self._follow(request)
        return self._follow(request)

    def _follow(self, request: ClientRequest) -> httpx.Response:
        """Send a request, and send it again to where the server redirects it."""
        targets = [request.target]
        while True:
            response = self._send(request._replace(target=targets[-1]))
            redirect = response.extensions.get(_REDIRECT)
            if redirect is None:
                return response
            response.close()
            try:
                targets.append(self._redirects.next_target(request.method, targets, redirect))
            except TokctlError as fault:
                if redirect.status == SEE_OTHER:  # the usual response to a request that was processed
                    raise _outcome_unknown(request, fault) from None
                raise

    def _send(self, request: ClientRequest) -> httpx.Response:
        """Send a request once. The response has a success status, one that the caller accepts, or is a redirect."""
        credential = self._credential.headers() if request.with_credential else {}
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._connection.user_agent}
        if "%" in self._base.host:  # the zone of an IPv6 address has a meaning on this machine only
            headers["Host"] = self._base._replace(host=self._base.host_name).origin.partition("://")[2]
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
            fault = request_error(error, self._route, self._connection)
            raise (fault if isinstance(error, UNSENT_ERRORS) else _outcome_unknown(request, fault)) from None
        status = response.status_code
        TRAFFIC.count_bytes(0, monotonic())
        self._server_clock.compare(response.headers, datetime.now(UTC), timedelta(seconds=monotonic() - begin))
        trace("%s: %s in %.0f ms", called, status, (monotonic() - begin) * 1000)
        if _REDIRECT in response.extensions:
            return response
        if credential and self._credential.is_password:
            self._credential.shared.note_password_result(status)
        if credential and (expiry := response.headers.get(EXPIRES_HEADER)):
            self._credential.announce_expiry(expiry)
        is_from_proxy = status == 407 and self._route.proxy is not None
        if response.is_success or (status in request.accept and not is_from_proxy):
            return response
        refusal = self._status_error(response, scheme=_scheme(credential))
        raise _outcome_unknown(request, refusal, status) if status >= 500 else refusal

    def fetch(self, request: ClientRequest) -> ClientResponse:
        """Send a request and read its whole response. Raises as ``send_request`` and ``iter_body``."""
        begun = monotonic()
        with closing(self.send_request(request)) as response:
            try:
                seconds = BODY_TIMEOUT_FACTOR * self._connection.timeout
                max_bytes = min(self._connection.max_document_bytes, self._connection.max_bytes)
                body = b"".join(self.iter_body(response, seconds, max_bytes))
                self._check_values(body, response)
            except TokctlError as fault:
                raise _outcome_unknown(request, fault) from None
        if expects_https(response.status_code, body, self._route):
            raise https_expected_error(self._route)
        return self._to_response(response, body, monotonic() - begun)

    def stream_json(self, response: httpx.Response) -> Iterator[bytes]:
        """Return the body of a response as ``iter_body`` does. Raises InputError: it is a web page, XML or binary."""
        pieces = self.iter_body(response)
        beginning = b""
        while len(beginning) < BEGINNING_CHARACTERS and beginning.lstrip()[:1] not in {b"{", b"["}:
            if (piece := next(pieces, None)) is None:
                break
            beginning += piece
        answer = self._to_response(response, beginning)
        if is_foreign(answer):
            raise not_json_error(answer)
        return chain([beginning], pieces)

    def _to_response(self, response: httpx.Response, body: bytes, elapsed: float = 0.0) -> ClientResponse:
        url = self.display_url(response)
        return ClientResponse(response.status_code, body, dict(response.headers), elapsed, url, self._credential.mask)

    def display_url(self, response: httpx.Response) -> str:
        """Return the URL that a response is from, after redirects, for messages: without the query and secrets."""
        return self._credential.mask(self._base.display_target(response.request.extensions[TARGET].decode()))

    def _check_values(self, body: bytes, response: httpx.Response) -> None:
        """Raise InputError if decoding the JSON of a body could need far more memory than the body."""
        if body.count(b",") + body.count(b"[") + body.count(b"{") > self._connection.max_document_values:
            url = self.display_url(response)
            raise InputError(
                f"{url}: the response has more than {self._connection.max_document_values:,} values.",
                "Use a filter or a limit.",
            )

    def iter_body(
        self, response: httpx.Response, seconds: float | None = None, max_bytes: int | None = None
    ) -> Iterator[bytes]:
        """Yield the body of a response as it arrives, decompressed; ``seconds`` limits the whole body.

        Raises UnreachableError: it breaks off, stops, or is too slow; InputError: it is too large or damaged.
        """
        url = self.display_url(response)
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
        else:
            trace("trusted certificates: %s", describe_trust(self._connection.ca_file))
        return create_ssl_context(self._connection.ca_file, insecure=self._connection.insecure)

    def _status_error(self, response: httpx.Response, *, scheme: str) -> TokctlError:
        body = b""
        with closing(response), suppress(UnreachableError, InputError):  # the body is only for the message
            for piece in self.iter_body(response, self._connection.connect_timeout):
                body += piece
                if len(body) >= MAX_ERROR_BODY_BYTES:
                    break
        status = response.status_code
        if expects_https(status, body, self._route):
            return https_expected_error(self._route)
        if status == 407 and self._route.proxy is not None:  # a server has no reason to send it
            return proxy_error("407", self._route)
        error = status_error(
            status,
            response.headers,
            parse_error_body(body, response.headers, self._credential.mask),
            place=str(self._route),
            url=self.display_url(response),
            scheme=scheme,
        )
        if status == 401:
            error.hint = self._connection.rejection_hint(self._credential.get() if scheme else None) or error.hint
        return explain_gateway(error, status, response.headers.get("content-type", ""), self._route)


def _take_location(response: httpx.Response) -> None:
    """Move the location of a redirect from the headers, which httpx would parse, to the extensions."""
    if response.status_code in REDIRECTS and (location := response.headers.pop("location", "")):
        response.extensions[_REDIRECT] = Redirect(response.status_code, location)


def _scheme(headers: Mapping[str, str]) -> str:
    """Return the authentication scheme of a request: Basic, Bearer, or '' without a credential."""
    return headers.get("Authorization", "").partition(" ")[0]


def _outcome_unknown(request: ClientRequest, fault: TokctlError, status: int | None = None) -> TokctlError:
    """If the request changes something, return an error with the hint that it may have been processed."""
    if request.method not in _UNSAFE_METHODS or request.repeatable:
        return fault
    return OutcomeUnknownError(fault.message, fault.hint, status=status)
