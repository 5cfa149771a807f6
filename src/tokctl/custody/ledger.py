"""The ledger: which API tokens this user's runs have created, how far each had come, and where its secret is.

One file for each, ``api-tokens/KEY.json`` in the state directory, without any secret. It is there before a token is
created, so that a run which is killed leaves word of what it was doing; while a run is at work it holds a lock
beside it, which ends with the run, however that does.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tokctl.config.file import state_folder
from tokctl.errors import NotAllowedError, StoreError, TokctlError, UnreachableError
from tokctl.files import locked, sync_folder, try_lock, write_whole

PLANNED = "planned"  # it is about to be created, or was, and no answer has come
CREATED = "created"  # it has an id
SAVED = "saved"  # its secret is where it is to be
PROVEN = "proven"  # and the registry accepts it
DONE = "done"  # and the token that it replaces has been let go
RESCUED = ".tokctl-secret"
"""How the names of files end that a secret is put into in need."""
PATIENCE = 10.0  # s, with others that begin at the same moment


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of a token of ours. ``place`` is as ``--save`` calls it; ``before``: ids that had its name already.

    ``replaces`` is the id of the token whose successor this is, which is to go ``grace`` seconds after ``proven_at``.
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


class Ledger:
    """The entries of one user on one machine."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or state_folder(os.environ)) / "api-tokens"

    def entries(self, origin: str | None = None) -> list[Entry]:
        """All of them, or those of a registry, the oldest first. What cannot be read is left out."""
        found = []
        with self._told():
            for path in self.folder.glob("*.json"):
                with suppress(OSError, msgspec.MsgspecError, UnicodeError):
                    found.append(msgspec.json.decode(path.read_bytes(), type=Entry))
        return sorted((one for one in found if origin in {None, one.origin}), key=lambda one: one.at)

    def successor(self, origin: str, token_id: str) -> Entry | None:
        """The entry of the token that takes the place of this one, or is it; None where none does."""
        for entry in reversed(self.entries(origin)):
            if entry.replaces == token_id or (entry.replaces is not None and entry.token_id == token_id
                                              and entry.step != DONE):  # fmt: skip
                return entry
        return None

    def find(self, origin: str, token_id: str) -> Entry | None:
        """The entry of a token; None where it is not one of ours."""
        return next((one for one in reversed(self.entries(origin)) if one.token_id == token_id), None)

    @contextmanager
    def begun(self, entry: Entry) -> Iterator[None]:
        """Put an entry in, and hold its lock until the end.

        Raises:
            UnreachableError: another run is at it.
            StoreError, NotAllowedError: it cannot be written.
        """
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._lock(entry), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if not (try_lock(descriptor) and self._is_lock(entry, descriptor)):
                raise UnreachableError(f"another run is at work on the API token '{entry.name}'.", "Wait for it.")
            try:
                self.put(entry)
                yield
            finally:
                with suppress(OSError):
                    self._lock(entry).unlink()
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs from beginning anything."""
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.folder, PATIENCE):
                yield

    def put(self, entry: Entry) -> None:
        """Write an entry on to the disk. Raises StoreError, NotAllowedError."""
        with self._told():
            write_whole(self._file(entry), msgspec.json.encode(entry) + b"\n")

    def drop(self, entry: Entry) -> None:
        """Forget an entry, as far as the disk lets us."""
        with suppress(OSError):
            self._file(entry).unlink(missing_ok=True)
            sync_folder(self.folder)

    def is_at_work(self, entry: Entry) -> bool:
        """Tell whether a run holds the entry's lock."""
        try:
            descriptor = os.open(self._lock(entry), os.O_RDWR)
        except OSError:
            return False
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _file(self, entry: Entry) -> Path:
        return self.folder / f"{entry.key}.json"

    def _lock(self, entry: Entry) -> Path:
        return self.folder / f"{entry.key}.lock"

    def _is_lock(self, entry: Entry, descriptor: int) -> bool:
        """Tell whether an open lock is the one that others see: its last holder has removed it at the end."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock(entry).stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:
            raise UnreachableError(f"another run has held the ledger {self.folder} for {PATIENCE:g} s.",
                                   "Try again.") from None  # fmt: skip
        except PermissionError:
            raise NotAllowedError(f"the ledger {self.folder} may not be written.",
                                  "Check its rights, or set TOKCTL_STATE_DIR.") from None  # fmt: skip
        except OSError as error:
            raise StoreError(f"the ledger {self.folder} cannot be written: {error.strerror}.",
                             "Make room, or set TOKCTL_STATE_DIR.") from None  # fmt: skip


def new_key() -> str:
    """A name for an entry."""
    return secrets.token_hex(8)


def forget(origin: str, token_id: str) -> None:
    """Forget what is known of a token that is gone, and remove the file that its secret was put into in need.

    Never fails.
    """
    ledger = Ledger()
    with suppress(TokctlError, OSError):
        entries = ledger.entries(origin)
        in_use = {entry.place for entry in entries if entry.token_id != token_id}  # by the successor, if it was rotated
        for entry in entries:
            if entry.token_id == token_id:
                ledger.drop(entry)
                if entry.place.endswith(RESCUED) and entry.place not in in_use:
                    Path(entry.place.removeprefix("file:")).unlink(missing_ok=True)
