"""What a registry is: where API tokens are kept, as records without their secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from tokctl.access.audit import AuditEntry, Head
from tokctl.access.model import READ_ONLY, ApiToken
from tokctl.errors import TokctlError, UnreachableError


class Wanted(Struct, frozen=True, kw_only=True):
    """An API token that is wanted. ``scopes`` of None are left to the registry."""

    name: str
    type: str = READ_ONLY
    description: str | None = None
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class Created(NamedTuple):
    """A new API token and its secret, which nothing will tell again."""

    token: ApiToken
    secret: str

    def __repr__(self) -> str:
        return f"Created(token={self.token!r})"


class Abilities(Struct, frozen=True, kw_only=True):
    """What a registry can do beyond the document's least."""

    scopes: bool = True  # keeps what a token opens, and tells it
    clears: bool = True  # an expiry or a description that is there can be taken away
    keeps_audit: bool = True


class Verdict(Struct, frozen=True, kw_only=True):
    """What a registry says of a secret: VALID, EXPIRED, REVOKED or UNKNOWN, and whose it is, as far as it tells."""

    state: str
    token: ApiToken | None = None


class AnswerLostError(UnreachableError):
    """A change was asked for, and no answer that can be read came: it may have been made."""


class CannotError(TokctlError):
    """The registry cannot do what is asked; nothing was changed."""

    exit_code = 2


class Registry(Protocol):
    """Keeps API tokens. Ids are as they are shown, texts of digits for most.

    Whatever talks to it raises UnreachableError, UntrustedError, NotAllowedError, InputError or StoreError as the
    client and the store do.
    """

    where: str
    """What to call it in messages, such as ``the store /x/tokctl.db`` or ``https://cms.example``."""
    origin: str
    """Under which name the keyring and the ledger know it: a server's origin, or ``file:///x/tokctl.db``."""

    def abilities(self) -> Abilities:
        """What it can do; asked once."""
        ...

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """A page from 1, of 1 to 100, the newest first, and how many there are. None stand behind the end."""
        ...

    def list(self) -> Iterator[ApiToken]:
        """All that are not revoked, the newest first, each once."""
        ...

    def named(self, name: str) -> Sequence[ApiToken]:
        """Those of exactly that name."""
        ...

    def get(self, token_id: str) -> ApiToken:
        """One by its id. Raises NotFoundError: there is none, or it is revoked."""
        ...

    def create(self, wanted: Wanted) -> Created:
        """Create one; never tried twice.

        Raises:
            CannotError: it cannot have one like that.
            AnswerLostError: nobody knows whether it was created.
        """
        ...

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change ``name``, ``description``, ``type``, ``scopes``, ``expires_at``; the others stay as they are.

        Raises:
            NotFoundError: there is none.
            CannotError: it cannot be changed so; seen beforehand.
        """
        ...

    def revoke(self, token_id: str, *, why: str = "") -> None:
        """Let one be valid no more. Raises NotFoundError: there is none."""
        ...

    def verify(self, secret: str) -> Verdict:
        """Tell whose a secret is. It is no use of the API token where that can be helped."""
        ...

    def audit(
        self, *, after: int = 0, token_id: str | None = None, limit: int | None = None, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Entries of the audit in their order, or the newest first. Raises CannotError: it keeps none."""
        ...

    def audit_head(self) -> Head:
        """Where the audit ends. Raises CannotError."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...
