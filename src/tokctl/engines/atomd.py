"""atomd as an engine: its typed documents, with what its models and its job list say beside them.

It ignores filters, has no ETags, and sorts nothing: instances are read whole, and looked through here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.answers import Reading as Read
from tokctl.engines.asking import Params
from tokctl.engines.atomdwire import Job, complete, read_instance, read_job, read_model, read_token
from tokctl.engines.base import Reading
from tokctl.engines.held import Fetched
from tokctl.engines.opening import client_of, shown, warn
from tokctl.engines.recognise import other_kind
from tokctl.engines.remote import Found, RemoteEngine, instance_of
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError, UsageError
from tokctl.process.model import NULL, Definition, Instance
from tokctl.process.query import InstanceFilter
from tokctl.process.visit import Flows, Visit
from tokctl.process.wire import Fault

if TYPE_CHECKING:
    from tokctl.client import Answer
    from tokctl.config import Settings

T = TypeVar("T")

API = ("api", "v1")
PAGE = 500
"""Tokens, instances or jobs that are asked for at once; atomd may send fewer."""
ROUNDS = 3
"""Times that a list is read at most whose items do not come to as many as it says."""
_IDS = {"instances": "instance_id", "tokens": "token_id"}
_NO_AUTH = "atomd answers so to everything where its configuration says auth.enabled: false."

Jobs = Mapping[str, Sequence[Job]]
"""Jobs by the token that waits for them."""


def open_engine(settings: Settings, reading: Reading) -> AtomdEngine:
    """Make an engine of the server that the settings name. Nothing is asked yet."""
    return AtomdEngine(client_of(settings), settings.server or "", reading)


class AtomdEngine(RemoteEngine):
    """Implements ``process.engine.Engine`` over atomd.

    Models are asked for once, as a version of one never changes; jobs once until the next ``refresh``.
    """

    kind = "atomd"

    def __init__(self, client: Any, server: str, reading: Reading) -> None:
        super().__init__(client, server, reading)
        self._lock = RLock()
        self._keys: dict[tuple[str, int], str] = {}  # of models, by process and version
        self._models: dict[str, Definition | None] = {}
        self._jobs: dict[str, Jobs] = {}  # of an instance; of all under ''

    def refresh(self) -> bool:
        """Show the present from now on; nobody knows whether it differs."""
        self._jobs.clear()
        return super().refresh()

    def _ask(self, segments: tuple[str, ...], params: Params | None = None) -> Answer:
        try:
            return self.client.get((*API, *segments), params or {})
        except UnreachableError as error:
            if "failed on the server" in error.message and "(500" in error.message:
                raise UnreachableError(error.message, _NO_AUTH) from None
            raise

    def _pages(self, segments: tuple[str, ...], name: str) -> Iterator[tuple[Read, Raw, str]]:
        """Yield the items of a typed list, each with what reads it and its path.

        As they come in no order, one may come twice in place of another: then they are asked for again.
        """
        known: set[bytes] = set()
        for _ in range(ROUNDS):
            missing = 0
            for read, raw, path, total in self._round(segments, name):
                known.add(bytes(read.members(raw, path).get(_IDS[name], raw)))
                missing = total - len(known)
                yield read, raw, path
            if missing <= 0:
                return

    def _round(self, segments: tuple[str, ...], name: str) -> Iterator[tuple[Read, Raw, str, int]]:
        offset = 0
        while True:
            answer = self._ask(segments, {"limit": str(PAGE), "offset": str(offset)})
            read = Read(answer)
            fields = read.members(read.data, read.path)
            if name not in fields:
                raise other_kind(self.client, "atomd", f"{answer.url}: {read.path}.{name}: missing")
            path = f"{read.path}.{name}"
            total = read.value(fields, "total_count", int)
            if name == "instances":
                self.listed_total = total
            items = [] if bytes(fields[name]) == b"null" else read.array(fields[name], path)
            for index, raw in enumerate(items):
                yield read, raw, f"{path}[{index}]", total or 0
            offset += len(items)
            more = read.value(fields, "has_more", bool, False)
            if not items or not (more or (total is not None and offset < total)):
                return

    @staticmethod
    def _read(read: Read, raw: Raw, path: str, decode: Callable[[Mapping[str, Raw]], T]) -> T:
        try:
            return decode(read.members(raw, path))
        except Fault as fault:
            raise read.fault(path, fault) from None

    # --- instances ---

    def listed(self, where: InstanceFilter) -> Iterator[Found]:  # noqa: ARG002 - it filters by next to nothing
        """Every instance, by when it started."""

        def fetch(_: str | None) -> Fetched:
            known: dict[str, Instance] = {}
            try:
                for read, raw, path in self._pages(("processes", "typed"), "instances"):
                    instance = self._read(read, raw, path, read_instance)
                    known[instance.instance_id] = instance
            except (NotFoundError, UsageError) as error:
                raise other_kind(self.client, "atomd", error.message) from None
            found = sorted(known.values(), key=lambda one: (one.started_at is not None, one.started_at or 0))
            return Fetched(found, len(found))

        found: list[Instance] = self.shelf.take(("list",), fetch)
        for instance in found:
            self.note(instance, ("list",))
        return iter(found)

    def fetch_instance(self, instance_id: str, etag: str | None) -> Fetched:  # noqa: ARG002 - there are none
        """One instance. An id that can be none is one of nothing."""
        missing = NotFoundError(f"no process instance '{instance_id}' on {shown(self.client)}.",
                                "See 'tokctl instances list'.")  # fmt: skip
        try:
            answer = self._ask(("processes", instance_id))  # refuses ids of another form; tells who is not there
            read = Read(answer)
            instance = self._read(read, read.data, read.path, read_instance)
            answer = self._ask(("processes", instance_id, "typed"))  # times and versions are exact here
        except (NotFoundError, UsageError):
            raise missing from None
        read = Read(answer)
        typed = self._read(read, read.data, read.path, read_instance)
        return Fetched(replace(typed, process_id=typed.process_id or instance.process_id))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order; an id that is one itself stands alone."""
        if len(prefix) > _SHORT:
            try:
                return [instance_of(self.found(prefix)).instance_id][:limit]
            except NotFoundError:
                pass
        return super().instance_ids(prefix, limit)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order; a whole id stands alone."""
        if instance_id is None and len(prefix) > _SHORT:
            try:
                answer = self._ask(("tokens", prefix))
            except (NotFoundError, UsageError):
                pass
            else:
                read = Read(answer)
                fields = read.members(read.data, read.path)
                owner = read.value(fields, "process_instance_id", str)
                if owner:
                    return [(owner, prefix)][:limit]
        return super().token_ids(prefix, instance_id, limit)

    # --- tokens ---

    def fetch_tokens(self, found: Found, etag: str | None) -> Fetched:  # noqa: ARG002 - there are none
        """All tokens of an instance. None of one that is unknown would look the same."""
        instance = instance_of(found)
        tokens = [
            self._read(read, raw, path, lambda fields: read_token(fields, instance))
            for read, raw, path in self._pages(("processes", instance.instance_id, "tokens", "typed"), "tokens")
        ]
        if not tokens:
            self.fetch_instance(instance.instance_id, None)
        model = self._model(instance) if tokens else None
        jobs = self._jobs_of(instance.instance_id) if tokens else {}
        whole = complete(tokens, model, jobs)
        return Fetched(whole, len(whole))

    def fetch_visits(self, found: Found, flows: Flows, etag: str | None, *, live: bool = False) -> Fetched:  # noqa: ARG002
        """What the analyses read of them."""
        fetched = self.fetch_tokens(found, None)
        return Fetched([Visit.of(token) for token in fetched.value], fetched.size)

    # --- jobs ---

    def _jobs_of(self, instance_id: str) -> Jobs:
        with self._lock:
            for key in (instance_id, ""):
                if key in self._jobs:
                    return self._jobs[key]
            try:
                found = list(self._all_jobs(instance_id))
            except NotAllowedError as error:
                warn(f"Workers, retries and timeouts are left out: {error.message}")
                self._jobs[""] = {}
                return {}
            jobs: dict[str, list[Job]] = defaultdict(list)
            for job in found:
                jobs[job.token_id].append(job)
            narrow = all(job.instance_id == instance_id for job in found)
            self._jobs[instance_id if narrow else ""] = jobs  # a server that ignored the filter has told all
            return jobs

    def _all_jobs(self, instance_id: str) -> Iterator[Job]:
        known: set[str] = set()
        page = 1
        while True:
            answer = self._ask(("jobs",), {
                "process_instance_id": instance_id, "limit": str(PAGE), "page": str(page),
                "offset": str((page - 1) * PAGE),
            })  # fmt: skip
            read = Read(answer)
            items = [] if bytes(read.data) == b"null" else read.array(read.data, read.path)
            new = 0
            for index, raw in enumerate(items):
                path = f"{read.path}[{index}]"
                key = read.value(read.members(raw, path), "key", str, "")
                if key not in known:
                    known.add(key)
                    new += 1
                    job = self._read(read, raw, path, read_job)
                    if job is not None:
                        yield job
            page += 1
            if not new or len(items) < _page_size(answer.body):
                return

    # --- process models ---

    def _model(self, instance: Instance) -> Definition | None:
        process_id, version = instance.process_id, instance.version
        if process_id is None:
            return None
        with self._lock:
            try:
                key = self._key(process_id, version)
                if key is not None and key[1] not in self._models:
                    self._models[key[1]] = self._fetch_model(process_id, *key)
                return self._models[key[1]] if key is not None else None
            except NotAllowedError as error:
                warn(f"Types and names of elements are left out: {error.message}")
                self._keys[process_id, version or 0] = ""
                return None

    def _key(self, process_id: str, version: int | None) -> tuple[int, str] | None:
        """Return version and key of a model, the newest version unless one is named."""
        if version is None or (process_id, version) not in self._keys:
            self._keys |= self._all_keys()
        versions = [v for p, v in self._keys if p == process_id and version in {None, v} and self._keys[p, v]]
        return (max(versions), self._keys[process_id, max(versions)]) if versions else None

    def _all_keys(self) -> dict[tuple[str, int], str]:
        known: dict[tuple[str, int], str] = {}
        page = 1
        while True:
            answer = self._ask(("bpmn", "processes"), {"limit": str(PAGE), "page": str(page)})
            read = Read(answer)
            items = [] if bytes(read.data) == b"null" else read.array(read.data, read.path)
            before = len(known)
            for index, raw in enumerate(items):
                fields = read.members(raw, f"{read.path}[{index}]")
                process_id, key = (read.value(fields, name, str, "") for name in ("id", "key"))
                known[process_id, read.value(fields, "version", int, 1)] = key
            page += 1
            if len(known) == before or len(items) < _page_size(answer.body):
                return known

    def _fetch_model(self, process_id: str, version: int, key: str) -> Definition | None:
        try:
            answer = self._ask(("bpmn", "processes", key, "json"))
        except NotFoundError:
            return None
        read = Read(answer)
        document = read.value({"data": read.data}, "data", dict[str, Any], {})
        return read_model(document, process_id, version)

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model with its XML, the newest version unless one is named; None where it is unknown."""
        model = self._model(Instance(instance_id="", process_id=process_id, version=version))
        if model is None or model.xml is not None:
            return model
        from tokctl.process.bpmn import read_definitions

        key = self._keys[process_id, model.version]
        try:
            xml = self._ask(("bpmn", "processes", key, "xml")).body.decode()
            whole = replace(model, xml=xml)
            for read in read_definitions(xml):  # it tells conditions and nesting, which the JSON may not
                if read.process_id == process_id:
                    whole = replace(read, version=model.version)
        except NotFoundError:
            return model
        except (InputError, UnicodeError):
            whole = model
        self._models[key] = whole
        return whole


_SHORT = 20  # characters: ids have 23, of which nobody types the most by hand


def _page_size(body: bytes) -> int:
    """How many items a page of a list has by the list's own word."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        found = msgspec.json.decode(fields.get("pagination", NULL), type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeError):
        return PAGE
    limit = found.get("limit")
    return limit if isinstance(limit, int) and limit > 0 else PAGE
