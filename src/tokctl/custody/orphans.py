"""API tokens of ours whose secret nobody has: what runs that were killed, or whose answer was lost, left behind."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from tokctl.access.model import VALID, ApiToken
from tokctl.custody.ledger import CREATED, PLANNED, PROVEN, SAVED, Entry, Ledger
from tokctl.custody.places import ENVIRONMENT, held_at
from tokctl.errors import NotFoundError
from tokctl.registries.base import Registry

CLOCKS_DIFFER = timedelta(minutes=5)
UNDER_WAY = timedelta(minutes=2)
"""For so long a request whose sender is gone may still be carried out."""


class Orphan(Struct, frozen=True, kw_only=True):
    """A token without a secret, and the entry that led to it."""

    token: ApiToken
    entry: Entry


class Settled(Struct, frozen=True, kw_only=True):
    """What the ledger's unfinished entries come to: orphans, and entries of other registries, which were not asked."""

    orphans: tuple[Orphan, ...] = ()
    elsewhere: tuple[Entry, ...] = ()
    saved: tuple[Entry, ...] = ()  # that turned out to be where they are to be


def unfinished(ledger: Ledger) -> list[Entry]:
    """The entries of runs that did not come to their end, and are not at work."""
    return [
        entry
        for entry in ledger.entries()
        if (entry.step in {PLANNED, CREATED} or entry.place == ENVIRONMENT) and not ledger.is_at_work(entry)
    ]


def half_rotated(ledger: Ledger, origin: str) -> list[Entry]:
    """The entries of rotations that are not over: successors whose secret is safe, while the old token is as it was."""
    return [
        entry
        for entry in ledger.entries(origin)
        if entry.replaces is not None and entry.step in {SAVED, PROVEN} and not ledger.is_at_work(entry)
    ]


def settle(registry: Registry, ledger: Ledger, now: datetime) -> Settled:
    """Look at what became of unfinished entries; the ledger is put right where that is plain.

    Raises:
        TokctlError: the registry does not tell.
    """
    orphans: list[Orphan] = []
    elsewhere: list[Entry] = []
    saved: list[Entry] = []
    claimed = {entry.token_id for entry in ledger.entries(registry.origin) if entry.token_id is not None}
    for entry in unfinished(ledger):
        if entry.origin != registry.origin:
            elsewhere.append(entry)
            continue
        found = [token for token in candidates(registry, entry, claimed) if token.state(now) == VALID]
        kept = next((token for token in found if is_kept(registry, entry, token)), None)
        if kept is not None:
            entry = replace(entry, step=SAVED, token_id=str(kept.id))  # noqa: PLW2901 - the same one, put right
            ledger.put(entry)
            saved.append(entry)
        elif found:
            orphans += [Orphan(token=token, entry=entry) for token in found]
        elif entry.step != PLANNED or now - entry.at > UNDER_WAY:
            ledger.drop(entry)
    return Settled(orphans=tuple(orphans), elsewhere=tuple(elsewhere), saved=tuple(saved))


def candidates(registry: Registry, entry: Entry, claimed: set[str]) -> list[ApiToken]:
    """The tokens that an entry may have led to: that of its id, or those of its name that came when it was made."""
    if entry.token_id is not None:
        try:
            return [registry.get(entry.token_id)]
        except NotFoundError:
            return []
    return [
        token
        for token in registry.named(entry.name)
        if str(token.id) not in entry.before
        and str(token.id) not in claimed
        and abs(token.created_at - entry.at) <= CLOCKS_DIFFER
    ]


def is_kept(registry: Registry, entry: Entry, token: ApiToken) -> bool:
    """Tell whether a token's secret is where the entry says that it was to be."""
    secret = held_at(entry.place, entry.origin, str(token.id))
    if secret is None or not token.token or not secret.startswith(token.token.rstrip(".…")):
        return False
    verdict = registry.verify(secret)
    return verdict.state == VALID and (verdict.token is None or str(verdict.token.id) == str(token.id))
