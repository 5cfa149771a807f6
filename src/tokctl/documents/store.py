"""Output of the commands that read or fill the local store, as JSON."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokctl.documents.base import Count, Time
from tokctl.documents.instances import ExportHead
from tokctl.documents.tokens import TokenDocument
from tokctl.model.instances import Summary


class ExportedInstance(ExportHead, kw_only=True, frozen=True):
    """An instance with its tokens and totals; the first instance of each process also has the model."""

    tokens: list[TokenDocument]
    summary: Summary


class ExportDocument(Struct, kw_only=True, frozen=True):
    """One instance of an export, on one line that ``tokctl store import`` reads."""

    success: Literal[True]
    data: ExportedInstance


class StoreInfoDocument(Struct, kw_only=True, frozen=True):
    """The location and content of the store (``tokctl store info``)."""

    location: str
    kind: str
    schema_version: int
    size_bytes: Count
    instances: Count
    tokens: Count
    live_tokens: Count
    definitions: Count
    oldest: Time | None
    newest: Time | None


class StoreProblemDocument(Struct, kw_only=True, frozen=True):
    """A problem of the store, or of the links between an instance's tokens."""

    kind: str
    instance_id: str | None
    number: Count
    message: str


class StoreCheck(Struct, kw_only=True, frozen=True):
    """Problems of a store (``tokctl store check``)."""

    problems: list[StoreProblemDocument]


class ImportedFile(Struct, kw_only=True, frozen=True):
    """The result for one input."""

    file: str
    instances: Count
    added: Count
    updated: Count
    unchanged: Count
    definitions: Count
    rejected: Count


class ImportDocument(Struct, kw_only=True, frozen=True):
    """The result of an import, or of a dry run (``tokctl store import``)."""

    dry_run: bool
    files: list[ImportedFile]


class BackupDocument(Struct, kw_only=True, frozen=True):
    """The copy of a store (``tokctl store backup``)."""

    file: str
    size_bytes: Count


class CopiedPartDocument(Struct, kw_only=True, frozen=True):
    """A part of a copied store, and the checksum that it has in both stores.

    ``copied`` is how many of the records were written; the others were there from an earlier run.
    """

    part: str
    records: Count
    copied: Count
    checksum: str


class CopyDocument(Struct, kw_only=True, frozen=True):
    """What a copied store consists of (``tokctl store copy``)."""

    parts: list[CopiedPartDocument]


class MigrationDocument(Struct, kw_only=True, frozen=True):
    """The schema version of a store, and the versions of the migrations that it lacked (``tokctl store migrate``)."""

    schema_version: Count
    latest_version: Count
    pending: list[Count]
    dry_run: bool


class PruneDocument(Struct, kw_only=True, frozen=True):
    """The instances that ended before a time, and whether they were removed (``tokctl store prune``)."""

    before: Time
    instances: Count
    tokens: Count
    removed: bool


class SnapshotInstance(Struct, kw_only=True, frozen=True):
    """An instance, and what was stored of its tokens; ``error`` is set if it could not be read completely."""

    instance_id: str
    process_id: str | None
    status: str | None
    status_derived: bool
    tokens: Count
    live_tokens: Count
    added: Count
    updated: Count
    unchanged: Count
    taken_at: Time | None
    error: str | None


class SnapshotDocument(Struct, kw_only=True, frozen=True):
    """The source and the target of a snapshot; ``redacted`` has the patterns of removed values."""

    store: str
    source: str
    kind: str
    redacted: list[str]
    instances: list[SnapshotInstance]


class ApproximationDocument(Struct, kw_only=True, frozen=True):
    """How an element ran differently from the model, and how often."""

    element_id: str
    element_type: str
    what: str
    count: Count


class WaitingDocument(Struct, kw_only=True, frozen=True):
    """Where instances stand that did not end, why, and how many of them."""

    element_id: str
    element_type: str
    reason: str
    instances: Count


class SimulationDocument(Struct, kw_only=True, frozen=True):
    """A simulation, and what was stored (``tokctl simulate``).

    ``stopped_at_step_limit`` is the number of instances that ``--max-steps`` stopped.
    """

    instances: Count
    tokens: Count
    added: Count
    updated: Count
    unchanged: Count
    started_at: Time | None
    ended_at: Time | None
    newest_instance_id: str | None
    approximations: list[ApproximationDocument]
    waiting: list[WaitingDocument]
    stopped_at_step_limit: Count
