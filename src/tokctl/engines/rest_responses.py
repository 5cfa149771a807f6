"""Reads responses of the documented API, and lists page by page; errors are InputErrors with URL and path.

Only small responses, whole in memory; large ones are streamed through ``readers.stream``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from tokctl.client import ClientResponse
from tokctl.client.json_responses import not_json_error
from tokctl.documents.base import DocumentError, NotJSONError, decode_object
from tokctl.documents.instances import decode_instance, decode_status
from tokctl.documents.tokens import decode_token
from tokctl.engines.remote import ListedInstance, instance_of
from tokctl.errors import InputError
from tokctl.model.instances import Instance, Summary
from tokctl.model.tokens import NULL, Token
from tokctl.model.visits import FlowHistoryMode, Visit, decode_visits
from tokctl.readers.encodings import to_utf8
from tokctl.readers.stream import RejectedRecord
from tokctl.text import shorten

APPLIED = "x-query-applied"
_TOTALS = frozenset({"total_tokens", "live_tokens", "derived"})
T = TypeVar("T")
_array_decoder = msgspec.json.Decoder(list[Raw])
MAX_PAGE_SIZE = 1000
"""Instances per page of ``tokctl serve``."""
DOCUMENTED_PAGE_SIZE = 100
"""Instances per page of another server."""


class ResultPage(Struct, frozen=True, kw_only=True):
    """Tokens or instances of a response; ``total`` is their total number, None if the server does not send it."""

    items: Sequence[Any]
    total: int | None = None
    more: bool = False
    summary: Summary | None = None

    def __len__(self) -> int:
        return len(self.items)


def parse_applied_params(headers: Mapping[str, str]) -> frozenset[str] | None:
    """Return the query parameters that a server says it applied; None if it says nothing about them."""
    named = headers.get(APPLIED)
    return None if named is None else frozenset(name.strip() for name in named.split(","))


class ResponseReader:
    """Reads one response: ``url`` is its name in messages.

    Raises:
        InputError: it is not a JSON object, or it reports an error.
    """

    def __init__(self, answer: ClientResponse) -> None:
        url = answer.url
        self.url = url
        try:
            body = to_utf8(answer.body)
            fields = decode_object(body)
        except (NotJSONError, UnicodeError):
            raise not_json_error(answer) from None
        except DocumentError as fault:
            raise self.fault("$", fault) from None
        if bytes(fields.get("success", NULL)) == b"false":
            text = bytes(fields.get("error", b"")).decode(errors="replace")
            raise InputError(f"{url}: error in a response with status 200: {shorten(text, 200)}")
        self.has_atomd_pagination = fields.keys() >= {"meta", "pagination"}  # the documented API has neither
        self.path = "$.data" if "data" in fields else "$"
        self.data = fields["data"] if "data" in fields else Raw(body)

    def field_error(self, path: str, reason: str) -> InputError:
        """Return the error for a field."""
        return InputError(f"{self.url}: {path}: {reason}.")

    def decode(self, path: str, decoder: Callable[..., T], *given: Any) -> T:
        """Call a decoder of documents; ``path`` is the place of the document in the response."""
        try:
            return decoder(*given)
        except DocumentError as fault:
            raise self.fault(path, fault) from None

    def read_object(self, raw: Raw | bytes, path: str) -> dict[str, Raw]:
        """Read an object."""
        return self.decode(path, decode_object, raw)

    def value(self, fields: Mapping[str, Raw], name: str, kind: Any, default: Any = None) -> Any:
        """Read a member of the data; the default if it is null or absent."""
        try:
            found = msgspec.json.decode(fields.get(name, NULL), type=kind | None)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise self.field_error(f"{self.path}.{name}", str(error)) from None
        return default if found is None else found

    def read_items(self, raw: Raw, path: str) -> list[tuple[Raw, str]]:
        """Read an array one level deep: its items, each with its path."""
        try:
            items = _array_decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise self.field_error(path, "expected an array") from None
        return [(item, f"{path}[{index}]") for index, item in enumerate(items)]

    def fault(self, path: str, fault: DocumentError) -> InputError:
        """Return the error for a decoder's error."""
        return self.field_error(f"{path}.{fault.field}" if fault.field else path, fault.reason)

    # --- instances ---

    def found(self, raw: Raw, path: str) -> ListedInstance:
        """Read an instance, with its totals and derived times if the server sends them."""
        fields = self.read_object(raw, path)
        if fields.keys() >= _TOTALS:
            return self.decode(path, decode_status, fields)
        return self.decode(path, decode_instance, fields)

    def instances(self) -> ResultPage:
        """Read a list of instances: ``data.instances``, or ``data`` itself."""
        fields: dict[str, Raw] = {}
        items, path = self.data, self.path
        if bytes(items)[:1] != b"[":
            fields, path = self.read_object(items, path), f"{path}.instances"
            if "instances" not in fields:
                raise self.field_error(path, "missing; this is not a list of instances")
            items = fields["instances"]
        found = [self.found(raw, at) for raw, at in self.read_items(items, path)]
        total, more = self.value(fields, "total_count", int), self.value(fields, "has_more", bool, False)
        return ResultPage(items=found, total=total, more=more)

    # --- tokens ---

    def read_token_list(self) -> tuple[Raw, dict[str, Raw], str]:
        """Return the array of tokens, the other members, and its path."""
        if bytes(self.data)[:1] == b"[":
            return self.data, {}, self.path
        fields = self.read_object(self.data, self.path)
        path = f"{self.path}.tokens"
        if "tokens" not in fields:
            raise self.field_error(path, "missing; this is not a list of tokens")
        return fields["tokens"], fields, path

    def tokens(self, instance: Instance) -> ResultPage:
        """Read tokens of an instance, and the other members."""
        items, fields, path = self.read_token_list()
        return self._build_page([self.token(raw, at, instance) for raw, at in self.read_items(items, path)], fields)

    def all_tokens(self) -> ResultPage:
        """Read tokens of several instances, which each token names."""
        items, fields, path = self.read_token_list()
        return self._build_page([self.token(raw, at, None) for raw, at in self.read_items(items, path)], fields)

    def _build_page(self, items: Sequence[Token | Visit], fields: Mapping[str, Raw]) -> ResultPage:
        return ResultPage(
            items=items,
            total=self.value(fields, "total_count", int),
            more=self.value(fields, "has_more", bool, False),
            summary=self.value(fields, "summary", Summary) if "summary" in fields else None,
        )

    def token(self, raw: Raw, path: str, instance: Instance | None) -> Token:
        """Read a token, which must belong to this instance; None: to the instance that it names."""
        ids = (instance.instance_id, instance.process_id) if instance else ()
        token = self.decode(path, decode_token, raw, *ids)
        if instance is not None:
            self.check_instance(token, path, instance)
        return token

    def check_instance(self, token: Token | Visit, path: str, instance: Instance) -> None:
        """Refuse a token of another instance."""
        if token.instance_id != instance.instance_id:
            raise self.field_error(f"{path}.instance_id", f"'{shorten(token.instance_id)}' was not requested")

    def visits(self, instance: Instance, flows: FlowHistoryMode) -> ResultPage:
        """Read tokens as visits."""
        items, fields, path = self.read_token_list()
        try:
            visits = decode_visits(
                bytes(items).decode(),
                lines=False,
                flows=flows,
                instance_id=instance.instance_id,
                process_id=instance.process_id,
            )
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            tokens = self.tokens(instance)
            visits = [Visit.from_token(token, flows=flows is not FlowHistoryMode.NONE) for token in tokens.items]
        for index, visit in enumerate(visits):
            self.check_instance(visit, f"{path}[{index}]", instance)
        return self._build_page(visits, fields)


def reject_error(reject: RejectedRecord, url: str) -> InputError:
    """Return the error for an invalid token in a streamed response."""
    where = "" if reject.where.startswith("document") else f".{reject.where}"
    field = f".{reject.field}" if reject.field else ""
    return InputError(f"{url}: ${where}{field}: {reject.reason}.")


def fetch_pages(
    fetch: Callable[[int, int], ResultPage],
    *,
    offset: int = 0,
    limit: int | None = None,
    max_page_size: int = MAX_PAGE_SIZE,
) -> Iterator[ListedInstance]:
    """Yield the instances of a list, each once: ``fetch`` gets the limit and the offset.

    Pages overlap by an instance. If a page has none of the one before, earlier instances have been removed and others
    have moved up: these are searched from an earlier offset.
    """
    known: set[str] = set()
    before: set[str] = set()
    size = max_page_size if limit is None else min(max_page_size, limit)
    while True:
        part = fetch(size, offset)
        ids = {instance_of(found).instance_id for found in part.items}
        if before and ids.isdisjoint(before) and offset:
            offset = max(offset - size + 1, 0)
            continue
        for found in part.items:
            if (one := instance_of(found).instance_id) not in known:
                known.add(one)
                yield found
                if len(known) == limit:
                    return
        if not part.more or ids <= before:
            return  # the last page: a server that claims more, but sends nothing new, would never end
        before = ids
        offset += max(len(ids) - 1, 1)
        size = max_page_size if limit is None else min(max_page_size, limit - len(known) + 1)


def fetch_documented_pages(fetch: Callable[[int, int], ResultPage]) -> Iterator[ListedInstance]:
    """Yield the same from a server that may ignore both: pages end when nothing new arrives."""
    known: set[str] = set()
    while True:
        part = fetch(DOCUMENTED_PAGE_SIZE, len(known))
        new = [found for found in part.items if instance_of(found).instance_id not in known]
        known.update(instance_of(found).instance_id for found in new)
        yield from new
        if not new or (part.total is not None and len(known) >= part.total):
            return
        if part.total is None and not part.more and len(part.items) != DOCUMENTED_PAGE_SIZE:
            return
