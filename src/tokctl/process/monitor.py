"""What has changed in an instance between two looks at it, exactly: two states in, events out.

From look to look a token is kept as it was, so that a change can be told with before and after. Of an
instance with more than KEPT finished tokens, the others are kept as a digest: that one of them has
changed is told all the same, but not what it was before.

Fields are compared as the documented JSON has them: the same JSON written in another way is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.process.model import Summary, Token, format_time, is_final, summarize
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import summary_document, token_document

KEPT = 10_000
"""Finished tokens of an instance that are kept whole."""
IN_ONE = 1000
"""Tokens that one event tells at most; more of them make several events."""


# --- tokens -------------------------------------------------------------------------------------------


class Change(Struct, frozen=True):
    """A token that is not as it was: the documented fields that differ, before and after.

    ``before`` is None where it was not kept; ``after`` is the whole token then. A field that stands on
    one side only came or went.
    """

    token: Token
    before: dict[str, Any] | None
    after: dict[str, Any]


class Changes(Struct, frozen=True):
    """What happened to tokens between two looks. A token stands in one of the lists only.

    ``added`` were not there before, whatever their state; ``finished`` were live and are so no longer.
    """

    added: tuple[Token, ...] = ()
    changed: tuple[Change, ...] = ()
    finished: tuple[Change, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.finished or self.removed)


Kept = dict[str, Token | bytes]
"""Tokens by id as they were, or their digests."""


def compare(old: Mapping[str, Token | bytes], tokens: Iterable[Token], *, keep: int = KEPT) -> tuple[Kept, Changes]:
    """Compare what was kept with the tokens as they are; returns what to keep of these, and what has changed."""
    kept: Kept = {}
    added: list[Token] = []
    changed: list[Change] = []
    finished: list[Change] = []
    for token in tokens:
        known = old.get(token.token_id)
        now: bytes | None = None
        if known is None:
            added.append(token)
        elif isinstance(known, bytes):
            now = digest(token)
            if now != known:
                changed.append(Change(token, None, token_document(token)))
        elif known != token and (change := difference(known, token)):
            (finished if known.live and not token.live else changed).append(change)
        whole = token.live or keep > 0
        keep -= not token.live
        kept[token.token_id] = token if whole else now or digest(token)
    removed = tuple(token_id for token_id in old if token_id not in kept)
    return kept, Changes(tuple(added), tuple(changed), tuple(finished), removed)


def difference(old: Token, new: Token) -> Change | None:
    """Return what differs between two states of a token; None where only the way of writing does."""
    before, after = token_document(old), token_document(new)
    names = [n for n in chain(before, (n for n in after if n not in before)) if not _same(before, after, n)]
    if not names:
        return None
    return Change(new, {n: before[n] for n in names if n in before}, {n: after[n] for n in names if n in after})


def _same(before: dict[str, Any], after: dict[str, Any], name: str) -> bool:
    if name not in before or name not in after:
        return False
    old, new = before[name], after[name]
    return bool(old == new) or (isinstance(old, Raw) and isinstance(new, Raw) and _uniform(old) == _uniform(new))


def _uniform(raw: Raw) -> bytes:
    """JSON in one way of writing; what cannot be read as it came."""
    try:
        return msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return bytes(raw)


def digest(token: Token) -> bytes:
    """Return 16 bytes that are the same for the same token."""
    parts = {n: _uniform(v) if isinstance(v, Raw) else v for n, v in token_document(token).items()}
    return blake2b(msgspec.msgpack.encode(parts, order="deterministic"), digest_size=16).digest()


# --- instances ------------------------------------------------------------------------------------------


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened: ``facts`` are what its document says beside name, time and instance."""

    event: str
    at: datetime
    instance_id: str | None = None
    facts: dict[str, Any] = {}
    changes: Changes | None = None
    tokens: tuple[Token, ...] = ()

    def documents(self) -> Iterator[dict[str, Any]]:
        """The JSON objects that tell it: one, or several where it is about very many tokens."""
        head = {"event": self.event, "at": format_time(self.at)}
        if self.instance_id is not None:
            head["instance_id"] = self.instance_id
        if self.changes is not None:
            for part in _parts(self.changes):
                yield head | part | self.facts
        elif self.tokens:
            for start in range(0, len(self.tokens), IN_ONE):
                some = self.tokens[start : start + IN_ONE]
                yield head | {"tokens": [token_document(token) for token in some]} | self.facts
        else:
            yield head | self.facts


def _parts(changes: Changes) -> Iterator[dict[str, Any]]:
    """Lists of at most IN_ONE tokens together."""
    told: list[tuple[str, Token | Change | str]] = []
    for name in Changes.__struct_fields__:
        told += ((name, item) for item in getattr(changes, name))
    for start in range(0, len(told), IN_ONE):
        part: dict[str, Any] = {name: [] for name in Changes.__struct_fields__}
        for name, item in told[start : start + IN_ONE]:
            part[name].append(_document(item))
        yield part


def _document(item: Token | Change | str) -> Any:
    if isinstance(item, Token):
        return token_document(item)
    if isinstance(item, Change):
        return {"token_id": item.token.token_id, "before": item.before, "after": item.after}
    return item


class Ending:
    """Tells when an instance has come to its end for good.

    One whose source says so, and which has no live token, has. A status that was derived from the
    tokens may be a moment between two steps, and live tokens under a final status may be about to
    finish: those have to be so at two looks in a row.
    """

    def __init__(self) -> None:
        self._looks = 0

    def reached(self, status: InstanceStatus, *, changed: bool) -> bool:
        """Take in one look: how the instance stands, and whether anything of it has changed since the last."""
        if status.status is None or not is_final(status.status):
            self._looks = 0
            return False
        self._looks = 1 if changed else self._looks + 1
        return self._looks > 1 or not (status.status_derived or status.live_tokens)


class Watched:
    """An instance as it was last seen, and what is told of it."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.status: InstanceStatus | None = None
        self.summary: Summary = summarize(())
        self.live: list[Token] = []
        self.ended = False
        self.missing_since: datetime | None = None
        self._kept: Kept = {}
        self._ending = Ending()
        self._due: list[tuple[datetime, Token]] = []  # the soonest last
        self._told: dict[str, datetime] = {}  # token id → the timeout that was told

    def look(self, status: InstanceStatus, tokens: Iterable[Token], now: datetime) -> list[Event]:
        """Take in the instance as it is; returns what has happened since it was seen last."""
        counted: dict[tuple[str, str | None], int] = {}
        live: list[Token] = []

        def counting() -> Iterator[Token]:
            for token in tokens:
                key = token.state, token.element_type
                counted[key] = counted.get(key, 0) + 1
                if token.live:
                    live.append(token)
                yield token

        kept, changes = compare(self._kept, counting())
        before, self.status, self._kept, self.live = self.status, status, kept, live
        self.summary = summarize((*key, number) for key, number in counted.items())
        due = [(at, token) for token in live if (at := token.context.timeout_at) is not None]
        self._due = sorted(due, key=lambda one: one[0], reverse=True)
        events = []
        if before is None:
            facts = {
                "process_id": status.instance.process_id,
                "status": status.status,
                "summary": summary_document(self.summary),
            }
            events.append(self._event("watching", now, facts=facts))
        if changes:
            events.append(self._event("tokens_updated", now, changes=changes, facts={"status": status.status}))
        differs = before is not None and before.status != status.status
        if before is not None and differs:
            facts = {"before": {"status": before.status}, "after": {"status": status.status}}
            events.append(self._event("instance_updated", now, facts=facts))
        return events + self._settle(now, changed=bool(changes) or differs)

    def rest(self, now: datetime) -> list[Event]:
        """Take in that nothing has changed."""
        return [] if self.missing_since else self._settle(now, changed=False)

    def _settle(self, now: datetime, *, changed: bool) -> list[Event]:
        """Return what comes with time: timeouts that have passed, and the end."""
        events, late = [], []
        while self._due and self._due[-1][0] <= now:
            at, token = self._due.pop()
            if self._told.get(token.token_id) != at:
                self._told[token.token_id] = at
                late.append(token)
        if late:
            events.append(self._event("tokens_timeout", now, tokens=tuple(late)))
        status, was = self.status, self.ended
        self.ended = status is not None and self._ending.reached(status, changed=changed)
        if status is not None and self.ended and not was:
            facts = {
                "status": status.status,
                "ended_at": format_time(status.ended_at),
                "summary": summary_document(self.summary),
            }
            events.append(self._event("ended", now, facts=facts))
        return events

    def _event(self, name: str, now: datetime, **fields: Any) -> Event:
        return Event(event=name, at=now, instance_id=self.instance_id, **fields)

    @property
    def next_timeout(self) -> datetime | None:
        """When the next timeout of a live token passes that has not been told."""
        return self._due[-1][0] if self._due else None
