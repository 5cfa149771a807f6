"""Process models and job definitions of an engine: each is fetched once, as a version never changes.

Models are cached in memory and on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from threading import Lock, RLock

from msgspec.structs import replace

from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.engines.camunda7.api import RestApi, run_together
from tokctl.engines.camunda7.documents import DefinitionRow, DefinitionXml, JobDefinitionRow
from tokctl.engines.connect import display_address, warn
from tokctl.engines.definition_cache import DefinitionCache
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.model.definitions import Definition

MAX_SINGLE_REQUESTS = 3
"""Up to so many definitions, the job definitions of each are requested on their own."""


class ModelLoader:
    """Process models and job definitions by the id of the definition. May be used from any thread."""

    def __init__(self, api: RestApi) -> None:
        self._api = api
        self._on_disk = DefinitionCache(display_address(api.client))
        self._lock = RLock()
        self._rows: dict[str, tuple[str, int]] = {}  # process id and version by the definition's id
        self._latest: dict[str, str | None] = {}  # the definition's id by process id
        self._definitions: dict[str, Definition | None] = {}
        self._loading: dict[str, Lock] = {}
        self._graphs: dict[str, ProcessGraph] = {}
        self._job_definitions: dict[str, JobDefinitionRow] = {}
        self._with_job_definitions: set[str] = set()

    def note(self, definition_id: str | None, process_id: str | None, version: int | None) -> None:
        """Remember which version of which process a definition is, as an instance tells it."""
        if definition_id and process_id and version is not None:
            self._rows.setdefault(definition_id, (process_id, version))

    # --- models ---

    def find(self, process_id: str, version: int | None) -> Definition | None:
        """Return a version of a process, the newest one by default; None if there is none."""
        with self._lock:
            if version is not None:
                known = next((one for one, row in self._rows.items() if row == (process_id, version)), None)
                if known is not None:
                    return self.load(known)
            key = process_id if version is None else f"{process_id}:{version}"
            if key not in self._latest:
                params = {
                    "key": process_id,
                    **({"latestVersion": "true"} if version is None else {"version": str(version)}),
                }
                rows = self._api.get_rows("process-definition", DefinitionRow, params)
                found = [row for row in rows if row.key == process_id and version in {None, row.version}]
                for row in found:
                    self.note(row.id, row.key, row.version)
                newest = max(found, key=lambda row: row.version, default=None)
                self._latest[key] = None if newest is None else newest.id
            definition_id = self._latest[key]
        return None if definition_id is None else self.load(definition_id)

    def load(self, definition_id: str) -> Definition | None:
        """Return a model; None if the server has removed it, or it is not allowed or not readable."""
        with self._lock:
            loading = self._loading.setdefault(definition_id, Lock())
        with loading:  # several threads may need it at once
            if definition_id not in self._definitions:
                self._definitions[definition_id] = self._fetch(definition_id)
        return self._definitions[definition_id]

    def _fetch(self, definition_id: str) -> Definition | None:
        cached = self._on_disk.get(definition_id)
        try:
            xml = cached.xml if cached else self._fetch_xml(definition_id)
            several = read_definitions(xml, f"model {definition_id}")
        except NotFoundError:
            return None
        except NotAllowedError as error:
            warn(f"Names and types of elements may be missing: {error.message}")
            return None
        except InputError as error:
            warn(f"Names, types and sequence flows of elements are missing: {error.message}")
            return None
        process_id, version = self._rows.get(definition_id) or (definition_id.partition(":")[0], 1)
        found = next((replace(one, version=version) for one in several if one.process_id == process_id), None)
        if found is not None and cached is None:
            self._on_disk.put(definition_id, process_id, version, xml)
        return found

    def _fetch_xml(self, definition_id: str) -> str:
        return self._api.get_document(("process-definition", definition_id, "xml"), DefinitionXml).bpmn20_xml

    def graphs(self, definition_ids: Collection[str]) -> Mapping[str, ProcessGraph]:
        """Return the graphs of models, fetched at the same time; an unknown model has an empty graph."""
        missing = [one for one in definition_ids if one not in self._graphs]
        if missing:
            models = run_together([partial(self.load, one) for one in missing])
            with self._lock:
                for one, model in zip(missing, models, strict=True):
                    self._graphs.setdefault(one, ProcessGraph(model))
        return self._graphs

    # --- job definitions ---

    @property
    def known_job_definitions(self) -> Mapping[str, JobDefinitionRow]:
        """The job definitions that were fetched, by id."""
        return self._job_definitions

    def job_definitions(self, definition_ids: Iterable[str]) -> Mapping[str, JobDefinitionRow]:
        """Return job definitions by id: at least those of some models, with one request for few or for all of them."""
        with self._lock:
            missing = sorted(set(definition_ids) - self._with_job_definitions)
            if not missing:
                return self._job_definitions
            if len(missing) <= MAX_SINGLE_REQUESTS:
                rows = [
                    row
                    for one in missing
                    for row in self._api.get_rows("job-definition", JobDefinitionRow, {"processDefinitionId": one})
                ]
            else:
                rows = self._api.get_all_rows("job-definition", JobDefinitionRow)
            self._job_definitions |= {row.id: row for row in rows}
            self._with_job_definitions.update(missing)
            return self._job_definitions
