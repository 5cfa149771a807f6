"""Process definitions as JSON: the model's own struct is the document."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from tokctl.documents.base import DocumentError
from tokctl.model.definitions import Definition


class DurationsDocument(Struct, kw_only=True, frozen=True):
    """[instance id, element id, ms] of completed visits."""

    durations: list[tuple[str, str, float]]


def decode_definition(text: str | bytes | Raw) -> Definition:
    """Decode a definition as ``store export`` writes it. Raises DocumentError: it is not a definition."""
    try:
        return msgspec.json.decode(text, type=Definition)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise DocumentError("definition", str(error)) from None
