"""API tokens as JSON: the documented object, with ``scopes`` and ``updatedAt`` beside its members."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tokctl.access.model import ApiToken, CreatedBy
from tokctl.errors import InputError
from tokctl.process.model import format_time
from tokctl.process.wire import parse_time

Document = dict[str, Any]

_KNOWN = (
    "id", "name", "description", "type", "scopes", "token", "lastUsedAt", "expiresAt", "createdBy", "createdAt",
    "updatedAt",
)  # fmt: skip


def api_token_document(token: ApiToken) -> Document:
    """Return the JSON object of an API token; its ``token`` is the mask. Unknown scopes are left out."""
    by = token.created_by
    document = {
        "id": token.id,
        "name": token.name,
        "description": token.description,
        "type": token.type,
        "scopes": None if token.scopes is None else [*token.scopes],
        "token": token.token,
        "lastUsedAt": format_time(token.last_used_at),
        "expiresAt": format_time(token.expires_at),
        "createdBy": None if by is None else {"id": by.id, "email": by.email},
        "createdAt": format_time(token.created_at),
        "updatedAt": format_time(token.updated_at),
    }
    if token.scopes is None:
        del document["scopes"]
    return token.extra | document


def decode_api_token(value: Any, where: str = "$") -> ApiToken:
    """Read the JSON object of an API token; members that nobody knows are kept.

    Raises:
        InputError: it is none; says at which member, as ``where.member``.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where} is no API token: {_kind(value)}.")
    created_at = _read(value, "createdAt", parse_time, where)
    if created_at is None:
        raise InputError(f"{where}.createdAt is missing.")
    number = value.get("id")
    if isinstance(number, bool) or not isinstance(number, int | str) or number == "":
        raise InputError(f"{where}.id is no id: {_kind(number)}.")
    return ApiToken(
        id=number,
        name=_text(value, "name", where) or "",
        token=_text(value, "token", where) or "",
        type=_text(value, "type", where) or "",
        description=_text(value, "description", where),
        scopes=_scopes(value.get("scopes"), where),
        created_by=_creator(value.get("createdBy"), where),
        created_at=created_at,
        updated_at=_read(value, "updatedAt", parse_time, where),
        expires_at=_read(value, "expiresAt", parse_time, where),
        last_used_at=_read(value, "lastUsedAt", parse_time, where),
        extra={name: member for name, member in value.items() if name not in _KNOWN},
    )


def _read(value: Document, name: str, read: Callable[[Any], datetime | None], where: str) -> datetime | None:
    try:
        return read(value.get(name))
    except ValueError as error:
        raise InputError(f"{where}.{name}: {error}.") from None


def _text(value: Document, name: str, where: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise InputError(f"{where}.{name} is no text: {_kind(found)}.")
    return found


def _scopes(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{where}.scopes is no list of texts.")
    return tuple(value)


def _creator(value: Any, where: str) -> CreatedBy | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"{where}.createdBy is no object: {_kind(value)}.")
    number, email = value.get("id"), value.get("email")
    return CreatedBy(
        id=number if isinstance(number, int | str) else None, email=email if isinstance(email, str) else None
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
