"""The API tokens of a local store. A user who can write its file may do everything: there is no administrator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from tokctl.api_tokens.audit import Actor, AuditEntry, ChainHead
from tokctl.api_tokens.pepper import Pepper, load_pepper
from tokctl.api_tokens.registries.capabilities import OWN_CAPABILITIES, RegistryCapabilities
from tokctl.api_tokens.registries.protocol import (
    ApiTokenSpec,
    CreatedToken,
    CreationOutcomeUnknownError,
    Registry,
    VerificationResult,
)
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.capabilities import Capability, Support
from tokctl.config import Settings
from tokctl.errors import NotFoundError, StoreError, StoreOutcomeUnknownError, UsageError
from tokctl.model.api_tokens import UNKNOWN, ApiToken, CreatedBy, NewApiToken
from tokctl.model.scopes import DEFAULT_SCOPES
from tokctl.store import is_temporary, open_store, store_file
from tokctl.store.protocol import Store
from tokctl.store.seen_heads import remember_head

_BY_SERVER = Capability(Support.YES, "enforced by a server that uses the store")
CAPABILITIES = replace(
    OWN_CAPABILITIES,
    title="Local store",
    login=Capability(Support.NO, "needs none: who can write the file may do everything"),
    token_access=Capability(Support.NO, "needs none"),
    last_use=Capability(Support.YES, "on a server that uses the store"),
    allowed_cidrs=_BY_SERVER,
    disabling=_BY_SERVER,
    idempotent_creation=Capability(Support.NO, "needs none: no response can be lost"),
)


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool,
    warn: Callable[[str], object],  # noqa: ARG001 - the same for every kind
) -> StoreRegistry:
    """Open the store that the settings name; with ``write`` a missing one is created.

    Raises StoreError, and UsageError: the store is in memory only.
    """
    location = settings.store_location
    if is_temporary(location):
        raise UsageError(
            f"the store {location} is deleted with its API tokens when this command ends.",
            "Use a file with --store.",
        )
    return StoreRegistry(open_store(location, write=write, create=write), location, clock)


def open_empty_registry(settings: Settings, clock: Callable[[], datetime]) -> StoreRegistry:
    """Return the registry of a store that does not exist: empty, without a file, and gone with its changes."""
    return StoreRegistry(open_store(":memory:"), settings.store_location, clock)


class StoreRegistry(Registry):
    """A store, opened directly. Changes are recorded in its audit under the user's login name and machine."""

    def __init__(self, store: Store, location: str, clock: Callable[[], datetime]) -> None:
        file = store_file(location)
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

    def _load_pepper(self, *, create: bool = False) -> Pepper:
        """Return the pepper of the API tokens in the store; with ``create``, the first API token creates one."""
        known = self.store.api_tokens.peppers()
        pepper = load_pepper(os.environ, create=create and not known)
        if known - {pepper.id}:
            raise StoreError(
                f"{self.where} has API tokens that were created with another pepper.",
                "Set that pepper in TOKCTL_PEPPER or TOKCTL_PEPPER_FILE.",
            )
        return pepper

    def capabilities(self) -> RegistryCapabilities:
        """Return what a store can do: everything."""
        return CAPABILITIES

    def identity(self) -> str:
        """Return the identity of the store."""
        return self.store.api_tokens.identity()

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """Return a page, and the number of all API tokens."""
        return self.store.api_tokens.page(page, size)

    def list(self) -> Iterator[ApiToken]:
        """Yield all API tokens, the newest first."""
        return self.store.api_tokens.list()

    def find_by_name(self, name: str) -> Sequence[ApiToken]:
        """Return the API tokens with exactly this name."""
        return list(self.store.api_tokens.named(name))

    def get(self, token_id: str) -> ApiToken:
        """Return an API token by its id."""
        number = _parse_token_id(token_id)
        token = None if number is None else self.store.api_tokens.by_id(number)
        if token is None or token.revoked_at is not None:
            raise self._not_found_error(token_id)
        return token

    def create(self, spec: ApiTokenSpec) -> CreatedToken:
        """Create an API token; the store keeps the HMAC of its secret under the pepper."""
        pepper, secret = self._load_pepper(create=True), generate()
        token = NewApiToken(
            name=spec.name,
            description=spec.description,
            token=mask(secret),
            type=spec.type,
            scopes=spec.scopes if spec.scopes is not None else DEFAULT_SCOPES,
            allowed_cidrs=spec.allowed_cidrs,
            created_by=CreatedBy(id=self._actor.id),
            created_at=self.clock(),
            expires_at=spec.expires_at,
        )
        replaces = None if spec.replaces is None else _parse_token_id(spec.replaces)
        try:
            made = self.store.api_tokens.create(
                token, digest(pepper.key, secret), pepper.id, by=self._actor, replaces=replaces
            )
        except StoreOutcomeUnknownError as error:
            raise CreationOutcomeUnknownError(error.message, error.hint) from error
        remember_head(self.store)
        return CreatedToken(made, secret)

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change fields of an API token."""
        token = self.get(token_id)
        changed = self.store.api_tokens.update(
            int(token.id), changes, self.clock(), by=self._actor, known=token.updated_at
        )
        remember_head(self.store)
        return changed

    def revoke(self, token_id: str, *, reason: str = "") -> None:
        """Revoke an API token."""
        number = _parse_token_id(token_id)
        if number is None or not self.store.api_tokens.revoke(number, self.clock(), by=self._actor, why=reason):
            raise self._not_found_error(token_id)
        remember_head(self.store)

    def verify(self, secret: str) -> VerificationResult:
        """Return the state of a secret, of revoked API tokens, too. Does not count as a use."""
        try:
            pepper = self._load_pepper()
        except NotFoundError:
            if self.store.api_tokens.peppers():
                raise
            return VerificationResult(state=UNKNOWN)
        token = self.store.api_tokens.find_by_digest(digest(pepper.key, secret))
        if token is None:
            return VerificationResult(state=UNKNOWN)
        return VerificationResult(state=token.state(self.clock()), token=token)

    def audit(
        self, *, after: int = 0, token_id: str | None = None, limit: int | None = None, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Yield audit entries."""
        number = None if token_id is None else _parse_token_id(token_id)
        if token_id is not None and number is None:
            return iter(())
        return self.store.audit.entries(
            after=after, token_id=number, limit=-1 if limit is None else limit, newest=newest
        )

    def audit_head(self) -> ChainHead:
        """Return the end of the audit's hash chain."""
        return self.store.audit.head()

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _parse_token_id(token_id: str) -> int | None:
    """Return an id as a number; None if no API token can have it (not canonical, or too large for SQLite)."""
    number = int(token_id) if token_id.isascii() and token_id.isdigit() and len(token_id) < 19 else None
    return number if str(number) == token_id else None
