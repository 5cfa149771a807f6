"""Recognizes inputs that are something else than JSON: web pages, XML, BPMN models, databases, other binary data."""

from __future__ import annotations

import re

from msgspec import Struct

from tokctl.text import one_line

BEGINNING_CHARACTERS = 4096
"""How much of a text is looked at."""

_MAGIC = (
    (b"SQLite format 3\0", "an SQLite database", "Use --store FILE to read a store."),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first."),
    (b"BZh", "bzip2 data", "Decompress it first."),
    (b"\xfd7zXZ\0", "xz data", "Decompress it first."),
    (b"%PDF-", "a PDF document", ""),
    (b"\x89PNG", "a picture", ""),
    (b"\x7fELF", "a program", ""),
)
MAGIC_BYTES = max(len(magic) for magic, *_ in _MAGIC)
"""How many bytes show what binary data is."""

_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|div|h\d|p|script)\b", re.IGNORECASE | re.DOTALL
)
_XML = re.compile(r"\s*<(?:\?xml|!DOCTYPE|!--|[A-Za-z_])")
_BPMN = re.compile(r"<(?:[\w.-]+:)?definitions\b[^>]*omg\.org/spec/BPMN", re.DOTALL)
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?(?:</\1>|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>\s*([^<]*[^<\s])", re.IGNORECASE)
_BINARY = re.compile("[\x00-\x08\x0e-\x1d]")


class ForeignFormat(Struct, frozen=True):
    """What an input is instead of JSON, and what to do. ``str`` is the text for messages."""

    kind: str
    hint: str = ""
    quote: str = ""
    """The title or the text of a web page."""

    def __str__(self) -> str:
        return f"this is {self.kind}, not JSON" + (f": '{self.quote}'" if self.quote else "")


def detect_magic(beginning: bytes) -> ForeignFormat | None:
    """Recognize binary data by its first bytes; None if they are of no known kind."""
    return next((ForeignFormat(kind, hint) for magic, kind, hint in _MAGIC if beginning.startswith(magic)), None)


def detect_foreign_format(text: str) -> ForeignFormat | None:
    """Recognize a text by its beginning; None if it may be JSON, or is of no known kind."""
    text = text[:BEGINNING_CHARACTERS]
    if _HTML.match(text):
        import html

        title = _TITLE.search(text)
        visible = title[1] if title else _UNSEEN.sub(" ", text)
        return ForeignFormat("an HTML page", quote=one_line(html.unescape(visible), 60))
    if _BPMN.search(text) and _XML.match(text):
        return ForeignFormat("a BPMN model", "'tokctl simulate FILE' runs it and records its tokens.")
    if _XML.match(text):
        return ForeignFormat("XML")
    if _BINARY.search(text) and not text.lstrip().startswith(("{", "[", '"')):
        return ForeignFormat("binary data")
    return None
