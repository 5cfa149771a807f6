"""Sessions of the web pages: a cookie that stands for an API token, whose secret it does not contain.

A cookie has the id of the API token, two times, and a MAC of them with a key from the pepper. So every worker and every
server with the same store and pepper accepts it, also after a restart. The API token is read at each request: a session
ends when the API token is revoked, disabled or changed to another secret, or expires.

The cookie has no ``Path``: browsers then send it to the pages only, also behind a proxy that adds a prefix (RFC 6265,
section 5.1.4). It is never accepted by the APIs.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from tokctl.api_tokens.pepper import Pepper
from tokctl.model.api_tokens import VALID, ApiToken
from tokctl.server.authentication import NO_CREDENTIAL, Authenticator
from tokctl.server.callers import Caller
from tokctl.server.client_address import UNIX, TrustedProxies
from tokctl.server.http_errors import HTTPError
from tokctl.server.request import Request

MAX_SESSION = timedelta(hours=12)
MAX_IDLE = timedelta(hours=1)
"""How long a session lasts without a request."""
RENEWAL_INTERVAL = timedelta(minutes=1)
"""A cookie that is older is replaced by a new one."""
MAX_CLOCK_SKEW = timedelta(minutes=1)
SESSION_ENDED = "session ended"
FORGED = "forged session"
CROSS_SITE = "cross-site"
_COOKIE = "tokctl-session"
_VALUE = re.compile(r"(\d{1,18})\.(\d{1,11})\.(\d{1,11})\.([\w-]{43})", re.ASCII)


class Sessions:
    """Makes and checks the cookies of sessions."""

    def __init__(self, pepper: Pepper, authenticator: Authenticator, proxies: TrustedProxies) -> None:
        self.authenticator = authenticator
        self.proxies = proxies
        self._key = hmac.digest(pepper.key, b"tokctl session", "sha256")

    async def authenticate(self, request: Request, since: float) -> Caller:
        """Return the caller of a session, and renew its cookie from time to time.

        The state of its API token is not older than ``since``.

        Raises:
            HTTPError: there is no valid session, or the API token must not be used from this address.
            StoreError: the store cannot be read.
        """
        secure = self.is_secure(request)
        values = read_cookies(request.headers.get(b"cookie", b""), _name_cookie(secure=secure))
        if not values:
            raise self.authenticator.reject(NO_CREDENTIAL, request.client)
        try:
            token, started, renewed = await self._verify(values, request, since)
        except HTTPError:
            request.added_headers.append(self.end(secure=secure))
            raise
        if request.now - renewed > RENEWAL_INTERVAL:
            request.added_headers.append(self._make_cookie(token, started, request.now, secure=secure))
        return self.authenticator.get_caller(token, request.client)

    async def _verify(self, values: list[str], request: Request, since: float) -> tuple[ApiToken, datetime, datetime]:
        """Return the API token of a cookie, when its session started, and when the cookie was made."""
        found = _VALUE.fullmatch(values[0]) if len(values) == 1 else None  # another site can add a second one
        token = None if found is None else await self.authenticator.find_by_id(int(found[1]), since)
        if found is None or token is None or not hmac.compare_digest(found[4], self._sign(token, found[2], found[3])):
            raise self.authenticator.reject(FORGED, request.client)
        if (state := token.state(request.now)) != VALID:
            raise self.authenticator.reject(state, request.client)
        started, renewed = (datetime.fromtimestamp(int(text), UTC) for text in (found[2], found[3]))
        now = request.now
        if now - started > MAX_SESSION or now - renewed > MAX_IDLE or renewed - now > MAX_CLOCK_SKEW:
            raise HTTPError(401, "UNAUTHORIZED", "The session has ended.", reason=SESSION_ENDED)
        return token, started, renewed

    def _sign(self, token: ApiToken, started: str, renewed: str) -> str:
        """Return the MAC of a cookie. The masked secret and the creation tell apart API tokens with the same id."""
        text = f"{token.id}.{started}.{renewed}.{token.token}.{token.created_at.isoformat()}"
        return urlsafe_b64encode(hmac.digest(self._key, text.encode(), sha256)).decode().rstrip("=")

    def start(self, token: ApiToken, now: datetime, *, secure: bool) -> tuple[bytes, bytes]:
        """Return the header that starts a session of an API token."""
        return self._make_cookie(token, now, now, secure=secure)

    def _make_cookie(self, token: ApiToken, started: datetime, now: datetime, *, secure: bool) -> tuple[bytes, bytes]:
        begin, renewed = (str(int(time.timestamp())) for time in (started, now))
        value = f"{token.id}.{begin}.{renewed}.{self._sign(token, begin, renewed)}"
        return _set_cookie(value, MAX_IDLE, secure=secure)

    @staticmethod
    def end(*, secure: bool) -> tuple[bytes, bytes]:
        """Return the header that removes the cookie of a session."""
        return _set_cookie("", timedelta(), secure=secure)

    def is_secure(self, request: Request) -> bool:
        """Return whether the browser uses TLS: to this server, or to a trusted proxy that tells."""
        if request.scope["scheme"] == "https":
            return True
        return self._get_forwarded(request, b"x-forwarded-proto").lower() == b"https"

    def check_origin(self, request: Request) -> None:
        """Raise HTTPError unless a form was sent by one of our own pages (Fetch Metadata, or else ``Origin``)."""
        headers = request.headers
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            is_own = site == b"same-origin"
        else:
            scheme, _, host = headers.get(b"origin", b"").partition(b"://")
            hosts = (headers.get(b"host"), self._get_forwarded(request, b"x-forwarded-host"))
            schemes = {b"https"} if self.is_secure(request) else {b"https", b"http"}
            is_own = scheme in schemes and host != b"" and host in hosts
        if not is_own:
            raise HTTPError(403, "FORBIDDEN", "The form was sent by another site.", reason=CROSS_SITE)

    def _get_forwarded(self, request: Request, name: bytes) -> bytes:
        """Return the first value of a header of a trusted proxy."""
        peer = request.scope.get("client")
        if not self.proxies.any or not self.proxies.trusts(peer[0] if peer else UNIX):
            return b""
        return request.headers.get(name, b"").partition(b",")[0].strip()


def read_cookies(header: bytes, name: str) -> list[str]:
    """Return the different values of the cookies with a name."""
    pairs = (part.strip().partition("=") for part in header.decode("latin-1").replace(",", ";").split(";"))
    return list(dict.fromkeys(value for one, _, value in pairs if one == name))


def _name_cookie(*, secure: bool) -> str:
    """Return the name of the cookie. Browsers accept one with the prefix over TLS only (RFC 6265bis, 4.1.3.1)."""
    return f"__Secure-{_COOKIE}" if secure else _COOKIE


def _set_cookie(value: str, lasts: timedelta, *, secure: bool) -> tuple[bytes, bytes]:
    age = int(lasts.total_seconds())
    cookie = f"{_name_cookie(secure=secure)}={value}; Max-Age={age}; HttpOnly; SameSite=Strict" + "; Secure" * secure
    return b"set-cookie", cookie.encode()
