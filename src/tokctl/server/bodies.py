"""What is sent to ``/api/api-tokens``: the shapes of bodies, and how one is read.

Members that our own objects have and nobody sets may stand in a body, so that what was read can be sent back; they
are not looked at. Any other that is unknown is an error, for it would do nothing in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tokctl.access.model import LONGEST_DESCRIPTION, LONGEST_NAME, READ_ONLY, TYPES
from tokctl.access.scopes import DEFAULT_SCOPES, PERMISSIONS
from tokctl.process.query import suggest
from tokctl.process.wire import shorten
from tokctl.server.exchange import Cut, Exchange
from tokctl.server.refusals import Refusal

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100  # of a form

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=LONGEST_DESCRIPTION)] | None
Type = Literal[TYPES]  # type: ignore[valid-type]
Moment = Annotated[datetime, Meta(tz=True)] | None
Scopes = tuple[Literal[PERMISSIONS], ...]  # type: ignore[valid-type]

MEANINGS = {
    "name": "a text of 1 to 255 characters, not all of them blank",
    "description": "a text of at most 4,096 characters, or null",
    "type": f"one of {', '.join(TYPES)}",
    "expiresAt": "an RFC 3339 time with its zone, such as 2027-01-31T12:00:00Z, or null",
    "scopes": f"a list of permissions: {', '.join(PERMISSIONS)}",
    "token": "a text",
    "token_type_hint": "a text",
    "use": "true or false",
}
"""What a member has to be, where it is not."""
_CHOICES: Mapping[str, Sequence[str]] = {"type": TYPES, "scopes": PERMISSIONS}


class _SentBack(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    id: Any = None
    token: Any = None
    last_used_at: Any = None
    created_by: Any = None
    created_at: Any = None
    updated_at: Any = None


SENT_BACK = tuple(field.encode_name for field in msgspec.structs.fields(_SentBack))


class NewApiTokenBody(_SentBack, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An API token that is wanted. It expires in the future, or never; what is read back of others is ignored."""

    name: Name
    description: Description = None
    type: Type = READ_ONLY
    scopes: Scopes = DEFAULT_SCOPES
    expires_at: Moment = None


class ApiTokenChanges(_SentBack, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is to be changed of an API token; what is left out stays. ``expiresAt`` of null is never."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    type: Type | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """Values by the members of ``access.model.ApiToken``."""
        names = ("name", "description", "type", "scopes", "expires_at")
        return {name: value for name in names if (value := getattr(self, name)) is not UNSET}


class _Asked(Struct, kw_only=True):
    token: Annotated[str, Meta(min_length=1)]
    token_type_hint: str = ""


class IntrospectionBody(_Asked, kw_only=True):
    """A secret that is asked about (RFC 7662, section 2.1). ``use`` of false says that this is no use of it."""

    use: bool = True

    @property
    def is_use(self) -> bool:
        """Whether to ask is a use of the secret."""
        return self.use


class IntrospectionForm(_Asked, kw_only=True):
    """The same as a form."""

    use: Literal["true", "false", "1", "0"] = "true"

    @property
    def is_use(self) -> bool:
        """Whether to ask is a use of the secret."""
        return self.use in {"true", "1"}


async def read_body(exchange: Exchange, body: type[Struct], form: type[Struct] | None, most: int) -> Struct:
    """Take in the body of a request, of ``most`` bytes, and read it: ``body`` from JSON, ``form`` from a form.

    Raises:
        Refusal: it is too large, of another kind, or not what is wanted.
        Cut: the client has gone.
    """
    kind = exchange.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    kinds = {JSON: body} if form is None else {JSON: body, FORM: form}
    if kind not in kinds or exchange.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(415, "UNSUPPORTED_MEDIA_TYPE", f"The body has to be {' or '.join(kinds)}, not compressed.",
                      {"accepted": [*kinds]}, headers=((b"accept", ", ".join(kinds).encode()),))  # fmt: skip
    data = await _receive(exchange, most)
    value = _form(data) if kind == FORM else _json(data)
    return _converted(value, kinds[kind])


async def _receive(exchange: Exchange, most: int) -> bytes:
    data, more = b"", True
    while more:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise Cut("the client has gone")
        data += message.get("body", b"")
        if len(data) > most:
            raise Refusal(413, "PAYLOAD_TOO_LARGE", f"The body has more than {most:,} bytes.")
        more = message.get("more_body", False)
    return data


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise wrong("", "The body is no JSON.") from None
    if not isinstance(value, dict):
        raise wrong("", "The body has to be a JSON object.")
    return value


def _form(data: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise wrong("", "The body is no form in UTF-8.") from None
    names = [name for name, _ in pairs if name in MEANINGS]
    for name in names:
        if names.count(name) > 1:
            raise wrong(name, f"'{name}' is given {names.count(name)} times.")
    return dict(pairs)


def _converted(value: dict[str, Any], wanted: type[Struct]) -> Struct:
    if wanted.__struct_config__.forbid_unknown_fields:
        names = [field.encode_name for field in msgspec.structs.fields(wanted)]
        for name in value:
            if name not in names:
                known = [one for one in names if one not in SENT_BACK]
                raise wrong(name, f"There is no member '{shorten(name)}'{suggest(name, known)}. "
                                  f"Valid: {', '.join(known)}.")  # fmt: skip
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        text = str(error)
    found = re.search(r"\$\.(\w+)", text) or re.search(r"field `(\w+)`", text)
    member = found[1] if found else ""
    if member not in value:
        raise wrong(member, f"'{member}' is missing: it has to be {MEANINGS[member]}.")
    raise wrong(member, f"'{member}' has to be {MEANINGS[member]}{_nearest(member, value[member])}.")


def _nearest(member: str, value: Any) -> str:
    choices = _CHOICES.get(member, ())
    given = value if isinstance(value, list) else [value]
    odd = next((one for one in given if isinstance(one, str) and one not in choices), None)
    return suggest(odd, choices) if odd is not None and choices else ""


def wrong(member: str, message: str) -> Refusal:
    """A body, or a member of it, that cannot mean anything."""
    return Refusal(400, "VALIDATION_ERROR", message, {"member": shorten(member)})
