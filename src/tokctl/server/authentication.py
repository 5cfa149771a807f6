"""Authentication: finds the API token or the user of a request's credentials.

The secret of an API token is in ``X-API-Key``, or in ``Authorization`` with or without ``Bearer``. It is looked up by
its digest; only digests are kept between requests, never secrets. Unknown, expired, revoked and malformed credentials
get the same response; only the access log has the reason. The response to a disabled one says so: it can be enabled.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from tokctl.api_tokens.pepper import Pepper
from tokctl.api_tokens.secrets import digest
from tokctl.errors import UsageError
from tokctl.model.api_tokens import DISABLED, VALID, ApiToken
from tokctl.model.networks import is_address_in
from tokctl.server.callers import Caller, caller_from_token
from tokctl.server.http_errors import REALM, HTTPError, forbidden, retry_later
from tokctl.server.lifetimes import MaxLifetimes
from tokctl.server.live_store import LiveStore
from tokctl.server.settings import ServeSettings
from tokctl.server.throttle import Throttle
from tokctl.store.protocol import ApiTokenTable

if TYPE_CHECKING:
    from tokctl.server.jwts import JWTVerifier
    from tokctl.server.metrics import Metrics  # imported in workers only: prometheus-client reads its folder on import

MAX_CREDENTIAL_BYTES = 4096
MAX_CALLERS = 1024  # cached, by API token and address
NO_CREDENTIAL = "no credential"
WRONG_ADDRESS = "address"
MALFORMED = "malformed"
UNKNOWN = "unknown"
_BEARER = b"bearer "


class Authenticator:
    """Finds the caller of a request, and throttles failed attempts."""

    def __init__(
        self,
        pepper: Pepper,
        live_store: LiveStore,
        throttle: Throttle,
        metrics: Metrics,
        lifetimes: MaxLifetimes,
        settings: ServeSettings,
    ) -> None:
        """Read the JWT keys, if the settings name any. Raises the errors of ``create_jwt_verifier``."""
        self.pepper = pepper
        self.live_store = live_store
        self.throttle = throttle
        self.metrics = metrics
        self.lifetimes = lifetimes
        self.jwts = create_jwt_verifier(settings)
        self._hasher = blake2b(key=secrets.token_bytes(32), digest_size=32)
        self._known: dict[bytes | int, ApiToken] = {}
        self._callers: dict[tuple[int | str, str], Caller] = {}
        self._access = -1

    async def authenticate(
        self, headers: Mapping[bytes, bytes], client: str, now: datetime, since: float, *, accepts_jwt: bool
    ) -> Caller:
        """Return the caller behind the first valid credential of a request, in a state not older than ``since``.

        Raises:
            HTTPError: no credential is valid, the API token must not be used from this address, or the address has
                too many failures.
            StoreError: the store cannot be read.
        """
        reason = NO_CREDENTIAL
        for secret in read_credentials(headers):
            if accepts_jwt and self.jwts is not None and secret.count(b".") == 2:
                caller, why = self.jwts.verify(secret, client)
                if caller is not None:
                    return caller
            else:
                token, why = await self.verify_secret(secret, now, since)
                if token is not None:
                    return self.get_caller(token, client)
            reason = why if reason == NO_CREDENTIAL else reason
        raise self.reject(reason, client)

    def get_caller(self, token: ApiToken, client: str) -> Caller:
        """Return the caller for an API token and an address. Raises HTTPError: it must not be used from there."""
        caller = self._callers.get((token.id, client))
        if caller is None or caller.token is not token:
            if token.allowed_cidrs and not is_address_in(client, token.allowed_cidrs):
                self.metrics.count_auth_failure(WRONG_ADDRESS)
                raise forbidden(
                    f"This API token must not be used from this address, {client}.", {"client": client}, WRONG_ADDRESS
                )
            if len(self._callers) >= MAX_CALLERS:
                self._callers.clear()
            caller = self._callers[token.id, client] = caller_from_token(token, client)
        return caller

    def reject(self, reason: str, client: str) -> HTTPError:
        """Return the error for a request without a valid credential (RFC 6750, section 3), and count the failure."""
        self.metrics.count_auth_failure(reason)
        if reason == NO_CREDENTIAL:
            challenge = REALM
        elif wait := self.throttle.record_failure(client):
            self.metrics.count_throttled()
            return retry_later(429, "RATE_LIMITED", "Too many failed attempts.", wait, f"throttled: {reason}")
        else:
            challenge = f'{REALM}, error="invalid_token"'
        is_disabled = reason == DISABLED
        return HTTPError(
            401,
            "UNAUTHORIZED",
            "This API token is disabled." if is_disabled else "A valid API token is required.",
            {"state": DISABLED} if is_disabled else {},
            reason=reason,
            headers=((b"www-authenticate", challenge.encode()),),
        )

    async def verify_secret(self, secret: bytes, now: datetime, since: float) -> tuple[ApiToken | None, str]:
        """Return the valid API token of a secret, or why there is none. Raises StoreError."""
        if not secret or len(secret) > MAX_CREDENTIAL_BYTES or b" " in secret:
            return None, MALFORMED
        found = await self.find_token(secret, since)
        if found is None:
            return None, UNKNOWN
        state = found.state(now)
        return (found, "") if state == VALID else (None, state)

    async def find_token(self, secret: bytes, since: float) -> ApiToken | None:
        """Return the API token of a secret in any state not older than ``since``, with the expiry that applies here.

        It is cached until the store's API tokens change.

        The cache key is a keyed hash with a random key of this process: as strong as the digest, and faster.
        """
        hasher = self._hasher.copy()
        hasher.update(secret)
        return await self._find(
            hasher.digest(),
            since,
            lambda table: table.find_by_digest(digest(self.pepper.key, secret.decode("ascii", "surrogateescape"))),
        )

    async def find_by_id(self, token_id: int, since: float) -> ApiToken | None:
        """Return the API token with an id in any state, as ``find_token`` does."""
        return await self._find(token_id, since, lambda table: table.by_id(token_id))

    async def _find(
        self, mark: bytes | int, since: float, read: Callable[[ApiTokenTable], ApiToken | None]
    ) -> ApiToken | None:
        live_store = self.live_store
        await live_store.refresh(since)
        if live_store.access != self._access:
            self._known.clear()
            self._access = live_store.access
        token = self._known.get(mark)
        if token is None:
            revision, token = await live_store.read(lambda store: (store.revisions().access, read(store.api_tokens)))
            if token is not None:
                token = self.lifetimes.limit(token)
                if revision == live_store.access_revision and live_store.access == self._access:
                    self._known[mark] = token
        return token


def read_credentials(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the secrets in the headers without duplicates; they may be malformed."""
    key, text = headers.get(b"x-api-key"), headers.get(b"authorization")
    found = [] if key is None else [key.strip()]
    if text is not None:
        text = text.strip()
        if text[: len(_BEARER)].lower() == _BEARER:
            text = text[len(_BEARER) :].strip()
        if text not in found:
            found.append(text)
    return found


def create_jwt_verifier(settings: ServeSettings) -> JWTVerifier | None:
    """Return the verifier of JWTs; None if the settings name no key.

    Raises:
        UsageError: the packages that verify JWTs are not installed.
        NotFoundError, NotAllowedError, InputError: see ``jwts.JWTVerifier``.
    """
    if not settings.accepts_jwts:
        return None
    try:
        from tokctl.server.jwts import JWTVerifier
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"jwt", "cryptography"}:
            raise
        raise UsageError(
            "JWTs require additional packages.", "Install them with 'pip install \"tokctl[server]\"'."
        ) from None
    return JWTVerifier(settings)
