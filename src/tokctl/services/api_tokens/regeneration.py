"""Rotates an API token in place, where a server has no grace period: the old secret is invalid once there is a new one.

The ledger records the steps ``planned``, ``created`` (the server has replaced the secret) and ``saved``. An interrupted
run is repeated, unless it had saved the new secret: one that was lost is replaced by another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta

from msgspec.structs import replace

from tokctl.api_tokens.custody.creation import TokenSecretSink, defer_signals
from tokctl.api_tokens.custody.ledger import SAVED, LedgerEntry
from tokctl.api_tokens.custody.reconciliation import accepts
from tokctl.api_tokens.custody.sinks import STDOUT, read_saved_secret, remove_from_keyring
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, CreatedToken, CreationOutcomeUnknownError
from tokctl.errors import NotAllowedError, NotSavedError, TokctlError, UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.services.api_tokens.rotation import Expiry, Rotation, RotationResult, in_progress_error


class RotationInPlace(Rotation):
    """Rotates API tokens of a registry without a grace period."""

    def run(
        self,
        old: ApiToken,
        place: str,
        *,
        grace: timedelta | None = None,
        expires_at: Expiry = "as before",
        report: Callable[[RotationResult], None] = lambda _result: None,
    ) -> RotationResult:
        """Replace the secret of an API token, save the new one, and check that the server accepts it.

        ``place``, ``report`` and the errors are as in ``Rotation.run``. Raises UsageError: a grace period or another
        expiry was requested; nothing was changed. CreationOutcomeUnknownError: the secret may have been replaced.
        """
        where = self.registry.where
        if grace is None or grace > timedelta():
            raise UsageError(
                f"{where} has no grace period: the old secret is invalid as soon as there is a new one.",
                "Nothing was changed. Use --grace 0 to replace the secret at once.",
            )
        if expires_at != "as before":
            raise UsageError(f"{where} cannot change the expiry of an API token.", "Remove --expires.")
        begun = self._find_begun(old)
        superseded = self._superseded_digests(old, begun)
        sink = self._open_sink(place, old, superseded)
        sink.probe()
        plan = self.custody.plan(
            ApiTokenSpec(name=old.name, type=old.type, scopes=old.scopes, expires_at=old.expires_at),
            sink.name,
            token_id=str(old.id),
            created_at=old.created_at,
            replaces=str(old.id),
            replaces_created_at=old.created_at,
            replaces_expires_at=old.expires_at,
            superseded=superseded,
        )
        entry = plan if begun is None else replace(plan, key=begun.key, step=begun.step)
        with ExitStack() as run:
            with self.ledger.lock_ledger():
                if begun is None and self._find_successor(old) is not None:  # another run has begun since
                    raise in_progress_error(old)
                run.enter_context(self.ledger.open_entry(entry))
            deferred = run.enter_context(defer_signals())
            try:
                result = self._replace(old, entry, sink)
            except TokctlError as error:
                if self._find_successor(old) is not None:
                    error.hint = f"{error.hint} The rotation is not complete. Run it again.".lstrip()
                raise
            report(result)
        deferred.deliver()
        return result

    def _replace(self, old: ApiToken, entry: LedgerEntry, sink: TokenSecretSink) -> RotationResult:
        """Perform the remaining steps."""
        token_id = str(old.id)
        saved = read_saved_secret(entry.place, entry.origin, token_id) if entry.step == SAVED else None
        resumed = saved is not None and accepts(self.registry, saved, old)
        if not resumed:
            created = self._regenerate(old, entry)
            try:
                issued = self.custody.save_issued(created, sink, entry)
            except NotSavedError:
                self._finish_rescued(entry, old)
                raise
            entry = issued.entry
            if not accepts(self.registry, issued.secret, old):
                raise NotAllowedError(
                    f"{self.registry.where} rejects the new secret of API token {token_id}, and the old one is invalid."
                )
        new = self.registry.get(token_id)
        self._finish(entry, old)
        return RotationResult(old=None, new=new, entry=entry, resumed=resumed)

    def _regenerate(self, old: ApiToken, entry: LedgerEntry) -> CreatedToken:
        """Have the secret replaced. If that was certainly not done, the ledger has no entry of it afterwards."""
        before = read_saved_secret(entry.place, entry.origin, str(old.id))
        try:
            return self.registry.regenerate(str(old.id))
        except CreationOutcomeUnknownError as error:
            if before is not None and self._is_accepted(before, old):
                self.ledger.drop(entry)
                message = f"{error.message} The secret was not replaced: the old one is valid."
                raise CreationOutcomeUnknownError(message, "Try again.") from None
            raise CreationOutcomeUnknownError(
                f"{error.message} The secret of API token {old.id} may have been replaced, and the new one is lost."
            ) from None
        except TokctlError:
            self.ledger.drop(entry)
            raise

    def _is_accepted(self, secret: str, token: ApiToken) -> bool:
        with suppress(TokctlError):
            return accepts(self.registry, secret, token)
        return False

    def _finish(self, entry: LedgerEntry, token: ApiToken) -> None:
        """Turn the entry into that of an API token with a saved secret. Other places have the replaced secret."""
        for earlier in self.ledger.entries_about(self.registry):
            if earlier.is_about(token) and earlier.key != entry.key:
                self.ledger.drop(earlier)
        if entry.place == STDOUT:
            self.ledger.drop(entry)
        else:
            self.ledger.put(replace(entry, replaces=None))
        if entry.place != "keyring":
            remove_from_keyring(entry.origin, token)

    def _finish_rescued(self, entry: LedgerEntry, token: ApiToken) -> None:
        """Finish a rotation whose secret was rescued to another place; one whose secret was lost stays unfinished."""
        for recorded in self.ledger.entries(entry.origin):
            if recorded.key == entry.key and recorded.step == SAVED:
                self._finish(recorded, token)
