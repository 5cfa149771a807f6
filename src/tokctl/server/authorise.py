"""Who asks, and whether he may: the API token of a request.

The secret stands in ``X-API-Key``, or in ``Authorization`` behind ``Bearer`` or alone. It is looked up by its
digest; what is remembered between requests are digests, never secrets. Unknown, expired, revoked and malformed
credentials get the same answer; the log tells them apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from tokctl.access.model import FULL_ACCESS, READ_ONLY, SAFE_METHODS, VALID, ApiToken
from tokctl.access.scopes import EVERY
from tokctl.access.secret import digest
from tokctl.server.refusals import REALM, Refusal, forbidden, later

if TYPE_CHECKING:
    from tokctl.pepper import Pepper
    from tokctl.server.metrics import Metrics
    from tokctl.server.stores import Present
    from tokctl.server.throttle import Throttle

LONGEST = 4096  # bytes of a credential
NONE_GIVEN = "no credential"
MALFORMED = "malformed"
UNKNOWN = "unknown"
_BEARER = b"bearer "


class Authority:
    """Tells the API token of a request, or refuses it."""

    def __init__(self, pepper: Pepper, present: Present, throttle: Throttle, metrics: Metrics) -> None:
        self.pepper = pepper
        self.present = present
        self.throttle = throttle
        self.metrics = metrics
        self._hasher = blake2b(key=secrets.token_bytes(32), digest_size=32)
        self._known: dict[bytes, ApiToken] = {}
        self._access = -1

    def token_of(self, headers: Mapping[bytes, bytes], client: str, now: datetime) -> ApiToken:
        """Return the API token whose secret a request holds.

        Raises:
            Refusal: there is none that is valid, or its address has failed too often.
            StoreError: the store cannot be read.
        """
        reason = NONE_GIVEN
        for secret in credentials(headers):
            token, why = self.check(secret, now)
            if token is not None:
                return token
            reason = why if reason == NONE_GIVEN else reason
        raise self.refused(reason, client)

    def refused(self, reason: str, client: str) -> Refusal:
        """The answer to a request without a valid credential (RFC 6750, section 3), which counts as a failure."""
        self.metrics.refused(reason)
        if reason == NONE_GIVEN:
            challenge = REALM
        elif wait := self.throttle.failed(client):
            self.metrics.throttled()
            return later(429, "RATE_LIMITED", "Too many failed attempts.", wait, f"throttled: {reason}")
        else:
            challenge = f'{REALM}, error="invalid_token"'
        return Refusal(401, "UNAUTHORIZED", "A valid API token is needed.", reason=reason,
                       headers=((b"www-authenticate", challenge.encode()),))  # fmt: skip

    def check(self, secret: bytes, now: datetime) -> tuple[ApiToken | None, str]:
        """Return the valid API token of a secret, or why there is none. Raises StoreError."""
        if not secret or len(secret) > LONGEST or b" " in secret:
            return None, MALFORMED
        found = self.find(secret)
        if found is None:
            return None, UNKNOWN
        state = found.state(now)
        return (found, "") if state == VALID else (None, state)

    def find(self, secret: bytes) -> ApiToken | None:
        """The API token of a secret, whatever its state; it is remembered until the store's API tokens change.

        It is remembered by a keyed hash that only this process can make: no weaker than the digest, and quicker.
        """
        store = self.present.look()
        if self.present.access != self._access:
            self._known.clear()
            self._access = self.present.access
        hasher = self._hasher.copy()
        hasher.update(secret)
        mark = hasher.digest()
        token = self._known.get(mark)
        if token is None:
            token = store.api_tokens.by_digest(digest(self.pepper.key, secret.decode("ascii", "surrogateescape")))
            if token is not None:
                self._known[mark] = token
        return token


def credentials(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The secrets that a request holds, each once; what stands in the place of one may be none."""
    found = []
    key = headers.get(b"x-api-key")
    if key is not None:
        found.append(key.strip())
    text = headers.get(b"authorization")
    if text is not None:
        text = text.strip()
        if text[: len(_BEARER)].lower() == _BEARER:
            text = text[len(_BEARER) :].strip()
        if text not in found:
            found.append(text)
    return found


def check_method(token: ApiToken, method: str) -> None:
    """Refuse what changes something to a token that may only read."""
    if token.type == READ_ONLY and method not in SAFE_METHODS:
        raise forbidden("This API token may only read.",
                        {"required_type": FULL_ACCESS, "provided_type": token.type}, "read-only")  # fmt: skip


def check_permission(token: ApiToken, permissions: tuple[str, ...]) -> None:
    """Refuse a token that has none of the permissions of which any would do."""
    scopes = token.scopes or ()
    if EVERY not in scopes and not any(permission in scopes for permission in permissions):
        required = permissions[0]
        raise forbidden(
            f"This API token lacks the permission '{required}'.",
            {"required_permission": required, "provided_permissions": [*(token.scopes or ())]}, "permission",
            (required,),
        )  # fmt: skip
