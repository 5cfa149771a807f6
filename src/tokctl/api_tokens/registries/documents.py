"""The JSON of the documented API-token API: pages, records, changes, introspection. Sends no requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from tokctl.api_tokens.registries.protocol import VerificationResult
from tokctl.api_tokens.secrets import mask
from tokctl.client import ClientResponse, decode_json
from tokctl.client.json_responses import WRONG_ADDRESS_HINT
from tokctl.documents.api_tokens import decode_api_token
from tokctl.errors import InputError
from tokctl.model.api_tokens import DISABLED, EXPIRED, READ_ONLY, REVOKED, UNKNOWN, VALID, ApiToken
from tokctl.model.times import format_time
from tokctl.text import one_line

Document = dict[str, Any]

FIELD_NAMES = {
    "name": "name",
    "description": "description",
    "type": "type",
    "scopes": "scopes",
    "allowed_cidrs": "allowedCidrs",
    "disabled": "disabled",
    "expires_at": "expiresAt",
}
"""Field of an API token that can be set → its name in the API."""
_READ_ONLY_FIELDS = frozenset({"id", "token", "lastUsedAt", "lastUse", "createdBy", "createdAt", "updatedAt"})
_MAX_MASK_LENGTH = 16  # characters
_SECRET_PATTERN = re.compile(r"[0-9A-Za-z._~+/-]{16,}=*")  # RFC 6750, section 2.1; a mask would show a shorter one
_TIME_TOLERANCE = timedelta(seconds=1)  # some servers keep times to the second


class ApiTokenPage(NamedTuple):
    """A page of the list. ``number``, ``size`` and ``total`` are as the server sent them; None if absent."""

    tokens: list[ApiToken]
    number: int | None
    size: int | None
    total: int | None
    meta: Document


class CreationResponse(NamedTuple):
    """The response to a creation, as far as it is readable. The repr hides the secret."""

    id: str | None = None
    token: ApiToken | None = None
    secret: str | None = None

    def __repr__(self) -> str:
        return f"CreationResponse(id={self.id!r})"


def decode_page(answer: ClientResponse) -> ApiTokenPage:
    """Decode a page of the list. Raises InputError."""
    document = decode_json(answer, Document)
    rows = document.get("data", ())
    if rows is None:  # how Go writes an empty list
        rows = []
    if not isinstance(rows, list):
        raise InputError(f"{answer.url}: $.data is not a list.", WRONG_ADDRESS_HINT)
    meta = _object(document, "meta")
    pagination = _object(meta, "pagination")
    with _add_url_to_errors(answer):
        tokens = [_decode_record(row, f"$.data[{number}]") for number, row in enumerate(rows)]
    number, size, total = (_decode_count(pagination.get(name)) for name in ("page", "pageSize", "total"))
    return ApiTokenPage(tokens, number, size, total, meta)


def decode_token(answer: ClientResponse) -> tuple[ApiToken, Document]:
    """Decode an API token; return it and its JSON object. Raises InputError."""
    document = decode_json(answer, Document)
    with _add_url_to_errors(answer):
        return _decode_record(document, "$"), document


def decode_created(body: bytes) -> CreationResponse:
    """Decode the response to a creation; unusable parts are None. Never raises, so that no error quotes the secret.

    In the token, the secret is replaced by its mask everywhere.
    """
    try:
        document = msgspec.json.decode(body, type=Document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return CreationResponse()
    number, secret = document.get("id"), document.get("token")
    if isinstance(number, bool) or not isinstance(number, int | str) or number == "":
        return CreationResponse()
    if not isinstance(secret, str) or not _SECRET_PATTERN.fullmatch(secret) or "..." in secret:
        return CreationResponse(str(number))
    masked = msgspec.json.encode(document).replace(secret.encode(), mask(secret).encode())
    with suppress(InputError):
        return CreationResponse(str(number), decode_api_token(msgspec.json.decode(masked)), secret)
    return CreationResponse(str(number))


def encode_fields(values: Mapping[str, Any]) -> Document:
    """Return fields and their values as a JSON object."""
    document = {FIELD_NAMES[field]: value for field, value in values.items()}
    if "expiresAt" in document:
        document["expiresAt"] = format_time(document["expiresAt"])
    return {name: [*value] if isinstance(value, tuple) else value for name, value in document.items()}


def merge_changes(document: Document, changes: Mapping[str, Any]) -> Document:
    """Return the whole object to send back: the original with its unknown members, and the changes."""
    return {name: value for name, value in document.items() if name not in _READ_ONLY_FIELDS} | encode_fields(changes)


def find_differences(wanted: Mapping[str, Any], token: ApiToken) -> list[str]:
    """Return the fields in which an API token differs from the requested values."""
    return [field for field, value in wanted.items() if not _same(field, value, getattr(token, field))]


def _same(field: str, wanted: Any, found: Any) -> bool:
    if field in {"scopes", "allowed_cidrs"}:
        return found is not None and set(wanted) == set(found)
    if field == "expires_at" and wanted is not None and found is not None:
        return bool(abs(wanted - found) < _TIME_TOLERANCE)
    return bool(wanted == found) or (field == "description" and not wanted and not found)


def format_field(field: str, value: Any) -> str:
    """Return the value of a field for messages."""
    if field == "expires_at":
        return format_time(value) or "never"
    return ", ".join(value) or "none" if isinstance(value, tuple) else one_line(str(value), 60)


def format_differences(fields: Iterable[str], wanted: Mapping[str, Any], token: ApiToken) -> str:
    """Return the fields in which an API token differs from the requested values, for messages."""
    return "; ".join(
        f"{field} {format_field(field, getattr(token, field))} for {format_field(field, wanted[field])}"
        for field in fields
    )


def decode_verification(document: Document, secret: str) -> VerificationResult | None:
    """Decode an introspection response (RFC 7662, section 2.2, and the members that tokctl's server adds).

    None if the document is not such a response.
    """
    if not isinstance(document.get("active"), bool):
        return None
    state = VALID if document["active"] else document.get("state")
    if state not in {VALID, DISABLED, EXPIRED, REVOKED}:
        return VerificationResult(state=UNKNOWN)
    number, name, scope, type_ = (document.get(member) for member in ("id", "name", "scope", "type"))
    created = _decode_time(document.get("iat"))
    if not isinstance(number, int | str) or not isinstance(name, str) or created is None:
        return VerificationResult(state=state)
    token = ApiToken(
        id=number,
        name=name,
        token=mask(secret),
        type=type_ if isinstance(type_, str) else READ_ONLY,
        scopes=tuple(scope.split()) if isinstance(scope, str) else None,
        created_at=created,
        expires_at=_decode_time(document.get("exp")),
    )
    return VerificationResult(state=state, token=token)


def find_by_mask(tokens: Iterable[ApiToken], secret: str, state: str, now: datetime) -> ApiToken | None:
    """Return the API token in this state that has the mask of a secret; None if there is none, or more than one."""
    found = [
        one
        for one in tokens
        if one.state(now) == state and one.token.endswith("...") and secret.startswith(one.token[:-3])
    ]
    return found[0] if len(found) == 1 else None


@contextmanager
def _add_url_to_errors(answer: ClientResponse) -> Iterator[None]:
    """Add the URL of the response to InputErrors, with secrets masked."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{answer.url}: {one_line(answer.mask_secrets(error.message))}", error.hint) from None


def _decode_record(value: Any, where: str) -> ApiToken:
    """Decode an API token. If the server sends the whole secret, it is replaced by its mask."""
    token = decode_api_token(value, where)
    is_mask = token.token.endswith("...") and len(token.token) <= _MAX_MASK_LENGTH
    return token if is_mask else replace(token, token=mask(token.token))


def _object(document: Document, name: str) -> Document:
    member = document.get(name)
    return member if isinstance(member, dict) else {}


def _decode_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _decode_time(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
