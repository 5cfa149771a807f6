"""The bodies of requests to ``/api/api-tokens``, and how they are received and decoded.

These structs are not in ``tokctl.documents``, which has what tokctl writes and clients read: only the server decodes
them, and their constraints are its validation. A body may contain the read-only members of an API token, so that a
client can send back what it has read; they are ignored. Any other unknown member is an error, because ignoring it would
hide a typo.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tokctl.model.api_tokens import API_TOKEN_TYPES, MAX_DESCRIPTION_LENGTH, MAX_NAME_LENGTH, READ_ONLY
from tokctl.model.networks import MAX_NETWORKS
from tokctl.model.scopes import DEFAULT_SCOPES, PERMISSIONS
from tokctl.server.http_errors import HTTPError, body_too_large, slow_request
from tokctl.server.request import GONE, ClientDisconnected, Request
from tokctl.server.settings import Limits
from tokctl.text import shorten, suggest

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 100
MAX_ID = (1 << 63) - 1

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION_LENGTH)] | None
Type = Literal[API_TOKEN_TYPES]  # type: ignore[valid-type]
Moment = Annotated[datetime, Meta(tz=True)] | None
Networks = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=MAX_NETWORKS)]
Scopes = tuple[Literal[PERMISSIONS], ...]  # type: ignore[valid-type]

MEMBER_RULES = {
    "name": "a text of 1 to 255 characters, not all of them blank",
    "description": "a text of at most 4,096 characters, or null",
    "type": f"one of {', '.join(API_TOKEN_TYPES)}",
    "expiresAt": "an RFC 3339 time with its zone, such as 2027-01-31T12:00:00Z, or null",
    "scopes": f"a list of permissions: {', '.join(PERMISSIONS)}",
    "allowedCidrs": f"a list of at most {MAX_NETWORKS} networks in CIDR notation",
    "disabled": "true or false",
    "replaces": "the id of an API token, or null",
    "token": "a text",
    "token_type_hint": "a text",
    "use": "true or false",
    "next": "a text",
}
"""What a member has to be, for error messages."""
_CHOICES: Mapping[str, Sequence[str]] = {"type": API_TOKEN_TYPES, "scopes": PERMISSIONS}


class _ReadOnlyMembers(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    id: Any = None
    token: Any = None
    last_used_at: Any = None
    last_use: Any = None
    created_by: Any = None
    created_at: Any = None
    updated_at: Any = None


READ_ONLY_MEMBERS = tuple(field.encode_name for field in msgspec.structs.fields(_ReadOnlyMembers))


class NewApiTokenBody(_ReadOnlyMembers, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An API token to create. It expires in the future, or never (null). Read-only members are ignored.

    With ``allowedCidrs`` it may be used only from these networks. ``replaces`` is the id of the API token that is
    rotated to it, for the audit.
    """

    name: Name
    description: Description = None
    type: Type = READ_ONLY
    scopes: Scopes = DEFAULT_SCOPES
    allowed_cidrs: Networks = ()
    expires_at: Moment = None
    replaces: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class ApiTokenChanges(_ReadOnlyMembers, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Changes to an API token; members that are left out stay as they are.

    ``expiresAt`` null means never, an empty list of ``allowedCidrs`` any address. A disabled API token is rejected
    until it is enabled again.
    """

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    type: Type | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    allowed_cidrs: Networks | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET

    def get_changes(self) -> dict[str, Any]:
        """Return the new values by the fields of ``model.api_tokens.ApiToken``."""
        names = ("name", "description", "type", "scopes", "allowed_cidrs", "disabled", "expires_at")
        return {name: value for name in names if (value := getattr(self, name)) is not UNSET}


class _IntrospectionRequest(Struct, kw_only=True):
    token: Annotated[str, Meta(min_length=1)]
    token_type_hint: str = ""


class IntrospectionBody(_IntrospectionRequest, kw_only=True):
    """The secret to check (RFC 7662, section 2.1). With ``use`` false, the check does not count as a use."""

    use: bool = True

    @property
    def is_use(self) -> bool:
        """Whether to ask is a use of the secret."""
        return self.use


class IntrospectionForm(_IntrospectionRequest, kw_only=True):
    """The same body as a form."""

    use: Literal["true", "false", "1", "0"] = "true"

    @property
    def is_use(self) -> bool:
        """Whether to ask is a use of the secret."""
        return self.use in {"true", "1"}


async def read_body(request: Request, body: type[Struct], form: type[Struct] | None, limits: Limits) -> Struct:
    """Receive the body of a request and decode it: to ``body`` from JSON, to ``form`` from a form.

    Raises:
        HTTPError: the body is too large, too slow, of another content type, or invalid.
        ClientDisconnected: the client disconnected.
    """
    kind = request.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    kinds = {JSON: body} if form is None else {JSON: body, FORM: form}
    if kind not in kinds or request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise HTTPError(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            f"The body must be {' or '.join(kinds)}, not compressed.",
            {"accepted": [*kinds]},
            headers=((b"accept", ", ".join(kinds).encode()),),
        )
    try:
        async with asyncio.timeout(limits.head_seconds):
            data = await _receive(request, limits.body)
    except TimeoutError:
        raise slow_request() from None
    value = _decode_form(data) if kind == FORM else _decode_json(data)
    return _convert(value, kinds[kind])


async def _receive(request: Request, max_bytes: int) -> bytes:
    data, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected(GONE)
        data += message.get("body", b"")
        if len(data) > max_bytes:
            raise body_too_large(max_bytes)
        more = message.get("more_body", False)
    return data


def _decode_json(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise invalid_member("", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise invalid_member("", "The body must be a JSON object.")
    return value


def _decode_form(data: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise invalid_member("", "The body is not a UTF-8 form.") from None
    names = [name for name, _ in pairs if name in MEMBER_RULES]
    for name in names:
        if names.count(name) > 1:
            raise invalid_member(name, f"'{name}' appears {names.count(name)} times.")
    return dict(pairs)


def _convert(value: dict[str, Any], wanted: type[Struct]) -> Struct:
    if wanted.__struct_config__.forbid_unknown_fields:
        names = [field.encode_name for field in msgspec.structs.fields(wanted)]
        for name in value:
            if name not in names:
                known = [one for one in names if one not in READ_ONLY_MEMBERS]
                raise invalid_member(
                    name, f"Unknown member '{shorten(name)}'{suggest(name, known)}. Valid: {', '.join(known)}."
                )
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        text = str(error)
    found = re.search(r"\$\.(\w+)", text) or re.search(r"field `(\w+)`", text)
    member = found[1] if found else ""
    if member not in value:
        raise invalid_member(member, f"'{member}' is missing. It must be {MEMBER_RULES[member]}.")
    raise invalid_member(member, f"'{member}' must be {MEMBER_RULES[member]}{_suggest_nearest(member, value[member])}.")


def _suggest_nearest(member: str, value: Any) -> str:
    choices = _CHOICES.get(member, ())
    given = value if isinstance(value, list) else [value]
    odd = next((one for one in given if isinstance(one, str) and one not in choices), None)
    return suggest(odd, choices) if odd is not None and choices else ""


def invalid_member(member: str, message: str) -> HTTPError:
    """Return the error for an invalid body or member of a body."""
    return HTTPError(400, "VALIDATION_ERROR", message, {"member": shorten(member)})
