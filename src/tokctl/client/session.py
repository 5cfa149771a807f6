"""The client: sends requests, tries again where that is safe, and gives out whole answers or errors."""

from __future__ import annotations

import random as chance
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from tokctl.client.address import parse_url, target
from tokctl.client.answers import WRONG_PLACE
from tokctl.client.connection import Answer, Connection
from tokctl.client.patience import patiently
from tokctl.errors import InputError

if TYPE_CHECKING:
    from tokctl.client.wire import Wire

Params = Mapping[str, str | Sequence[str]]
NOTHING: Params = MappingProxyType({})
T = TypeVar("T")


def _say(text: str) -> None:
    sys.stderr.write(f"tokctl: {text}\n")


class Client:
    """Speaks to one server, over connections that are kept; may be used by several threads at once.

    Nothing is imported, opened or looked up before the first request. ``warn`` is told, once each, what
    the user ought to know: that certificates are not checked, that a credential crosses a network unencrypted.

    Raises:
        UsageError: the connection's URL is none.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = chance.random,
        warn: Callable[[str], object] = _say,
    ) -> None:
        self.connection = connection
        self._base = parse_url(connection.url)
        self._sleep = sleep
        self._random = random
        self._warn = warn
        self._lock = threading.Lock()
        self._wire: Wire | None = None

    def __repr__(self) -> str:
        return f"Client({self._base.shown!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def get(
        self,
        segments: Sequence[str],
        params: Params = NOTHING,
        *,
        etag: str | None = None,
        missing_ok: bool = False,
        accept: Collection[int] = (),
    ) -> Answer:
        """Ask for something, as a whole.

        Args:
            segments: the path behind the server's URL; each is encoded, and stays one whatever it holds.
            params: the query.
            etag: what is held already: the answer may be 304, without a body.
            missing_ok: whether 404 is an answer and no error.
            accept: further statuses that are answers.

        Raises:
            UnreachableError, UntrustedError, NotAllowedError, NotFoundError, UsageError, InputError: see ``errors``.
        """
        fine = {*accept, *((304,) if etag else ()), *((404,) if missing_ok else ())}
        where = target(self._base, segments, params)
        headers = {"If-None-Match": etag} if etag else {}
        return self._patiently(lambda: self._opened().whole("GET", where, headers, fine))

    @contextmanager
    def stream(self, segments: Sequence[str], params: Params = NOTHING) -> Iterator[Iterator[bytes]]:
        """Ask for something, and give it out piece by piece as it comes, decompressed.

        The pieces raise UnreachableError where the answer breaks off: nothing is whole before they have ended.

        Raises:
            as ``get``.
        """
        where = target(self._base, segments, params)
        wire = self._opened()
        response = self._patiently(lambda: wire.open("GET", where, {}, frozenset()))
        with closing(response):
            if "html" in response.headers.get("content-type", ""):
                raise InputError(f"{self._base.shown_with(where)}: the answer is a web page.", WRONG_PLACE)
            yield wire.pieces(response, where)

    def post(
        self, segments: Sequence[str], body: Any = None, *, authorised: bool = True, accept: Collection[int] = ()
    ) -> Answer:
        """Send a JSON document, once.

        Args:
            segments: as for ``get``.
            body: what msgspec can encode.
            authorised: whether to send the credential.
            accept: statuses beside the 200s that are answers.

        Raises:
            UnansweredError: it was sent, and what became of it cannot be known.
            TokctlError: as ``get``; nothing was done.
        """
        return self._once("POST", segments, accept, body=msgspec.json.encode(body), authorised=authorised)

    def put(
        self, segments: Sequence[str], body: Any, *, match: str | None = None, accept: Collection[int] = ()
    ) -> Answer:
        """Send a JSON document in the place of another, once; with ``match`` only if that has this ETag still.

        Raises:
            as ``post``.
        """
        return self._once("PUT", segments, accept, body=msgspec.json.encode(body), match=match)

    def delete(self, segments: Sequence[str], params: Params = NOTHING, *, accept: Collection[int] = ()) -> Answer:
        """Take something away, asking once. Raises as ``post``."""
        return self._once("DELETE", segments, accept, params=params)

    def _once(
        self,
        method: str,
        segments: Sequence[str],
        accept: Collection[int],
        *,
        params: Params = NOTHING,
        body: bytes | None = None,
        match: str | None = None,
        authorised: bool = True,
    ) -> Answer:
        where = target(self._base, segments, params)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if match is not None:
            headers["If-Match"] = match
        return self._opened().whole(method, where, headers, accept, content=body, authorised=authorised)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        retries = max(0, self.connection.retries)
        return patiently(attempt, retries, sleep=self._sleep, random=self._random)

    def _opened(self) -> Wire:
        with self._lock:
            if self._wire is None:
                from tokctl.client.wire import Wire

                self._wire = Wire(self.connection, self._base, self._warn)
            return self._wire
