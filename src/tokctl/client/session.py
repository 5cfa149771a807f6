"""The client: sends requests, repeats them if that is safe, and returns complete responses or raises errors."""

from __future__ import annotations

import random as chance
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tokctl.client.connection import ClientRequest, ClientResponse, Connection
from tokctl.client.retries import OutcomeUnknownError, TransientError, retry
from tokctl.errors import TokctlError, UsageError
from tokctl.server_address import ServerAddress, parse_url
from tokctl.server_clock import ServerClock
from tokctl.text import one_line

if TYPE_CHECKING:
    from tokctl.client.sender import HttpSender

Params = Mapping[str, str | Sequence[str]]
NO_PARAMS: Params = MappingProxyType({})
T = TypeVar("T")
_JSON = {"Content-Type": "application/json"}


def _warn_on_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


class Client:
    """Sends requests to one server over a pool of connections. Several threads may use it at once.

    Nothing is imported, opened or looked up before the first request.

    ``sleep`` waits for a number of seconds, ``random`` draws a number from 0 to 1 for the delays between attempts, and
    ``warn`` is called once for each warning: certificates are not verified, or the credential is sent unencrypted or
    expires soon.
    Raises UsageError: the connection's URL is invalid.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = chance.random,
        warn: Callable[[str], object] = _warn_on_stderr,
    ) -> None:
        self.connection = connection
        self._base = parse_url(connection.url)
        self._sleep = sleep
        self._random = random
        self._warn = warn
        self.server_clock = ServerClock()
        self._lock = threading.Lock()
        self._sender: HttpSender | None = None

    def __repr__(self) -> str:
        return f"Client({self._base.display_address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def get(
        self,
        segments: Sequence[str],
        params: Params = NO_PARAMS,
        *,
        etag: str | None = None,
        missing_ok: bool = False,
        accept: Collection[int] = (),
        with_credential: bool = True,
        media_type: str | None = None,
    ) -> ClientResponse:
        """Send a GET request and return the whole response. It is repeated after transient failures.

        Args:
            segments: of the path below the server's URL; each is encoded and stays one segment.
            params: the query.
            etag: of the version that the caller has; the status may then be 304, without a body.
            missing_ok: whether to return a response with status 404 instead of raising NotFoundError.
            accept: further statuses that are no errors.
            with_credential: whether to send the credential.
            media_type: of the response, if it is not JSON.

        Raises UnreachableError, UntrustedError, NotAllowedError, NotFoundError, UsageError, InputError: see ``errors``.
        """
        accepted = {*accept, *((304,) if etag else ()), *((404,) if missing_ok else ())}
        headers = {"If-None-Match": etag} if etag else {}
        if media_type is not None:
            headers["Accept"] = media_type
        target = build_target(self._base, segments, params)
        request = ClientRequest("GET", target, headers, accepted, with_credential=with_credential)
        return self._with_retries(lambda: self._get_sender().fetch(request))

    @contextmanager
    def stream(self, segments: Sequence[str], params: Params = NO_PARAMS) -> Iterator[Iterator[bytes]]:
        """Send a GET request; the context is an iterator over the body as it arrives, decompressed.

        The iterator raises UnreachableError if the response ends early: the body is complete only at its end. Other
        errors are as those of ``get``.
        """
        target = build_target(self._base, segments, params)
        sender = self._get_sender()
        with closing(self._with_retries(lambda: sender.send_request(ClientRequest("GET", target)))) as response:
            yield sender.stream_json(response)

    def post(
        self,
        segments: Sequence[str],
        body: Any = None,
        *,
        with_credential: bool = True,
        accept: Collection[int] = (),
        idempotency_key: str | None = None,
        repeatable: bool = False,
    ) -> ClientResponse:
        """Send a POST request with a JSON document, anything that msgspec can encode.

        It is repeated only with an ``idempotency_key``, by which the server knows a repetition, and only if it may have
        been processed already; or after transient failures, as a GET request, if it is ``repeatable``: then it does no
        harm if the server processes it twice.

        Raises:
            OutcomeUnknownError: the server may have processed it.
            TokctlError: as ``get``; the server has not processed it.
        """
        target = build_target(self._base, segments, NO_PARAMS)
        content = msgspec.json.encode(body)
        headers = _JSON if idempotency_key is None else {**_JSON, "Idempotency-Key": f'"{idempotency_key}"'}
        request = ClientRequest("POST", target, headers, accept, content, with_credential, repeatable)
        if repeatable:
            return self._with_retries(lambda: self._get_sender().fetch(request))
        if idempotency_key is None:
            return self._get_sender().fetch(request)
        return self._repeat_until_known(request)

    def put(
        self, segments: Sequence[str], body: Any, *, match: str | None = None, accept: Collection[int] = ()
    ) -> ClientResponse:
        """Send a PUT request as ``post`` does. ``match`` is the ETag of the version to replace."""
        headers = _JSON if match is None else {**_JSON, "If-Match": match}
        target = build_target(self._base, segments, NO_PARAMS)
        return self._get_sender().fetch(ClientRequest("PUT", target, headers, accept, msgspec.json.encode(body)))

    def delete(
        self, segments: Sequence[str], params: Params = NO_PARAMS, *, accept: Collection[int] = ()
    ) -> ClientResponse:
        """Send a DELETE request. It is never repeated, and raises as ``post``."""
        request = ClientRequest("DELETE", build_target(self._base, segments, params), {}, accept)
        return self._get_sender().fetch(request)

    def _repeat_until_known(self, request: ClientRequest) -> ClientResponse:
        """Send a request that the server recognizes when it is repeated, until there is a response to it.

        The outcome stays unknown if a repetition fails in any way: the first request may have been processed.
        """
        try:
            return self._get_sender().fetch(request)
        except OutcomeUnknownError:

            def attempt() -> ClientResponse:
                try:
                    return self._get_sender().fetch(request)
                except OutcomeUnknownError as error:
                    raise TransientError(error.message, error.hint, status=error.status) from None

            try:
                return self._with_retries(attempt)
            except TokctlError as error:
                raise OutcomeUnknownError(error.message, error.hint) from None

    def _with_retries(self, attempt: Callable[[], T]) -> T:
        retries = max(0, self.connection.retries)
        return retry(attempt, retries, sleep=self._sleep, random=self._random)

    def _get_sender(self) -> HttpSender:
        with self._lock:
            if self._sender is None:
                from tokctl.client.sender import HttpSender

                self._sender = HttpSender(self.connection, self._base, self._warn, self.server_clock)
            return self._sender


def build_target(server: ServerAddress, segments: Sequence[str], params: Params) -> str:
    """Return the path and query of a request, in ASCII.

    Each segment is encoded and stays one segment, with any characters; a name in the query that has several
    values is repeated. Raises UsageError: a segment cannot be part of a path, or a text is not valid Unicode.
    """
    path = server.path + "".join(f"/{_encode_segment(text)}" for text in segments)
    try:
        query = urlencode(params, doseq=True, quote_via=quote)
    except UnicodeEncodeError:
        raise UsageError("a filter contains invalid Unicode.") from None
    return f"{path}?{query}" if query else path


def _encode_segment(text: str) -> str:
    if not text:
        raise UsageError("an id is empty.", "Give the id of an instance, a token or a process.")
    if "\0" in text:
        raise UsageError(f"the id '{one_line(text, 60)}' contains a NUL character.")
    if text in {".", ".."}:
        return text.replace(".", "%2E")  # unencoded they would be steps within the path
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"the id '{one_line(text, 60)}' contains invalid Unicode.") from None
