"""atomd as an engine: its typed documents, completed by its process models and its list of jobs.

atomd ignores filters, has no ETags, and does not sort: instances are read whole and filtered here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.atomd_documents import Job, complete_tokens, read_instance, read_job, read_model, read_token
from tokctl.engines.capabilities import Capability, CredentialProbe, EngineCapabilities, Support
from tokctl.engines.connect import create_client, display_address, warn, wrong_kind_error
from tokctl.engines.etag_cache import FetchResult
from tokctl.engines.projection import Projection
from tokctl.engines.query_params import Params
from tokctl.engines.remote import ListedInstance, RemoteEngine, instance_of
from tokctl.engines.rest_responses import ResponseReader
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import InstanceFilter
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.model.visits import FlowHistoryMode, Visit

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse
    from tokctl.config import Settings

T = TypeVar("T")

API = ("api", "v1")
PAGE_SIZE = 500
"""Tokens, instances or jobs per request; atomd may send fewer."""
MAX_LIST_ATTEMPTS = 3
"""Maximum number of attempts to read a list that has fewer items than its own total."""
_IDS = {"instances": "instance_id", "tokens": "token_id"}
_AUTH_DISABLED_HINT = "atomd rejects all requests with this response if its configuration has auth.enabled: false."

Jobs = Mapping[str, Sequence[Job]]
"""Jobs by the waiting token."""


PROBE = ("health",)
"""The path below the root of the request that recognizes the kind."""
ROOTS = ("",)
"""Usual roots of the API below the origin of a server."""
CREDENTIAL_PROBE = CredentialProbe(("api", "v1", "processes", "typed"), {"limit": "1"})
CAPABILITIES = EngineCapabilities(
    title="AtomBPMN atom-engine",
    states=Capability(Support.YES, "service tasks are WAITING, never ACTIVE"),
    errors=Capability(Support.YES, "of jobs"),
    stack_traces=Capability(Support.NO),
    retries=Capability(Support.PARTLY, "retries left; used ones are not recorded"),
    workers=Capability(Support.YES),
    jobs=Capability(Support.YES, "the engine always sends all of them"),
    timers=Capability(Support.YES, "of an instance"),
    user_tasks=Capability(Support.NO, "the engine has no user task API"),
    messages=Capability(Support.YES, "the name, for a single token"),
    variables=Capability(Support.YES, "the latest values"),
    elements=Capability(Support.DERIVED, "from the process model"),
    models=Capability(Support.YES, "without the BPMN XML"),
    parents=Capability(Support.YES),
    flows=Capability(Support.NO, "a token moves; 'snapshot --watch' records its hops from then on"),
    cancellation=Capability(Support.YES),
    called_instances=Capability(Support.PARTLY, "the called instance, while the token waits for it"),
    past_state=Capability(Support.PARTLY, "only since the last arrival of each token"),
    server_filters=Capability(Support.NO, "applied by tokctl"),
    bounded_debug=Capability(Support.NO, "one request for each live instance, several at a time"),
    changes=Capability(Support.NO),
)


def open_engine(settings: Settings, reading: Projection) -> AtomdEngine:
    """Return an engine of the server that the settings name; it connects when it is first used."""
    return AtomdEngine(create_client(settings), settings.server or "", reading)


def recognizes(health: Any) -> bool:
    """Tell whether a response to ``/health`` is from atomd: it has a request id, but no service name."""
    data = _member(health, "data")
    named = _member(health, "meta").get("request_id") == "health"
    return named and "server" in _member(data, "checks") and data.get("service") is None


def _member(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


class AtomdEngine(RemoteEngine):
    """Reads an atomd server.

    Models are fetched once, as a version never changes; jobs once until the next ``refresh``.
    """

    kind = "atomd"

    def __init__(self, client: Client, server: str, reading: Projection) -> None:
        super().__init__(client, server, reading)
        self._lock = RLock()
        self._models = _ModelLoader(self._get)
        self._jobs: dict[str, Jobs] = {}  # of an instance; of all under ''

    def refresh(self) -> bool:
        self._jobs.clear()
        return super().refresh()

    def _get(self, segments: tuple[str, ...], params: Params | None = None) -> ClientResponse:
        try:
            return self.client.get((*API, *segments), params or {})
        except UnreachableError as error:
            if error.status == 500:
                raise UnreachableError(error.message, _AUTH_DISABLED_HINT, status=500) from None
            raise

    def _iter_items(self, segments: tuple[str, ...], name: str) -> Iterator[tuple[ResponseReader, dict[str, Raw], str]]:
        """Yield the fields of each item of a typed list, with what reads them and the item's path.

        Pages have no order, so an item may appear twice instead of another: then the list is read again.
        """
        known: set[bytes] = set()
        for _ in range(MAX_LIST_ATTEMPTS):
            missing = 0
            for read, raw, path, total in self._iter_pages(segments, name):
                fields = read.read_object(raw, path)
                known.add(bytes(fields.get(_IDS[name], raw)))
                missing = total - len(known)
                yield read, fields, path
            if missing <= 0:
                return

    def _iter_pages(self, segments: tuple[str, ...], name: str) -> Iterator[tuple[ResponseReader, Raw, str, int]]:
        offset = 0
        while True:
            answer = self._get(segments, {"limit": str(PAGE_SIZE), "offset": str(offset)})
            read = ResponseReader(answer)
            fields = read.read_object(read.data, read.path)
            if name not in fields:
                raise wrong_kind_error(self.client, "atomd", f"{answer.url}: {read.path}.{name}: missing")
            path = f"{read.path}.{name}"
            total = read.value(fields, "total_count", int)
            if name == "instances":
                self.listed_total = total
            items = _read_items(read, fields[name], path)
            for raw, at in items:
                yield read, raw, at, total or 0
            offset += len(items)
            more = read.value(fields, "has_more", bool, False)
            if not items or not (more or (total is not None and offset < total)):
                return

    # --- instances ---

    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:  # noqa: ARG002 - it filters by next to nothing
        """Yield every instance, by when it started."""

        def fetch(_: str | None) -> FetchResult[list[Instance]]:
            known: dict[str, Instance] = {}
            try:
                for read, fields, path in self._iter_items(("processes", "typed"), "instances"):
                    instance = read.decode(path, read_instance, fields)
                    known[instance.instance_id] = instance
            except (NotFoundError, UsageError) as error:
                raise wrong_kind_error(self.client, "atomd", error.message) from None
            instances = sorted(known.values(), key=lambda one: (one.started_at is not None, one.started_at or 0))
            return FetchResult(instances, len(instances))

        found = self.cache.get_or_fetch(("list",), fetch)
        for instance in found:
            self.remember_instance(instance, ("list",))
        return iter(found)

    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance]:  # noqa: ARG002 - there are none
        """Fetch one instance. An id of another form than atomd's is not found."""
        missing = NotFoundError(
            f"no process instance '{instance_id}' on {display_address(self.client)}.", "See 'tokctl instances list'."
        )
        try:
            answer = self._get(("processes", instance_id))  # rejects invalid ids; reports unknown ones
            instance = _read_single_instance(answer)
            answer = self._get(("processes", instance_id, "typed"))  # times and versions are exact here
        except (NotFoundError, UsageError):
            raise missing from None
        typed = _read_single_instance(answer)
        return FetchResult(replace(typed, process_id=typed.process_id or instance.process_id))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids of instances that begin with a prefix, in order; a whole id returns this one alone."""
        if len(prefix) > _MAX_PREFIX_LENGTH:
            with suppress(NotFoundError):
                return [instance_of(self.found(prefix)).instance_id][:limit]
        return super().instance_ids(prefix, limit)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return (instance id, token id) of tokens by a prefix, in order; a whole id returns this one alone."""
        if instance_id is None and len(prefix) > _MAX_PREFIX_LENGTH:
            with suppress(NotFoundError, UsageError):
                read = ResponseReader(self._get(("tokens", prefix)))
                owner = read.value(read.read_object(read.data, read.path), "process_instance_id", str)
                if owner:
                    return [(owner, prefix)][:limit]
        return super().token_ids(prefix, instance_id, limit)

    # --- tokens ---

    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]]:  # noqa: ARG002 - there are none
        """Fetch all tokens of an instance. An empty list may mean that the instance is unknown: that is checked."""
        instance = instance_of(found)
        tokens = [
            read.decode(path, read_token, fields, instance)
            for read, fields, path in self._iter_items(("processes", instance.instance_id, "tokens", "typed"), "tokens")
        ]
        if not tokens:
            self.fetch_instance(instance.instance_id, None)
        model = self._models.load(instance) if tokens else None
        jobs = self._fetch_jobs(instance.instance_id) if tokens else {}
        whole = complete_tokens(tokens, model, jobs)
        return FetchResult(whole, len(whole))

    def fetch_visits(
        self,
        found: ListedInstance,
        flows: FlowHistoryMode,  # noqa: ARG002
        etag: str | None,  # noqa: ARG002
        *,
        live: bool = False,  # noqa: ARG002
    ) -> FetchResult[Sequence[Visit]]:
        """Fetch the tokens; keep what the analyses read of them."""
        fetched = self.fetch_tokens(found, None)
        return FetchResult([Visit.from_token(token) for token in fetched.value], fetched.size)

    # --- jobs ---

    def _fetch_jobs(self, instance_id: str) -> Jobs:
        with self._lock:
            for key in (instance_id, ""):
                if key in self._jobs:
                    return self._jobs[key]
            try:
                found = list(self._fetch_all_jobs(instance_id))
            except NotAllowedError as error:
                warn(f"Workers, retries and timeouts are not available: {error.message}")
                self._jobs[""] = {}
                return {}
            jobs: dict[str, list[Job]] = defaultdict(list)
            for job in found:
                jobs[job.token_id].append(job)
            narrow = all(job.instance_id == instance_id for job in found)
            self._jobs[instance_id if narrow else ""] = (
                jobs  # a server that ignores the filter sends the jobs of all instances
            )
            return jobs

    def _fetch_all_jobs(self, instance_id: str) -> Iterator[Job]:
        known: set[str] = set()

        def fetch(page: int) -> ClientResponse:
            offset = str((page - 1) * PAGE_SIZE)
            where: Params = {"process_instance_id": instance_id, "page": str(page), "offset": offset}
            return self._get(("jobs",), where | {"limit": str(PAGE_SIZE)})

        for read, items in _iter_untyped_pages(fetch):
            before = len(known)
            for raw, path in items:
                fields = read.read_object(raw, path)
                key = read.value(fields, "key", str, "")
                if key not in known:
                    known.add(key)
                    job = read.decode(path, read_job, fields)
                    if job is not None:
                        yield job
            if len(known) == before:
                return

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model with its XML, the newest version unless one is named; None where it is unknown."""
        return self._models.load_with_xml(process_id, version)


class _ModelLoader:
    """Process models, each fetched once. May be used from any thread."""

    def __init__(self, get: Callable[..., ClientResponse]) -> None:
        self._get = get
        self._lock = RLock()
        self._keys: dict[tuple[str, int], str] = {}  # of models, by process and version
        self._models: dict[str, Definition | None] = {}

    def load(self, instance: Instance) -> Definition | None:
        """Return the model of an instance from atomd's JSON; None where it is unknown or not allowed."""
        process_id, version = instance.process_id, instance.version
        if process_id is None:
            return None
        with self._lock:
            try:
                key = self._find_key(process_id, version)
                if key is not None and key[1] not in self._models:
                    self._models[key[1]] = self._fetch_model(process_id, *key)
                return self._models[key[1]] if key is not None else None
            except NotAllowedError as error:
                warn(f"Types and names of elements are not available: {error.message}")
                self._keys[process_id, version or 0] = ""
                return None

    def _find_key(self, process_id: str, version: int | None) -> tuple[int, str] | None:
        """Return version and key of a model, the newest version unless one is named."""
        if version is None or (process_id, version) not in self._keys:
            self._keys |= self._fetch_all_keys()
        versions = [v for p, v in self._keys if p == process_id and version in {None, v} and self._keys[p, v]]
        return (max(versions), self._keys[process_id, max(versions)]) if versions else None

    def _fetch_all_keys(self) -> dict[tuple[str, int], str]:
        known: dict[tuple[str, int], str] = {}

        def fetch(page: int) -> ClientResponse:
            return self._get(("bpmn", "processes"), {"limit": str(PAGE_SIZE), "page": str(page)})

        for read, items in _iter_untyped_pages(fetch):
            before = len(known)
            for raw, path in items:
                fields = read.read_object(raw, path)
                process_id, key = (read.value(fields, name, str, "") for name in ("id", "key"))
                known[process_id, read.value(fields, "version", int, 1)] = key
            if len(known) == before:
                break
        return known

    def _fetch_model(self, process_id: str, version: int, key: str) -> Definition | None:
        try:
            answer = self._get(("bpmn", "processes", key, "json"))
        except NotFoundError:
            return None
        read = ResponseReader(answer)
        document = read.value({"data": read.data}, "data", dict[str, Any], {})
        return read_model(document, process_id, version)

    def load_with_xml(self, process_id: str, version: int | None) -> Definition | None:
        """Return a model with its XML, the newest version unless one is named; None where it is unknown."""
        model = self.load(Instance(instance_id="", process_id=process_id, version=version))
        if model is None or model.xml is not None:
            return model
        from tokctl.bpmn.parser import read_definitions

        key = self._keys[process_id, model.version]
        try:
            xml = self._get(("bpmn", "processes", key, "xml")).body.decode()
            whole = replace(model, xml=xml)
            for read in read_definitions(xml):  # it has conditions and nesting, which the JSON may lack
                if read.process_id == process_id:
                    whole = replace(read, version=model.version)
        except NotFoundError:
            return model
        except (InputError, UnicodeError):
            whole = model
        self._models[key] = whole
        return whole


_MAX_PREFIX_LENGTH = 20  # characters; ids have 23


def _read_single_instance(answer: ClientResponse) -> Instance:
    read = ResponseReader(answer)
    return read.decode(read.path, read_instance, read.read_object(read.data, read.path))


def _read_items(read: ResponseReader, raw: Raw, path: str) -> list[tuple[Raw, str]]:
    """Read a list; each item has its path. An empty list may be null."""
    return [] if bytes(raw) == b"null" else read.read_items(raw, path)


def _iter_untyped_pages(
    fetch: Callable[[int], ClientResponse],
) -> Iterator[tuple[ResponseReader, list[tuple[Raw, str]]]]:
    """Yield the pages of an untyped list, counted from 1, until one is not full."""
    for page in count(1):
        answer = fetch(page)
        read = ResponseReader(answer)
        items = _read_items(read, read.data, read.path)
        yield read, items
        if len(items) < _read_page_size(answer.body):
            return


def _read_page_size(body: bytes) -> int:
    """Return how many items a page of a list has, as the list says."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        found = msgspec.json.decode(fields.get("pagination", NULL), type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeError):
        return PAGE_SIZE
    limit = found.get("limit")
    return limit if isinstance(limit, int) and limit > 0 else PAGE_SIZE
