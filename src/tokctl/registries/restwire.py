"""What the API-token API sends and is sent: pages, records, what a change is written as. It asks for nothing itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from tokctl.access.model import EXPIRED, READ_ONLY, REVOKED, UNKNOWN, VALID, ApiToken
from tokctl.access.secret import mask
from tokctl.access.wire import decode_api_token
from tokctl.client import Answer, json_of
from tokctl.client.answers import WRONG_PLACE
from tokctl.client.text import one_line
from tokctl.errors import InputError
from tokctl.process.model import format_time
from tokctl.registries.base import Verdict

Document = dict[str, Any]

MEMBERS = {
    "name": "name", "description": "description", "type": "type", "scopes": "scopes", "expires_at": "expiresAt",
}  # fmt: skip
"""What can be set: field → its name in the API."""
_KEPT_THERE = frozenset({"id", "token", "lastUsedAt", "createdBy", "createdAt", "updatedAt"})
_SHOWN_MASK = 16  # characters that a mask has at most
_USABLE = re.compile(r"[0-9A-Za-z._~+/-]{16,}=*")  # RFC 6750, section 2.1; what is shorter a mask would show
_BLURRED = timedelta(seconds=1)  # servers keep times to the millisecond or the second


class Page(NamedTuple):
    """A page as it came: what the server says of it may be wrong, or None where it says nothing."""

    tokens: list[ApiToken]
    number: int | None
    size: int | None
    total: int | None
    tells_scopes: bool  # and all else that the document does not have


class Delivered(NamedTuple):
    """The answer to a creation, as far as it can be read."""

    id: str | None = None
    token: ApiToken | None = None
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Delivered(id={self.id!r})"


def read_page(answer: Answer) -> Page:
    """Read a page of the list. Raises InputError."""
    document = json_of(answer, Document)
    rows = document.get("data", ())
    if rows is None:  # Go's way to write an empty list
        rows = []
    if not isinstance(rows, list):
        raise InputError(f"{answer.url}: $.data is no list.", WRONG_PLACE)
    meta = document.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    told = meta.get("pagination")
    told = told if isinstance(told, dict) else {}
    with _placed(answer):
        tokens = [_record(row, f"$.data[{number}]") for number, row in enumerate(rows)]
    number, size, total = (_count(told.get(name)) for name in ("page", "pageSize", "total"))
    return Page(tokens, number, size, total, isinstance(meta.get("permissions"), list))


def read_one(answer: Answer) -> tuple[ApiToken, Document]:
    """Read one record, and give out the object itself, too. Raises InputError."""
    document = json_of(answer, Document)
    with _placed(answer):
        return _record(document, "$"), document


def read_created(body: bytes) -> Delivered:
    """Read the answer to a creation; what cannot be used of it is None. Its text never becomes one of an error.

    The token has the mask wherever the answer has the secret.
    """
    try:
        document = msgspec.json.decode(body, type=Document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Delivered()
    number, secret = document.get("id"), document.get("token")
    if isinstance(number, bool) or not isinstance(number, int | str) or number == "":
        return Delivered()
    if not isinstance(secret, str) or not _USABLE.fullmatch(secret) or "..." in secret:
        return Delivered(str(number))
    masked = msgspec.json.encode(document).replace(secret.encode(), mask(secret).encode())
    with suppress(InputError):
        return Delivered(str(number), decode_api_token(msgspec.json.decode(masked)), secret)
    return Delivered(str(number))


def members(values: Mapping[str, Any]) -> Document:
    """Return what is to be set as JSON has it."""
    document = {MEMBERS[field]: value for field, value in values.items()}
    if "expiresAt" in document:
        document["expiresAt"] = format_time(document["expiresAt"])
    if document.get("scopes") is not None:
        document["scopes"] = [*document["scopes"]]
    return document


def merged(document: Document, changes: Mapping[str, Any]) -> Document:
    """Return a whole object to send back: as it was read, unknown members included, with the changes."""
    return {name: value for name, value in document.items() if name not in _KEPT_THERE} | members(changes)


def differing(wanted: Mapping[str, Any], token: ApiToken) -> list[str]:
    """Return the fields in which a token is not as it was wanted."""
    return [field for field, value in wanted.items() if not _same(field, value, getattr(token, field))]


def _same(field: str, wanted: Any, found: Any) -> bool:
    if field == "scopes":
        return found is not None and set(wanted) == set(found)
    if field == "expires_at" and wanted is not None and found is not None:
        return bool(abs(wanted - found) < _BLURRED)
    return bool(wanted == found) or (field == "description" and not wanted and not found)


def shown(field: str, value: Any) -> str:
    """Return the value of a field as it stands in messages."""
    if field == "expires_at":
        return format_time(value) or "never"
    return ", ".join(value) or "none" if isinstance(value, tuple) else one_line(str(value), 60)


def read_verdict(document: Document, secret: str) -> Verdict | None:
    """Read what an introspection says (RFC 7662, section 2.2) and our server adds; None where it is none."""
    if not isinstance(document.get("active"), bool):
        return None
    state = VALID if document["active"] else document.get("state")
    if state not in {VALID, EXPIRED, REVOKED}:
        return Verdict(state=UNKNOWN)
    number, name, scope, type_ = (document.get(member) for member in ("id", "name", "scope", "type"))
    created = _moment(document.get("iat"))
    if not isinstance(number, int | str) or not isinstance(name, str) or created is None:
        return Verdict(state=state)
    token = ApiToken(
        id=number,
        name=name,
        token=mask(secret),
        type=type_ if isinstance(type_, str) else READ_ONLY,
        scopes=tuple(scope.split()) if isinstance(scope, str) else None,
        created_at=created,
        expires_at=_moment(document.get("exp")),
    )
    return Verdict(state=state, token=token)


def by_mask(tokens: Iterable[ApiToken], secret: str, now: datetime) -> ApiToken | None:
    """Return the valid one whose mask is that of a secret, if there is only one."""
    found = [
        one for one in tokens if one.state(now) == VALID and one.token.endswith("...")
        and secret.startswith(one.token[:-3])
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


@contextmanager
def _placed(answer: Answer) -> Iterator[None]:
    """Say of an error where the answer came from."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{answer.url}: {one_line(answer.hide(error.message))}", error.hint) from None


def _record(value: Any, where: str) -> ApiToken:
    """Read a record. One that a server tells with its whole secret gets a mask here."""
    token = decode_api_token(value, where)
    is_mask = token.token.endswith("...") and len(token.token) <= _SHOWN_MASK
    return token if is_mask else replace(token, token=mask(token.token))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
