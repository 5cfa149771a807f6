"""What a store does besides answering questions (``process.engine`` lists those): write and upkeep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from msgspec import Struct

from tokctl.process.engine import Engine
from tokctl.process.model import Definition, Instance, Token

if TYPE_CHECKING:
    from tokctl.store.api_tokens import ApiTokenTable
    from tokctl.store.audit import AuditTable


class WriteReport(Struct):
    """What a write changed. Unchanged counts tokens that are the same or newer in the store."""

    instances: int = 0
    definitions: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0


class StoreInfo(Struct, frozen=True, kw_only=True):
    """Facts about a store. Sizes are bytes."""

    location: str
    kind: str
    schema_version: int
    size_bytes: int
    instances: int
    tokens: int
    live_tokens: int
    definitions: int
    oldest: datetime | None
    newest: datetime | None


class Revisions(Struct, frozen=True, kw_only=True):
    """The numbers of the last transactions that changed process instances, and API tokens; they only grow."""

    process: int
    access: int


class Batch(Protocol):
    """One transaction. Leaving it by an exception leaves the store as it was."""

    report: WriteReport

    def put_definition(self, definition: Definition) -> None:
        """Keep a definition in place of one with the same process id and version."""

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Keep an instance and tokens of it.

        Fields that the instance leaves out stay as they were. A token replaces the stored one of
        the same id unless its ``updated_at`` is older.
        """

    def put_tokens(self, tokens: Iterable[Token]) -> None:
        """Keep tokens; their instances are made where they are missing."""


class Store(Engine, Protocol):
    """A database of process instances: an engine to read from, and more. Leaving it as a context closes it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def write(self, *, keep: bool = True) -> AbstractContextManager[Batch]:
        """Begin a transaction; it waits up to half a minute for another writer.

        With ``keep=False`` it is undone at the end, and its report says what it would have changed.
        """

    @property
    def api_tokens(self) -> ApiTokenTable:
        """The API tokens that are kept in the store."""

    @property
    def audit(self) -> AuditTable:
        """What was done to them."""

    def revisions(self) -> Revisions:
        """The last transactions that changed the store, as of the moment that it shows."""

    def revision_of(self, instance_id: str) -> tuple[int, int]:
        """Return an instance's row number, and the number of the last transaction that changed it.

        Raises NotFoundError. Both together stand for all that is known of the instance.
        """

    def be_patient(self, milliseconds: int) -> None:
        """Wait so long for another writer, and no longer."""

    def interrupt(self) -> None:
        """Let what the store is doing in another thread end soon, with a StoreError there."""

    def info(self) -> StoreInfo:
        """Facts about the store."""

    def definitions(self) -> Iterator[Definition]:
        """Every definition, by process id and version."""

    def all_instance_ids(self) -> Iterator[str]:
        """Every instance's id, in order."""

    def problems(self) -> Iterator[str]:
        """What is wrong inside: damaged pages, rows without an instance, totals that do not add up."""

    def backup(self, target: Path) -> None:
        """Copy the store into a new file while it is in use."""

    def finished_before(self, moment: datetime) -> tuple[int, int]:
        """How many instances ended before a moment, and how many tokens they have."""

    def prune(self, moment: datetime) -> tuple[int, int]:
        """Remove the instances that ended before a moment; returns what ``finished_before`` counts."""
