"""Reads inputs of any size as a stream of records, in bounded memory.

An input may contain, one after another: the documented response (with or without its envelope), lists of instances or
tokens, single tokens, instances and definitions; as one document over many lines, or one document per line (NDJSON).
It takes bytes and returns records; ``tokctl.input_files`` opens files.

There are two ways to read a value. One that fits in the window (``MAX_VALUE_CHARACTERS``) is decoded as a whole by
``documents``. A longer one is never in memory as a whole: objects are walked member by member and arrays item by item,
and the tokens of an array are decoded in batches. The end of a batch is guessed: the first key of the first token,
after ``},{``, is probably the start of another token. The guess is right if and only if the text up to there is the
content of an array, which decoding shows. If there is no such place, tokens are read one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import cast

import msgspec
from msgspec import Raw

from tokctl.documents.base import DocumentError
from tokctl.documents.instances import IGNORED_FIELDS
from tokctl.documents.tokens import decode_tokens
from tokctl.errors import InputError
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit, decode_visits
from tokctl.readers.documents import (
    TOKEN_FIELDS,
    DocumentReader,
    Record,
    RejectedRecord,
    VisitRecord,
    decode_text,
)
from tokctl.readers.foreign_formats import BEGINNING_CHARACTERS, detect_foreign_format
from tokctl.readers.json_faults import TRUNCATED, find_fault
from tokctl.readers.ndjson_detection import is_ndjson, is_ndjson_with_bad_first_line
from tokctl.readers.text_window import TextWindow, ValueTooLong, is_strict_json

__all__ = ["Record", "RejectedRecord", "VisitRecord", "read_records", "read_visit_records"]

MAX_VALUE_CHARACTERS = 4 << 20
"""The longest value that is decoded as a whole, in characters."""

REJECTED_CHARACTERS = 1000
"""How much of a rejected line is kept that is longer than any value, in characters."""

BATCH_CHARACTERS = 1 << 20
"""The length of the text of tokens that are decoded together, in characters."""

_FIRST_KEY = re.compile(r'\{[ \t\r\n]*("[^"\\]{1,100}")')
_ITEM_SEPARATOR = re.compile(r"\}[ \t\r\n]*,[ \t\r\n]*\{[ \t\r\n]*\Z")
_MAX_BOUNDARY_TRIES = 50  # places that are tried as the end of a batch
_SINGLE_READS_AFTER_FAILURE = 1000  # tokens that are read one by one after a batch failed
_LISTS = frozenset({"data", "tokens", "instances"})
_list_decoder = msgspec.json.Decoder(list[Raw])


def read_records(chunks: Iterable[bytes], *, name: str, instance_id: str | None = None) -> Iterator[Record]:
    """Read every record of an input.

    Args:
        chunks: the bytes of the input, in pieces of any size.
        name: the name of the input in messages.
        instance_id: the instance of tokens that have none, neither themselves nor in the document around them.

    Raises:
        InputError: the input is not JSON, is truncated, or contains an error response.
    """
    return cast("Iterator[Record]", _StreamReader(chunks, name, instance_id).read())


def read_visit_records(
    chunks: Iterable[bytes], *, name: str, instance_id: str | None = None, flows: FlowHistoryMode = FlowHistoryMode.NONE
) -> Iterator[VisitRecord]:
    """Read the same, but batches of visits instead of tokens: only what the analyses need.

    ``flows`` selects the visits whose flow history is kept.
    """
    for record in _StreamReader(chunks, name, instance_id, lean=True, flows=flows).read():
        if isinstance(record, Token):
            yield [Visit.from_token(record, flows=flows is not FlowHistoryMode.NONE)]
        else:
            yield record


class _StreamReader:
    """Reads one input: recognizes NDJSON, and reads long values piece by piece."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        name: str,
        instance_id: str | None,
        *,
        lean: bool = False,
        flows: FlowHistoryMode = FlowHistoryMode.NONE,
    ) -> None:
        self.text = TextWindow(chunks, name)
        self.documents = DocumentReader(name, instance_id)
        self.lean = lean
        self.flows = flows
        self.single_reads_left = 0
        """How many tokens to read one by one before trying the next batch."""

    def read(self) -> Iterator[Record | Sequence[Visit]]:
        """Yield the records of the input."""
        text = self.text
        if text.peek() == "":
            raise InputError(f"{text.name}: the input is empty.")
        if text.peek() not in "{[":
            text.fill(BEGINNING_CHARACTERS)
            if foreign := detect_foreign_format(text.buffer[text.offset :]):
                raise text.foreign_format_error(foreign)
        try:
            if is_ndjson(text, MAX_VALUE_CHARACTERS) or is_ndjson_with_bad_first_line(text, MAX_VALUE_CHARACTERS):
                yield from self._read_lines()
                return
            number = 1
            while text.peek():
                yield from self._read_value("" if number == 1 else f"document {number}")
                number += 1
        except RecursionError:
            raise text.syntax_error("nested too deeply") from None

    # --- NDJSON ---

    def _read_lines(self) -> Iterator[Record | Sequence[Visit]]:
        """Read NDJSON. A bad line is rejected, and reading continues with the next line."""
        text = self.text
        number = text.line + text.buffer.count("\n", 0, text.offset) - 1
        while True:
            text.fill(BATCH_CHARACTERS)
            end = text.buffer.rfind("\n", text.offset, text.offset + MAX_VALUE_CHARACTERS + 1)
            if end < 0 and text.available > MAX_VALUE_CHARACTERS:
                if text.buffer[text.offset] in "{[":
                    yield from self._walk(f"line {number + 1}")
                    continue
                number += 1
                reason = f"not JSON, and longer than {MAX_VALUE_CHARACTERS:,} characters"
                yield RejectedRecord(f"line {number}", "", reason, text.skip_line(REJECTED_CHARACTERS))
                continue
            if end < 0:
                if text.read_chunk():
                    continue
                end = len(text.buffer)
            for have_tokens, group in groupby(text.buffer[text.offset : end].split("\n"), _has_token_key):
                lines = [*group]
                if have_tokens and (several := self._decode_lines(lines)) is not None:
                    text.offset += sum(map(len, lines)) + len(lines)
                    yield from several
                else:
                    for position, line in enumerate(lines, number + 1):
                        text.offset += len(line) + 1
                        if line and not line.isspace():
                            yield from self.documents.read_document(line, f"line {position}")
                number += len(lines)
            if text.offset >= len(text.buffer) and text.ended:
                return

    def _decode_lines(self, lines: Sequence[str]) -> Iterator[Record | Sequence[Visit]] | None:
        """Decode lines with tokens together, which is faster; None if one is not exactly as documented."""
        if len(lines) == 1:
            return None
        whole, documents = "\n".join(lines), self.documents
        if self.lean:
            visits = self._decode_visits(whole, lines=True)
            return None if visits is None or len(visits) != len(lines) else documents.read_visits(visits)
        tokens = _decode_tokens(whole, documents.instance_id, documents.process_id)
        return None if tokens is None or len(tokens) != len(lines) else documents.read_tokens(tokens)

    def _decode_visits(self, text: str, *, lines: bool) -> Sequence[Visit] | None:
        """Decode tokens that are exactly as documented; None if one is not."""
        try:
            return decode_visits(
                text,
                lines=lines,
                flows=self.flows,
                instance_id=self.documents.instance_id,
                process_id=self.documents.process_id,
            )
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None

    # --- JSON ---

    def _read_value(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        """Read one value: as a whole if it is short, member by member if it is long.

        A value that only Python accepts as JSON (with ``NaN`` or a lone surrogate) is also read member by member, so
        that only the invalid token is rejected.
        """
        text = self.text
        try:
            value = text.scan(MAX_VALUE_CHARACTERS)
        except ValueTooLong:
            yield from self._walk(where)
            return
        if is_strict_json(value):
            yield from self.documents.read_document(value, where)
        elif value[0] in "{[":
            text.offset -= len(value)
            yield from self._walk(where)
        else:
            yield RejectedRecord(where or "document 1", *_explain_fault(text, "", value), value)

    def _walk(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        first = self.text.peek()
        if first == "[":
            yield from self._walk_array(where)
        elif first == "{":
            yield from self._walk_object(where)
        else:
            raise self.text.syntax_error("expected tokens")

    def _walk_array(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        """Read a long array: in batches where possible, else item by item."""
        text = self.text
        text.offset += 1
        index = 0
        while text.has_next("]", first=not index):
            text.peek()
            batch, end = self._find_batch()
            if batch and self.lean and (visits := self._decode_visits(batch, lines=False)) is not None:
                text.offset = end
                index += len(visits)
                yield from self._read_own_visits(visits)
                continue
            items = _decode_items(batch) if batch else None
            if items is None:
                if batch:
                    self.single_reads_left = _SINGLE_READS_AFTER_FAILURE
                yield from self._read_value(f"{where}[{index}]")
                index += 1
                continue
            text.offset = end
            for item in items:
                yield from self.documents.read_document(item, f"{where}[{index}]")
                index += 1

    def _read_own_visits(self, visits: Sequence[Visit]) -> Iterator[VisitRecord]:
        """Yield visits of the document's instance; in one batch if all are of its process, which is the usual case."""
        documents = self.documents
        processes = {visit.process_id for visit in visits} - {None}
        if all(documents.last_instance == (documents.instance_id, process) for process in processes):
            yield visits
        else:
            yield from documents.read_visits(visits)

    def _find_batch(self) -> tuple[str, int]:
        """Return the text of what seem to be several array items, as an array, and where they end; '' if none."""
        if self.single_reads_left:
            self.single_reads_left -= 1
            return "", 0
        text = self.text
        text.fill(BATCH_CHARACTERS)
        first_key = _FIRST_KEY.match(text.buffer, text.offset)
        if first_key is None:
            return "", 0
        end = len(text.buffer)
        for _ in range(_MAX_BOUNDARY_TRIES):
            end = text.buffer.rfind(first_key[1], first_key.end(), end)
            if end < 0:
                break
            if separator := _ITEM_SEPARATOR.search(text.buffer, max(end - 200, text.offset), end):
                item_end = separator.start() + 1
                return f"[{text.buffer[text.offset : item_end]}]", item_end
        return "", 0

    def _walk_object(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        """Read a long object: its lists of tokens or instances as a stream, its other members as a whole."""
        text, documents = self.text, self.documents
        text.offset += 1
        fields: dict[str, Raw] = {}
        head: dict[str, Raw] | None = None
        """The members before the tokens."""
        fault: tuple[str, str] | None = None
        """The first field that is not JSON, and the reason."""
        has_lists = is_rejected = False
        while text.has_next("}", first=not fields and not has_lists):
            if text.peek() != '"':
                raise text.syntax_error("names must be in double quotes" if text.peek() else TRUNCATED)
            key = json.loads(text.scan_member())
            text.expect(":")
            if key not in _LISTS or text.peek() not in {"[", "{"} or fields.keys() & TOKEN_FIELDS:
                text.peek()
                member = text.scan_member()
                if fault is None and not is_strict_json(member):
                    fault = _explain_fault(text, key, member)
                fields[key] = Raw(member.encode(errors="surrogatepass"))
                continue
            has_lists = True
            if key == "tokens":
                head, is_rejected = dict(fields), fault is not None
            yield from self._read_list(key, fields, where, fault)
        documents.reject_error_answer(fields)
        if is_rejected:
            return
        if fault is not None:
            yield RejectedRecord(where or "document 1", *fault, decode_text(Raw(msgspec.json.encode(fields))))
        elif not has_lists:
            yield from documents.read_document(Raw(msgspec.json.encode(fields)), where)
        elif head is not None:
            if "instance_id" in fields and "instance_id" not in head:
                raise InputError(
                    f"{text.name}: {where or 'document 1'}: instance_id comes after the tokens. "
                    "In a document of this size it must come before them."
                )
            if fields.keys() - head.keys() - IGNORED_FIELDS:  # members after the tokens complete the instance
                yield from documents.begin_instance(fields, where)
                documents.end_instance()

    def _read_list(
        self, key: str, fields: dict[str, Raw], where: str, fault: tuple[str, str] | None
    ) -> Iterator[Record | Sequence[Visit]]:
        """Read a member with tokens or instances; ``fields`` are the members before it, ``fault`` that of one."""
        path = f"{where}.{key}" if where else key
        if key == "tokens":
            yield from self.documents.begin_instance(fields, where, fault)
        if self.text.peek() == "[":
            yield from self._walk_array(path)
        else:
            yield from self._read_value(path)
        if key == "tokens":
            self.documents.end_instance()


def _has_token_key(line: str) -> bool:
    return '"token_id"' in line


def _explain_fault(text: TextWindow, field: str, value: str) -> tuple[str, str]:
    """Return which field of the value that was just read is not JSON, and the reason with its place."""
    fault = find_fault(value)
    if fault is None:
        return field, "not JSON"
    path = f"{field}.{fault.path}" if field and fault.path[:1] not in {"", "["} else field + fault.path
    return path, f"{fault.reason} ({text.place(text.offset - len(value) + fault.offset)})"


def _decode_tokens(lines: str, instance_id: str, process_id: str | None) -> list[Token] | None:
    """Return the token of each line; None if one is not exactly as documented."""
    try:
        return decode_tokens(lines, instance_id, process_id)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, DocumentError):
        return None


def _decode_items(text: str) -> list[Raw] | None:
    """Return the items of an array; None if it is not one."""
    try:
        return _list_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
