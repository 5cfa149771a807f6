"""The audit log of API tokens as JSON: its entries, and the result of verifying its chain."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tokctl.documents.base import Count, Time


class AuditActor(Struct, kw_only=True, frozen=True):
    """Who did something: the user of a command line, a user with a JWT, an API token."""

    kind: str
    id: str
    name: str


class AuditedToken(Struct, kw_only=True, frozen=True):
    """The API token that the entry is about."""

    id: int
    name: str


class AuditEntryContent(Struct, kw_only=True, frozen=True):
    """The content that an entry's hash covers."""

    number: Count
    at: Time
    action: str
    actor: AuditActor
    origin: str = field(name="from")
    token: AuditedToken
    details: dict[str, Any]
    hash: str | UnsetType = UNSET


class AuditEntryDocument(AuditEntryContent, kw_only=True, frozen=True):
    """An entry. ``details`` are the members that were set or changed."""

    hash: str


class AuditHead(Struct, kw_only=True, frozen=True):
    """The end of the chain of entries."""

    number: Count
    hash: Annotated[str, Meta(min_length=64, max_length=64)]


class AuditMeta(Struct, kw_only=True, frozen=True):
    """Metadata of audit log entries."""

    head: AuditHead


class AuditEntries(Struct, kw_only=True, frozen=True):
    """Audit log entries."""

    data: list[AuditEntryDocument]
    meta: AuditMeta


class AuditEntryList(Struct, kw_only=True, frozen=True):
    """Audit log entries (``tokctl api-tokens audit``)."""

    entries: list[AuditEntryDocument]


class ChainCheckDocument(Struct, kw_only=True, frozen=True):
    """The number of valid entries in the chain, its end, and the problem (null if there is none)."""

    whole: bool
    entries: Count
    head: AuditHead
    fault: str | None
