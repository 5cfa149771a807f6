"""Rotates an API token: a successor with the same rights replaces it; the old one is revoked at once or expires later.

The ledger records the steps ``planned``, ``created``, ``saved``, ``proven`` and ``done``. After an interruption the
next run continues from the last step. A successor whose secret was lost is revoked, and another one is created.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.custody.creation import Custody, TokenSecretSink, defer_signals
from tokctl.api_tokens.custody.ledger import (
    CREATED,
    DONE,
    PLANNED,
    PROVEN,
    SAVED,
    LedgerEntry,
    accepts,
    find_candidates,
    forget_token,
    is_secret_saved,
)
from tokctl.api_tokens.custody.sinks import read_saved_secret, remove_from_keyring
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry
from tokctl.api_tokens.vault_kinds import SINK_SYNTAX, SINKS
from tokctl.errors import NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.services import polling
from tokctl.services.api_tokens.lookup import check_token_ref, find_api_token

POLL_SECONDS = 30.0
"""The longest interval between two checks of the last use of the old API token."""

Expiry = datetime | Literal["never", "as before"]
"""When a new API token expires; ``as before`` gives it the lifetime of the old one."""


class RotationResult(Struct, frozen=True, kw_only=True):
    """The old API token as it is after the rotation (None: it is revoked), and its successor."""

    old: ApiToken | None
    new: ApiToken
    entry: LedgerEntry
    resumed: bool = False  # an earlier run had begun it


class UnusedWait(Struct, frozen=True):
    """The outcome of waiting until an old API token is unused, and its last use, if known.

    ``gone``: it no longer exists; ``revoked``: it was unused for long enough; ``expired``: it was in use until it
    expired.
    """

    outcome: Literal["gone", "revoked", "expired"]
    last_used_at: datetime | None = None


class Rotation:
    """Rotates API tokens of a registry. ``open_sink`` opens a place by its name."""

    def __init__(self, custody: Custody, open_sink: Callable[[str], TokenSecretSink]) -> None:
        self.custody = custody
        self.registry = custody.registry
        self.ledger = custody.ledger
        self.open_sink = open_sink

    def run(
        self,
        old: ApiToken,
        place: str,
        *,
        grace: timedelta,
        expires_at: Expiry = "as before",
        report: Callable[[RotationResult], None] = lambda _result: None,
    ) -> RotationResult:
        """Rotate an API token, or complete the rotation that an earlier run began.

        ``place`` is where to save the new secret. The old API token stays valid for ``grace``; zero revokes it
        immediately. ``report`` is called with the result before deferred signals are delivered.

        Raises:
            UnreachableError: another run is rotating this API token.
            NotAllowedError: the registry did not accept the new secret; the successor is revoked, and the old API
                token and its saved secret are as before.
            TokctlError: as ``Custody.create``; the hint tells whether the rotation can be continued.
        """
        if expires_at == "as before":
            until = _successor_expiry(old, self.custody.clock())
        else:
            until = None if expires_at == "never" else expires_at
        begun = self._find_begun(old)
        entry = self._find_resumable(begun) if begun is not None else None
        if entry is not None and entry.step == DONE:
            result = RotationResult(old=old, new=self.registry.get(str(entry.token_id)), entry=entry, resumed=True)
            report(result)
            return result
        is_new = entry is None
        entry = entry or self._plan(old, place, grace)
        with ExitStack() as run:
            with self.ledger.lock_ledger():
                if is_new and self._find_successor(old) is not None:  # another run has begun since
                    raise in_progress_error(old)
                run.enter_context(self.ledger.open_entry(entry))
            deferred = run.enter_context(defer_signals())
            try:
                result = self._complete(old, entry, until, resumed=begun is not None)
            except TokctlError as error:
                if self._find_successor(old) is not None:
                    error.hint = f"{error.hint} The rotation is not complete. Run it again.".lstrip()
                raise
            report(result)
        deferred.deliver()
        return result

    def _find_successor(self, old: ApiToken) -> LedgerEntry | None:
        return self.ledger.find_successor(self.registry.origin, str(old.id))

    def _find_begun(self, old: ApiToken) -> LedgerEntry | None:
        """Return the entry of an interrupted rotation. Raises UnreachableError: another run is working on it."""
        with self.ledger.lock_ledger():
            entry = self._find_successor(old)
            if entry is not None and self.ledger.is_in_progress(entry):
                raise in_progress_error(old)
        return entry

    def _find_resumable(self, entry: LedgerEntry) -> LedgerEntry | None:
        """Return the step that an interrupted rotation has reached; None if it must start again.

        A successor without a saved secret is revoked, and an entry without an API token is dropped.
        """
        if entry.step in {SAVED, PROVEN, DONE}:
            with suppress(NotFoundError):
                self.registry.get(str(entry.token_id))
                return entry
            self.ledger.drop(entry)  # the successor was revoked
            return None
        for token in find_candidates(self.registry, entry, self.ledger.claimed_ids(entry.origin)):
            if is_secret_saved(self.registry, entry, token):
                return replace(entry, step=SAVED, token_id=str(token.id))
            self.registry.revoke(str(token.id), reason="its secret was lost during a rotation")
        self.ledger.drop(entry)
        return None

    def _plan(self, old: ApiToken, place: str, grace: timedelta) -> LedgerEntry:
        """Return the first entry of a rotation. Raises TokctlError: the place cannot take a secret."""
        sink = self.open_sink(place)
        sink.probe()
        before = tuple(str(token.id) for token in self.registry.find_by_name(old.name))
        return self.custody.plan(old.name, sink.name, before=before, replaces=str(old.id), grace=grace.total_seconds())

    def _complete(
        self, old: ApiToken, entry: LedgerEntry, expires_at: datetime | None, *, resumed: bool
    ) -> RotationResult:
        """Perform the remaining steps."""
        new: ApiToken | None = None
        if entry.step in {PLANNED, CREATED}:
            saved_before = read_saved_secret(entry.place, entry.origin, str(old.id))
            spec = ApiTokenSpec(
                name=old.name, type=old.type, description=old.description, scopes=old.scopes, expires_at=expires_at
            )
            issued = self.custody.create_and_save(spec, self.open_sink(entry.place), entry)
            new, entry = issued.token, issued.entry
            secret = read_saved_secret(entry.place, entry.origin, str(new.id)) or issued.secret
            self._verify_successor(new, secret, entry, old, saved_before)
        elif entry.step == SAVED:
            new = self.registry.get(str(entry.token_id))
            saved = read_saved_secret(entry.place, entry.origin, str(new.id))
            if saved is not None:
                self._verify_successor(new, saved, entry, old, None)
        entry = replace(entry, step=PROVEN, proven_at=entry.proven_at or self.custody.clock())
        self.ledger.put(entry)
        retired = self._retire_old(old, entry)
        entry = replace(entry, step=DONE)
        self.ledger.put(entry)
        new = new if new is not None else self.registry.get(str(entry.token_id))
        return RotationResult(old=retired, new=new, entry=entry, resumed=resumed)

    def _verify_successor(
        self, new: ApiToken, secret: str, entry: LedgerEntry, old: ApiToken, saved_before: str | None
    ) -> None:
        """Check that the registry accepts the saved secret; if not, restore the previous secret."""
        if accepts(self.registry, secret, new):
            return
        self.registry.revoke(str(new.id), reason="the registry rejected its secret")
        self.ledger.drop(entry)
        sink = self.open_sink(entry.place)
        if saved_before is not None:
            sink.save(old, saved_before)
        raise NotAllowedError(
            f"{self.registry.where} rejected the secret of the new API token {new.id}, which "
            f"was revoked. API token {old.id} is unchanged.",
            "Try again.",
        )

    def _retire_old(self, old: ApiToken, entry: LedgerEntry) -> ApiToken | None:
        """Let the old API token expire after the grace period, or revoke it; None if it is revoked."""
        ends = (entry.proven_at or self.custody.clock()) + timedelta(seconds=entry.grace)
        ends = ends.replace(microsecond=0)
        if entry.grace > 0 and old.expires_at is not None and old.expires_at <= ends:
            return old
        with suppress(NotFoundError):
            if entry.grace > 0 and ends > self.custody.clock():
                return self.registry.update(str(old.id), {"expires_at": ends})
            self.revoke(str(old.id), f"rotated to {entry.token_id}")
        return None

    def revoke(self, token_id: str, reason: str) -> None:
        """Revoke an API token, drop its ledger entries and remove its secret from the keyring. Raises NotFoundError."""
        self.registry.revoke(token_id, reason=reason)
        forget_token(self.registry.origin, token_id)
        remove_from_keyring(self.registry.origin, token_id)


def in_progress_error(old: ApiToken) -> UnreachableError:
    """Return the error for an API token that another process is rotating."""
    return UnreachableError(f"another process is rotating API token {old.id}.", "Try again when it has finished.")


def _successor_expiry(old: ApiToken, now: datetime) -> datetime | None:
    """Return when a successor expires that gets the whole lifetime of the old API token; None for never."""
    if old.expires_at is None:
        return None
    try:
        return (now + max(old.expires_at - old.created_at, timedelta(minutes=1))).replace(microsecond=0)
    except OverflowError:  # after the year 9999
        return old.expires_at


def find_rotated_token(registry: Registry, rotation: Rotation, word: str) -> ApiToken:
    """Return the API token to rotate, by its id or name. Raises as ``find_api_token``.

    Of several with one name it is the one with an unfinished rotation, or the only one that has no successor.
    """
    check_token_ref(word)
    named = [word] if word.isdecimal() else [str(one.id) for one in registry.find_by_name(word)]
    successors = {token_id: rotation.ledger.find_successor(registry.origin, token_id) for token_id in named}
    for entry in successors.values():
        if entry is not None and entry.step != DONE:
            return _read_replaced(registry, entry)
    last = [token_id for token_id, entry in successors.items() if entry is None]
    return registry.get(last[0]) if len(named) > 1 and len(last) == 1 else find_api_token(registry, word)


def _read_replaced(registry: Registry, entry: LedgerEntry) -> ApiToken:
    """Return the token that an unfinished rotation replaces; if it no longer exists, as recorded in the ledger."""
    try:
        return registry.get(str(entry.replaces))
    except NotFoundError:
        if entry.step not in {SAVED, PROVEN}:
            raise
        return ApiToken(id=str(entry.replaces), name=entry.name, token="", created_at=entry.at)


def find_successor_place(custody: Custody, old: ApiToken, save: str | None) -> str:
    """Return the place of the new secret: that of an interrupted rotation, else ``save``, else that of the old secret.

    Raises UsageError: ``save`` is None, and it is unknown where the old secret is.
    """
    origin, token_id = custody.registry.origin, str(old.id)
    begun = custody.ledger.find_successor(origin, token_id)
    if begun is not None:
        return begun.place
    if save is not None:
        return save
    entry = custody.ledger.find_entry(origin, token_id)
    if entry is not None and entry.place.partition(":")[0] in SINKS:
        return entry.place
    if entry is None and read_saved_secret("keyring", origin, token_id) is not None:
        return "keyring"
    raise UsageError(
        "the place of the old secret is unknown.",
        f"Set the place of the new secret with --save: {SINK_SYNTAX}.",
    )


def revoke_when_unused(rotation: Rotation, old: ApiToken, new: ApiToken, quiet: timedelta) -> UnusedWait:
    """Wait until the old API token has been unused for ``quiet``, and revoke it; at most until it expires."""
    clock = rotation.custody.clock
    began = clock()
    while True:
        try:
            current = rotation.registry.get(str(old.id))
        except NotFoundError:
            return UnusedWait("gone")
        now = clock()
        used = max(current.last_used_at or began, began)
        if now - used >= quiet:
            rotation.revoke(str(old.id), f"rotated to {new.id}, and unused")
            return UnusedWait("revoked", used)
        if current.expires_at is not None and current.expires_at <= now:
            return UnusedWait("expired", used)
        polling.pause(min(POLL_SECONDS, max((used + quiet - now).total_seconds(), 0.1)))
