"""The caller of a request, an API token or a user with a JWT, and its permissions.

A user with a JWT may call the API-token API only. The claims ``scope`` and ``scopes`` limit which scopes the user may
grant, and so which API tokens the user may change and revoke; a user with none of our scopes may do nothing.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from tokctl.api_tokens.audit import Actor
from tokctl.model.api_tokens import FULL_ACCESS, READ_ONLY, SAFE_METHODS, ApiToken, CreatedBy
from tokctl.model.networks import ANY_ADDRESS, find_networks_outside
from tokctl.model.scopes import PERMISSIONS, WILDCARD_SCOPE
from tokctl.model.times import format_time
from tokctl.server.http_errors import forbidden
from tokctl.server.lifetimes import ends_by

API_TOKENS = "api-tokens"


class Caller(Struct, frozen=True, kw_only=True):
    """The sender of a request. ``grants`` are the permissions it may grant; ``token`` is None for a user with a JWT."""

    actor: Actor
    created_by: CreatedBy | None
    grants: tuple[str, ...]
    token: ApiToken | None = None

    @property
    def can_manage_tokens(self) -> bool:
        """Whether the caller may list all API tokens."""
        return self.token is None or self.token.allows(API_TOKENS)

    def check_method(self, method: str) -> None:
        """Raise HTTPError if the API token is read-only and the method is not."""
        if self.token is not None and self.token.type == READ_ONLY and method not in SAFE_METHODS:
            details = {"required_type": FULL_ACCESS, "provided_type": self.token.type}
            raise forbidden("This API token is read-only.", details, "read-only")

    def check_permission(self, permissions: tuple[str, ...]) -> None:
        """Raise HTTPError if an API token has none of the permissions; one is enough. A user needs any scope at all."""
        if self.token is None:
            if not self.grants:
                raise forbidden("Your JWT has no scope of this API.", {"provided_permissions": []}, "permission")
            return
        scopes = self.token.scopes or ()
        for permission in permissions:  # most endpoints have one, and this is faster than sets
            if permission in scopes:
                return
        if WILDCARD_SCOPE not in scopes:
            required = permissions[0]
            raise forbidden(
                f"This API token lacks the permission '{required}'.",
                {"required_permission": required, "provided_permissions": [*scopes]},
                "permission",
                (required,),
            )

    def check_grant(self, scopes: tuple[str, ...]) -> None:
        """Raise HTTPError if the caller does not hold all the scopes."""
        self._require_scopes(scopes, "You cannot grant scopes that you do not hold")

    def check_change(self, token: ApiToken) -> None:
        """Raise HTTPError if an API token, which is to be changed or revoked, can do more than the caller.

        This is limited like granting. Otherwise a caller with few scopes could lock out all others.
        """
        if self.token is None or self.token.id != token.id:
            message = "You cannot change or revoke an API token with scopes that you do not hold"
            self._require_scopes(token.scopes or (), message)

    def _require_scopes(self, scopes: tuple[str, ...], message: str) -> None:
        missing = [scope for scope in scopes if scope not in self.grants]
        if missing and WILDCARD_SCOPE not in self.grants:  # which includes unknown scopes of other versions
            raise forbidden(
                f"{message}: {', '.join(missing)}.",
                {"missing_scopes": missing, "provided_permissions": [*self.grants]},
                "grant",
                missing,
            )

    def check_networks(self, networks: tuple[str, ...]) -> None:
        """Raise HTTPError if the caller's API token is limited to networks, and these are not within them."""
        own = () if self.token is None else self.token.allowed_cidrs or ()
        if own and (outside := find_networks_outside(networks or ANY_ADDRESS, own)):
            raise forbidden(
                f"An API token that is limited to networks can allow only these to another one: {', '.join(own)}.",
                {"member": "allowedCidrs", "outside": outside, "allowed": [*own]},
                "networks",
            )

    def check_expiry(self, expires_at: datetime | None) -> None:
        """Raise HTTPError if an API token would outlive the API token of the caller."""
        own = None if self.token is None else self.token.expires_at
        if own is not None and not ends_by(expires_at, own):
            latest = format_time(own)
            raise forbidden(
                f"An API token cannot prolong itself, or outlive the one that creates or prolongs it: {latest}.",
                {"member": "expiresAt", "latest": latest},
                "outlives its creator",
            )


def caller_from_token(token: ApiToken, origin: str) -> Caller:
    """Return the caller for an API token and a client address. What it creates belongs to the token's own creator."""
    actor = Actor(kind="api-token", id=str(token.id), name=token.name, origin=origin)
    return Caller(actor=actor, created_by=token.created_by, grants=expand_scopes(token.scopes or ()), token=token)


def expand_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return every permission that the scopes include, in the order of ``PERMISSIONS``, without unknown scopes."""
    return tuple(name for name in PERMISSIONS if name in scopes or WILDCARD_SCOPE in scopes)
