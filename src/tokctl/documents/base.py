"""Common parts of the documents: types of members, undocumented members, and reading members.

A document is a struct with the members in the order in which they are written. A member of type ``X | UnsetType`` is
omitted if it does not apply; one of type ``X | None`` is null if it is unknown. JSON that belongs to the user stays
``Raw``. ``extra`` members, which are not documented, are kept next to the documented ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from tokctl.model.json_values import decode_value
from tokctl.model.times import format_time, parse_time
from tokctl.model.tokens import NULL, Certainty

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC, as ``format_time`` writes it."""
HopCertainty = Literal["reconstructed", "ambiguous"]
"""How certain a hop is that the engine did not record; see ``tokctl.model.tokens.Certainty``."""
Count = Annotated[int, Meta(ge=0)]
Document = Struct | dict[str, Any]
"""The source of a JSON object: a struct, or its members together with undocumented ones."""


class DocumentError(Exception):
    """A document that cannot be read: the field, '' for the document itself, and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


def members(document: Document) -> dict[str, Any]:
    """Return the members of a document by their JSON names, in order, without the omitted ones."""
    if isinstance(document, dict):
        return document
    pairs = zip(document.__struct_encode_fields__, msgspec.structs.astuple(document), strict=True)
    return {name: value for name, value in pairs if value is not UNSET}


def encode_certainty(certainty: Certainty) -> HopCertainty | UnsetType:
    """Return the member ``certainty`` of a hop, which is omitted if the hop is recorded."""
    if certainty is Certainty.RECORDED:
        return UNSET
    return "reconstructed" if certainty is Certainty.RECONSTRUCTED else "ambiguous"


class NotJSONError(DocumentError):
    """The document is not JSON; ``readers.json_faults`` finds out why."""


D = TypeVar("D", bound=Struct)


def build_document(kind: type[D], source: Any, **others: Any) -> D:
    """Return a document of the attributes of a source with the names of its members, times as text, and ``others``."""
    names, times = _copied_members(kind, type(source), tuple(others))  # type: ignore[arg-type] # mypy #11469
    copied = {name: getattr(source, name) for name in names}
    for name in times:
        copied[name] = format_time(copied[name])
    return kind(**copied, **others)


@cache
def _copied_members(
    kind: type[Struct], source: type[Any], others: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names to copy, and those of them that are times."""
    types = get_type_hints(kind, include_extras=True)
    names = tuple(name for name in kind.__struct_fields__ if name not in others and hasattr(source, name))
    return names, tuple(name for name in names if types[name] in (Time, Time | None))


def with_extra(document: Struct, extra: Mapping[str, Any], *, after: str) -> Document:
    """Return a document with the undocumented members of its source, after the member ``after``."""
    if not extra:
        return document
    found: dict[str, Any] = {}
    known = members(document)
    for name, value in known.items():
        found[name] = value
        if name == after:
            found |= {more: raw for more, raw in extra.items() if more not in known}
    return found


_object_decoder = msgspec.json.Decoder(dict[str, Raw])


def decode_object(text: str | bytes | Raw) -> dict[str, Raw]:
    """Decode a JSON object one level deep. Raises DocumentError for anything else."""
    try:
        return _object_decoder.decode(text)
    except msgspec.ValidationError:
        raise DocumentError("", "expected a JSON object") from None
    except RecursionError:
        raise DocumentError("", "nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotJSONError("", f"not JSON: {error}") from None


def normalize_json(raw: Raw) -> bytes:
    """Return JSON without white space, members sorted; unreadable JSON as it is."""
    try:
        return msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return bytes(raw)


def is_same_json(left: Raw, right: Raw) -> bool:
    """Tell whether two JSON values are equal, apart from white space and the order of members."""
    return left == right or normalize_json(left) == normalize_json(right)


def pop_text(fields: dict[str, Raw], name: str) -> str | None:
    """Remove a member from the fields, and return it as text. Raises DocumentError."""
    try:
        found: str | None = msgspec.json.decode(fields.pop(name, NULL), type=str | None)
    except msgspec.ValidationError:
        raise DocumentError(name, "expected text") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DocumentError(name, f"invalid text ({error})") from None
    return found


def pop_time(fields: dict[str, Raw], name: str) -> datetime | None:
    """Remove a member from the fields, and return it as a time in UTC. Raises DocumentError."""
    try:
        return parse_time(decode_value(fields.pop(name, NULL)))
    except (msgspec.MsgspecError, ValueError) as error:
        raise DocumentError(name, str(error)) from None
