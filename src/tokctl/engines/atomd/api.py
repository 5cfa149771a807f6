"""Requests to atomd, and its lists page by page.

It ignores most filters, has no ETags, and does not sort. Typed lists have a total and pages by offset; the others are
arrays, with pages that some of them ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw

from tokctl.engines.connect import wrong_kind_error
from tokctl.engines.query_params import Params
from tokctl.engines.rest_responses import ResponseReader
from tokctl.errors import UnreachableError
from tokctl.model.tokens import NULL

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse

T = TypeVar("T")

API = ("api", "v1")
PAGE_SIZE = 1000
"""Instances, tokens or jobs per request; atomd may send fewer."""
MAX_LIST_ATTEMPTS = 3
"""Maximum number of attempts to read a list that has fewer items than its own total."""
_IDS = {"instances": "instance_id", "tokens": "token_id"}
_LIMIT_HINT = (
    "By default atomd accepts 100 requests a minute for each key. Wait a minute, or use a key of your own. "
    "The server's configuration has the limit."
)
_AUTH_DISABLED_HINT = "atomd rejects all requests with this response if its configuration has auth.enabled: false."


class AtomdApi:
    """The REST API of one atomd server. May be used from any thread."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, *segments: str, params: Params | None = None) -> ClientResponse:
        """Send a GET request. Raises TokctlError."""
        try:
            return self.client.get((*API, *segments), params or {})
        except UnreachableError as error:
            if error.status == 500:
                raise UnreachableError(error.message, _AUTH_DISABLED_HINT, status=500) from None
            if error.status == 429:
                error.hint = _LIMIT_HINT
            raise

    def read_document(self, decode: Callable[[Mapping[str, Raw]], T], *segments: str) -> T:
        """Fetch and decode one document."""
        read = ResponseReader(self.get(*segments))
        return read.decode(read.path, decode, read.read_object(read.data, read.path))

    def iter_typed(
        self,
        segments: tuple[str, ...],
        name: str,
        decode: Callable[[Mapping[str, Raw]], T],
        *,
        params: Params | None = None,
        on_total: Callable[[int], None] = lambda _: None,
    ) -> Iterator[T]:
        """Yield the items of a typed list.

        Pages have no order, so an item may appear twice instead of another: then the list is read again.
        """
        known: set[bytes] = set()
        for _ in range(MAX_LIST_ATTEMPTS):
            missing = 0
            for read, raw, path, total in self._iter_typed_pages(segments, name, params or {}, on_total):
                fields = read.read_object(raw, path)
                known.add(bytes(fields.get(_IDS[name], raw)))
                missing = total - len(known)
                yield read.decode(path, decode, fields)
            if missing <= 0 or "limit" in (params or {}):
                return

    def _iter_typed_pages(
        self, segments: tuple[str, ...], name: str, params: Params, on_total: Callable[[int], None]
    ) -> Iterator[tuple[ResponseReader, Raw, str, int]]:
        offset = 0
        while True:
            answer = self.get(*segments, params={"limit": str(PAGE_SIZE), **params, "offset": str(offset)})
            read = ResponseReader(answer)
            fields = read.read_object(read.data, read.path)
            if name not in fields:
                raise wrong_kind_error(self.client, "atomd", f"{answer.url}: {read.path}.{name}: missing")
            path = f"{read.path}.{name}"
            total = read.value(fields, "total_count", int)
            if total is not None:
                on_total(total)
            items = _read_items(read, fields[name], path)
            for raw, at in items:
                yield read, raw, at, total or 0
            offset += len(items)
            more = read.value(fields, "has_more", bool, False)
            if "limit" in params or not items or not (more or (total is not None and offset < total)):
                return

    def iter_untyped(
        self, segments: tuple[str, ...], id_name: str, decode: Callable[[Mapping[str, Raw]], T]
    ) -> Iterator[T]:
        """Yield the items of an untyped list, each once, until a page is not full or has no new item."""
        known: set[str] = set()
        for page in count(1):
            place: Params = {"page": str(page), "offset": str((page - 1) * PAGE_SIZE), "limit": str(PAGE_SIZE)}
            answer = self.get(*segments, params=place)
            read = ResponseReader(answer)
            items = _read_items(read, read.data, read.path)
            before = len(known)
            for raw, path in items:
                fields = read.read_object(raw, path)
                key = read.value(fields, id_name, str, "")
                if key not in known:
                    known.add(key)
                    yield read.decode(path, decode, fields)
            size = _read_page_size(answer.body)
            if len(known) == before or len(items) != size:  # a list that ignores the limit sends everything
                return


def _read_items(read: ResponseReader, raw: Raw, path: str) -> list[tuple[Raw, str]]:
    """Read a list; each item has its path. An empty list may be null."""
    return [] if bytes(raw) == b"null" else read.read_items(raw, path)


def _read_page_size(body: bytes) -> int:
    """Return how many items a page of a list has, as the list says."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        found = msgspec.json.decode(fields.get("pagination", NULL), type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeError):
        return PAGE_SIZE
    limit = found.get("limit")
    return limit if isinstance(limit, int) and limit > 0 else PAGE_SIZE
