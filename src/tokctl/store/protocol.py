"""The interface of a store: a writable engine, with API tokens and their audit log.

A kind of store is a package in ``store.STORES``; nothing here depends on where it keeps its data.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from msgspec import Struct

from tokctl.engines.protocol import Engine
from tokctl.errors import StoreError
from tokctl.model.definitions import Definition
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token

if TYPE_CHECKING:
    from tokctl.api_tokens.audit import Actor, AuditEntry, ChainHead
    from tokctl.api_tokens.idempotency import CreationKey
    from tokctl.model.api_tokens import ApiToken, LastUse, NewApiToken


class ChangedError(StoreError):
    """An API token was changed since the caller read it."""


class CallerChangedError(StoreError):
    """The calling API token was changed after its authentication; nothing was changed."""


class WriteReport(Struct):
    """Counts of a write. ``unchanged`` are tokens that are the same or newer in the store."""

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
    """The numbers of the last transactions that changed process instances and API tokens; they only increase."""

    process: int
    access: int


class StoreLevels(Struct, frozen=True, kw_only=True):
    """What a monitoring system watches of a store. ``live_tokens`` include the FAILED ones.

    ``next_expiry`` is when the next API token that is still accepted expires, None if none does.
    """

    schema_version: int
    size_bytes: int
    revisions: Revisions
    open_instances: int
    live_tokens: int
    failed_tokens: int
    api_tokens: int
    next_expiry: datetime | None


class Batch(Protocol):
    """One transaction. After an exception the store is unchanged."""

    report: WriteReport
    tokens_per_chunk: int
    """How many tokens are best put at once."""

    def put_definition(self, definition: Definition) -> None:
        """Write a definition; one with the same process id and version is replaced."""

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Write an instance and its tokens.

        Fields that are absent in the instance are not changed. A token replaces the stored one of the same id unless
        its ``updated_at`` is older.
        """

    def put_tokens(self, tokens: Iterable[Token]) -> None:
        """Write tokens; missing instances are created."""


class RepeatedCreationError(StoreError):
    """An API token was created with the same key before: ``token``, as it is now.

    ``salt`` is that of its secret, None if it has been removed. ``is_same`` tells whether the token is still what is
    asked for now.
    """

    def __init__(self, token: ApiToken, salt: bytes | None, *, is_same: bool) -> None:
        super().__init__(f"API token {token.id} was created with the same key.")
        self.token = token
        self.salt = salt
        self.is_same = is_same


class ApiTokenTable(Protocol):
    """The API tokens of a store: records and digests, never secrets. Each change has an entry in the audit.

    ``requesting_token`` is the calling API token, if any. Each change first checks that it is unchanged; otherwise it
    raises CallerChangedError.
    """

    requesting_token: ApiToken | None

    def identity(self) -> str:
        """Return the identity of the store, a random text: a new store at the same place has another one."""

    def find_by_digest(self, digest: bytes) -> ApiToken | None:
        """Return the API token with this digest of its secret, also an expired or revoked one."""

    def by_id(self, token_id: int) -> ApiToken | None:
        """Return the API token with this id, also a revoked one."""

    def peppers(self) -> set[str]:
        """Return the ids of the peppers behind the digests of the API tokens that are not revoked."""

    def list(self) -> Iterator[ApiToken]:
        """Yield every API token that is not revoked, the newest first."""

    def named(self, name: str) -> Iterator[ApiToken]:
        """Yield those of exactly this name that are not revoked, the newest first."""

    def count(self, name: str | None = None) -> int:
        """Count those that are not revoked, of this name if one is given."""

    def page(self, page: int, size: int, name: str | None = None) -> tuple[Sequence[ApiToken], int]:
        """Return a page (from 1) of those that are not revoked, the newest first, and the total number."""

    def create(
        self,
        token: NewApiToken,
        digest: bytes,
        pepper: str,
        *,
        by: Actor,
        replaces: int | None = None,
        creation: CreationKey | None = None,
    ) -> ApiToken:
        """Write a new API token with the digest of its secret and the id of the pepper behind the digest.

        When this returns, the record is on disk. A secret in its name or description is masked there. ``replaces`` is
        the API token whose rotation this is; the audit tells it of both.

        Raises:
            NotFoundError: there is no API token to replace, or it is revoked; nothing was created.
            StoreError: it cannot be written.
            RepeatedCreationError: an API token was created with the key of ``creation`` already.
        """

    def has_salts(self) -> bool:
        """Return whether there are salts, from which secrets can be derived (``api_tokens.idempotency``)."""

    def forget_salts(self, before: datetime) -> None:
        """Remove the salts of the secrets of API tokens that were created before a time."""

    def update(
        self, token_id: int, changes: Mapping[str, Any], at: datetime, *, by: Actor, known: datetime | None = None
    ) -> ApiToken:
        """Change members of an API token.

        Args:
            token_id: which one.
            changes: new values of ``name``, ``description``, ``type``, ``scopes``, ``allowed_cidrs``, ``disabled``,
                ``expires_at``; expiry None is never.
            at: when.
            by: the caller.
            known: the time of its last change when the caller read it.

        Raises:
            NotFoundError: there is none, or it is revoked.
            ChangedError: it was changed after ``known``.
        """

    def revoke(self, token_id: int, at: datetime, *, by: Actor, why: str = "", known: datetime | None = None) -> bool:
        """Revoke an API token; False if there is none, or it is already revoked.

        Raises:
            ChangedError: it was changed after ``known``.
        """

    def touch(self, used: Mapping[int, tuple[datetime, LastUse]]) -> None:
        """Write when and from where API tokens were used last, by id.

        A use is not a change: the revision stays the same.
        """


class AuditTable(Protocol):
    """The audit log of the API tokens of a store, as a chain of entries."""

    def entries(
        self, *, after: int = 0, token_id: int | None = None, limit: int = -1, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Yield the entries after this number; of one API token if given, newest first with ``newest``.

        A negative ``limit`` means no limit.
        """

    def head(self) -> ChainHead:
        """Return the recorded end of the chain."""


COPIED_PARTS = ("definitions", "instances", "tokens", "api_tokens", "audit")
"""What a copy of a store consists of, in the order in which it is written."""

Record = tuple[Any, ...]
"""One thing in a store: texts, bytes, numbers and None, the same in every kind of store."""
Key = tuple[Any, ...]
"""What identifies a record in its part, and gives the records an order that is the same in every kind of store."""


class CopyTable(Protocol):
    """The content of a store as records, to copy it to another store of any kind.

    The state of a record begins with its key and changes whenever the record does: for an instance, that is when it or
    one of its tokens changes, for others it is the record itself. Tokens have none.
    """

    def count(self, part: str) -> int:
        """Count the records of a part."""

    def page(self, part: str, after: Key | None) -> Sequence[Record]:
        """Return the next few hundred records of a part: those behind a key, or the first ones; none at the end."""

    def states(self, part: str, after: Key | None, until: Key | None = None) -> Sequence[Record]:
        """Return the states of the next few hundred records, in order; with ``until``, of all up to this key."""

    def key(self, part: str, record: Record) -> Key:
        """Return the key of a record, or of its state."""

    def last_key(self, part: str) -> Key | None:
        """Return the key of the last record of a part; None if it is empty."""

    def instances(self, states: Sequence[Record]) -> Sequence[Record]:
        """Return the instances with these states."""

    def tokens(self, states: Sequence[Record]) -> Iterator[Record]:
        """Yield the tokens of the instances with these states."""

    def begin(self, identity: str) -> None:
        """Make an empty store an unfinished copy of the store with this identity, or continue such a copy.

        From now on, no other process that has begun before can write it.

        Raises:
            StoreError: the store is not empty, or is the original, a finished copy, or an unfinished one of another.
        """

    def remove(self, part: str, keys: Sequence[Key]) -> None:
        """Remove records, instances with their tokens. Raises StoreError as ``add``."""

    def add(self, part: str, records: Sequence[Record], tokens: Iterable[Record] = ()) -> None:
        """Write new records, instances with their tokens, in one transaction.

        Raises:
            StoreError: another process has begun to write the copy.
            InputError: the store cannot hold a value.
        """

    def finish(self, revisions: Revisions, head: ChainHead) -> None:
        """Adopt the revisions and the end of the audit of the original: from now on, this is a store like any other."""


def ignore_step(_size: float) -> None:
    """Take no note of a step."""


class Store(Engine):
    """A database of process instances and API tokens. Leaving it as a context closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def write(self, *, keep: bool = True) -> AbstractContextManager[Batch]:
        """Begin a transaction; it waits up to half a minute for another writer.

        With ``keep=False`` it is rolled back at the end, and its report says what it would have changed.
        """

    @property
    @abstractmethod
    def api_tokens(self) -> ApiTokenTable:
        """The API tokens of the store."""

    @property
    @abstractmethod
    def audit(self) -> AuditTable:
        """The audit log of the API tokens."""

    @property
    @abstractmethod
    def copying(self) -> CopyTable:
        """The content of the store as records."""

    def instance_totals(self, instance_id: str) -> InstanceStatus:
        """Return one instance; ``live_elements``, which take longest, may be left out. Raises NotFoundError."""
        return self.instance(instance_id)

    @abstractmethod
    def revisions(self) -> Revisions:
        """Return the last transactions that changed the store, as of the moment that it shows."""

    @abstractmethod
    def revision_of(self, instance_id: str) -> tuple[int, int]:
        """Return a unique number of an instance, and the number of the last transaction that changed it.

        Raises NotFoundError. While both are the same, the instance is unchanged.
        """

    @abstractmethod
    def set_busy_timeout(self, milliseconds: int) -> None:
        """Set the maximum time to wait for another writer."""

    @abstractmethod
    def set_query_limit(self, seconds: float | None) -> None:
        """Set the maximum time that a query may work until it is stopped with a StoreError; None for no limit."""

    @abstractmethod
    def interrupt(self) -> None:
        """Interrupt the store's current operation in another thread, which raises a StoreError there."""

    @abstractmethod
    def info(self) -> StoreInfo:
        """Return facts about the store."""

    @abstractmethod
    def levels(self, now: datetime) -> StoreLevels:
        """Return what can be counted from small indexes, unlike in ``info``."""

    @abstractmethod
    def definitions(self) -> Iterator[Definition]:
        """Yield every definition, by process id and version."""

    @abstractmethod
    def find_damage(self, seconds: float = ...) -> Iterator[str]:
        """Yield what tokctl did not write: another schema, values of other types. It stops after ``seconds``."""

    @abstractmethod
    def find_problems(self) -> Iterator[str]:
        """Yield the problems of a store without damage: damaged pages, rows without an instance, wrong totals."""

    @abstractmethod
    def count_prunable(self, moment: datetime, *, incidents: bool = False) -> tuple[int, int]:
        """Return how many instances ``prune`` would remove, and their tokens."""

    @abstractmethod
    def prune(
        self, moment: datetime, *, incidents: bool = False, step: Callable[[float], None] = ignore_step
    ) -> tuple[int, int]:
        """Remove the instances that ended before a moment; return how many, and how many tokens they had.

        With ``incidents``, also instances with FAILED tokens that have ended according to their source. It works in
        short transactions, and calls ``step`` with the number of instances that each has removed. If it is interrupted,
        each instance is there with all its tokens, or is not found any more; the next run removes what is left over.
        """


@runtime_checkable
class SupportsBackup(Protocol):
    """The optional capability of a store that can be copied into a file."""

    def backup(self, target: Path) -> None:
        """Copy the store into a new file while it is in use; the copy appears whole or not at all.

        Raises:
            StoreError: the file exists, or cannot be written.
        """


DAMAGE_SEARCH_SECONDS = 10.0
"""How long to search a store for damage after an error that has no other explanation."""


def find_damage(store: Store) -> StoreError | None:
    """Return the error for a damaged store; None if nothing is found in a limited time."""
    try:
        for problem in store.find_damage(DAMAGE_SEARCH_SECONDS):
            return StoreError(
                f"the store is damaged: {problem}.", "'tokctl store check' lists all damage. Restore a backup."
            )
    except StoreError as error:
        return error
    return None
