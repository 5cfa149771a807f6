"""A saved API response as an engine: every instance with all of its tokens in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokctl.capabilities import Capability, Support
from tokctl.engines.capabilities import EngineCapabilities
from tokctl.engines.instance_tokens import InstanceTokens, is_older
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import ALL_INSTANCES, FLOWS_TO_READ, Engine
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.input_files import input_name, read_chunks
from tokctl.model.definitions import Definition
from tokctl.model.filters import InstanceFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.readers.stream import Record, VisitRecord, read_records, read_visit_records

if TYPE_CHECKING:
    from tokctl.config import Settings


CAPABILITIES = EngineCapabilities(
    title="File or stdin with a saved response",
    states=Capability(Support.YES),
    errors=Capability(Support.PARTLY, "if the file has them"),
    stack_traces=Capability(Support.PARTLY, "if the file has them"),
    retries=Capability(Support.PARTLY, "if the file has them"),
    workers=Capability(Support.PARTLY, "if the file has them"),
    jobs=Capability(Support.PARTLY, "if the file has them"),
    timers=Capability(Support.PARTLY, "if the file has the due time, or the model a fixed duration"),
    user_tasks=Capability(Support.PARTLY, "if the file has them"),
    messages=Capability(Support.DERIVED, "names come from the BPMN XML, if the file has it"),
    variables=Capability(Support.PARTLY, "if the file has them"),
    elements=Capability(Support.PARTLY, "if the file has them"),
    models=Capability(Support.PARTLY, "if the file has them, as an export does"),
    parents=Capability(Support.PARTLY, "if the file has them"),
    flows=Capability(Support.PARTLY, "if the file has flow histories"),
    cancellation=Capability(Support.YES),
    called_instances=Capability(Support.PARTLY, "if the file has them"),
    past_state=Capability(Support.YES, "all but earlier values of variables"),
    server_filters=Capability(Support.NO, "applied in memory"),
    bounded_debug=Capability(Support.YES, "needs no requests"),
    changes=Capability(Support.NO),
)


def open_engine(settings: Settings, reading: Projection) -> FileEngine:
    """Read the file in the settings. Raises InputError: it contains anything but tokens."""
    path = settings.file
    if not path:
        raise UsageError("--file is empty.", "Give a path, or - for stdin.")
    stem = "stdin" if path == "-" else Path(path).name.partition(".")[0]
    name, chunks = input_name(path), read_chunks(path)
    if reading is Projection.TOKENS:
        return FileEngine(read_records(chunks, name=name, instance_id=stem), name=name)
    flows = FLOWS_TO_READ[reading]
    return FileEngine(read_visit_records(chunks, name=name, instance_id=stem, flows=flows), name=name)


class FileEngine(Engine):
    """Records in memory.

    An engine of visits (``Projection.VISITS``) answers all queries except those for whole tokens. Several records of an
    instance are merged. Tokens without an instance belong to one with the name of the file.
    """

    def __init__(self, records: Iterable[Record | VisitRecord], *, name: str) -> None:
        self.name = name
        self._definitions: dict[tuple[str, int], Definition] = {}
        instances: dict[str, Instance] = {}
        tokens: dict[str, list[Any]] = {}

        def add(instance_id: str, more: Sequence[Any]) -> None:
            if instance_id not in instances:
                instances[instance_id] = Instance(instance_id=instance_id, process_id=more[0].process_id)
            tokens.setdefault(instance_id, []).extend(more)

        for record in records:
            if isinstance(record, Token):
                add(record.instance_id, [record])
            elif isinstance(record, Sequence):
                if len({visit.instance_id for visit in record}) == 1:
                    add(record[0].instance_id, record)
                else:
                    for instance_id, visits in groupby(record, key=attrgetter("instance_id")):
                        add(instance_id, list(visits))
            elif isinstance(record, Instance):
                instances[record.instance_id] = _merge(instances.get(record.instance_id), record)
            elif isinstance(record, Definition):
                self._definitions[record.process_id, record.version] = record
            else:
                raise InputError(
                    f"{self.name}: {record}.",
                    "'tokctl store import --rejects FILE' imports the valid records and skips the others.",
                )
        self._instances = {
            instance_id: InstanceTokens(instance, tokens.get(instance_id, ()))
            for instance_id, instance in instances.items()
        }

    def close(self) -> None:
        """Do nothing: no file is open."""

    def refresh(self) -> bool:
        """Return False: the file is read only once."""
        return False

    def sweep(self, where: InstanceFilter, *, flows: bool = False, live: bool = False) -> Iterator[InstanceTokens]:  # noqa: ARG002 - all is here
        """Yield every instance that matches; without a filter no status has to be derived."""
        everything = where == ALL_INSTANCES
        return (
            one for one in self._instances.values() if everything or where.matches_with_tokens(one.status, one.tokens)
        )

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        return (one.status for one in self.sweep(where))

    def all_instance_ids(self) -> Iterator[str]:
        return iter(sorted(self._instances))

    def instance(self, instance_id: str) -> InstanceStatus:
        return self.load_instance(instance_id).status

    def load_instance(
        self,
        instance_id: str,
        projection: Projection = Projection.TOKENS,  # noqa: ARG002 - what was read is all there is
        *,
        live: bool = False,  # noqa: ARG002
    ) -> InstanceTokens:
        if instance_id not in self._instances:
            raise NotFoundError(f"no process instance '{instance_id}' in {self.name}.")
        return self._instances[instance_id]

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        versions = [v for p, v in self._definitions if p == process_id and version in {None, v}]
        return self._definitions[process_id, max(versions)] if versions else None


def _merge(old: Instance | None, new: Instance) -> Instance:
    """Merge two records of an instance."""
    if old is None:
        return new
    if is_older(new, old):
        return old
    import msgspec

    empty = Instance(instance_id="")
    said = {f: v for f in Instance.__struct_fields__ if (v := getattr(new, f)) != getattr(empty, f)}
    return msgspec.structs.replace(old, **said)
