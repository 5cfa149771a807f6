"""Events of watched instances as JSON lines (``tokctl tokens watch --events``), and the outcome of a wait."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from tokctl.documents.base import Count, Time
from tokctl.documents.tokens import TokenDocument
from tokctl.model.instances import Summary


class TokenChangeDocument(Struct, kw_only=True, frozen=True):
    """A changed token: the members that differ. ``before`` is null if it is unknown."""

    token_id: str
    before: dict[str, Any] | None
    after: dict[str, Any]


class StatusDocument(Struct, kw_only=True, frozen=True):
    """The status of an instance before or after a change."""

    status: str | None


class WatchEventDocument(Struct, kw_only=True, frozen=True):
    """An event: watching, tokens_updated, instance_updated, tokens_timeout, ended, error, recovered.

    Each kind has only the members that apply to it. An event about very many tokens is split into several lines.
    """

    event: str
    at: Time
    instance_id: str | UnsetType = UNSET
    added: list[TokenDocument] | UnsetType = UNSET
    changed: list[TokenChangeDocument] | UnsetType = UNSET
    finished: list[TokenChangeDocument] | UnsetType = UNSET
    removed: list[str] | UnsetType = UNSET
    tokens: list[TokenDocument] | UnsetType = UNSET
    process_id: str | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    ended_at: Time | UnsetType | None = UNSET
    summary: Summary | UnsetType = UNSET
    before: StatusDocument | UnsetType = UNSET
    after: StatusDocument | UnsetType = UNSET
    message: str | UnsetType = UNSET
    retry_in_ms: float | UnsetType = UNSET
    after_ms: float | UnsetType = UNSET


class ConditionDocument(Struct, kw_only=True, frozen=True):
    """A condition of a wait, and whether it was met."""

    condition: str
    held: bool


class WaitDocument(Struct, kw_only=True, frozen=True):
    """The outcome of a wait (``tokctl tokens wait``): ``outcome`` says why it ended, after ``after_ms``."""

    instance_id: str | None
    outcome: Literal["held", "timed_out", "impossible"]
    held: bool
    after_ms: float
    conditions: list[ConditionDocument]
    status: str | None
    total_tokens: Count | None
    live_tokens: Count | None
    error: str | None
