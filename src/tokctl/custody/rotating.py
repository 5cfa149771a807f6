"""Rotates an API token: a successor with the same rights takes its place, and the old one goes, now or after a while.

The steps are in the ledger (``planned``, ``created``, ``saved``, ``proven``, ``done``). Run again after an
interruption, it goes on from the step it had come to; a successor whose secret was lost is revoked, and another made.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from tokctl.access.model import VALID, ApiToken
from tokctl.custody.creating import Custody, Destination
from tokctl.custody.ledger import CREATED, DONE, PLANNED, PROVEN, SAVED, Entry, forget, new_key
from tokctl.custody.orphans import candidates, is_kept
from tokctl.custody.places import held_at, remove_kept
from tokctl.custody.signals import unhurried
from tokctl.errors import NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError
from tokctl.registries.base import Wanted


class Rotated(Struct, frozen=True, kw_only=True):
    """What came of a rotation: the old token as it is now (None: it is revoked), and its successor."""

    old: ApiToken | None
    new: ApiToken
    entry: Entry
    resumed: bool = False  # an earlier run had begun it


class Rotation:
    """Rotates one token. ``place_of`` makes of a place's name what the secret is put into."""

    def __init__(self, custody: Custody, place_of: Callable[[str], Destination]) -> None:
        self.custody = custody
        self.registry = custody.registry
        self.ledger = custody.ledger
        self.place_of = place_of

    def run(
        self,
        old: ApiToken,
        place: str,
        *,
        grace: timedelta,
        expires_at: datetime | None,
        told: Callable[[Rotated], None] = lambda _rotated: None,
    ) -> Rotated:
        """Rotate a token, or bring to its end what an earlier run began.

        Args:
            old: the token.
            place: where the successor's secret goes, as ``--save`` calls it.
            grace: for how long the old one stays valid; zero revokes it.
            expires_at: when the successor expires.
            told: is called with what came of it before signals that came meanwhile are heeded.

        Raises:
            UsageError: another run is rotating it.
            NotAllowedError: the successor was refused when it was tried; it is revoked, and the old one is as it was.
            TokctlError: as ``custody.creating.Custody.create``; the message says how far it came.
        """
        with self.ledger.alone():
            entry = self.ledger.successor(self.registry.origin, str(old.id))
            if entry is not None and self.ledger.is_at_work(entry):
                raise _at_work(old)
        resumed = entry is not None
        entry = self._standing(entry) if entry is not None else None
        if entry is not None and entry.step == DONE:
            rotated = Rotated(old=old, new=self.registry.get(str(entry.token_id)), entry=entry, resumed=True)
            told(rotated)
            return rotated
        is_new = entry is None
        if entry is None:
            self.place_of(place).prove()
            before = tuple(str(token.id) for token in self.registry.named(old.name))
            entry = Entry(key=new_key(), origin=self.registry.origin, name=old.name, place=self.place_of(place).name,
                          at=self.custody.clock(), before=before, replaces=str(old.id),
                          grace=grace.total_seconds())  # fmt: skip
        with ExitStack() as run:
            with self.ledger.alone():
                if is_new and self.ledger.successor(self.registry.origin, str(old.id)) is not None:
                    raise _at_work(old)  # it has begun since
                run.enter_context(self.ledger.begun(entry))
            held = run.enter_context(unhurried())
            try:
                rotated = self._carried_on(old, entry, expires_at, resumed=resumed)
            except TokctlError as error:
                if self.ledger.successor(self.registry.origin, str(old.id)) is not None:
                    error.hint = f"{error.hint} The rotation is not over: run it again.".lstrip()
                raise
            told(rotated)
        held.deliver()
        return rotated

    def _standing(self, entry: Entry) -> Entry | None:
        """How far an interrupted rotation has come: what is of no use is revoked, and forgotten."""
        if entry.step in {SAVED, PROVEN, DONE}:
            with suppress(NotFoundError):
                self.registry.get(str(entry.token_id))
                return entry
            self.ledger.drop(entry)  # its successor is gone
            return None
        claimed = {one.token_id for one in self.ledger.entries(entry.origin) if one.token_id is not None}
        for token in candidates(self.registry, entry, claimed):
            if is_kept(self.registry, entry, token):
                return replace(entry, step=SAVED, token_id=str(token.id))
            self.registry.revoke(str(token.id), why="its secret was lost in a rotation")
        self.ledger.drop(entry)
        return None

    def _carried_on(self, old: ApiToken, entry: Entry, expires_at: datetime | None, *, resumed: bool) -> Rotated:
        new: ApiToken | None = None
        if entry.step in {PLANNED, CREATED}:
            before = held_at(entry.place, entry.origin, str(old.id))
            wanted = Wanted(name=old.name, type=old.type, description=old.description, scopes=old.scopes,
                            expires_at=expires_at)  # fmt: skip
            kept = self.custody.bring(wanted, self.place_of(entry.place), entry)
            new, entry = kept.token, kept.entry
            self._prove(new, held_at(entry.place, entry.origin, str(new.id)) or kept.secret, entry, old, before)
        elif entry.step == SAVED:
            new = self.registry.get(str(entry.token_id))
            secret = held_at(entry.place, entry.origin, str(new.id))
            if secret is not None:
                self._prove(new, secret, entry, old, None)
        entry = replace(entry, step=PROVEN, proven_at=entry.proven_at or self.custody.clock())
        self.ledger.put(entry)
        after = self._let_go(old, entry)
        entry = replace(entry, step=DONE)
        self.ledger.put(entry)
        new = new if new is not None else self.registry.get(str(entry.token_id))
        return Rotated(old=after, new=new, entry=entry, resumed=resumed)

    def _prove(self, new: ApiToken, secret: str, entry: Entry, old: ApiToken, before: str | None) -> None:
        """See that the registry accepts the new secret, as it was saved; if not, put everything back."""
        verdict = self.registry.verify(secret)
        if verdict.state == VALID and (verdict.token is None or str(verdict.token.id) == str(new.id)):
            return
        self.registry.revoke(str(new.id), why="it was not accepted")
        self.ledger.drop(entry)
        place = self.place_of(entry.place)
        if before is not None:
            place.keep(old, before)
        raise NotAllowedError(f"{self.registry.where} does not accept the secret of the new API token {new.id}, which "
                              f"is revoked therefore; API token {old.id} is as it was.", "Try again.")  # fmt: skip

    def _let_go(self, old: ApiToken, entry: Entry) -> ApiToken | None:
        """Let the old token expire after the grace, or revoke it; one that is gone already is gone."""
        try:
            if entry.grace <= 0:
                self.revoke(str(old.id), f"rotated to {entry.token_id}")
                return None
            ends = (entry.proven_at or self.custody.clock()) + timedelta(seconds=entry.grace)
            ends = ends.replace(microsecond=0)
            if old.expires_at is not None and old.expires_at <= ends:
                return old
            if ends <= self.custody.clock():
                self.revoke(str(old.id), f"rotated to {entry.token_id}")
                return None
            return self.registry.update(str(old.id), {"expires_at": ends})
        except NotFoundError:
            return None

    def revoke(self, token_id: str, why: str) -> None:
        """Revoke the old token, and forget where its secret was. Raises NotFoundError."""
        self.registry.revoke(token_id, why=why)
        forget(self.registry.origin, token_id)
        remove_kept(self.registry.origin, token_id)


def _at_work(old: ApiToken) -> UnreachableError:
    return UnreachableError(f"another run is rotating API token {old.id}.", "Wait for it.")


def place_for(ledger_place: str | None, in_keyring: bool, named: str | None) -> str:
    """Where a successor's secret goes: where the user says, where the old one's is, or the keyring if it is there.

    Raises:
        UsageError: nobody knows.
    """
    if named is not None:
        return named
    if ledger_place is not None and ledger_place.partition(":")[0] in {"keyring", "file", "env-file", "command"}:
        return ledger_place
    if in_keyring:
        return "keyring"
    raise UsageError(
        "nobody knows here where the old secret is kept.",
        "Say with --save where the new one is to go: keyring, file:PATH, env-file:PATH or command:WORDS.",
    )


def lifetime(old: ApiToken, now: datetime) -> datetime | None:
    """When a successor expires that is to last as long as the old one was to."""
    if old.expires_at is None:
        return None
    try:
        return (now + max(old.expires_at - old.created_at, timedelta(minutes=1))).replace(microsecond=0)
    except OverflowError:  # behind the end of the calendar
        return old.expires_at
