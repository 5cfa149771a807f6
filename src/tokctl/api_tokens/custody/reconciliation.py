"""Compares the ledger with a registry: orphans, secrets that are not where they were saved, and stale entries.

An orphan is an API token whose secret was lost, by a killed run or a lost response. Nothing here compares the clocks of
two machines: an API token without a known id is found by what was requested, and by the ids that were there before.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.custody.ledger import CREATED, DONE, PLANNED, PROVEN, SAVED, Ledger, LedgerEntry, close_gap
from tokctl.api_tokens.custody.sinks import ENVIRONMENT, VaultSink, is_readable, read_saved_secret
from tokctl.api_tokens.registries.protocol import Registry
from tokctl.api_tokens.secrets import fingerprint
from tokctl.errors import NotFoundError, TokctlError, UnreachableError
from tokctl.model.api_tokens import DISABLED, VALID, ApiToken

MAX_IN_FLIGHT = timedelta(minutes=2)
"""How long a server may still process a request after the client has disconnected."""
_TIME_TOLERANCE = timedelta(seconds=1)  # some servers keep times to the second


class Candidates(Struct, frozen=True):
    """The API tokens that an entry may refer to. Of ``uncertain`` ones at most some are those of the ledger."""

    tokens: list[ApiToken]
    uncertain: bool = False


class Reconciliation(Struct, frozen=True, kw_only=True):
    """What became of unfinished entries.

    ``orphans`` are API tokens whose secret is lost; of ``uncertain`` ones some are, but it is unknown which. Entries of
    other registries (``elsewhere``) were not checked. ``stale`` entries are about an earlier registry there.
    """

    orphans: list[ApiToken]
    uncertain: list[ApiToken]
    elsewhere: list[LedgerEntry]
    stale: list[LedgerEntry]


class LostSecret(Struct, frozen=True):
    """A valid API token whose secret is not where it was saved, and why."""

    token: ApiToken
    why: str


def list_unfinished(ledger: Ledger) -> list[LedgerEntry]:
    """Return the entries of runs that ended before their secret was saved, or before a lent token was revoked."""
    return [
        entry
        for entry in ledger.entries()
        if (entry.step in {PLANNED, CREATED} or entry.place == ENVIRONMENT)
        and not entry.is_in_place  # its API token is no orphan: another rotation gives it a new secret
        and not ledger.is_in_progress(entry)
    ]


def list_unfinished_rotations(registry: Registry, ledger: Ledger) -> list[LedgerEntry]:
    """Return the entries of interrupted rotations that another run completes.

    The successor is saved, and the old token is unchanged; or the secret was to be replaced in place, and may be lost.
    """
    return [
        entry
        for entry in ledger.entries_about(registry)
        if entry.replaces is not None
        and (entry.step in {SAVED, PROVEN} or entry.is_in_place)
        and not ledger.is_in_progress(entry)
    ]


def reconcile(registry: Registry, ledger: Ledger, now: datetime) -> Reconciliation:
    """Determine the outcome of unfinished entries, and correct the ledger where that is certain."""
    about = {entry.key for entry in ledger.entries_about(registry)}
    orphans: list[ApiToken] = []
    uncertain: list[ApiToken] = []
    elsewhere: list[LedgerEntry] = []
    for entry in list_unfinished(ledger):
        if entry.key not in about:
            elsewhere += [entry] if entry.origin != registry.origin else []
            continue
        candidates = find_candidates(registry, ledger, entry)
        found = [token for token in candidates.tokens if token.state(now) == VALID]
        saved = next(filter(None, (find_saved(registry, ledger, entry, token) for token in found)), None)
        if saved is not None:
            ledger.put(saved)
        elif found:
            (uncertain if candidates.uncertain else orphans).extend(found)
        elif candidates.tokens or _is_over(entry, now):
            ledger.drop(entry)
    return Reconciliation(
        orphans=_each_once(orphans),
        uncertain=_each_once(uncertain),
        elsewhere=elsewhere,
        stale=_list_stale(registry, ledger),
    )


def _is_over(entry: LedgerEntry, now: datetime) -> bool:
    """Return whether nothing can have come of an entry any more."""
    return entry.token_id is None and _is_comparable(entry) and now - entry.at > MAX_IN_FLIGHT


def _each_once(tokens: list[ApiToken]) -> list[ApiToken]:
    return [*{str(token.id): token for token in tokens}.values()]


def find_candidates(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> Candidates:
    """Return the API tokens that an entry may refer to: that of its id, or else those that were requested like it."""
    if entry.token_id is not None:
        token = _find_token(registry, entry)
        return Candidates([] if token is None else [token])
    others = ledger.entries_about(registry)
    found = [
        token
        for token in registry.find_by_name(entry.name)
        if str(token.id) not in entry.before
        and _is_as_wanted(entry, token, registry)
        and not any(other.is_about(token) for other in others)
    ]
    planned = [other for other in others if other.name == entry.name and other.token_id is None]
    return Candidates(found, uncertain=len(found) > len(planned))


def _find_token(registry: Registry, entry: LedgerEntry) -> ApiToken | None:
    """Return the API token of an entry; None if it does not exist, or another one has its id."""
    try:
        token = registry.get(str(entry.token_id))
    except NotFoundError:
        return None
    return token if entry.is_about(token) else None


def _is_as_wanted(entry: LedgerEntry, token: ApiToken, registry: Registry) -> bool:
    """Return whether an API token is what an entry requested: its time of expiry is all but unique, if it has one."""
    wanted = entry.wanted
    if wanted is None or token.type != wanted.type or (token.expires_at is None) != (wanted.expires_at is None):
        return False
    if wanted.scopes is not None and token.scopes is not None and {*wanted.scopes} != {*token.scopes}:
        return False
    if token.expires_at is None or wanted.expires_at is None:
        return True
    if abs(token.expires_at - wanted.expires_at) < _TIME_TOLERANCE:
        return True
    # Some servers add the lifetime to their own time. Those with an identity keep the requested expiry.
    lifetimes = token.expires_at - token.created_at, wanted.expires_at - entry.at
    return registry.identity() is None and abs(lifetimes[0] - lifetimes[1]) < timedelta(minutes=1)


def find_saved(registry: Registry, ledger: Ledger, entry: LedgerEntry, token: ApiToken) -> LedgerEntry | None:
    """Return the entry with the place that has the secret of a token: its own, or a file that it was rescued to."""
    issued = entry.digest
    entry = replace(entry, token_id=str(token.id), created_at=token.created_at, step=SAVED)
    for place in (entry.place, *(f"file:{path}" for path in ledger.rescue_files(entry) if path.exists())):
        secret = read_saved_secret(place, entry.origin, str(token.id))
        if secret is not None and (fingerprint(secret) == issued or is_secret_of(registry, secret, token)):
            return replace(entry, place=place, digest=fingerprint(secret))
    return None


def is_secret_of(registry: Registry, secret: str, token: ApiToken) -> bool:
    """Return whether a secret is that of a token. One that does not look like it is not sent to the registry."""
    return bool(token.token) and secret.startswith(token.token.rstrip(".…")) and accepts(registry, secret, token)


def accepts(registry: Registry, secret: str, token: ApiToken) -> bool:
    """Return whether the registry accepts a secret as that of a token."""
    verdict = registry.verify(secret)
    return verdict.state == VALID and (verdict.token is None or str(verdict.token.id) == str(token.id))


# --- stale entries, and secrets that are gone ---


def _is_comparable(entry: LedgerEntry) -> bool:
    """Return whether an entry has what its API token is recognized by; those of tokctl 0.1 do not."""
    return entry.wanted is not None if entry.token_id is None else entry.created_at is not None


def _list_stale(registry: Registry, ledger: Ledger) -> list[LedgerEntry]:
    """Return the entries of the registry's origin that are not about its API tokens; drop those of revoked ones."""
    about = {entry.key for entry in ledger.entries_about(registry)}
    stale = []
    for entry in ledger.entries(registry.origin):
        if ledger.is_in_progress(entry):
            continue
        if entry.key not in about:
            stale.append(entry)
        elif not _is_comparable(entry):
            stale += [] if _complete_entry(registry, ledger, entry) else [entry]
        elif entry.token_id is not None and _find_token(registry, entry) is None:
            try:
                registry.get(entry.token_id)
            except NotFoundError:
                close_gap(ledger, registry, entry)
                ledger.drop(entry)
            else:
                stale.append(entry)
    return stale


def _complete_entry(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> bool:
    """Complete an entry of tokctl 0.1 if its secret is in its place and that of its API token; return whether it is."""
    try:
        token = registry.get(entry.token_id or "")
    except NotFoundError:
        return False
    saved = find_saved(registry, ledger, entry, token) if token.name == entry.name else None
    if saved is not None:
        ledger.put(replace(saved, step=entry.step))
    return saved is not None


def find_lost_secrets(registry: Registry, ledger: Ledger, now: datetime) -> list[LostSecret]:
    """Return the valid API tokens of the ledger whose secret is not where it was saved, and in no other known place.

    The old API token of a rotation is not among them while the secret of its successor is there. A keyring that does
    not respond is left to the check of the keyring.
    """
    entries = {entry.key: entry for entry in ledger.entries_about(registry) if entry.step in {SAVED, PROVEN, DONE}}
    places = {"keyring", *(entry.place for entry in entries.values())}

    @cache
    def find(key: str) -> ApiToken | None:
        return _find_token(registry, entries[key])

    @cache
    def explain(key: str) -> str:
        """Return why the secret of an entry is lost; empty if it is not, also through its successor."""
        entry, token = entries[key], find(key)
        if token is None or not is_readable(entry.place) or ledger.is_in_progress(entry):
            return ""
        why = _explain_absence(registry, entry, token)
        if not why or any(_is_there(place, entry) for place in places):
            return ""
        return "" if is_replaced(key, token) else why

    def is_replaced(key: str, token: ApiToken) -> bool:
        """Return whether a later API token of the same rotations has a secret that is there, and has not expired."""
        others = [other for other in entries.values() if other.token_id != entries[key].token_id]
        return any(
            (later.state(now) in {VALID, DISABLED} and not explain(other.key)) or is_replaced(other.key, later)
            for other in others
            if other.is_successor_of(token) and (later := find(other.key)) is not None
        )

    return [
        LostSecret(token, why)
        for key in entries
        if (token := find(key)) is not None and token.state(now) == VALID and (why := explain(key))
    ]


def _is_there(place: str, entry: LedgerEntry) -> bool:
    secret = read_saved_secret(place, entry.origin, str(entry.token_id))
    return secret is not None and fingerprint(secret) == entry.digest


def _explain_absence(registry: Registry, entry: LedgerEntry, token: ApiToken) -> str:
    """Return why the secret of an entry cannot be read from its place; empty if it can, or that is unknown."""
    sink = VaultSink(entry.place, entry.origin)
    try:
        secret = sink.read_current(str(entry.token_id))
    except UnreachableError:
        return ""
    except TokctlError as error:
        return "" if entry.place == "keyring" else str(error)
    if secret is None:
        return f"it is not in {sink.where} any more."
    if fingerprint(secret) == entry.digest or (entry.digest is None and is_secret_of(registry, secret, token)):
        return ""
    return f"{sink.where} has another secret now."
