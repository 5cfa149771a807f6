"""The process models of a Flowable server: each is fetched once as BPMN XML, and cached in memory and on disk."""

from __future__ import annotations

from threading import RLock

from msgspec.structs import replace

from tokctl.client.json_responses import decode_json
from tokctl.engines.connect import warn
from tokctl.engines.definition_cache import DefinitionCache
from tokctl.engines.flowable.api import DEFINITIONS, FlowableApi
from tokctl.engines.flowable.documents import FlowableDefinition, split_definition_id
from tokctl.engines.flowable.visits import FlowableModel
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.model.definitions import Definition

NO_MODEL = FlowableModel(None)


class FlowableModels:
    """Loads process models by the id of their definition. May be used from any thread."""

    def __init__(self, api: FlowableApi, server: str) -> None:
        self._api = api
        self._lock = RLock()
        self._on_disk = DefinitionCache(server)
        self._ids: dict[tuple[str, int], str] = {}
        self._names: dict[str, tuple[str, int] | None] = {}  # process id and version by id
        self._models: dict[str, FlowableModel] = {}

    def name(self, definition_id: str) -> tuple[str, int] | None:
        """Return the process id and the version of a definition; None if the server does not tell them."""
        with self._lock:
            if definition_id not in self._names:
                self._note(definition_id, split_definition_id(definition_id) or self._fetch_name(definition_id))
            return self._names[definition_id]

    def _note(self, definition_id: str, name: tuple[str, int] | None) -> None:
        self._names[definition_id] = name
        if name is not None:
            self._ids[name] = definition_id

    def _fetch_name(self, definition_id: str) -> tuple[str, int] | None:
        try:
            row = decode_json(self._api.client.get((*DEFINITIONS, definition_id)), FlowableDefinition)
        except (NotFoundError, NotAllowedError):
            return None
        return row.key, row.version

    def find(self, process_id: str, version: int | None) -> FlowableModel:
        """Return a version of a model, the newest one by default; empty if it is unknown."""
        with self._lock:
            known = None if version is None else self._ids.get((process_id, version))
            if known is None:
                wanted = {"latest": "true"} if version is None else {"version": str(version)}
                try:
                    rows = self._api.get_all(DEFINITIONS, FlowableDefinition, {"key": process_id, **wanted})
                except NotAllowedError as error:
                    warn(f"Types and names of elements are not available: {error.message}")
                    return NO_MODEL
                fitting = [row for row in rows if row.key == process_id and version in {None, row.version}]
                for row in fitting:
                    self._note(row.id, (row.key, row.version))
                newest = max(fitting, key=lambda row: row.version, default=None)
                known = newest.id if newest else None
        return NO_MODEL if known is None else self.load(known)

    def load(self, definition_id: str) -> FlowableModel:
        """Return a model; empty if it is not there, not allowed or not readable."""
        with self._lock:
            if definition_id not in self._models:
                self._models[definition_id] = FlowableModel(self._read(definition_id))
            return self._models[definition_id]

    def _read(self, definition_id: str) -> Definition | None:
        from tokctl.bpmn.parser import read_definitions

        cached = self._on_disk.get(definition_id)
        try:
            if cached is not None:
                name, xml = (cached.process_id, cached.version), cached.xml
            else:
                xml = self._api.client.get((*DEFINITIONS, definition_id, "resourcedata")).body.decode()
                told = self.name(definition_id)
                if told is None:
                    return None
                name = told
            found = [one for one in read_definitions(xml, f"model {definition_id}") if one.process_id == name[0]]
        except NotFoundError:
            return None
        except (NotAllowedError, InputError, UnicodeError) as error:
            warn(f"Types and names of elements are not available: {error}")
            return None
        if found and cached is None:
            self._on_disk.put(definition_id, *name, xml)
        return replace(found[0], version=name[1]) if found else None
