"""One request and its answer over httpx: headers, credential, deadlines, and errors in the place of exceptions.

Imported by a client's first request. Trying again is the client's.
"""

from __future__ import annotations

import html
import json
import re
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from time import monotonic
from urllib.parse import quote

import httpcore

from tokctl.client import trust
from tokctl.client.address import Base
from tokctl.client.body import GarbledError, OversizedError, TruncatedError, decoded
from tokctl.client.connection import Answer, Connection
from tokctl.client.faults import UNSENT, before_answer, within_answer
from tokctl.client.patience import PassingError, UnansweredError
from tokctl.client.proxies import proxy_for
from tokctl.client.statuses import LONGEST_QUOTED, REDIRECTS, Refusal, redirected, said
from tokctl.client.transport import TARGET, Deadline, Transport, httpx
from tokctl.errors import InputError, NotAllowedError, TokctlError, UnreachableError, UsageError
from tokctl.trace import trace

TOTAL = 10
"""Timeouts: how long the body of an answer may take that is read as a whole."""

SLOWEST = 256
"""Bytes a second below which a body does not come but drip; looked at after every timeout's length of waiting."""

_CHANGES = frozenset({"POST", "PUT", "DELETE"})
_SECRET = re.compile("xvc_[0-9a-z]{5,}", re.IGNORECASE)  # of which no mask shows so much
_LONGER = "Give it longer with --request-timeout."
_BROKEN = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    UnicodeError,  # what a host's name raises that DNS cannot carry
)


class Wire:
    """The connections to one server.

    Raises:
        UsageError: the host or the proxy is none.
        NotFoundError, NotAllowedError, InputError: the CA file cannot be used.
    """

    def __init__(self, connection: Connection, base: Base, warn: Callable[[str], object]) -> None:
        self._connection = connection
        self._base = base
        self._warn = warn
        self._deadline = Deadline()
        self._lock = threading.Lock()
        self._asked = False
        self._secret: str | None = None
        try:
            self._url = httpx.URL(base.origin)
            _ = self._url.host  # read only now: each request will
        except (httpx.InvalidURL, UnicodeError):
            raise UsageError(f"{base.shown}: there can be no host of that name.") from None
        proxy = proxy_for(base)
        self._place = f"{base.shown} (through the proxy {proxy.url})" if proxy else base.shown
        secure = base.scheme == "https" or (proxy is not None and proxy.url.startswith("https:"))
        transport = Transport(
            self._deadline, context=self._context() if secure else None, proxy=proxy, socket=base.socket
        )
        # Nothing that is named in the environment is believed beyond the proxy: no .netrc, no certificates.
        self._client = httpx.Client(
            transport=transport,
            trust_env=False,
            timeout=httpx.Timeout(connection.timeout, connect=connection.connect_timeout),
            event_hooks={"response": [self._refuse_redirect]},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def open(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        accept: Collection[int],
        *,
        content: bytes | None = None,
        authorised: bool = True,
    ) -> httpx.Response:
        """Send a request and read the head of its answer; whoever gets it has to close it.

        Raises:
            TokctlError: there is no answer, or its status is none in the 200s and none in ``accept``.
        """
        secret = self._credential() if authorised else None
        own = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": self._connection.user_agent,
        }
        if secret is not None:  # engines differ in which of the two they read
            own |= {"Authorization": f"Bearer {secret}", "X-API-Key": secret}
        request = httpx.Request(
            method, self._url, headers=own | dict(headers), content=content, extensions={TARGET: target.encode()}
        )
        begin = monotonic()
        try:
            with self._deadline.within(self._connection.connect_timeout + self._connection.timeout):
                response = self._client.send(request, stream=True)
        except _BROKEN as error:
            trace("%s %s: no answer (%s)", method, self._base.shown_with(target), type(error).__name__)
            fault = before_answer(error, self._place, self._connection)
            raise (fault if isinstance(error, UNSENT) else _in_doubt(method, fault)) from None
        milliseconds = (monotonic() - begin) * 1000
        trace("%s %s: %s in %.0f ms", method, self._base.shown_with(target), response.status_code, milliseconds)
        if response.is_success or response.status_code in accept:
            return response
        refusal = self._refusal(response, target, authorised=secret is not None)
        raise _in_doubt(method, refusal, response.status_code) if response.status_code >= 500 else refusal

    def whole(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        accept: Collection[int],
        *,
        content: bytes | None = None,
        authorised: bool = True,
    ) -> Answer:
        """Send a request and read its answer to the end.

        Raises:
            UnansweredError: it was to change something, and may have done so.
            TokctlError: as ``open`` and ``pieces``.
        """
        begun = monotonic()
        with closing(self.open(method, target, headers, accept, content=content, authorised=authorised)) as response:
            try:
                body = b"".join(self.pieces(response, target, TOTAL * self._connection.timeout))
            except TokctlError as fault:
                raise _in_doubt(method, fault) from None
        shown = self._base.shown_with(target)
        return Answer(
            response.status_code, body, dict(response.headers), monotonic() - begun, self.hide(shown), self.hide
        )

    def pieces(self, response: httpx.Response, target: str, seconds: float | None = None) -> Iterator[bytes]:
        """Yield the body, decompressed, as it comes; within so many seconds, if they are given.

        Raises:
            UnreachableError: it breaks off, stops, or drips.
            InputError: it is too large or damaged.
        """
        url = self.hide(self._base.shown_with(target))
        largest = self._connection.largest
        length = response.headers.get("content-length", "")
        try:
            encoding = response.headers.get("content-encoding", "")
            declared = int(length[:20]) if length.isdecimal() else 0
            yield from decoded(self._arriving(response, url, seconds), encoding, largest, declared=declared)
        except TruncatedError:
            raise PassingError(f"{url}: the answer broke off: its compressed body has no end.") from None
        except OversizedError:
            raise InputError(f"{url}: the answer is larger than {largest:,} bytes.", "Ask for less at once.") from None
        except GarbledError as fault:
            raise InputError(f"{url}: the answer {self.hide(str(fault))}.") from None

    def _arriving(self, response: httpx.Response, url: str, seconds: float | None) -> Iterator[bytes]:
        timeout = self._connection.timeout
        until = None if seconds is None else monotonic() + seconds
        chunks = response.iter_raw()
        received = recent = 0
        waited = 0.0  # for the server only: what the reader does between two pieces is its own time
        while True:
            begun = monotonic()
            try:
                with self._deadline.within(timeout if until is None else min(timeout, until - begun)):
                    chunk = next(chunks, None)
            except _BROKEN as error:
                late = until is not None and monotonic() >= until
                raise _too_long(url, seconds) if late else within_answer(error, url, received, timeout) from None
            if chunk is None:
                return
            received += len(chunk)
            recent += len(chunk)
            waited += monotonic() - begun
            if waited >= timeout:
                if recent < SLOWEST * waited:
                    raise UnreachableError(f"{url}: the answer drips: {recent:,} bytes in the last {waited:.3g} s.")
                recent, waited = 0, 0.0
            yield chunk

    def hide(self, text: str) -> str:
        """Take secrets out of a text by a server: the credential, as it is or escaped, and what looks like another."""
        secret = self._secret
        if secret:
            written = (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], html.escape(secret))
            text = re.sub("|".join(map(re.escape, written)), "…", text, flags=re.IGNORECASE)
        return _SECRET.sub("xvc_…", text)

    def _credential(self) -> str | None:
        with self._lock:
            if not self._asked:
                secret = self._connection.credential() or None
                if secret and not all("!" <= sign <= "~" for sign in secret):
                    raise NotAllowedError("the credential holds a blank, or a character that no header can carry.",
                                          "Set it anew with 'tokctl auth login' or in TOKCTL_API_KEY.")  # fmt: skip
                if secret and self._base.scheme == "http" and not self._base.is_local:
                    self._warn(f"the credential crosses the network unencrypted: {self._base.shown} is not https.")
                self._secret, self._asked = secret, True
            return self._secret

    def _context(self) -> ssl.SSLContext:
        if self._connection.insecure:
            self._warn(f"the certificate of {self._base.shown} is not checked: whoever is in between can read and "
                       "change everything, the credential included.")  # fmt: skip
        return trust.context(self._connection.ca_file, insecure=self._connection.insecure)

    def _refuse_redirect(self, response: httpx.Response) -> None:
        location = response.headers.get("location")
        if response.status_code in REDIRECTS and location:
            target = response.request.extensions[TARGET].decode()
            raise redirected(self._base, target, location, self.hide)

    def _refusal(self, response: httpx.Response, target: str, *, authorised: bool) -> TokctlError:
        body = b""
        with closing(response), suppress(UnreachableError, InputError):  # it is only there to be quoted
            for piece in self.pieces(response, target, self._connection.connect_timeout):
                body += piece
                if len(body) >= LONGEST_QUOTED:
                    break
        return Refusal(
            status=response.status_code,
            headers=response.headers,
            place=self._place,
            url=self.hide(self._base.shown_with(target)),
            authorised=authorised,
            said=said(body, response.headers, self.hide),
        ).error()


def _in_doubt(method: str, fault: TokctlError, status: int | None = None) -> TokctlError:
    """The fault of a request that may have been carried out."""
    return UnansweredError(fault.message, fault.hint, status=status) if method in _CHANGES else fault


def _too_long(url: str, seconds: float | None) -> UnreachableError:
    return UnreachableError(f"{url}: the answer was not complete after {seconds:g} s.", _LONGER)
