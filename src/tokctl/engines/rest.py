"""The documented REST API as an engine; what our own server can be asked beyond it is its work."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tokctl.engines.answers import Part
from tokctl.engines.answers import Reading as Read
from tokctl.engines.asking import LIMIT_MOST, Params, instance_params, sayable, token_params
from tokctl.engines.base import Reading
from tokctl.engines.documented import DocumentedEngine, NotHonouredError, of
from tokctl.engines.file import FileEngine
from tokctl.engines.held import Fetched
from tokctl.engines.opening import client_of
from tokctl.engines.pages import PAGE
from tokctl.engines.remote import SMALL, Found, instance_of
from tokctl.errors import NotAllowedError, NotFoundError
from tokctl.process.model import Instance, Summary, Token
from tokctl.process.query import InstanceFilter, Order, TokenFilter
from tokctl.process.status import InstanceStatus

if TYPE_CHECKING:
    from tokctl.config import Settings

_PROBE: Params = {"limit": "1", "include_variables": "false"}
_CREATED = Order("created")
_TRIPLES = list[tuple[str, str, float]]


def open_engine(settings: Settings, reading: Reading) -> RestEngine:
    """Make an engine of the server that the settings name. Nothing is asked yet."""
    return RestEngine(client_of(settings), settings.server or "", reading)


class RestEngine(DocumentedEngine):
    """Implements ``process.engine.Engine`` over the documented API."""

    kind = "rest"

    # --- instances ---

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""
        if limit == 0:
            return iter(())
        params = instance_params(where, order) if self.ours is not False else None
        if params is not None:
            try:
                found = self.pages(params, offset=min(offset, LIMIT_MOST), limit=limit)
                return cast("Iterator[InstanceStatus]", found)
            except NotHonouredError:
                pass
        return super().instances(where, order, limit=limit, offset=offset)

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""
        params = instance_params(where) if self.ours is not False else None
        if params is not None:
            try:
                total = self.part_of_list(params | {"limit": "1"}).total
            except NotHonouredError:
                total = None
            if total is not None:
                return total
        return super().count_instances(where)

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order.

        On a server that cannot be asked for prefixes an id that is one itself stands alone.
        """
        params: Params = {"instance": prefix, "limit": str(min(max(limit, 10), PAGE))}
        if self.ours is not False and (not prefix or sayable(params)) and limit <= PAGE:
            try:
                return [instance_of(found).instance_id for found in self.part_of_list(params).items][:limit]
            except NotHonouredError:
                pass
        if prefix and not self.ours:
            try:
                return [instance_of(self.found(prefix)).instance_id][:limit]
            except NotFoundError:
                pass
        return super().instance_ids(prefix, limit)

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last; of several, the last id."""
        for limit in (10, None) if self.ours is not False else ():
            try:
                found = [*cast("Iterator[InstanceStatus]", self.pages({"sort": "-started"}, limit=limit))]
            except NotHonouredError:
                break
            same = [status for status in found if status.started_at == found[0].started_at]
            if not same:
                return None
            if len(same) != limit:
                return same[-1].instance.instance_id  # equal ones come in the order of their ids
        return super().latest_instance_id()

    def found(self, instance_id: str) -> Found:
        """Return what the server says of an instance. Raises NotFoundError."""
        if self.polled and self.ours and instance_id not in self.known:
            self._part(instance_id, _PROBE)  # before all else: whatever is fetched later is no older than its ETag
        return super().found(instance_id)

    # --- tokens of an instance ---

    def _part(self, instance_id: str, params: Params) -> Part:
        """Fetch tokens as the server has filtered and sorted them. Raises NotHonouredError, NotFoundError."""

        def fetch(etag: str | None) -> Fetched | None:
            try:
                answer = self.ask(("processes", instance_id, "tokens"), params, etag)
            except NotFoundError as error:
                raise self.missing(instance_id, error) from None
            if answer is None:
                return None
            # The probe comes before the instance is known; nobody looks at its token.
            instance = Instance(instance_id=instance_id) if params is _PROBE else instance_of(self.found(instance_id))
            part = Read(answer).tokens(instance)
            return Fetched(part, len(part.items), answer.headers.get("etag"))

        return cast(Part, self.shelf.take(("part", instance_id, of(params)), fetch))

    def _asked(self, instance_id: str, where: TokenFilter, order: Order = _CREATED) -> Params | None:
        """Return what to ask for; None where the tokens are here already, or the server would not understand."""
        if self.ours is False or self.shelf.peek(("tokens", instance_id)) is not None:
            return None
        return token_params(where, order) if isinstance(self.found(instance_id), InstanceStatus) else None

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order; very many are handed on as they come."""
        params = self._asked(instance_id, where, order)
        if params is None or limit == 0:
            return super().tokens(instance_id, where, order, limit=limit, offset=offset)
        found = cast(InstanceStatus, self.found(instance_id))
        if offset:
            params["offset"] = str(min(offset, LIMIT_MOST))
        if limit is not None and limit < found.total_tokens:
            params["limit"] = str(limit)
        expected = int(cast(str, params.get("limit", found.total_tokens)))
        if not params and expected <= SMALL:
            return super().tokens(instance_id, where, order)
        try:
            if expected <= SMALL:
                return iter(self._part(instance_id, params).items)
            self._part(instance_id, _PROBE)  # whether it honours what it is asked, and the totals
            return self.stream_tokens(found, params)
        except NotHonouredError:
            return super().tokens(instance_id, where, order, limit=limit, offset=offset)

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance."""
        for key in self.shelf.used():
            if isinstance(key, tuple) and key[:2] == ("part", instance_id):
                part: Part | None = self.shelf.peek(key)
                if part is not None and part.summary is not None:
                    return part.summary
        if self.ours and not self.small(instance_id):
            summary = self._part(instance_id, _PROBE).summary
            if summary is not None:
                return summary
        return super().summary(instance_id)

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""
        params = self._asked(instance_id, where)
        if params is not None:
            try:
                total = self._part(instance_id, params | _PROBE).total
            except NotHonouredError:
                total = None
            if total is not None:
                return total
        return super().count_tokens(instance_id, where)

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token; of very many by itself."""
        there: FileEngine | None = self.shelf.peek(("tokens", instance_id))
        if there is None and self.ours and not self.small(instance_id):
            try:
                return self._single(instance_id, token_id)
            except NotAllowedError:
                pass  # it needs a permission of its own
            except NotFoundError as error:
                if error.code == "TOKEN_NOT_FOUND":
                    raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.") from None
        return super().token(instance_id, token_id)

    def _single(self, instance_id: str, token_id: str) -> Token:
        def fetch(etag: str | None) -> Fetched | None:
            answer = self.ask(("tokens", token_id), {"instance_id": instance_id}, etag)
            if answer is None:
                return None
            read = Read(answer)
            token = read.token(read.data, read.path, instance_of(self.found(instance_id)))
            return Fetched(token, 1, answer.headers.get("etag"))

        return cast(Token, self.shelf.take(("token", instance_id, token_id), fetch))

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order.

        On a server that cannot be asked for prefixes an id that is one itself stands alone.
        """
        if instance_id is not None or limit == 0:
            return super().token_ids(prefix, instance_id, limit) if limit else []
        params: Params = {"limit": str(min(limit, PAGE))}
        if prefix:
            params["token"] = prefix
        if self.ours is not False and sayable(params) and limit <= PAGE:
            try:
                return self._by_prefix(params)
            except (NotHonouredError, NotFoundError):
                self.ours = False
        if prefix and not self.ours:
            try:
                answer = self.ask_plainly(("tokens", prefix), {})
            except NotFoundError:
                pass
            else:
                if answer is not None:
                    read = Read(answer)
                    return [self._ids(read, read.data, read.path)]
        return super().token_ids(prefix, None, limit)

    def _by_prefix(self, params: Params) -> list[tuple[str, str]]:
        def fetch(etag: str | None) -> Fetched | None:
            try:
                answer = self.ask(("tokens",), params, etag)
            except NotAllowedError as error:
                raise NotAllowedError(error.message, "Or name the token's instance in front of it.") from None
            if answer is None:
                return None
            read = Read(answer)
            items, _, path = read.list_of_tokens()
            ids = [self._ids(read, raw, f"{path}[{n}]") for n, raw in enumerate(read.array(items, path))]
            return Fetched(ids, len(ids), answer.headers.get("etag"))

        return cast("list[tuple[str, str]]", self.shelf.take(("token ids", of(params)), fetch))

    @staticmethod
    def _ids(read: Read, raw: msgspec.Raw, path: str) -> tuple[str, str]:
        token = read.token(raw, path, None)
        return token.instance_id, token.token_id

    # --- durations ---

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements in the last instances of a process."""
        if elements is not None and not elements:
            return iter(())
        if self.ours is not False and process_id is not None and 1 <= instances <= PAGE:
            wanted = None if elements is None else frozenset(elements)
            params: Params = {"instances": str(instances)}
            named: Params = {} if wanted is None else {"element": tuple(sorted(wanted))}
            if sayable(named):
                params |= named
            try:
                found = self._durations(process_id, params)
            except (NotHonouredError, NotFoundError):
                pass
            else:
                return (one for one in found if wanted is None or one[1] in wanted)
        return super().visit_durations(process_id, elements, instances)

    def _durations(self, process_id: str, params: Params) -> list[tuple[str, str, float]]:
        def fetch(etag: str | None) -> Fetched | None:
            answer = self.ask(("bpmn", "processes", process_id, "durations"), params, etag)
            if answer is None:
                return None
            read = Read(answer)
            fields: dict[str, Any] = read.members(read.data, read.path)
            found = read.value(fields, "durations", _TRIPLES, [])
            return Fetched(found, len(found), answer.headers.get("etag"))

        return cast("list[tuple[str, str, float]]", self.shelf.take(("durations", process_id, of(params)), fetch))
