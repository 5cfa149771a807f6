"""The error responses of the server, and its health, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from tokctl.documents.base import Time


class FaultDocument(Struct, kw_only=True, frozen=True):
    """The error: a code for programs, a message for people, and details."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorDocument(Struct, kw_only=True, frozen=True):
    """The envelope of every error response."""

    success: Literal[False]
    error: FaultDocument
    request_id: str


class ApiTokenFault(Struct, kw_only=True, frozen=True):
    """The error: a status, a name for programs, a message for people, and details."""

    status: int
    name: str
    message: str
    details: dict[str, Any]


class ApiTokenError(Struct, kw_only=True, frozen=True):
    """Every error response below /api/api-tokens."""

    error: ApiTokenFault


class ChecksDocument(Struct, kw_only=True, frozen=True):
    """The components that were checked."""

    server: Literal["ok"]
    store: Literal["ok", "unavailable"]


class HealthDocument(Struct, kw_only=True, frozen=True):
    """Whether the server is healthy."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["tokctl"]
    checks: ChecksDocument
    timestamp: Time
