"""The process models of an atomd server: each is fetched once as BPMN XML, and cached in memory and on disk."""

from __future__ import annotations

from threading import RLock

from msgspec.structs import replace

from tokctl.engines.atomd.api import AtomdApi
from tokctl.engines.atomd.documents import DefinitionEntry, read_definition_entry
from tokctl.engines.atomd.visits import AtomdModel
from tokctl.engines.connect import warn
from tokctl.engines.definition_cache import DefinitionCache
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance

NO_MODEL = AtomdModel(None)


class DefinitionLoader:
    """Loads process models. May be used from any thread."""

    def __init__(self, api: AtomdApi, server: str) -> None:
        self._api = api
        self._lock = RLock()
        self._on_disk = DefinitionCache(server)
        self._entries: dict[tuple[str, int], DefinitionEntry] | None = None  # by process and version
        self._models: dict[str, AtomdModel] = {}  # by key

    def load(self, instance: Instance, key: str | None = None) -> AtomdModel:
        """Return the model of an instance, empty if it is unknown; ``key`` is the one of its definition, if known."""
        if instance.process_id is None:
            return NO_MODEL
        if key is None:
            return self.find(instance.process_id, instance.version)
        return self._load(DefinitionEntry(key, instance.process_id, instance.version or 1))

    def find(self, process_id: str, version: int | None) -> AtomdModel:
        """Return a model, the newest version unless one is named; empty if it is unknown."""
        with self._lock:
            for model in self._models.values() if version is not None else ():
                known = model.definition
                if known is not None and (known.process_id, known.version) == (process_id, version):
                    return model
            try:
                entries = self._fetch_entries()
            except NotAllowedError as error:
                self._warn(error)
                return NO_MODEL
            versions = [v for p, v in entries if p == process_id and version in {None, v}]
            return self._load(entries[process_id, max(versions)]) if versions else NO_MODEL

    def _fetch_entries(self) -> dict[tuple[str, int], DefinitionEntry]:
        if self._entries is None:
            listed = self._api.iter_untyped(("bpmn", "processes"), "key", read_definition_entry)
            self._entries = {(one.process_id, one.version): one for one in listed}
        return self._entries

    def _load(self, entry: DefinitionEntry) -> AtomdModel:
        with self._lock:
            if entry.key not in self._models:
                try:
                    self._models[entry.key] = AtomdModel(self._read(entry))
                except NotAllowedError as error:
                    self._warn(error)
                    self._models[entry.key] = NO_MODEL
                except (NotFoundError, InputError, UnicodeError):
                    self._models[entry.key] = NO_MODEL
            return self._models[entry.key]

    def _read(self, entry: DefinitionEntry) -> Definition | None:
        """Return a definition from the disk or from the server. Raises NotFoundError, InputError, UnicodeError."""
        from tokctl.bpmn.parser import read_definitions

        cached = self._on_disk.get(entry.key)
        xml = cached.xml if cached else self._api.get("bpmn", "processes", entry.key, "xml").body.decode()
        found = [one for one in read_definitions(xml) if one.process_id == entry.process_id]
        if found and cached is None:
            self._on_disk.put(entry.key, entry.process_id, entry.version, xml)
        return replace(found[0], version=entry.version) if found else None

    @staticmethod
    def _warn(error: NotAllowedError) -> None:
        warn(f"Types and names of elements are not available: {error.message}")
