"""Who asks something of ``/api/api-tokens``: an API token, or a user with a JWT; and what he may.

A JWT opens these paths and no others. Its claims ``scope`` or ``scopes`` bound what its user may give to an API
token, not what he may do here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.access.audit import Actor
from tokctl.access.model import ApiToken, CreatedBy
from tokctl.access.scopes import EVERY, PERMISSIONS
from tokctl.errors import UsageError
from tokctl.server.authorise import check_method, check_permission
from tokctl.server.refusals import forbidden

if TYPE_CHECKING:
    from tokctl.server.jwts import Users
    from tokctl.server.settings import ServeSettings

API_TOKENS = "api-tokens"


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks. ``grants`` are the permissions that he may give; ``token`` is None for a user with a JWT."""

    actor: Actor
    created_by: CreatedBy | None
    grants: tuple[str, ...]
    token: ApiToken | None = None

    @property
    def manages(self) -> bool:
        """Whether he may see every API token."""
        return self.token is None or self.token.allows(API_TOKENS)

    def check_method(self, method: str) -> None:
        """Refuse what changes something to an API token that may only read."""
        if self.token is not None:
            check_method(self.token, method)

    def check_permission(self, permissions: tuple[str, ...]) -> None:
        """Refuse an API token that has none of the permissions of which any would do."""
        if self.token is not None:
            check_permission(self.token, permissions)

    def check_grant(self, scopes: tuple[str, ...]) -> None:
        """Refuse scopes that he does not hold himself."""
        missing = [scope for scope in scopes if scope not in self.grants]
        if missing:
            raise forbidden(
                f"What you do not hold you cannot give: {', '.join(missing)}.",
                {"missing_scopes": missing, "provided_permissions": [*self.grants]}, "grant", missing,
            )  # fmt: skip


def caller_of_token(token: ApiToken, origin: str) -> Caller:
    """The caller that an API token is; what it creates is its own creator's."""
    actor = Actor(kind="api-token", id=str(token.id), name=token.name, origin=origin)
    return Caller(actor=actor, created_by=token.created_by, grants=granted(token.scopes or ()), token=token)


def granted(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Every permission that scopes come to, in their usual order; what is none is left out."""
    return tuple(name for name in PERMISSIONS if name in scopes or EVERY in scopes)


def users_of(settings: ServeSettings) -> Users | None:
    """Return what JWTs are checked with; None where the settings name no key.

    Raises:
        UsageError: what checks them is not installed.
        NotFoundError, NotAllowedError, InputError: as ``jwts.Users``.
    """
    if not settings.takes_jwts:
        return None
    try:
        from tokctl.server.jwts import Users
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"jwt", "cryptography"}:
            raise
        raise UsageError("JWTs need more packages.", "Install them with 'pip install \"tokctl[server]\"'.") from None
    return Users(settings)
