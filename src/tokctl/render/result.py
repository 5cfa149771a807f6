"""The result of a command: a list or one object, with the names and the presentation of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, TextIO

import msgspec
from msgspec import Struct

from tokctl.documents.base import Document
from tokctl.errors import UsageError
from tokctl.model.times import format_time
from tokctl.text import suggest

MIN_WRAPPED_WIDTH = 14  # cells


class Cell(NamedTuple):
    """Text for people and its style (a Rich style, '' for none).

    ``stem`` is the prefix of the text, the branches of a tree; they continue in the lines below if the text folds.
    ``sign`` is written before the text on a terminal, so that it does not depend on colour alone. ``whole`` is for a
    command: its line is not folded, so that it can be copied.
    """

    text: str
    style: str = ""
    stem: str = ""
    sign: str = ""
    whole: bool = False

    @property
    def signed(self) -> str:
        """The text behind its sign."""
        return f"{self.sign} {self.text}" if self.sign else self.text


class Column(Struct, frozen=True):
    """A column of a list: its key, the value for programs, the text for people.

    ``value`` is a function of the item, or the path of an attribute, such as ``token.state`` (default: ``key``). The
    text is what ``show`` makes of the item, or what ``form`` makes of the value, or the value as it is.

    If the table is too wide, columns are left out by ``rank``: the highest first, 0 never. ``fold`` allows text to run
    over several lines, or with ``cut`` only over the first; such columns are not narrower than ``min_width`` (cells)
    unless nothing else helps. ``wide`` columns are not part of a plain table.
    """

    key: str
    title: str
    value: Any = None
    show: Callable[[Any], Cell] | None = None
    form: Callable[[Any], Cell] | None = None
    fold: bool = False
    cut: bool = False
    min_width: int = MIN_WRAPPED_WIDTH
    right: bool = False
    wide: bool = False
    rank: int = 0

    def __post_init__(self) -> None:
        if not callable(self.value):
            msgspec.structs.force_setattr(self, "value", attrgetter(self.value or self.key))

    def cell(self, item: Any) -> Cell:
        """Return the text for people."""
        if self.show is not None:
            return self.show(item)
        return self.form(self.value(item)) if self.form is not None else Cell(format_value(self.value(item)))


class Footer(NamedTuple):
    """What stands below a table on a terminal: the number of rows, and the command to go on with.

    ``next_command`` is about the first of the shown items with the highest ``urgency``. ``thing`` is what the rows are;
    '' if they are not counted.
    """

    next_command: Callable[[Any], str]
    urgency: Callable[[Any], int] = lambda _: 0
    thing: str = ""


class Listing(Struct, kw_only=True):
    """A list, written while it is read. ``head`` and ``tail`` are the documented members around it.

    Iterators in the tail (members, or members of its members) are written while they are read, too. The documents as a
    whole are described by the structs in ``documents.catalog``, which are never instantiated.

    ``ndjson_document`` makes the document of an item in NDJSON. ``headline`` is written above a
    table, ``notes`` (which take the number of rows) to stderr after the list, and ``empty`` instead of a table without
    rows. People see ``sections`` instead of a table, unless they choose columns. ``custom_formats`` are formats that
    only this result has: by name, a function that returns pieces of text.
    """

    key: str
    items: Iterable[Any]
    columns: tuple[Column, ...]
    ident: Callable[[Any], str]
    document: Callable[[Any], Document]
    ndjson_document: Callable[[Any], Document] | None = None
    head: dict[str, Any] = {}
    tail: Callable[[], dict[str, Any]] = dict
    headline: tuple[Cell, ...] | Callable[[], tuple[Cell, ...]] = ()
    notes: Callable[[int], list[str]] = lambda _: []
    empty: str = "Nothing to show."
    footer: Footer | None = None
    exit_code: int = 0
    sections: Callable[[], Iterable[Section]] | None = None
    custom_formats: dict[str, Callable[[], Iterable[str]]] = {}


class Field(NamedTuple):
    """A labelled value of an object."""

    label: str
    cell: Cell


class Section(Struct, kw_only=True):
    """A part of the output for people: fields, lines, a block of text, or a list.

    A line is a sequence of cells; it folds if it is too long.
    """

    title: str | tuple[Cell, ...] = ""
    fields: tuple[Field, ...] = ()
    lines: Sequence[tuple[Cell, ...]] = ()
    listing: Listing | None = None
    block: str = ""


def table(items: Iterable[Any], columns: tuple[Column, ...]) -> Listing:
    """Return the list of a section, which only people see."""
    return Listing(key="rows", items=items, columns=columns, ident=str, document=lambda _: {})


class Detail(Struct, kw_only=True):
    """One object: a document for programs, sections for people."""

    ident: str
    document: Document
    title: tuple[Cell, ...]
    sections: tuple[Section, ...] = ()
    exit_code: int = 0
    custom_formats: dict[str, Callable[[], Iterable[str]]] = {}


Result = Listing | Detail


class Output(Struct, kw_only=True):
    """The destination of output and its properties; always passed as a parameter.

    ``source`` names what was read, ``prefix`` begins a command line that reads from it, too ('' if that is a pipe).
    Times are shown in the zone of ``now``, ids shortened by the ``shorten`` functions. ``width`` is in cells,
    ``color`` whether to use colours, ``unicode`` whether the stream accepts more than ASCII, ``headers`` whether tables
    and CSV have a line of headings, ``quiet`` whether notes are left out, ``theme`` has the user's styles by the
    names in ``THEME_STYLES``.
    """

    stream: TextIO
    errors: TextIO
    format: str
    tty: bool
    color: bool
    unicode: bool
    width: int
    now: datetime
    source: str = ""
    prefix: str = "tokctl"
    shorten_instance_id: Callable[[str], str] = str
    shorten_token_id: Callable[[str], str] = str
    columns: tuple[str, ...] | None = None
    query: str | None = None
    headers: bool = True
    quiet: bool = False
    theme: Mapping[str, str] = {}

    @property
    def cuts(self) -> bool:
        """Whether ids and text may be cut to the room: in a plain table on a terminal."""
        return self.tty and self.format == "table" and self.columns is None


def format_value(value: Any) -> str:
    """Return a value as text for a table or a CSV cell."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return format_time(value) or ""
    return msgspec.json.encode(value).decode()


def select_columns(listing: Listing, out: Output) -> list[Column]:
    """Return the requested columns in their order, by key or heading, or else the columns that the format shows.

    Raises:
        UsageError: a column does not exist, or none is named.
    """
    if out.columns is None:
        return [column for column in listing.columns if out.format != "table" or not column.wide]
    by_key = {column.key: column for column in listing.columns}
    by_title = {column.title.lower(): column for column in listing.columns}
    if not out.columns:
        raise UsageError("--columns is empty.", f"Valid: {', '.join(by_key)}.")
    picked = []
    for key in out.columns:
        column = by_key.get(key) or by_title.get(key.lower())
        if column is None:
            raise UsageError(f"unknown column '{key}'{suggest(key, by_key)}.", f"Valid: {', '.join(by_key)}.")
        picked.append(column)
    return picked


def document_builder(listing: Listing, out: Output) -> Callable[[Any], Document]:
    """Return the function that makes the document of an item: the listing's own, or one of the requested columns."""
    if out.columns is None:
        return (out.format == "ndjson" and listing.ndjson_document) or listing.document
    columns = select_columns(listing, out)
    return lambda item: {column.key: column.value(item) for column in columns}
