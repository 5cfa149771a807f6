"""Creates API tokens. The new secret is saved in its place, or the ledger knows that it was lost.

Before anything is created the place is probed and an entry is written to the ledger. From then until the secret has
been saved and read back, signals are deferred. If saving fails, the secret is shown on the terminal; without a terminal
it is written to a file of its own; if that fails, too, the API token is revoked.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.custody.ledger import CREATED, PLANNED, SAVED, Ledger, LedgerEntry, generate_key
from tokctl.api_tokens.custody.reconciliation import find_candidates
from tokctl.api_tokens.custody.sinks import ENVIRONMENT, STDOUT, TERMINAL, is_readable
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, CreatedToken, CreationOutcomeUnknownError, Registry
from tokctl.api_tokens.secrets import fingerprint
from tokctl.atomic_files import PRIVATE_FILE, make_folder, sync_directory
from tokctl.errors import ExpiryLimitError, NotSavedError, TokctlError, UsageError
from tokctl.model.api_tokens import ApiToken

DEFERRED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAIT_MESSAGE = b"tokctl: saving the secret before exit; please wait.\n"


class TokenSecretSink(Protocol):
    """A place for the secret of an API token. ``custody.sinks`` has the implementations."""

    name: str
    where: str

    def probe(self) -> None:
        """Check that a secret can be saved there. Raises TokctlError."""
        ...

    def save(self, token: ApiToken, secret: str) -> None:
        """Save the secret of an API token. Raises TokctlError, OSError."""
        ...


class IssuedToken(Struct, frozen=True, kw_only=True):
    """A new API token with its secret, and its ledger entry. The repr hides the secret."""

    token: ApiToken
    entry: LedgerEntry
    secret: str

    def __repr__(self) -> str:
        return f"IssuedToken(token={self.token!r})"


class Custody:
    """Creates API tokens in a registry and saves their secrets."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        clock: Callable[[], datetime],
        warn: Callable[[str], object] = lambda _text: None,
    ) -> None:
        self.registry = registry
        self.ledger = ledger
        self.clock = clock
        self.warn = warn

    def create(
        self,
        spec: ApiTokenSpec,
        place: TokenSecretSink,
        *,
        unique: bool = True,
        report: Callable[[IssuedToken], None] = lambda _issued: None,
    ) -> IssuedToken:
        """Create an API token and save its secret. With ``unique`` a name that another API token has is refused.

        ``report`` is called with the result before deferred signals are delivered.

        Raises: UsageError: the name or the place is taken; nothing was created. CreationOutcomeUnknownError: it is
            unknown whether it was created; the message says how to find out. NotSavedError: it was created, but its
            secret is in another place, or it was revoked; the message says which. TokctlError: the registry or the
            place reports an error; nothing was created.
        """
        place.probe()
        with ExitStack() as run:
            with self.ledger.lock_ledger():
                before = self._find_namesakes(spec.name, unique=unique)
                entry = self.plan(spec, place.name, before=before)
                run.enter_context(self.ledger.open_entry(entry))
            deferred = run.enter_context(defer_signals())
            issued = self.create_and_save(spec, place, entry)
            # An entry about stdout is of no use: the secret cannot be read back there.
            if place.name == STDOUT and not self._has_planned_entry(entry):
                self.ledger.drop(issued.entry)
            report(issued)
        deferred.deliver()
        return issued

    def plan(self, spec: ApiTokenSpec, place: str, **known: Any) -> LedgerEntry:
        """Return the first entry of a new API token."""
        return LedgerEntry(
            key=generate_key(),
            origin=self.registry.origin,
            identity=self.registry.identity(),
            name=spec.name,
            place=place,
            at=self.clock(),
            wanted=replace(spec, description=None),
            **known,
        )

    def _find_namesakes(self, name: str, *, unique: bool) -> tuple[str, ...]:
        """Return the ids of the API tokens with this name. Raises UsageError if ``unique`` and there are some."""
        # The ledger is read first: an API token that another run creates in between is in the registry's list then.
        is_coming = unique and any(
            one.name == name and self.ledger.is_in_progress(one) for one in self.ledger.entries(self.registry.origin)
        )
        before = tuple(str(token.id) for token in self.registry.find_by_name(name))
        if before and unique:
            raise UsageError(
                f"an API token named '{name}' already exists ({', '.join(before)}).",
                "Use another name, rotate the existing one, or add --allow-duplicate.",
            )
        if is_coming:
            raise UsageError(f"another process is creating an API token named '{name}'.", "Use another name.")
        return before

    def _has_planned_entry(self, entry: LedgerEntry) -> bool:
        """Return whether a killed run planned the same name: without this entry it would seem to own this API token."""
        return any(one.name == entry.name and one.step == PLANNED for one in self.ledger.entries(entry.origin))

    def create_and_save(self, spec: ApiTokenSpec, place: TokenSecretSink, entry: LedgerEntry) -> IssuedToken:
        """Create an API token whose entry is in the ledger, and save its secret. The caller has deferred signals.

        Raises as ``create``.
        """
        try:
            created = self.registry.create(spec)
        except CreationOutcomeUnknownError as error:
            raise self._explain_lost_answer(spec, entry, error) from None
        except TokctlError as error:
            if isinstance(error, ExpiryLimitError) and spec.may_expire_earlier:
                return self._create_with_expiry(error.latest, spec, place, entry)
            self.ledger.drop(entry)
            raise
        return self.save_issued(created, place, entry)

    def _create_with_expiry(
        self, expires_at: datetime, spec: ApiTokenSpec, place: TokenSecretSink, entry: LedgerEntry
    ) -> IssuedToken:
        """Request an API token that expires earlier, after the ledger has it: it is recognized by its expiry."""
        spec = replace(spec, expires_at=expires_at, may_expire_earlier=False)
        entry = replace(entry, wanted=replace(spec, description=None))
        try:
            self.ledger.put(entry)
        except TokctlError:
            self.ledger.drop(entry)
            raise
        self.warn(f"the server allows no expiry after {expires_at:%Y-%m-%d %H:%M} UTC, so that is the expiry.")
        return self.create_and_save(spec, place, entry)

    def save_issued(self, created: CreatedToken, place: TokenSecretSink, entry: LedgerEntry) -> IssuedToken:
        """Save a secret that the registry has just issued. Raises NotSavedError as ``create``."""
        entry = self._record_token(entry, created.token, digest=fingerprint(created.secret))
        try:
            place.save(created.token, created.secret)
        except Exception as error:  # noqa: BLE001 - no error may lose the secret
            raise self._rescue_secret(created, entry, place, error) from None
        return IssuedToken(token=created.token, entry=self._record_saved(entry, entry.place), secret=created.secret)

    def _record_token(self, entry: LedgerEntry, token: ApiToken, digest: str | None = None) -> LedgerEntry:
        """Write which API token was created; if that fails, the entry before leads to it as well."""
        entry = replace(
            entry, step=CREATED, token_id=str(token.id), name=token.name, created_at=token.created_at, digest=digest
        )
        with suppress(TokctlError):
            self.ledger.put(entry)
        return entry

    def _record_saved(self, entry: LedgerEntry, place: str) -> LedgerEntry:
        """Write where the secret is. If that fails, it is found there later, or the entry is dropped.

        An entry that stays and says otherwise would make an orphan of the API token. A lent one is an orphan until it
        is revoked.
        """
        entry = replace(entry, step=SAVED, place=place)
        try:
            self.ledger.put(entry)
        except TokctlError:
            if not is_readable(place) and place != ENVIRONMENT and entry.replaces is None:
                self.ledger.drop(entry)
        return entry

    def _explain_lost_answer(
        self, spec: ApiTokenSpec, entry: LedgerEntry, error: CreationOutcomeUnknownError
    ) -> CreationOutcomeUnknownError:
        """Return the error to raise after a lost response: it says whether the registry lists the API token."""
        try:
            found = find_candidates(self.registry, self.ledger, entry).tokens
        except TokctlError:
            return CreationOutcomeUnknownError(
                f"{error.message} It is unknown whether the API token '{spec.name}' was created.",
                "Run 'tokctl doctor' when the server is reachable again.",
            )
        if not found:
            return CreationOutcomeUnknownError(
                f"{error.message} No API token '{spec.name}' was created, according to {self.registry.where}.",
                "Try again.",
            )
        if len(found) == 1:
            self._record_token(entry, found[0])
        ids = " and ".join(str(token.id) for token in found)
        return CreationOutcomeUnknownError(
            f"{error.message} API token {ids} '{spec.name}' was created, and its secret is lost.",
            "Revoke it with 'tokctl api-tokens revoke --orphans', then create it again.",
        )

    # --- if saving fails ---

    def _rescue_secret(
        self, created: CreatedToken, entry: LedgerEntry, place: TokenSecretSink, error: Exception
    ) -> NotSavedError:
        """Save the secret in another place, or else revoke the API token; return the error to raise."""
        why = error.message if isinstance(error, TokctlError) else f"cannot write it ({type(error).__name__})."
        token = f"API token {created.token.id} '{created.token.name}'"
        done = "has a new secret, but it" if entry.is_in_place else "was created, but its secret"
        report = f"{token} {done} was not saved in {place.where}: {why}"
        if self._show_on_terminal(created):
            self._record_saved(entry, TERMINAL)
            return NotSavedError(report, "The secret is shown once on the terminal. Save it now.")
        file = self._write_rescue_file(created, entry)
        if file is not None:
            self._record_saved(entry, f"file:{file}")
            return NotSavedError(report, f"The secret is in {file} (readable only by you). Move it to a safe place.")
        if entry.is_in_place:  # it may have been set up with care: a new secret is enough
            return NotSavedError(f"{report} No other place could save it: it is lost, and the old one is invalid.")
        try:
            self.registry.revoke(str(created.token.id), reason="its secret could not be saved")
        except TokctlError:
            return NotSavedError(
                f"{report} The API token could not be revoked.",
                "Its secret is lost. Run 'tokctl api-tokens revoke --orphans'.",
            )
        self.ledger.drop(entry)
        return NotSavedError(
            f"{report} No other place could save it, so the API token was revoked.", "Fix this and try again."
        )

    def _show_on_terminal(self, created: CreatedToken) -> bool:
        """Write the secret to the terminal. Returns whether there is a terminal and the whole secret was written."""
        line = f"\r\nThe secret of API token {created.token.id}: {created.secret}\r\n".encode()
        try:
            with os.fdopen(os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY), "wb", buffering=0) as terminal:
                return terminal.isatty() and terminal.write(line) == len(line)
        except OSError:
            return False

    def _write_rescue_file(self, created: CreatedToken, entry: LedgerEntry) -> Path | None:
        """Write the secret to a new file with mode 0600; return its path, or None if no folder takes it.

        An entry leads to it even if the ledger cannot be written any more.
        """
        for path in self.ledger.rescue_files(entry):
            try:
                make_folder(path.parent)
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, PRIVATE_FILE)
                os.fchmod(descriptor, PRIVATE_FILE)
            except OSError:
                continue
            try:
                line = f"{created.secret}\n".encode()
                whole = os.write(descriptor, line) == len(line)
                os.fsync(descriptor)
            except OSError:
                whole = False
            finally:
                os.close(descriptor)
            if whole:
                sync_directory(path.parent)
                return path
            with suppress(OSError):
                path.unlink()
        return None


class DeferredSignals:
    """A signal handler that remembers the first signal. ``first`` is None if none came."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Remember a signal, and say on stderr that it will be handled."""
        if self.first is None:
            self.first = signal.Signals(number)
            with suppress(OSError):
                os.write(2, _WAIT_MESSAGE)

    def deliver(self) -> None:
        """Raise what the first signal stands for: KeyboardInterrupt, or SystemExit with 128 plus its number."""
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt
        if self.first is not None:
            raise SystemExit(128 + self.first)


@contextmanager
def defer_signals() -> Iterator[DeferredSignals]:
    """Defer INT, TERM and HUP. The caller delivers them after its report. Must run in the main thread."""
    deferred = DeferredSignals()
    kept: dict[signal.Signals, Any] = {}
    try:
        for number in DEFERRED_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                kept[number] = signal.signal(number, deferred)
        yield deferred
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
