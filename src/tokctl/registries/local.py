"""The API tokens of the local store. Who may write its file may do everything: there is no other administrator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from tokctl.access.audit import Actor, AuditEntry, Head
from tokctl.access.model import UNKNOWN, ApiToken, CreatedBy, NewApiToken
from tokctl.access.scopes import DEFAULT_SCOPES
from tokctl.access.secret import digest, generate, mask
from tokctl.config import Settings
from tokctl.errors import NotFoundError, StoreError, UsageError
from tokctl.pepper import Pepper, load_pepper
from tokctl.registries.base import Abilities, Created, Verdict, Wanted
from tokctl.store import file_of, open_store
from tokctl.store.base import Store


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool,
    warn: Callable[[str], object],  # noqa: ARG001 - every kind has it
) -> LocalRegistry:
    """Open the store's."""
    location = settings.store_location
    if file_of(location) is None:
        raise UsageError(f"the store {location} is gone when this command ends, and its API tokens with it.",
                         "Name a file with --store.")  # fmt: skip
    return LocalRegistry(open_store(location, write=write, create=write), location, clock)


class LocalRegistry:
    """Implements ``registries.base.Registry``."""

    def __init__(self, store: Store, location: str, clock: Callable[[], datetime]) -> None:
        file = file_of(location)
        self.store = store
        self.clock = clock
        self.where = f"the store {location}"
        self.origin = location if file is None else file.resolve().as_uri()

    @cached_property
    def _actor(self) -> Actor:
        from getpass import getuser
        from socket import gethostname

        try:
            user = getuser()
        except (OSError, KeyError):
            user = str(os.getuid()) if hasattr(os, "getuid") else ""
        return Actor(kind="cli", id=user, origin=gethostname())

    def _pepper(self, *, create: bool = False) -> Pepper:
        """The pepper, if it is that of the API tokens that there are; the first of them makes one."""
        known = self.store.api_tokens.peppers()
        pepper = load_pepper(os.environ, create=create and not known)
        if known - {pepper.id}:
            raise StoreError(f"{self.where} has API tokens whose digests stand under another pepper than the one here.",
                             "Give theirs in TOKCTL_PEPPER or TOKCTL_PEPPER_FILE.")  # fmt: skip
        return pepper

    def abilities(self) -> Abilities:
        """Everything."""
        return Abilities()

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """A page, and how many there are."""
        return self.store.api_tokens.page(page, size)

    def list(self) -> Iterator[ApiToken]:
        """All of them, the newest first."""
        return self.store.api_tokens.list()

    def named(self, name: str) -> Sequence[ApiToken]:
        """Those of that name."""
        return list(self.store.api_tokens.named(name))

    def get(self, token_id: str) -> ApiToken:
        """One by its id."""
        number = _number(token_id)
        token = None if number is None else self.store.api_tokens.by_id(number)
        if token is None or token.revoked_at is not None:
            raise _missing(token_id, self.where)
        return token

    def create(self, wanted: Wanted) -> Created:
        """Create one; its digest stands under the pepper."""
        pepper, secret = self._pepper(create=True), generate()
        token = NewApiToken(
            name=wanted.name,
            description=wanted.description,
            token=mask(secret),
            type=wanted.type,
            scopes=wanted.scopes if wanted.scopes is not None else DEFAULT_SCOPES,
            created_by=CreatedBy(id=self._actor.id),
            created_at=self.clock(),
            expires_at=wanted.expires_at,
        )
        made = self.store.api_tokens.create(token, digest(pepper.key, secret), pepper.id, by=self._actor)
        return Created(made, secret)

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change members of one."""
        token = self.get(token_id)
        return self.store.api_tokens.update(
            int(token.id), changes, self.clock(), by=self._actor, known=token.updated_at
        )

    def revoke(self, token_id: str, *, why: str = "") -> None:
        """Let one be valid no more."""
        number = _number(token_id)
        if number is None or not self.store.api_tokens.revoke(number, self.clock(), by=self._actor, why=why):
            raise _missing(token_id, self.where)

    def verify(self, secret: str) -> Verdict:
        """Tell whose a secret is; a revoked one's is known, too. It is no use."""
        try:
            pepper = self._pepper()
        except NotFoundError:
            if self.store.api_tokens.peppers():
                raise
            return Verdict(state=UNKNOWN)
        token = self.store.api_tokens.by_digest(digest(pepper.key, secret))
        return Verdict(state=UNKNOWN) if token is None else Verdict(state=token.state(self.clock()), token=token)

    def audit(
        self, *, after: int = 0, token_id: str | None = None, limit: int | None = None, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Entries of the audit."""
        number = None if token_id is None else _number(token_id)
        if token_id is not None and number is None:
            return iter(())
        return self.store.audit.entries(
            after=after, token_id=number, limit=-1 if limit is None else limit, newest=newest
        )

    def audit_head(self) -> Head:
        """Where the audit ends."""
        return self.store.audit.head()

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _number(token_id: str) -> int | None:
    """An id's number; None where it can be no token's."""
    number = int(token_id) if token_id.isascii() and token_id.isdigit() and len(token_id) < 19 else None
    return number if str(number) == token_id else None


def _missing(token_id: str, where: str) -> NotFoundError:
    return NotFoundError(f"there is no API token {token_id} in {where}.", "'tokctl api-tokens list' shows them.")
