"""Checks declared API tokens against what a registry supports, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from tokctl.api_tokens.registries.protocol import Registry, UnsupportedChangeError, check_fields
from tokctl.errors import InputError, UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.services.api_tokens.declarations import Declaration

_NAMES = {"expires_at": "expiry", "allowed_cidrs": "networks"}


class DeclarationChecks:
    """What a registry supports. ``source`` is the name of the file in errors."""

    def __init__(self, registry: Registry, source: str) -> None:
        self.registry = registry
        self.source = source

    @contextmanager
    def line_of(self, one: Declaration, field: str) -> Iterator[None]:
        """Name the line of a field in an error of the block."""
        try:
            yield
        except (UsageError, InputError, UnsupportedChangeError) as error:
            raise InputError(f"{self.source}, line {one.line_of(field)}: {error.message}", error.hint) from None

    def check(self, one: Declaration) -> Declaration:
        """Return a declaration with its type and its scopes as the registry names them, if it supports all of it."""
        for field in ("scopes", "allowed_cidrs", "disabled"):
            with self.line_of(one, field):
                check_fields(self.registry, [field] if getattr(one, field) else [])
        with self.line_of(one, "scopes"):
            scopes = self.registry.check_scopes(one.scopes) if one.scopes else None
        with self.line_of(one, "type"):
            kind = self.registry.fit_type(self.registry.check_type(one.type), scopes or ())
        with self.line_of(one, "grace"):
            if one.grace and not self.registry.capabilities().grace:
                raise UnsupportedChangeError(
                    f"{self.registry.where} has no grace period: if '{one.name}' is rotated, its old secret is "
                    "invalid at once.",
                    "Declare 'grace: 0' to allow this.",
                )
        return replace(one, type=kind, scopes=scopes)

    def check_changes(
        self, wanted: Declaration, token: ApiToken, changes: Mapping[str, Any], *, has_successor: bool
    ) -> None:
        """Raise InputError if the registry cannot make one of the changes of an API token."""
        can = self.registry.capabilities()
        for field, value in changes.items():
            if field == "expires_at" and can.grace and has_successor:
                continue
            with self.line_of(wanted, "expires" if field == "expires_at" else field):
                if field == "expires_at" and not can.change_expiry:
                    raise UnsupportedChangeError(
                        f"{self.registry.where} cannot change the expiry of API token {token.id} '{token.name}'.",
                        "Declare the expiry that it has, or revoke it, so that another one is created.",
                    )
                if not value and getattr(token, field) and field != "disabled" and not can.clear_fields:
                    raise UnsupportedChangeError(
                        f"{self.registry.where} cannot remove the {_NAMES.get(field, field)} of API token {token.id} "
                        f"'{token.name}'.",
                        "Declare another value, or revoke it, so that another one is created.",
                    )
