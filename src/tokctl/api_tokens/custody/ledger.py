"""The ledger: the API tokens that this user created, the step that each has reached, and where its secret is.

Each entry is a file ``api-tokens/KEY.json`` in the state directory. It holds no secret. It is written before the API
token is created, so that a killed run leaves a trace. A working run holds a lock on ``KEY.lock``, which the operating
system releases when the run ends in any way.

``reconcile`` finds orphans, left by killed runs and lost responses: API tokens whose secret is lost.
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

from tokctl.api_tokens.custody.sinks import ENVIRONMENT, read_saved_secret
from tokctl.api_tokens.registries.protocol import Registry
from tokctl.atomic_files import file_lock, sync_directory, try_lock, write_atomically
from tokctl.config.paths import state_directory
from tokctl.errors import NotAllowedError, NotFoundError, StoreError, TokctlError, UnreachableError
from tokctl.model.api_tokens import VALID, ApiToken

PLANNED = "planned"  # about to be created, or created without an answer
CREATED = "created"  # the id is known
SAVED = "saved"  # the secret is in its place
PROVEN = "proven"  # the registry accepts the secret
DONE = "done"  # the API token that it replaces is revoked, or expires
RESCUE_SUFFIX = ".tokctl-secret"
"""End of the names of files for secrets that could not be saved in their places."""
LOCK_TIMEOUT_SECONDS = 10.0  # for other runs that start at the same moment
MAX_CLOCK_SKEW = timedelta(minutes=5)
MAX_IN_FLIGHT = timedelta(minutes=2)
"""Seconds for which a server may still process a request after the client has disconnected."""


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """The record of an API token.

    ``place`` is where its secret is, as ``--save`` takes it, and ``before`` the ids of API tokens that had its name
    already. ``replaces`` is the id of the API token whose successor it is; that one is valid until ``grace`` seconds
    after ``proven_at``.
    """

    key: str
    origin: str
    name: str
    place: str
    at: datetime
    step: str = PLANNED
    token_id: str | None = None
    before: tuple[str, ...] = ()
    replaces: str | None = None
    grace: float = 0.0
    proven_at: datetime | None = None

    @property
    def is_in_place(self) -> bool:
        """Whether it is an unfinished rotation that replaces the secret of the same API token."""
        return self.replaces is not None and self.replaces == self.token_id


class Ledger:
    """The entries of one user on one machine, in ``folder/api-tokens`` (default: the state directory)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or state_directory(os.environ)) / "api-tokens"

    def entries(self, origin: str | None = None) -> list[LedgerEntry]:
        """Return all entries, or those of a registry, the oldest first. Unreadable files are skipped."""
        found = []
        with self._translate_errors():
            for path in self.folder.glob("*.json"):
                with suppress(OSError, msgspec.MsgspecError, UnicodeError):
                    found.append(msgspec.json.decode(path.read_bytes(), type=LedgerEntry))
        return sorted((one for one in found if origin in {None, one.origin}), key=lambda one: one.at)

    def find_successor(self, origin: str, token_id: str) -> LedgerEntry | None:
        """Return the entry of the rotation that a token belongs to, as the old one or as an unfinished successor."""
        for entry in reversed(self.entries(origin)):
            is_new = entry.replaces is not None and entry.token_id == token_id and entry.step != DONE
            if entry.replaces == token_id or is_new:
                return entry
        return None

    def claimed_ids(self, origin: str) -> set[str]:
        """Return the ids that entries of a registry have."""
        return {one.token_id for one in self.entries(origin) if one.token_id is not None}

    def find_entry(self, origin: str, token_id: str) -> LedgerEntry | None:
        """Return the latest entry of a token; None if this user did not create it here."""
        return next((one for one in reversed(self.entries(origin)) if one.token_id == token_id), None)

    @contextmanager
    def open_entry(self, entry: LedgerEntry) -> Iterator[None]:
        """Write an entry, and hold its lock in the block. Raises as ``put``, and UnreachableError: another run does."""
        with self._translate_errors():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._lock(entry), os.O_CREAT | os.O_RDWR, 0o600)
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
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with file_lock(self.folder, LOCK_TIMEOUT_SECONDS):
                yield

    def put(self, entry: LedgerEntry) -> None:
        """Write an entry, durably. Raises StoreError, NotAllowedError."""
        with self._translate_errors():
            write_atomically(self._file(entry), msgspec.json.encode(entry) + b"\n")

    def drop(self, entry: LedgerEntry) -> None:
        """Remove an entry. Errors are ignored: a stale entry does no harm."""
        with suppress(OSError):
            self._file(entry).unlink(missing_ok=True)
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

    def _file(self, entry: LedgerEntry) -> Path:
        return self.folder / f"{entry.key}.json"

    def _lock(self, entry: LedgerEntry) -> Path:
        return self.folder / f"{entry.key}.lock"

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
        except PermissionError:
            raise NotAllowedError(
                f"cannot write the ledger {self.folder}: permission denied.",
                "Check its permissions, or set TOKCTL_STATE_DIR.",
            ) from None
        except OSError as error:
            raise StoreError(
                f"cannot write the ledger {self.folder}: {error.strerror}.", "Free disk space, or set TOKCTL_STATE_DIR."
            ) from None


def generate_key() -> str:
    """Return a random key for an entry, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def forget_token(origin: str, token_id: str) -> None:
    """Remove the entries of a revoked token, and the file that its secret was rescued to. Never fails."""
    ledger = Ledger()
    with suppress(TokctlError, OSError):
        entries = ledger.entries(origin)
        # After a rotation the successor may be saved in the same file.
        in_use = {entry.place for entry in entries if entry.token_id != token_id}
        for entry in entries:
            if entry.token_id == token_id:
                ledger.drop(entry)
                if entry.place.endswith(RESCUE_SUFFIX) and entry.place not in in_use:
                    Path(entry.place.removeprefix("file:")).unlink(missing_ok=True)


# --- orphans ---


def list_unfinished(ledger: Ledger) -> list[LedgerEntry]:
    """Return the entries of runs that ended before their secret was saved, or before a lent token was revoked."""
    return [
        entry
        for entry in ledger.entries()
        if (entry.step in {PLANNED, CREATED} or entry.place == ENVIRONMENT)
        and not entry.is_in_place  # its API token is no orphan: another rotation gives it a new secret
        and not ledger.is_in_progress(entry)
    ]


def list_unfinished_rotations(ledger: Ledger, origin: str) -> list[LedgerEntry]:
    """Return the entries of interrupted rotations that another run completes.

    The successor is saved, and the old token is unchanged; or the secret was to be replaced in place, and may be lost.
    """
    return [
        entry
        for entry in ledger.entries(origin)
        if entry.replaces is not None
        and (entry.step in {SAVED, PROVEN} or entry.is_in_place)
        and not ledger.is_in_progress(entry)
    ]


def reconcile(registry: Registry, ledger: Ledger, now: datetime) -> tuple[list[ApiToken], list[LedgerEntry]]:
    """Determine the outcome of unfinished entries, and correct the ledger where that is certain.

    Returns the orphans, and the entries of other registries, which were not asked.
    """
    orphans: list[ApiToken] = []
    foreign_entries: list[LedgerEntry] = []
    claimed = ledger.claimed_ids(registry.origin)
    for entry in list_unfinished(ledger):
        if entry.origin != registry.origin:
            foreign_entries.append(entry)
            continue
        found = [token for token in find_candidates(registry, entry, claimed) if token.state(now) == VALID]
        saved_token = next((token for token in found if is_secret_saved(registry, entry, token)), None)
        if saved_token is not None:
            ledger.put(replace(entry, step=SAVED, token_id=str(saved_token.id)))
        elif found:
            orphans += found
        elif entry.step != PLANNED or now - entry.at > MAX_IN_FLIGHT:
            ledger.drop(entry)
    return orphans, foreign_entries


def find_candidates(registry: Registry, entry: LedgerEntry, claimed: set[str]) -> list[ApiToken]:
    """Return the API tokens that an entry may refer to: by its id, or else by its name and time of creation."""
    if entry.token_id is not None:
        try:
            return [registry.get(entry.token_id)]
        except NotFoundError:
            return []
    return [
        token
        for token in registry.find_by_name(entry.name)
        if str(token.id) not in entry.before
        and str(token.id) not in claimed
        and abs(token.created_at - entry.at) <= MAX_CLOCK_SKEW
    ]


def is_secret_saved(registry: Registry, entry: LedgerEntry, token: ApiToken) -> bool:
    """Return whether the secret of a token is in the place of the entry, and the registry accepts it."""
    secret = read_saved_secret(entry.place, entry.origin, str(token.id))
    if secret is None or not token.token or not secret.startswith(token.token.rstrip(".…")):
        return False
    return accepts(registry, secret, token)


def accepts(registry: Registry, secret: str, token: ApiToken) -> bool:
    """Return whether the registry accepts a secret as that of a token."""
    verdict = registry.verify(secret)
    return verdict.state == VALID and (verdict.token is None or str(verdict.token.id) == str(token.id))
