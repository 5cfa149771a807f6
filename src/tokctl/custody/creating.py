"""Creates an API token so that its secret is either where it is to be, or the token is known to be without one.

The place is proven, and the ledger told, before anything is created; from then until the secret has been read back
signals wait. What fails after that is caught: the secret goes to the terminal, else into a file of its own, else
the token is revoked (design: never lost, never leaked).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tokctl.access.model import ApiToken
from tokctl.custody.ledger import CREATED, PLANNED, RESCUED, SAVED, Entry, Ledger, new_key
from tokctl.custody.places import STDOUT, TERMINAL
from tokctl.custody.signals import unhurried
from tokctl.errors import NotSavedError, TokctlError, UsageError
from tokctl.files import sync_folder
from tokctl.registries.base import AnswerLostError, Created, Registry, Wanted


class Destination(Protocol):
    """Where a secret is to go: ``custody.places``."""

    name: str
    where: str

    def prove(self) -> None:
        """See that it can be put there."""
        ...

    def keep(self, token: ApiToken, secret: str) -> None:
        """Put it there. Raises TokctlError, OSError."""
        ...


class Kept(Struct, frozen=True, kw_only=True):
    """A new API token, and the ledger's entry about it. ``secret`` is never shown."""

    token: ApiToken
    entry: Entry
    secret: str

    def __repr__(self) -> str:
        return f"Kept(token={self.token!r})"


class Custody:
    """Creates API tokens in a registry, and sees their secrets to where they are kept."""

    def __init__(
        self, registry: Registry, ledger: Ledger, clock: Callable[[], datetime], *, terminal: str = "/dev/tty"
    ) -> None:
        self.registry = registry
        self.ledger = ledger
        self.clock = clock
        self.terminal = terminal

    def create(
        self,
        wanted: Wanted,
        place: Destination,
        *,
        unique: bool = True,
        told: Callable[[Kept], None] = lambda _kept: None,
    ) -> Kept:
        """Create one and keep its secret. ``told`` is called with it before signals that came meanwhile are heeded.

        Raises:
            UsageError: the name is taken, the place is; nothing was created.
            AnswerLostError: nobody knows yet whether it was created; the message says how to find out.
            NotSavedError: it was created, and its secret is elsewhere, or it was revoked; the message says so.
            TokctlError: the registry or the place refuse; nothing was created.
        """
        place.prove()
        with ExitStack() as run:
            with self.ledger.alone():
                before = self._others(wanted.name, unique=unique)
                entry = Entry(key=new_key(), origin=self.registry.origin, name=wanted.name, place=place.name,
                              at=self.clock(), before=before)  # fmt: skip
                run.enter_context(self.ledger.begun(entry))
            held = run.enter_context(unhurried())
            kept = self.bring(wanted, place, entry)
            if place.name == STDOUT and not self._was_tried(entry):  # there is nothing to find there again
                self.ledger.drop(kept.entry)
            told(kept)
        held.deliver()
        return kept

    def _others(self, name: str, *, unique: bool) -> tuple[str, ...]:
        """The ids of those that have a name already. Raises UsageError, if it has to be ``unique``."""
        is_coming = unique and any(  # asked for first: what has been created by then is listed
            one.name == name and self.ledger.is_at_work(one) for one in self.ledger.entries(self.registry.origin)
        )
        before = tuple(str(token.id) for token in self.registry.named(name))
        if before and unique:
            raise UsageError(f"there is an API token named '{name}' already ({', '.join(before)}).",
                             "Give another name, rotate that one, or say --allow-duplicate.")  # fmt: skip
        if is_coming:
            raise UsageError(f"another run is creating an API token named '{name}'.", "Give another name.")
        return before

    def _was_tried(self, entry: Entry) -> bool:
        """Whether a run that was killed may seem to have created what this one has: its entry is to tell otherwise."""
        return any(one.name == entry.name and one.step == PLANNED for one in self.ledger.entries(entry.origin))

    def bring(self, wanted: Wanted, place: Destination, entry: Entry) -> Kept:
        """Create a token whose entry is in the ledger, and keep its secret; signals wait already.

        Raises:
            as ``create``.
        """
        made = self._made(wanted, entry)
        entry = replace(entry, step=CREATED, token_id=str(made.token.id))
        with suppress(TokctlError):  # what is written so far leads to it as well, and the secret comes first
            self.ledger.put(entry)
        try:
            place.keep(made.token, made.secret)
        except Exception as error:  # noqa: BLE001 - whatever it is, the secret must not go with it
            raise self._rescued(made, entry, place, error) from None
        entry = replace(entry, step=SAVED)
        with suppress(TokctlError):
            self.ledger.put(entry)
        return Kept(token=made.token, entry=entry, secret=made.secret)

    def _made(self, wanted: Wanted, entry: Entry) -> Created:
        try:
            return self.registry.create(wanted)
        except AnswerLostError as error:
            raise self._lost(wanted, entry, error) from None
        except TokctlError:
            self.ledger.drop(entry)
            raise

    def _lost(self, wanted: Wanted, entry: Entry, error: AnswerLostError) -> AnswerLostError:
        """What is to be said when no answer came: whether it was created all the same, as far as the registry tells."""
        hint = "'tokctl api-tokens revoke --orphans' removes it; then create it again."
        try:
            found = [str(token.id) for token in self.registry.named(wanted.name) if str(token.id) not in entry.before]
        except TokctlError:
            return AnswerLostError(f"{error.message} Whether the API token '{wanted.name}' was created, nobody knows "
                                   "yet.", "'tokctl doctor' tells as soon as the server answers.")  # fmt: skip
        if not found:
            return AnswerLostError(f"{error.message} No API token '{wanted.name}' was created, as far as "
                                   f"{self.registry.where} tells.", "Try again.")  # fmt: skip
        if len(found) == 1:
            with suppress(TokctlError):
                self.ledger.put(replace(entry, step=CREATED, token_id=found[0]))
        return AnswerLostError(f"{error.message} API token {' and '.join(found)} '{wanted.name}' was created, and its "
                               "secret is lost.", hint)  # fmt: skip

    # --- when the place fails after all ---

    def _rescued(self, made: Created, entry: Entry, place: Destination, error: Exception) -> NotSavedError:
        """Bring a secret that its place did not take to where it is not lost; returns what to raise."""
        why = error.message if isinstance(error, TokctlError) else f"it cannot be written ({type(error).__name__})."
        told = (
            f"API token {made.token.id} '{made.token.name}' was created, and its secret is not in {place.where}: {why}"
        )
        if self._shown(made):
            self._note(entry, TERMINAL)
            return NotSavedError(told, "It is on the terminal, this once: put it where it is needed.")
        file = self._filed(made)
        if file is not None:
            self._note(entry, f"file:{file}")
            return NotSavedError(told, f"It is in {file}, for you alone: move it to where it is needed.")
        try:
            self.registry.revoke(str(made.token.id), why="its secret could not be kept")
        except TokctlError:
            return NotSavedError(f"{told} It could not be revoked, either.",
                                 "Nobody has its secret: run 'tokctl api-tokens revoke --orphans'.")  # fmt: skip
        self.ledger.drop(entry)
        return NotSavedError(
            f"{told} Nothing else could take it, so the API token was revoked.", "Mend that, and retry."
        )

    def _note(self, entry: Entry, place: str) -> None:
        with suppress(TokctlError):
            self.ledger.put(replace(entry, step=SAVED, place=place))

    def _shown(self, made: Created) -> bool:
        """Write the secret to the terminal, where there is one that somebody looks at."""
        try:
            descriptor = os.open(self.terminal, os.O_WRONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            if not os.isatty(descriptor):
                return False
            line = f"\r\nThe secret of API token {made.token.id}: {made.secret}\r\n".encode()
            return os.write(descriptor, line) == len(line)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _filed(self, made: Created) -> Path | None:
        """Write the secret into a file that was not there, for its owner alone; returns where."""
        name = f"api-token-{made.token.id}-{new_key()[:6]}{RESCUED}"
        for folder in (self.ledger.folder.parent, Path.home()):
            path = folder / name
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600)
            except OSError:
                continue
            try:
                line = f"{made.secret}\n".encode()
                whole = os.write(descriptor, line) == len(line)
                os.fsync(descriptor)
            except OSError:
                whole = False
            finally:
                os.close(descriptor)
            if whole:
                sync_folder(folder)
                return path
            with suppress(OSError):
                path.unlink()
        return None
