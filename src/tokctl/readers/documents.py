"""Converts whole JSON documents that fit in memory into records.

``stream`` reads longer documents piece by piece, with the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import overload

import msgspec
from msgspec import Raw, Struct

from tokctl.documents.base import DocumentError, NotJSONError, decode_object
from tokctl.documents.definitions import decode_definition
from tokctl.documents.instances import decode_instance
from tokctl.documents.tokens import decode_token
from tokctl.errors import InputError
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.model.visits import Visit
from tokctl.readers.json_faults import find_fault
from tokctl.text import shorten

TOKEN_FIELDS = frozenset({"token_id", "element_id", "current_element_id"})
"""Fields that only tokens have."""

_DEFINITION_FIELDS = frozenset(Definition.__struct_fields__)
_INSTANCE_FIELDS = frozenset({"status", "process_key"})
_list_decoder = msgspec.json.Decoder(list[Raw])


class RejectedRecord(Struct, frozen=True):
    """An invalid token: its place, the invalid field, the reason, and its text."""

    where: str
    field: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.reason}" if self.field else f"{self.where}: {self.reason}"


Record = Token | Instance | Definition | RejectedRecord
VisitRecord = Sequence[Visit] | Instance | Definition | RejectedRecord


class DocumentReader:
    """Reads the documents of one input. Yields each instance before its tokens, even if only tokens name it.

    ``instance_id`` and ``process_id`` are those of the document around the tokens that are being read; they apply to
    tokens without these ids.
    """

    def __init__(self, name: str, instance_id: str | None) -> None:
        self.name = name
        self._default_instance_id = instance_id or ""
        self.instance_id = self._default_instance_id
        self.process_id: str | None = None
        self.last_instance: tuple[str, str | None] = ("", None)
        """The ids of the last instance that was returned, and of its process."""

    def read_document(self, text: str | Raw, where: str) -> Iterator[Record]:
        """Yield the records of a document; anything but tokens, instances and definitions is rejected.

        Args:
            text: the JSON of the document.
            where: its place in the input for messages, such as ``data[3]``; empty for the first document.

        Raises:
            InputError: it is an error response.
        """
        try:
            yield from self._read(text, where)
        except NotJSONError as error:
            source = decode_text(text)
            fault = find_fault(source)
            reason = f"{fault.reason} (column {fault.offset + 1})" if fault else error.reason
            yield RejectedRecord(where or "document 1", fault.path if fault else "", reason, source)
        except DocumentError as error:
            source = decode_text(remove_line_breaks(text))
            yield RejectedRecord(where or "document 1", error.field, error.reason, source)

    def _read(self, text: str | Raw, where: str) -> Iterator[Record]:
        line = remove_line_breaks(text)
        try:
            token = decode_token(line, self.instance_id, self.process_id)
        except DocumentError as error:
            not_a_token = error
        else:
            yield from self.read_token(token)
            return
        if decode_text(text)[:1] == "[":
            yield from self._read_array(Raw(decode_text(text).encode()), where)
            return
        fields = decode_object(text)
        self.reject_error_answer(fields)
        path = f"{where}." if where else ""
        has_token_fields = bool(fields.keys() & TOKEN_FIELDS)
        if "data" in fields and not has_token_fields:
            data = fields["data"]
            if bytes(data)[:1] == b"[":
                yield from self._read_array(data, f"{path}data")
            else:
                yield from self.read_document(data, f"{path}data")
        elif "tokens" in fields and not has_token_fields:
            yield from self.begin_instance(fields, where)
            yield from self._read_array(fields["tokens"], f"{path}tokens")
            self.end_instance()
        elif "instances" in fields and not has_token_fields:
            yield from self._read_array(fields["instances"], f"{path}instances")
        elif "process_id" in fields and ("elements" in fields or fields.keys() <= _DEFINITION_FIELDS):
            yield decode_definition(line)
        elif _is_instance(fields):
            instance = decode_instance(decode_object(line))
            self.last_instance = instance.instance_id, instance.process_id
            yield instance
        else:
            raise not_a_token

    def _read_array(self, raw: Raw, where: str) -> Iterator[Record]:
        try:
            items = _list_decoder.decode(raw)
        except msgspec.MsgspecError:
            raise DocumentError("", "expected an array of tokens") from None
        for index, item in enumerate(items):
            yield from self.read_document(item, f"{where}[{index}]")

    def read_token(self, token: Token) -> Iterator[Record]:
        """Yield a token, preceded by its instance if that is new."""
        return self.read_tokens((token,))

    def read_tokens(self, tokens: Iterable[Token]) -> Iterator[Token | Instance]:
        """Yield tokens, each preceded by its instance if that is new."""
        for token in tokens:
            if token.process_id is not None and (token.instance_id, token.process_id) != self.last_instance:
                yield self.build_instance(token)
            yield token

    def read_visits(self, visits: Sequence[Visit]) -> Iterator[VisitRecord]:
        """Yield visits in batches, each preceded by the instance of its visits if that is new."""
        start = 0
        for position, visit in enumerate(visits):
            if visit.process_id is not None and (visit.instance_id, visit.process_id) != self.last_instance:
                if position > start:
                    yield visits[start:position]
                start = position
                yield self.build_instance(visit)
        yield visits[start:]

    def build_instance(self, token: Token | Visit) -> Instance:
        """Return the instance that a token names, with its process."""
        self.last_instance = token.instance_id, token.process_id
        return Instance(instance_id=token.instance_id, process_id=token.process_id)

    def begin_instance(
        self, fields: dict[str, Raw], where: str, fault: tuple[str, str] | None = None
    ) -> Iterator[Record]:
        """Yield the definition and the instance that the following tokens belong to, if the fields have them.

        ``fault`` is the field that is not JSON, and the reason.
        """
        fields = {name: remove_line_breaks(raw) for name, raw in fields.items() if name != "tokens"}
        if fault is not None:
            yield self._reject_instance(fields, where, *fault)
            return
        try:
            if "definition" in fields:
                yield decode_definition(fields["definition"])
            if "instance_id" in fields or "id" in fields:
                instance = decode_instance(fields)
                self.instance_id, self.process_id = self.last_instance = instance.instance_id, instance.process_id
                yield instance
        except DocumentError as error:
            yield self._reject_instance(fields, where, error.field, error.reason)

    def _reject_instance(self, fields: dict[str, Raw], where: str, field: str, reason: str) -> RejectedRecord:
        self.instance_id = ""  # rejects the tokens, instead of adding them to another instance
        return RejectedRecord(where or "document 1", field, reason, decode_text(Raw(msgspec.json.encode(fields))))

    def end_instance(self) -> None:
        """Leave the document of the instance that ``begin_instance`` returned."""
        self.instance_id, self.process_id = self._default_instance_id, None

    def reject_error_answer(self, fields: dict[str, Raw]) -> None:
        """Raise InputError if the document is a server's error response, saved by mistake."""
        if bytes(fields.get("success", NULL)) == b"false" and "error" in fields:
            error = msgspec.json.decode(fields["error"])
            if isinstance(error, dict):
                error = " ".join(str(error[key]) for key in ("code", "message") if error.get(key))
            raise InputError(f"{self.name}: the response is an error: {shorten(str(error or 'no details'), 200)}")


def _is_instance(fields: dict[str, Raw]) -> bool:
    """Tell an instance from an incomplete token: some servers send a ``state`` for both."""
    return (
        "instance_id" in fields
        and not fields.keys() & TOKEN_FIELDS
        and ("state" not in fields or bool(fields.keys() & _INSTANCE_FIELDS))
    )


@overload
def remove_line_breaks(text: Raw) -> Raw: ...
@overload
def remove_line_breaks(text: str | Raw) -> str | Raw: ...
def remove_line_breaks(text: str | Raw) -> str | Raw:
    """Return JSON without line breaks: raw values are stored unchanged, and must fit on a line of NDJSON."""
    with suppress(msgspec.DecodeError):
        if isinstance(text, str):
            return msgspec.json.format(text, indent=-1) if "\n" in text else text
        whole = bytes(text)
        return Raw(msgspec.json.format(whole, indent=-1)) if b"\n" in whole else text
    return text


def decode_text(text: str | Raw) -> str:
    """Return JSON text as str."""
    return text if isinstance(text, str) else bytes(text).decode()
