"""Reads documents of any size as a stream of records, in bounded memory.

What is understood, one after another in the same input: the documented answer (with its envelope
or without), lists of instances or tokens, single tokens, instances and definitions; one document
over many lines, or one a line (NDJSON). Pure: chunks of bytes come in, records go out; opening files
is ``source``.

Small documents are decoded whole. Of one that outgrows the window, only a piece is in memory. Its
tokens are decoded many at once: a place that looks like the end of one is where one ends if, and
only if, all from the last such place up to it is an array's content. Where nothing looks like it, the
scanner of the standard library finds where each value ends, and msgspec decodes that slice.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import cast, overload

import msgspec
from msgspec import Raw, Struct

from tokctl.errors import InputError
from tokctl.process.model import NULL, Definition, Instance, Token
from tokctl.process.visit import Flows, Visit, decode_visits
from tokctl.process.wire import (
    UNREAD_FIELDS,
    Fault,
    decode_definition,
    decode_instance,
    decode_object,
    decode_token,
    shorten,
)

WINDOW = 4 << 20
"""Characters of one value that are decoded at once; a longer one is read member by member."""

BATCH = 1 << 20
"""Characters of tokens that are decoded together."""

_ANY = 1 << 62  # characters: as many as there are
_SPACE = re.compile(r"[ \t\r\n]*")
_FIRST_KEY = re.compile(r'\{[ \t\r\n]*("[^"\\]{1,100}")')
_BETWEEN = re.compile(r"\}[ \t\r\n]*,[ \t\r\n]*\{[ \t\r\n]*\Z")
_TRIES = 50  # places that look like the end of a token
_SINGLE = 1000  # tokens that are read one by one once many together could not be
_items = msgspec.json.Decoder(list[Raw])
_scan = json.JSONDecoder().raw_decode
_strict = msgspec.json.Decoder(Raw)
_LISTS = frozenset({"data", "tokens", "instances"})
_TOKEN_SIGNS = frozenset({"token_id", "element_id", "current_element_id"})
_DEFINITION_FIELDS = frozenset(Definition.__struct_fields__)
_INSTANCE_SIGNS = frozenset({"status", "process_key"})


class Reject(Struct, frozen=True):
    """Something in a token's place that is no token: where, which field, why, and as it came."""

    where: str
    field: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.reason}" if self.field else f"{self.where}: {self.reason}"


Record = Token | Instance | Definition | Reject
LeanRecord = Sequence[Visit] | Instance | Definition | Reject


def read_records(chunks: Iterable[bytes], *, name: str, instance_id: str | None = None) -> Iterator[Record]:
    """Read every record of an input.

    Args:
        chunks: the input's bytes in pieces of any size.
        name: what to call the input in messages.
        instance_id: the instance of tokens that name none, nor the document around them.

    Raises:
        InputError: the input is no JSON, breaks off, or holds an error answer.
    """
    return cast("Iterator[Record]", _Reader(chunks, name, instance_id).records())


def read_lean_records(
    chunks: Iterable[bytes], *, name: str, instance_id: str | None = None, flows: Flows = Flows.NONE
) -> Iterator[LeanRecord]:
    """Read the same, of tokens only what the analyses read, many at once."""
    for record in _Reader(chunks, name, instance_id, lean=True, flows=flows).records():
        yield [Visit.of(record, flows=flows is not Flows.NONE)] if isinstance(record, Token) else record


class _TooLong(Exception):  # noqa: N818 - a signal, not an error
    """A value outgrew the window."""


class _Reader:
    def __init__(
        self,
        chunks: Iterable[bytes],
        name: str,
        instance_id: str | None,
        *,
        lean: bool = False,
        flows: Flows = Flows.NONE,
    ) -> None:
        self.name = name
        self.lean = lean
        self.flows = flows
        self.chunks = iter(chunks)
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.buffer = ""
        self.at = 0
        self.ended = False
        self.single = 0  # tokens that are to be read one by one
        self.line = 1  # of the buffer's first character
        self.default = instance_id or ""
        self.instance_id = self.default  # of the document that is being read
        self.process_id: str | None = None
        self.known: tuple[str, str | None] = ("", None)  # the instance and process that were told of last

    # --- the buffer ---

    def more(self) -> bool:
        """Append the next piece of the input; False at its end."""
        return self.fill(len(self.buffer) - self.at + 1)

    def fill(self, size: int) -> bool:
        """Have so many characters from here on, as far as the input has them; False at its end."""
        have = len(self.buffer) - self.at
        if have >= size or self.ended:
            return not self.ended
        pieces = [self.buffer[self.at :]]
        while have < size and not self.ended:
            chunk = next(self.chunks, None)  # an empty piece is not the end: gzip headers unpack to nothing
            try:
                pieces.append(self.decoder.decode(chunk or b"", final=chunk is None))
            except UnicodeDecodeError as error:
                line = self.line + sum(piece.count("\n") for piece in (self.buffer[: self.at], *pieces))
                line += error.object.count(b"\n", 0, error.start)
                raise InputError(f"{self.name}: line {line}: not UTF-8 text: {error.reason}.") from None
            have += len(pieces[-1])
            self.ended = chunk is None
        if self.buffer.find("\n", 0, self.at) >= 0:  # looking is ten times as fast as counting
            self.line += self.buffer.count("\n", 0, self.at)
        self.buffer = "".join(pieces)
        self.at = 0
        return True

    def peek(self) -> str:
        """Skip white space; return the next character, '' at the end of the input."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def broken(self, reason: str, at: int | None = None) -> InputError:
        at = self.at if at is None else at
        line = self.line + self.buffer.count("\n", 0, at)
        column = at - self.buffer.rfind("\n", 0, at)
        return InputError(f"{self.name}: line {line}, column {column}: {reason}.")

    # --- the grammar ---

    def records(self) -> Iterator[Record | Sequence[Visit]]:
        if self.peek() == "":
            raise InputError(f"{self.name}: empty; there is nothing to read.")
        try:
            if self.starts_with_a_whole_line() or self.starts_with_a_broken_line():
                yield from self.lines()
                return
            number = 1
            while self.peek():
                yield from self.value("" if number == 1 else f"document {number}")
                number += 1
        except RecursionError:
            raise self.broken("nested too deeply") from None

    def starts_with_a_whole_line(self) -> bool:
        """Tell whether the first line is a JSON object on its own: then every line is one."""
        while (end := self.buffer.find("\n", self.at, self.at + WINDOW + 1)) < 0:
            if len(self.buffer) - self.at > WINDOW or not self.more():
                return False
        try:
            decode_object(self.buffer[self.at : end])
        except Fault:
            return False
        return True

    def starts_with_a_broken_line(self) -> bool:
        """Tell whether the second line is an object on its own, and the first is no part of anything."""
        end = self.buffer.find("\n", self.at, self.at + WINDOW + 1)
        if end < 0 or self.buffer[self.at] == "[":
            return False
        start = end + 1
        while (after := self.buffer.find("\n", start, start + WINDOW + 1)) < 0:
            if len(self.buffer) - start > WINDOW:
                return False
            if not self.more():
                after = len(self.buffer)
                break
        try:
            decode_object(self.buffer[start:after])
            _, stop = _scan(self.buffer[:after], self.at)
            return bool(self.buffer[stop:end].strip())
        except json.JSONDecodeError as error:
            return error.pos < after  # else it may go on
        except RecursionError:
            return True
        except Fault:
            return False

    def lines(self) -> Iterator[Record | Sequence[Visit]]:
        """Read NDJSON: a bad line is a reject, and the next line is read all the same."""
        number = self.line + self.buffer.count("\n", 0, self.at) - 1
        while True:
            if self.lean and (visits := self.whole_lines()):
                number += len(visits)
                yield from self.with_instances(visits)
                continue
            end = self.buffer.find("\n", self.at, self.at + WINDOW + 1)
            if end < 0 and len(self.buffer) - self.at > WINDOW:
                if self.buffer[self.at] in "{[":
                    yield from self.walk(f"line {number + 1}")
                    continue
                end = self.buffer.find("\n", self.at)
            if end < 0:
                if self.more():
                    continue
                end = len(self.buffer)
            text = self.buffer[self.at : end]
            self.at = end + 1
            number += 1
            if text and not text.isspace():
                try:
                    token = decode_token(text, self.instance_id, self.process_id)
                except Fault:
                    yield from self.document(text, f"line {number}")
                else:
                    if token.process_id is not None and (token.instance_id, token.process_id) != self.known:
                        yield self.belonging(token)
                    yield token
            if end >= len(self.buffer) and self.ended:
                return

    def whole_lines(self) -> Sequence[Visit] | None:
        """Decode the lines that are there, if all of them are tokens as documented."""
        if self.single:
            self.single -= 1
            return None
        self.fill(BATCH)
        end = self.buffer.rfind("\n", self.at)
        visits = self.visits(self.buffer[self.at : end], lines=True) if end > self.at else None
        if visits is None or len(visits) != self.buffer.count("\n", self.at, end) + 1:  # empty lines count, too
            self.single = _SINGLE
            return None
        self.at = end + 1
        return visits

    def with_instances(self, visits: Sequence[Visit]) -> Iterator[Sequence[Visit] | Record]:
        """Tell of each instance that visits name, with its process, before the first of them."""
        begin = 0
        for position, visit in enumerate(visits):
            if visit.process_id is not None and (visit.instance_id, visit.process_id) != self.known:
                if position > begin:
                    yield visits[begin:position]
                begin = position
                self.known = visit.instance_id, visit.process_id
                yield Instance(instance_id=visit.instance_id, process_id=visit.process_id)
        yield visits[begin:]

    def scan(self, limit: int) -> str:
        """Return the text of the value that starts here, and step over it.

        Raises _TooLong when it is longer than limit.
        """
        want = 0
        if self.outgrows(limit):
            raise _TooLong
        while True:
            try:
                _, end = _scan(self.buffer, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.buffer) - 16 or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    breaks_off = self.ended and cut
                    raise self.broken(
                        "the input breaks off here" if breaks_off else f"not JSON: {error.msg}", error.pos
                    ) from None
            except RecursionError:
                raise self.broken("nested too deeply") from None
            else:
                # A number at the end of what is there may go on.
                if self.ended or self.buffer[end : end + 1] not in ".eE":
                    text = self.buffer[self.at : end]
                    if len(text) > limit:
                        raise _TooLong
                    self.at = end
                    return text
            if len(self.buffer) - self.at > limit:
                raise _TooLong
            want = max(2 * want, 1 << 16)  # doubling: each retry scans from the start of the value
            have = len(self.buffer) - self.at
            while len(self.buffer) - self.at < have + want and self.more():
                pass

    def outgrows(self, limit: int) -> bool:
        """Tell quickly whether the value that starts here is longer than limit, if that much is there."""
        if limit > len(self.buffer) - self.at:
            return False
        try:
            _strict.decode(self.buffer[self.at : self.at + limit])
        except msgspec.DecodeError as error:
            return "truncated" in str(error)
        except (UnicodeError, RecursionError):
            pass
        return False

    def value(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        """Read one value: whole if it is short, member by member if it is long.

        What only Python takes for JSON (``NaN``, half a surrogate pair) is gone through, too, so that
        just the token that holds it is refused.
        """
        try:
            text = self.scan(WINDOW)
        except _TooLong:
            yield from self.walk(where)
        else:
            if text[0] in "{[" and not _is_strict(text):
                self.at -= len(text)
                yield from self.walk(where)
            else:
                yield from self.document(text, where)

    def walk(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        opening = self.peek()
        if opening == "[":
            yield from self.walk_array(where)
        elif opening == "{":
            yield from self.walk_object(where)
        else:
            raise self.broken("expected tokens")

    def walk_array(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        self.at += 1
        index = 0
        while self.peek() != "]":
            if index:
                self.expect(",")
                self.peek()
            batch, end = self.batch()
            if batch:
                if self.lean and (visits := self.visits(batch, lines=False)) is not None:
                    self.at = end
                    index += len(visits)
                    processes = {visit.process_id for visit in visits} - {None}
                    if all(self.known == (self.instance_id, process) for process in processes):
                        yield visits
                    else:
                        yield from self.with_instances(visits)
                    continue
                try:
                    items = _items.decode(batch)
                except (msgspec.MsgspecError, UnicodeError, RecursionError):
                    self.single = _SINGLE
                else:
                    self.at = end
                    for item in items:
                        yield from self.document(item, f"{where}[{index}]")
                        index += 1
                    continue
            yield from self.value(f"{where}[{index}]")
            index += 1
        self.at += 1

    def batch(self) -> tuple[str, int]:
        """Return what seem to be several items of the array, as an array, and where they end; '' for none."""
        if self.single:
            self.single -= 1
            return "", 0
        self.fill(BATCH)
        first = _FIRST_KEY.match(self.buffer, self.at)
        if first is None:
            return "", 0
        end = len(self.buffer)
        for _ in range(_TRIES):
            end = self.buffer.rfind(first[1], first.end(), end)
            if end < 0:
                break
            if between := _BETWEEN.search(self.buffer, max(end - 200, self.at), end):
                return f"[{self.buffer[self.at : between.start() + 1]}]", between.start() + 1
        return "", 0

    def visits(self, text: str, *, lines: bool) -> Sequence[Visit] | None:
        """Decode tokens that are exactly as documented; None where one is not."""
        try:
            return decode_visits(
                text, lines=lines, flows=self.flows, instance_id=self.instance_id, process_id=self.process_id
            )
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None

    def walk_object(self, where: str) -> Iterator[Record | Sequence[Visit]]:
        """Read a long object: its lists of tokens as a stream, its other members whole."""
        self.at += 1
        fields: dict[str, Raw] = {}
        head: dict[str, Raw] | None = None  # what stood before the tokens
        streamed = False
        while self.peek() != "}":
            if fields or streamed:
                self.expect(",")
            if self.peek() != '"':
                raise self.broken("expected a name" if self.peek() else "the input breaks off here")
            key = json.loads(self.scan(_ANY))
            self.expect(":")
            path = f"{where}.{key}" if where else str(key)
            if key not in _LISTS or self.peek() not in {"[", "{"} or fields.keys() & _TOKEN_SIGNS:
                self.peek()
                fields[key] = Raw(self.scan(_ANY).encode(errors="surrogatepass"))
                continue
            streamed = True
            if key == "tokens":
                head = dict(fields)
                yield from self.begin(head, where)
            if self.peek() == "[":
                yield from self.walk_array(path)
            else:
                yield from self.value(path)
            if key == "tokens":
                self.end()
        self.at += 1
        self.refuse_error(fields)
        if not streamed:
            yield from self.document(Raw(msgspec.json.encode(fields)), where)
        elif head is not None:
            if "instance_id" in fields and "instance_id" not in head:
                raise InputError(f"{self.name}: {where or 'document 1'}: instance_id stands behind the tokens; "
                                 "in a document this long it has to stand before them.")  # fmt: skip
            if fields.keys() - head.keys() - UNREAD_FIELDS:
                yield from self.begin(fields, where)
                self.end()

    def begin(self, fields: dict[str, Raw], where: str) -> Iterator[Record]:
        """Tell of the instance that the following tokens belong to, as far as it is known."""
        fields = {name: on_one_line(raw) for name, raw in fields.items() if name != "tokens"}
        try:
            if "definition" in fields:
                yield decode_definition(fields["definition"])
            if "instance_id" in fields or "id" in fields:
                instance = decode_instance(fields)
                self.instance_id, self.process_id = self.known = instance.instance_id, instance.process_id
                yield instance
        except Fault as fault:
            self.instance_id = ""  # a token is refused rather than counted to another instance
            text = as_text(Raw(msgspec.json.encode(fields)))
            yield Reject(where or "document 1", fault.field, fault.reason, text)

    def end(self) -> None:
        """Leave the document that ``begin`` told of."""
        self.instance_id, self.process_id = self.default, None

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            raise self.broken(f"expected '{sign}'" if not self.ended or self.at < len(self.buffer)
                              else "the input breaks off here")  # fmt: skip
        self.at += 1

    # --- whole documents ---

    def document(self, text: str | Raw, where: str) -> Iterator[Record]:
        """Tell what a whole document holds; ``where`` is empty for the first one of the input."""
        try:
            yield from self.classify(text, where)
        except Fault as fault:
            yield Reject(where or "document 1", fault.field, fault.reason, as_text(on_one_line(text)))

    def classify(self, text: str | Raw, where: str) -> Iterator[Record]:
        line = on_one_line(text)
        try:
            token = decode_token(line, self.instance_id, self.process_id)
        except Fault as fault:
            not_a_token = fault
        else:
            if token.process_id is not None and (token.instance_id, token.process_id) != self.known:
                yield self.belonging(token)
            yield token
            return
        if as_text(text)[:1] == "[":
            yield from self.array(Raw(as_text(text).encode()), where)
            return
        fields = decode_object(text)
        self.refuse_error(fields)
        path = f"{where}." if where else ""
        if "data" in fields and not fields.keys() & _TOKEN_SIGNS:
            inner = fields["data"]
            if bytes(inner)[:1] == b"[":
                yield from self.array(inner, f"{path}data")
            else:
                yield from self.document(inner, f"{path}data")
        elif "tokens" in fields and not fields.keys() & _TOKEN_SIGNS:
            yield from self.begin(fields, where)
            yield from self.array(fields["tokens"], f"{path}tokens")
            self.end()
        elif "instances" in fields and not fields.keys() & _TOKEN_SIGNS:
            yield from self.array(fields["instances"], f"{path}instances")
        elif "process_id" in fields and ("elements" in fields or fields.keys() <= _DEFINITION_FIELDS):
            yield decode_definition(line)
        elif _is_instance(fields):
            yield decode_instance(decode_object(line))
        else:
            raise not_a_token

    def belonging(self, token: Token) -> Instance:
        """Tell of the instance that a token names, with its process."""
        self.known = token.instance_id, token.process_id
        return Instance(instance_id=token.instance_id, process_id=token.process_id)

    def array(self, raw: Raw, where: str) -> Iterator[Record]:
        try:
            items = msgspec.json.decode(raw, type=list[Raw])
        except msgspec.MsgspecError as error:
            raise Fault("", f"expected an array of tokens ({error})") from None
        for index, item in enumerate(items):
            yield from self.document(item, f"{where}[{index}]")

    def refuse_error(self, fields: dict[str, Raw]) -> None:
        """Stop at an error answer: it is what the user saved, but not what they wanted."""
        if bytes(fields.get("success", NULL)) == b"false" and "error" in fields:
            error = msgspec.json.decode(fields["error"])
            if isinstance(error, dict):
                error = " ".join(str(error[key]) for key in ("code", "message") if error.get(key))
            raise InputError(f"{self.name}: the answer is an error: {shorten(str(error or 'it says no more'), 200)}")


def _is_instance(fields: dict[str, Raw]) -> bool:
    """Tell an instance from a token that lacks something: some servers give both a ``state``."""
    return (
        "instance_id" in fields
        and not fields.keys() & _TOKEN_SIGNS
        and ("state" not in fields or bool(fields.keys() & _INSTANCE_SIGNS))
    )


def _is_strict(text: str) -> bool:
    """Tell whether JSON in the eyes of the standard library is JSON."""
    try:
        _strict.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True


@overload
def on_one_line(text: Raw) -> Raw: ...
@overload
def on_one_line(text: str | Raw) -> str | Raw: ...
def on_one_line(text: str | Raw) -> str | Raw:
    """Return JSON without line breaks: what is kept as it came has to fit on a line of NDJSON."""
    with suppress(msgspec.DecodeError):
        if isinstance(text, str):
            return msgspec.json.format(text, indent=-1) if "\n" in text else text
        whole = bytes(text)
        return Raw(msgspec.json.format(whole, indent=-1)) if b"\n" in whole else text
    return text


def as_text(text: str | Raw) -> str:
    """Return JSON text as str."""
    return text if isinstance(text, str) else bytes(text).decode()
