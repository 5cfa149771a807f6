"""The documented REST API: what an engine needs of it, asked of a server that may honour any parameter, or none.

A server that says in ``X-Query-Applied`` that it honoured all it was asked is taken at its word. What another
does with filters, orders and pages is not known: everything is read there, and looked through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from tokctl.engines.answers import Part, applied, refused
from tokctl.engines.answers import Reading as Read
from tokctl.engines.asking import Params, instance_params, sayable
from tokctl.engines.held import Fetched
from tokctl.engines.opening import shown, warn
from tokctl.engines.pages import documented_pages, pages
from tokctl.engines.recognise import other_kind
from tokctl.engines.remote import SMALL, Found, RemoteEngine, instance_of
from tokctl.errors import NotAllowedError, NotFoundError, UsageError
from tokctl.process.model import Definition, Token
from tokctl.process.query import RECORDED, InstanceFilter, Order
from tokctl.process.reader import Reject, read_lean_records, read_records
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Flows, Visit
from tokctl.process.wire import Fault, decode_definition

if TYPE_CHECKING:
    from tokctl.client import Answer

API = ("api", "v1")
WIDE = frozenset({"list", "count", "instance", "token ids", "definition", "durations"})
"""Kinds of answers whose ETag is that of the whole store; the others' is that of the instance behind the kind."""
STREAMED = 4 * SMALL
"""Tokens from which on an answer is decoded as it comes."""


class NotHonouredError(Exception):
    """A server does not say that it honoured all parameters."""


class DocumentedEngine(RemoteEngine):
    """Reads any server that speaks the documented API.

    ``ours`` tells whether the server honours what it is asked; None as long as it has not been asked.
    """

    ours: bool | None = None
    polled = False  # whether it is looked at again and again

    # --- asking ---

    def ask(self, segments: tuple[str, ...], params: Params, etag: str | None = None) -> Answer | None:
        """Return an answer to just this question; None where the one with the ETag still holds.

        Raises:
            NotHonouredError: the server does not say that it took every parameter.
        """
        try:
            answer = self.client.get((*API, *segments), params, etag=etag)
        except UsageError:
            if self.ours:
                raise
            self.ours = False  # it refuses what it does not know
            raise NotHonouredError from None
        honoured = applied(answer.headers)
        if answer.status == 304 and self.ours:
            return None
        if self.ours is False or honoured is None or not honoured >= params.keys():
            self.ours = False
            raise NotHonouredError
        self.ours = True
        return answer

    def ask_plainly(self, segments: tuple[str, ...], params: Params, etag: str | None = None) -> Answer | None:
        """Return an answer whatever the server did with the parameters."""
        answer = self.client.get((*API, *segments), params, etag=etag)
        return None if answer.status == 304 else answer

    def missing(self, instance_id: str, error: NotFoundError | None = None) -> NotFoundError:
        """What to raise of an instance that is not there."""
        if error is not None and error.code is None:
            return error  # no word of the API's: the address may be wrong
        return NotFoundError(f"no process instance '{instance_id}' on {shown(self.client)}.",
                             "See 'tokctl instances list'.", code=error.code if error else None)  # fmt: skip

    # --- refreshing ---

    def refresh(self) -> bool:
        """Show the present from now on; one request with an ETag for each instance that was looked at.

        What was asked for first is asked about first: where that holds, so does all that was fetched after it,
        of the same instance or, where the ETag is the whole store's, of all.
        """
        first, self.polled = not self.polled, True
        if first or not self.ours:
            return super().refresh()
        used = cast("list[tuple[Any, ...]]", self.shelf.used())
        self.shelf.age()
        if used and self._holds(used):
            self.shelf.renew()
            self.unread.clear()
            self._lost.clear()
            return False
        self.forget()
        return True

    def _holds(self, used: list[tuple[Any, ...]]) -> bool:
        held: set[str] = set()
        for key in used:
            if key[1] in held:
                continue
            try:
                if not self.shelf.keeps(key):
                    return False
            except (NotFoundError, NotHonouredError):
                return False
            if key[0] in WIDE:
                return True
            held.add(key[1])
        return True

    # --- instances ---

    def part_of_list(self, params: Params) -> Part:
        """Fetch a part of the list of instances as the server has filtered and sorted it. Raises NotHonouredError."""
        key = ("list", of(params))

        def fetch(etag: str | None) -> Fetched | None:
            answer = self.ask(("processes",), params, etag)
            return None if answer is None else _instances(Read(answer), answer)

        part = cast(Part, self.shelf.take(key, fetch))
        for found in part.items:
            self.note(found, key)
        return part

    def pages(self, params: Params, *, offset: int = 0, limit: int | None = None) -> Iterator[Found]:
        """Return a list that the server has filtered and sorted. Raises NotHonouredError, at once."""

        def fetch(size: int, start: int) -> Part:
            part = self.part_of_list(params | {"limit": str(size)} | ({"offset": str(start)} if start else {}))
            self.listed_total = part.total
            return part

        found = pages(fetch, offset=offset, limit=limit)
        first = next(found, None)
        return iter(()) if first is None else chain((first,), found)

    def listed(self, where: InstanceFilter) -> Iterator[Found]:
        """Every instance that may match, as they came to be known."""
        if self.ours is not False:
            try:
                return self.pages(instance_params(where, Order(RECORDED)) or {"sort": RECORDED})
            except NotHonouredError:
                pass
        return self._documented()

    def _documented(self) -> Iterator[Found]:
        """Every instance, by when it started; nobody says when they came to be known."""

        def fetch(size: int, start: int) -> Part:
            params: Params = {"limit": str(size), "offset": str(start)}
            part = cast(Part, self.shelf.take(
                ("list", of(params)), lambda etag: self._plain_list(params, etag)
            ))  # fmt: skip
            self.listed_total = part.total
            return part

        found = list(documented_pages(fetch))
        for one in found:
            self.note(one, ("list",))
        if None not in [instance_of(one).started_at for one in found]:
            found.sort(key=lambda one: cast(Any, instance_of(one).started_at))
        return iter(found)

    def _plain_list(self, params: Params, etag: str | None) -> Fetched | None:
        answer = self.ask_plainly(("processes",), params, etag)
        return None if answer is None else _instances(self._read(answer), answer)

    def fetch_instance(self, instance_id: str, etag: str | None) -> Fetched | None:
        """One instance: from the list, where that can be asked for it; by itself it comes with all that it does."""
        params: Params = {"instance": instance_id, "limit": "1"}
        if self.ours is not False and sayable(params):
            try:
                answer = self.ask(("processes",), params, etag)
            except NotHonouredError:
                etag = None
            else:
                if answer is None:
                    return None
                found = next(iter(Read(answer).instances().items), None)
                if found is None or instance_of(found).instance_id != instance_id:
                    raise self.missing(instance_id)
                return Fetched(found, 1, answer.headers.get("etag"))
        try:
            answer = self.ask_plainly(("processes", instance_id), {}, etag)
        except NotFoundError as error:
            raise self.missing(instance_id, error) from None
        if answer is None:
            return None
        read = Read(answer)
        return Fetched(read.found(read.data, read.path), 1, answer.headers.get("etag"))

    # --- tokens of an instance ---

    def fetch_tokens(self, found: Found, etag: str | None) -> Fetched | None:
        """All tokens, whole."""
        return self._fetch_all(found, None, etag, {})

    def fetch_visits(self, found: Found, flows: Flows, etag: str | None, *, live: bool = False) -> Fetched | None:
        """What the analyses read of them; from any thread."""
        params: Params = {"include_variables": "false"}
        if live:
            params["live"] = "true"
        return self._fetch_all(found, flows, etag, params if self.ours is not False else {})

    def _fetch_all(self, found: Found, flows: Flows | None, etag: str | None, params: Params) -> Fetched | None:
        many = isinstance(found, InstanceStatus) and found.total_tokens > STREAMED
        instance_id = instance_of(found).instance_id
        segments = ("processes", instance_id, "tokens")
        try:
            if many and self.ours:
                streamed: list[Any] = [
                    *(self.stream_tokens(found, {}) if flows is None else self.stream_visits(found, flows, params))
                ]
                return Fetched(streamed, len(streamed))
            try:
                answer = self.ask(segments, params, etag) if params else self.ask_plainly(segments, {}, etag)
            except NotHonouredError:
                answer = self.ask_plainly(segments, {}, None)
        except NotFoundError as error:
            raise self.missing(instance_id, error) from None
        if answer is None:
            return None
        part = self._tokens(answer, found, flows)
        items: list[Any] = [*part.items]
        while part.more and part.items:  # a server that pages of its own accord
            further = self.ask_plainly(segments, {"offset": str(len(items)), "limit": str(len(part.items))})
            part = self._tokens(cast("Answer", further), found, flows)
            items += part.items
        return Fetched(items, len(items), answer.headers.get("etag"))

    def _tokens(self, answer: Answer, found: Found, flows: Flows | None) -> Part:
        read = self._read(answer)
        return read.tokens(instance_of(found)) if flows is None else read.visits(instance_of(found), flows)

    def _read(self, answer: Answer) -> Read:
        """Read an answer that atomd has, too, under the same address, with less in it."""
        read = Read(answer)
        if read.paged_beside:
            raise other_kind(self.client, "rest", f"{answer.url}: this is what atomd sends")
        return read

    def stream_tokens(self, found: Found, params: Params) -> Iterator[Token]:
        """Yield tokens as they come: no more than a piece of the answer is in memory."""
        instance = instance_of(found)
        segments = (*API, "processes", instance.instance_id, "tokens")
        url = shown(self.client, *segments)
        with self.client.stream(segments, params) as body:
            for record in read_records(body, name=url, instance_id=instance.instance_id):
                if isinstance(record, Token):
                    yield record
                elif isinstance(record, Reject):
                    raise refused(record, url)

    def stream_visits(self, found: Found, flows: Flows, params: Params) -> Iterator[Visit]:
        """Yield visits as they come."""
        instance = instance_of(found)
        segments = (*API, "processes", instance.instance_id, "tokens")
        url = shown(self.client, *segments)
        with self.client.stream(segments, params) as body:
            for record in read_lean_records(body, name=url, instance_id=instance.instance_id, flows=flows):
                if isinstance(record, Sequence):
                    yield from record
                elif isinstance(record, Reject):
                    raise refused(record, url)

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named; None where the server knows none."""

        def fetch(etag: str | None) -> Fetched | None:
            params: Params = {} if version is None else {"version": str(version)}
            try:
                answer = self.ask_plainly(("bpmn", "processes", process_id), params, etag)
            except NotFoundError:
                return Fetched(None)
            except NotAllowedError as error:
                warn(f"Process models are left out: {error.message}")
                return Fetched(None)
            if answer is None:
                return None
            read = Read(answer)
            try:
                model = decode_definition(read.data)
            except Fault as fault:
                raise read.fault(read.path, fault) from None
            asked = version in {None, model.version} and model.process_id == process_id
            return Fetched(model if asked else None, 1, answer.headers.get("etag"))

        found: Definition | None = self.shelf.take(("definition", process_id, version), fetch)
        return found


def of(params: Params) -> tuple[tuple[str, Any], ...]:
    """Parameters as a part of a key."""
    return tuple(sorted(params.items()))


def _instances(read: Read, answer: Answer) -> Fetched:
    part = read.instances()
    return Fetched(part, len(part.items), answer.headers.get("etag"))
