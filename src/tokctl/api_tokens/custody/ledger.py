"""The ledger: the API tokens that this user created, the step that each has reached, and where its secret is.

Each entry is a file ``api-tokens/KEY.json`` in the state directory. It holds no secret. It is written before the API
token is created, so that a killed run leaves a trace. A working run holds a lock on ``KEY.lock``, which the operating
system releases when the run ends in any way.

An entry is about the API token with its id, name and time of creation, in the registry with its origin and identity.
A registry that was created again or restored gives ids again: an entry that has only the id of an API token is stale,
and is not acted upon. ``reconciliation`` compares the entries with the registry.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry
from tokctl.atomic_files import (
    PRIVATE_FILE,
    file_lock,
    make_own_folder,
    sync_directory,
    try_lock,
    write_atomically,
)
from tokctl.config.paths import state_directory
from tokctl.errors import NotAllowedError, StoreError, TokctlError, UnreachableError
from tokctl.model.api_tokens import ApiToken

PLANNED = "planned"  # about to be created, or created without an answer
CREATED = "created"  # the id is known
SAVED = "saved"  # the secret is in its place
PROVEN = "proven"  # the registry accepts the secret
DONE = "done"  # the API token that it replaces is revoked, or expires
RESCUE_SUFFIX = ".tokctl-secret"
"""End of the names of files for secrets that could not be saved in their places."""
LOCK_TIMEOUT_SECONDS = 10.0  # for other runs that start at the same moment
_TIME_TOLERANCE = timedelta(seconds=1)  # some servers keep times to the second


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """The record of an API token.

    ``place`` is where its secret is, as ``--save`` takes it, ``digest`` is the SHA-256 of the secret. ``wanted`` is
    what was requested, and ``before`` the ids of API tokens that had its name already.

    ``replaces`` is the id of the API token whose successor it is, with its time of creation and its expiry before the
    rotation; that one is valid until ``grace`` seconds after ``proven_at``. ``superseded`` has the digests of the
    secrets that the new one may overwrite: those of all predecessors.
    """

    key: str
    origin: str
    name: str
    place: str
    at: datetime
    step: str = PLANNED
    identity: str | None = None
    token_id: str | None = None
    created_at: datetime | None = None
    digest: str | None = None
    wanted: ApiTokenSpec | None = None
    before: tuple[str, ...] = ()
    replaces: str | None = None
    replaces_created_at: datetime | None = None
    replaces_expires_at: datetime | None = None
    superseded: tuple[str, ...] = ()
    grace: float = 0.0
    proven_at: datetime | None = None

    def is_about(self, token: ApiToken) -> bool:
        """Return whether this is the record of an API token of the same registry."""
        return self.name == token.name and _is_same(token, self.token_id, self.created_at)

    def is_successor_of(self, token: ApiToken) -> bool:
        """Return whether this is the record of the rotation of an API token of the same registry."""
        return _is_same(token, self.replaces, self.replaces_created_at)

    @property
    def is_in_place(self) -> bool:
        """Whether it is an unfinished rotation that replaces the secret of the same API token."""
        return self.replaces is not None and self.replaces == self.token_id


def _is_same(token: ApiToken, token_id: str | None, created_at: datetime | None) -> bool:
    return token_id == str(token.id) and created_at is not None and abs(token.created_at - created_at) < _TIME_TOLERANCE


class Ledger:
    """The entries of one user on one machine, in ``folder/api-tokens`` (default: the state directory)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or state_directory(os.environ)) / "api-tokens"

    def entries(self, origin: str | None = None) -> list[LedgerEntry]:
        """Return all entries, or those of a registry, the oldest first. Unreadable files are skipped."""
        found = []
        with self._translate_errors():
            if not self.folder.exists():
                return []
            self._check_folder()
            for path in self.folder.glob("*.json"):
                with suppress(OSError, msgspec.MsgspecError, UnicodeError):
                    found.append(msgspec.json.decode(path.read_bytes(), type=LedgerEntry))
        return sorted((one for one in found if origin in {None, one.origin}), key=lambda one: one.at)

    def entries_about(self, registry: Registry) -> list[LedgerEntry]:
        """Return the entries of a registry, the oldest first, without those of an earlier one at the same place."""
        found = self.entries(registry.origin)
        return [one for one in found if one.identity is None or one.identity == registry.identity()]

    def find_successor(self, registry: Registry, token: ApiToken) -> LedgerEntry | None:
        """Return the entry of the rotation that a token belongs to, as the old one or as an unfinished successor."""
        for entry in reversed(self.entries_about(registry)):
            is_new = entry.replaces is not None and entry.step != DONE and entry.is_about(token)
            if is_new or entry.is_successor_of(token):
                return entry
        return None

    def find_entry(self, registry: Registry, token: ApiToken) -> LedgerEntry | None:
        """Return the latest entry of a token; None if this user did not create it here."""
        return next((one for one in reversed(self.entries_about(registry)) if one.is_about(token)), None)

    def rename(self, registry: Registry, token: ApiToken, name: str) -> None:
        """Write the new name of a token into its entries. Never fails: an entry with the old name is stale."""
        with suppress(TokctlError):
            for entry in self.entries_about(registry):
                if entry.is_about(token):
                    self.put(replace(entry, name=name))

    @contextmanager
    def open_entry(self, entry: LedgerEntry) -> Iterator[None]:
        """Write an entry, and hold its lock in the block. Raises as ``put``, and UnreachableError: another run does."""
        with self._translate_errors():
            self._check_folder()
            descriptor = os.open(self._lock(entry), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, PRIVATE_FILE)
            os.fchmod(descriptor, PRIVATE_FILE)
        try:
            if not (try_lock(descriptor) and self._is_current(self._lock(entry), descriptor)):
                raise UnreachableError(
                    f"another process is working on the API token '{entry.name}'.", "Try again when it has finished."
                )
            try:
                self.put(entry)
                yield
            finally:
                with suppress(OSError):
                    self._lock(entry).unlink()
        finally:
            os.close(descriptor)

    @contextmanager
    def lock_ledger(self) -> Iterator[None]:
        """Keep other runs from writing new entries in the block. Raises UnreachableError after 10 s of waiting."""
        with self._translate_errors():
            self._check_folder()
            with file_lock(self.folder, LOCK_TIMEOUT_SECONDS):
                yield

    def put(self, entry: LedgerEntry) -> None:
        """Write an entry, durably. Raises StoreError, NotAllowedError."""
        with self._translate_errors():
            write_atomically(self.file_of(entry), msgspec.json.encode(entry) + b"\n")

    def drop(self, entry: LedgerEntry) -> None:
        """Remove an entry. Errors are ignored: a stale entry does no harm."""
        with suppress(OSError):
            self.file_of(entry).unlink(missing_ok=True)
            sync_directory(self.folder)

    def is_in_progress(self, entry: LedgerEntry) -> bool:
        """Return whether a run holds the lock of an entry."""
        try:
            descriptor = os.open(self._lock(entry), os.O_RDWR)
        except OSError:
            return False
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)

    def rescue_files(self, entry: LedgerEntry) -> list[Path]:
        """Return the files that the secret of an entry may be rescued to, in the order in which they are tried."""
        name = f"api-token-{entry.token_id}-{entry.key[:6]}{RESCUE_SUFFIX}"
        return [folder / name for folder in (self.folder.parent, Path.home())]

    def file_of(self, entry: LedgerEntry) -> Path:
        """Return the path of an entry's file."""
        return self.folder / f"{entry.key}.json"

    def _lock(self, entry: LedgerEntry) -> Path:
        return self.folder / f"{entry.key}.lock"

    def _check_folder(self) -> None:
        """Create the folder, or check that no other user can write it: its entries decide what is revoked."""
        make_own_folder(self.folder.parent)
        make_own_folder(self.folder)

    @staticmethod
    def _is_current(lock: Path, descriptor: int) -> bool:
        """Return whether an open lock file is still the current one: its last holder removes the file at the end."""
        try:
            return os.path.samestat(os.fstat(descriptor), lock.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:
            raise UnreachableError(
                f"another process has locked the ledger {self.folder} for {LOCK_TIMEOUT_SECONDS:g} s.", "Try again."
            ) from None
        except PermissionError as error:
            why = error.strerror if error.errno == 0 else "permission denied"
            raise NotAllowedError(
                f"cannot use the ledger {self.folder}: {why}.",
                "Check its permissions, or set TOKCTL_STATE_DIR.",
            ) from None
        except OSError as error:
            raise StoreError(
                f"cannot write the ledger {self.folder}: {error.strerror}.", "Free disk space, or set TOKCTL_STATE_DIR."
            ) from None


def generate_key() -> str:
    """Return a random key for an entry, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def forget_token(registry: Registry, token: ApiToken) -> None:
    """Remove the entries of a revoked token, and the file that its secret was rescued to. Never fails."""
    ledger = Ledger()
    with suppress(TokctlError, OSError):
        entries = ledger.entries_about(registry)
        # After a rotation the successor may be saved in the same file.
        in_use = {entry.place for entry in entries if not entry.is_about(token)}
        for entry in entries:
            if entry.is_about(token):
                close_gap(ledger, registry, entry)
                ledger.drop(entry)
                if entry.place.endswith(RESCUE_SUFFIX) and entry.place not in in_use:
                    Path(entry.place.removeprefix("file:")).unlink(missing_ok=True)


def close_gap(ledger: Ledger, registry: Registry, gone: LedgerEntry) -> None:
    """Record what an API token was rotated to as the successor of what it was rotated from. Raises TokctlError."""
    if gone.replaces is not None:
        for entry in ledger.entries_about(registry):
            if entry.step == DONE and entry.replaces == gone.token_id:
                ledger.put(succeed(registry, entry, gone))


def succeed(registry: Registry, entry: LedgerEntry, gone: LedgerEntry) -> LedgerEntry:
    """Return an entry as the successor of what the entry of a revoked API token replaces, if that still exists."""
    if gone.replaces is None:
        return entry
    with suppress(TokctlError):
        if gone.is_successor_of(registry.get(gone.replaces)):
            return replace(
                entry,
                replaces=gone.replaces,
                replaces_created_at=gone.replaces_created_at,
                replaces_expires_at=gone.replaces_expires_at,
            )
    return entry
