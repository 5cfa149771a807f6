"""What a command hands to the renderers: a list or one thing, with how to name and show its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TextIO

import msgspec
from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.model import format_time
from tokctl.process.query import suggest

MIN_FOLD = 14  # cells

Document = dict[str, Any]
"""What becomes a JSON object: plain values, Raw JSON, and times as text.

An iterator beside a listing's items, as a member or as a member of one, is a list that is made as it is read.
"""


class Cell(NamedTuple):
    """Text for people and its style (a Rich style, '' for none).

    ``stem`` is what stands before it and goes on in the lines below: the branches of a tree.
    """

    text: str
    style: str = ""
    stem: str = ""


class Column(Struct, frozen=True, kw_only=True):
    """A column of a list: its key, the value for programs, the text for people.

    ``rank`` says how dear the column is when the room is short: the highest goes first, 0 never.
    ``fold`` allows its text to run over several lines, of no fewer cells than ``least`` while there is
    another way. ``wide`` keeps it out of a plain table.
    """

    key: str
    title: str
    value: Callable[[Any], Any]
    show: Callable[[Any], Cell] | None = None
    fold: bool = False
    least: int = MIN_FOLD
    right: bool = False
    wide: bool = False
    rank: int = 0

    def cell(self, item: Any) -> Cell:
        """The text for people: ``show``'s, or the value's."""
        if self.show is not None:
            return self.show(item)
        value = self.value(item)
        return Cell("" if value is None else plain(value))


class Listing(Struct, kw_only=True):
    """A list, made as it is read. ``head`` and ``tail`` are the documented members around it.

    ``line`` is an item that stands alone (NDJSON). ``headline`` stands above a table, ``notes``
    go to stderr once the list is out, ``empty`` in place of a table without rows. ``sections`` are what
    people see in place of a table, unless they ask for columns. ``texts`` makes the formats that only this
    result has, by name: text in pieces.
    """

    key: str
    items: Iterable[Any]
    columns: tuple[Column, ...]
    ident: Callable[[Any], str]
    document: Callable[[Any], Document]
    line: Callable[[Any], Document] | None = None
    head: Document = {}
    tail: Callable[[], Document] = dict
    headline: tuple[Cell, ...] | Callable[[], tuple[Cell, ...]] = ()
    notes: Callable[[int], list[str]] = lambda _: []
    empty: str = "Nothing to show."
    exit_code: int = 0
    sections: Callable[[], Iterable[Section]] | None = None
    texts: dict[str, Callable[[], Iterable[str]]] = {}


class Field(NamedTuple):
    """A labelled value of one thing."""

    label: str
    cell: Cell


class Section(Struct, kw_only=True):
    """A part of the picture of one thing: fields, lines, a block of text, or a list.

    ``lines`` are of cells one after another; what is longer than the room folds.
    """

    title: str | tuple[Cell, ...] = ""
    fields: tuple[Field, ...] = ()
    lines: Sequence[tuple[Cell, ...]] = ()
    listing: Listing | None = None
    block: str = ""


class Detail(Struct, kw_only=True):
    """One thing: its document for programs, its sections for people."""

    ident: str
    document: Document
    title: tuple[Cell, ...]
    sections: tuple[Section, ...] = ()
    exit_code: int = 0
    texts: dict[str, Callable[[], Iterable[str]]] = {}


Result = Listing | Detail


class Output(Struct, kw_only=True):
    """Where output goes and how: passed in, never looked up.

    ``width`` is the terminal's columns, ``color`` whether colours are wanted, ``unicode`` whether
    the stream can take more than ASCII.
    """

    stream: TextIO
    errors: TextIO
    format: str
    tty: bool
    color: bool
    unicode: bool
    width: int
    now: datetime
    columns: tuple[str, ...] | None = None
    query: str | None = None


def plain(value: Any) -> str:
    """A value as text in a table or a CSV cell."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return format_time(value) or ""
    return msgspec.json.encode(value).decode()


def pick_columns(listing: Listing, out: Output) -> list[Column]:
    """Return the columns that were asked for, in that order, or those that the format shows.

    Raises:
        UsageError: there is no such column.
    """
    if out.columns is None:
        return [column for column in listing.columns if out.format != "table" or not column.wide]
    by_key = {column.key: column for column in listing.columns}
    if not out.columns:
        raise UsageError("--columns names no column.", f"Valid: {', '.join(by_key)}.")
    picked = []
    for key in out.columns:
        if key not in by_key:
            raise UsageError(f"unknown column '{key}'{suggest(key, by_key)}.", f"Valid: {', '.join(by_key)}.")
        picked.append(by_key[key])
    return picked


def item_document(listing: Listing, out: Output) -> Callable[[Any], Document]:
    """Return what makes an item's document: its own, or the columns that were asked for."""
    if out.columns is None:
        return (out.format == "ndjson" and listing.line) or listing.document
    columns = pick_columns(listing, out)
    return lambda item: {column.key: column.value(item) for column in columns}
