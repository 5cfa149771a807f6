"""Rotates an API token: a successor with the same rights replaces it; the old one is revoked at once or expires later.

The ledger records the steps ``planned``, ``created``, ``saved``, ``proven`` and ``done``. After an interruption the
next run continues from the last step. A successor whose secret was lost is revoked, and another one is created.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from functools import cache
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
    forget_token,
    succeed,
)
from tokctl.api_tokens.custody.reconciliation import accepts, find_candidates, find_saved, is_secret_of
from tokctl.api_tokens.custody.sinks import read_saved_secret, remove_from_keyring
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry
from tokctl.api_tokens.secrets import fingerprint
from tokctl.api_tokens.vault_kinds import SINK_SYNTAX, SINKS
from tokctl.api_tokens.vaults.protocol import MayReplace
from tokctl.errors import NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.services import polling
from tokctl.services.api_tokens.lookup import check_token_ref, find_api_token

DEFAULT_GRACE = timedelta(hours=24)
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

    def __init__(self, custody: Custody, open_sink: Callable[[str, MayReplace], TokenSecretSink]) -> None:
        self.custody = custody
        self.registry = custody.registry
        self.ledger = custody.ledger
        self.open_sink = open_sink

    def run(
        self,
        old: ApiToken,
        place: str,
        *,
        grace: timedelta | None = None,
        expires_at: Expiry = "as before",
        report: Callable[[RotationResult], None] = lambda _result: None,
    ) -> RotationResult:
        """Rotate an API token, or complete the rotation that an earlier run began.

        ``place`` is where to save the new secret. It may have the secret of the old API token or of a predecessor;
        another one is kept unless ``open_sink`` allows more. The old API token stays valid for ``grace`` (None: that of
        the earlier run, or ``DEFAULT_GRACE``); zero revokes it immediately. ``report`` is called with the result before
        deferred signals are delivered.

        Raises:
            UsageError: the place has another secret; nothing was created.
            UnreachableError: another run is rotating this API token.
            UsageError: it is disabled; a successor would not be.
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
        if entry is not None and grace is not None:
            entry = replace(entry, grace=grace.total_seconds(), proven_at=self.custody.clock())
        elif entry is not None and entry.step == DONE:
            result = RotationResult(old=old, new=self.registry.get(str(entry.token_id)), entry=entry, resumed=True)
            report(result)
            return result
        if entry is None and old.disabled:
            raise UsageError(
                f"API token {old.id} is disabled.", "Enable it first, with 'tokctl api-tokens enable', or revoke it."
            )
        is_new = entry is None
        spec = ApiTokenSpec(
            name=old.name,
            type=old.type,
            description=old.description,
            scopes=old.scopes,
            allowed_cidrs=old.allowed_cidrs or (),
            expires_at=until,
            may_expire_earlier=expires_at == "as before",
            replaces=str(old.id),
        )
        superseded = self._superseded_digests(old, begun)
        entry = entry or self._plan(old, place, spec, superseded, DEFAULT_GRACE if grace is None else grace)
        with ExitStack() as run:
            with self.ledger.lock_ledger():
                if is_new and self._find_successor(old) is not None:  # another run has begun since
                    raise in_progress_error(old)
                run.enter_context(self.ledger.open_entry(entry))
            deferred = run.enter_context(defer_signals())
            try:
                result = self._complete(old, entry, spec, resumed=begun is not None)
            except TokctlError as error:
                if self._find_successor(old) is not None:
                    error.hint = f"{error.hint} The rotation is not complete. Run it again.".lstrip()
                raise
            report(result)
        deferred.deliver()
        return result

    def _find_successor(self, old: ApiToken) -> LedgerEntry | None:
        return self.ledger.find_successor(self.registry, old)

    def _superseded_digests(self, old: ApiToken, begun: LedgerEntry | None) -> tuple[str, ...]:
        """Return the digests of the secrets that a new one may overwrite: of the old API token and its predecessors.

        So is that of a successor without a saved secret, which an interrupted rotation has left.
        """
        of_old = self.ledger.find_entry(self.registry, old)
        known = [] if of_old is None else [*of_old.superseded, of_old.digest]
        if begun is not None and begun.is_successor_of(old):
            known += [*begun.superseded, begun.digest]
        return tuple(dict.fromkeys(digest for digest in known if digest is not None))

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
            if any(entry.is_about(token) for token in _find_by_id(self.registry, str(entry.token_id))):
                return entry
            self.ledger.drop(entry)  # the successor was revoked
            return None
        candidates = find_candidates(self.registry, self.ledger, entry)
        for token in candidates.tokens:
            saved = find_saved(self.registry, self.ledger, entry, token)
            if saved is not None:
                return saved
            if not candidates.uncertain:
                self.registry.revoke(str(token.id), reason="its secret was lost during a rotation")
        self.ledger.drop(entry)
        return None

    def _plan(
        self, old: ApiToken, place: str, spec: ApiTokenSpec, superseded: tuple[str, ...], grace: timedelta
    ) -> LedgerEntry:
        """Return the first entry of a rotation. Raises TokctlError: the place cannot take a secret."""
        sink = self._open_sink(place, old, superseded)
        sink.probe()
        return self.custody.plan(
            spec,
            sink.name,
            before=tuple(str(token.id) for token in self.registry.find_by_name(old.name)),
            replaces=str(old.id),
            replaces_created_at=old.created_at,
            replaces_expires_at=old.expires_at,
            superseded=superseded,
            grace=grace.total_seconds(),
        )

    def _open_sink(self, place: str, old: ApiToken, superseded: tuple[str, ...]) -> TokenSecretSink:
        @cache
        def may_replace(secret: str) -> bool:
            return fingerprint(secret) in superseded or is_secret_of(self.registry, secret, old)

        return self.open_sink(place, may_replace)

    def _complete(self, old: ApiToken, entry: LedgerEntry, spec: ApiTokenSpec, *, resumed: bool) -> RotationResult:
        """Perform the remaining steps."""
        new: ApiToken | None = None
        if entry.step in {PLANNED, CREATED}:
            saved_before = read_saved_secret(entry.place, entry.origin, str(old.id))
            issued = self.custody.create_and_save(spec, self._open_sink(entry.place, old, entry.superseded), entry)
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
        of_old = self.ledger.find_entry(self.registry, old)
        retired = self._retire_old(old, entry)
        if retired is None and of_old is not None:
            entry = succeed(self.registry, entry, of_old)
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
        if saved_before is not None:
            self.open_sink(entry.place, lambda secret: fingerprint(secret) == entry.digest).save(old, saved_before)
        raise NotAllowedError(
            f"{self.registry.where} rejected the secret of the new API token {new.id}, which "
            f"was revoked. API token {old.id} is unchanged.",
            "Try again.",
        )

    def _retire_old(self, old: ApiToken, entry: LedgerEntry) -> ApiToken | None:
        """Let the old API token expire after the grace period, or revoke it; None if it is revoked."""
        now = self.custody.clock()
        ends = (entry.proven_at or now) + timedelta(seconds=entry.grace)
        # A grace neither prolongs the life of an API token, nor revives it; an entry of tokctl 0.1 lacks the expiry.
        latest = old.expires_at if entry.replaces_created_at is None else entry.replaces_expires_at
        ends = (ends if latest is None else min(ends, latest)).replace(microsecond=0)
        if entry.grace > 0 and old.expires_at is not None and (old.expires_at <= now or old.expires_at == ends):
            return old
        with suppress(NotFoundError):
            if entry.grace > 0 and ends > now:
                return self.registry.update(str(old.id), {"expires_at": ends})
            self.revoke(old, f"rotated to {entry.token_id}")
        return None

    def revoke(self, token: ApiToken, reason: str) -> None:
        """Revoke an API token, drop its ledger entries and remove its secret from the keyring. Raises NotFoundError."""
        self.registry.revoke(str(token.id), reason=reason)
        forget_token(self.registry, token)
        remove_from_keyring(self.registry.origin, token)


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
    ledger = rotation.ledger
    named = _find_by_id(registry, word) if word.isdecimal() else registry.find_by_name(word)
    successors = [ledger.find_successor(registry, token) for token in named]
    if not named:  # the old API token may be revoked already
        successors = [entry for entry in ledger.entries_about(registry) if word in {entry.replaces, entry.name}]
    for entry in successors:
        if entry is not None and entry.replaces is not None and entry.step != DONE:
            return _read_replaced(registry, entry)
    last = [token for token, entry in zip(named, successors, strict=False) if entry is None]
    return last[0] if len(named) > 1 and len(last) == 1 else find_api_token(registry, word)


def _find_by_id(registry: Registry, token_id: str) -> list[ApiToken]:
    try:
        return [registry.get(token_id)]
    except NotFoundError:
        return []


def _read_replaced(registry: Registry, entry: LedgerEntry) -> ApiToken:
    """Return the token that an unfinished rotation replaces; if it no longer exists, as recorded in the ledger."""
    for token in _find_by_id(registry, str(entry.replaces)):
        if entry.is_successor_of(token):
            return token
    if entry.step not in {SAVED, PROVEN}:
        raise NotFoundError(
            f"API token {entry.replaces} not found in {registry.where}.", "See 'tokctl api-tokens list'."
        )
    return ApiToken(id=str(entry.replaces), name=entry.name, token="", created_at=entry.replaces_created_at or entry.at)


def find_successor_place(custody: Custody, old: ApiToken, save: str | None) -> str:
    """Return the place of the new secret: that of an interrupted rotation, else ``save``, else that of the old secret.

    Raises UsageError: ``save`` is None, and it is unknown where the old secret is.
    """
    registry = custody.registry
    begun = custody.ledger.find_successor(registry, old)
    if begun is not None:
        return begun.place
    if save is not None:
        return save
    entry = custody.ledger.find_entry(registry, old)
    if entry is not None and entry.place.partition(":")[0] in SINKS:
        return entry.place
    kept = read_saved_secret("keyring", registry.origin, str(old.id)) if entry is None else None
    if kept is not None and is_secret_of(registry, kept, old):
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
            rotation.revoke(old, f"rotated to {new.id}, and unused")
            return UnusedWait("revoked", used)
        if current.expires_at is not None and current.expires_at <= now:
            return UnusedWait("expired", used)
        polling.pause(min(POLL_SECONDS, max((used + quiet - now).total_seconds(), 0.1)))
