"""Finds what has changed in an instance between two observations, as events with the exact differences.

The tokens of the last observation are kept, so that a change can be reported with the values before and after. Of the
finished tokens, only MAX_FINISHED_TOKENS are kept whole, the others as digests: a change of these is detected, but the
values before are unknown.

Fields are compared as in the documented JSON; a different way of writing the same JSON is not a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.documents.base import Document, is_same_json, members, normalize_json
from tokctl.documents.tokens import encode_token
from tokctl.documents.watch import TokenChangeDocument, WatchEventDocument
from tokctl.model.filters import ALL_TOKENS, TokenFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary, summarize
from tokctl.model.states import is_final
from tokctl.model.times import format_time
from tokctl.model.tokens import Token

MAX_FINISHED_TOKENS = 10_000
"""The number of finished tokens per instance that are kept whole."""
MAX_TOKENS_PER_EVENT = 1000
"""The maximum number of tokens in the JSON of an event; more tokens are split into several documents."""


# --- tokens -------------------------------------------------------------------------------------------


class TokenChange(Struct, frozen=True):
    """A changed token: the documented fields that differ, before and after.

    If the token was kept as a digest, ``before`` is None and ``after`` has all fields. A field on one side only was
    added or removed.
    """

    token: Token
    before: dict[str, Any] | None
    after: dict[str, Any]


class TokenChanges(Struct, frozen=True):
    """The changes of tokens between two observations. Each token is in one list only.

    ``added`` are new tokens in any state, ``finished`` were live before, ``removed`` are ids.
    """

    added: tuple[Token, ...] = ()
    changed: tuple[TokenChange, ...] = ()
    finished: tuple[TokenChange, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.finished or self.removed)


TokenStates = dict[str, Token | bytes]
"""The tokens of the last observation, or their digests, by id."""


def compare(
    old: Mapping[str, Token | bytes], tokens: Iterable[Token], *, keep: int = MAX_FINISHED_TOKENS
) -> tuple[TokenStates, TokenChanges]:
    """Compare tokens with those kept from the last observation (``old``).

    Returns the tokens to keep for the next comparison (``keep`` finished ones whole), and the changes.
    """
    kept: TokenStates = {}
    added: list[Token] = []
    changed: list[TokenChange] = []
    finished: list[TokenChange] = []
    for token in tokens:
        known = old.get(token.token_id)
        now: bytes | None = None
        if known is None:
            added.append(token)
        elif isinstance(known, bytes):
            now = compute_digest(token)
            if now != known:
                changed.append(TokenChange(token, None, members(encode_token(token))))
        elif known != token and (change := diff_tokens(known, token)):
            (finished if known.live and not token.live else changed).append(change)
        whole = token.live or keep > 0
        keep -= not token.live
        kept[token.token_id] = token if whole else now or compute_digest(token)
    removed = tuple(token_id for token_id in old if token_id not in kept)
    return kept, TokenChanges(tuple(added), tuple(changed), tuple(finished), removed)


def diff_tokens(old: Token, new: Token) -> TokenChange | None:
    """Return the difference between two versions of a token; None if there is none in the documented JSON."""
    before, after = members(encode_token(old)), members(encode_token(new))
    names = [name for name in before | after if not _same(before, after, name)]
    if not names:
        return None
    return TokenChange(new, {n: before[n] for n in names if n in before}, {n: after[n] for n in names if n in after})


def _same(before: dict[str, Any], after: dict[str, Any], name: str) -> bool:
    if name not in before or name not in after:
        return False
    old, new = before[name], after[name]
    return is_same_json(old, new) if isinstance(old, Raw) and isinstance(new, Raw) else bool(old == new)


def compute_digest(token: Token) -> bytes:
    """Return a digest of 16 bytes (BLAKE2b) that equal tokens share."""
    parts = {n: normalize_json(v) if isinstance(v, Raw) else v for n, v in members(encode_token(token)).items()}
    return blake2b(msgspec.msgpack.encode(parts, order="deterministic"), digest_size=16).digest()


# --- instances ------------------------------------------------------------------------------------------


class WatchEvent(Struct, frozen=True, kw_only=True):
    """Something that happened. ``facts`` are the members of its JSON besides name, time, instance and tokens."""

    event: str
    at: datetime
    instance_id: str | None = None
    facts: dict[str, Any] = {}
    changes: TokenChanges | None = None
    tokens: tuple[Token, ...] = ()

    def documents(self) -> Iterator[WatchEventDocument]:
        """Yield the documents of the event: one, or several if it has very many tokens."""
        fields: dict[str, Any] = {"event": self.event, "at": format_time(self.at), **self.facts}
        if self.instance_id is not None:
            fields["instance_id"] = self.instance_id
        if self.changes is not None:
            for part in _split_changes(self.changes):
                yield WatchEventDocument(**fields, **part)
        elif self.tokens:
            for start in range(0, len(self.tokens), MAX_TOKENS_PER_EVENT):
                fields["tokens"] = [encode_token(t) for t in self.tokens[start : start + MAX_TOKENS_PER_EVENT]]
                yield WatchEventDocument(**fields)
        else:
            yield WatchEventDocument(**fields)


def _split_changes(changes: TokenChanges) -> Iterator[dict[str, Any]]:
    """Yield the lists of changes in parts of at most MAX_TOKENS_PER_EVENT tokens."""
    told = [(name, item) for name in TokenChanges.__struct_fields__ for item in getattr(changes, name)]
    for start in range(0, len(told), MAX_TOKENS_PER_EVENT):
        part: dict[str, Any] = {name: [] for name in TokenChanges.__struct_fields__}
        for name, item in told[start : start + MAX_TOKENS_PER_EVENT]:
            part[name].append(_encode_item(item))
        yield part


def _encode_item(item: Token | TokenChange | str) -> Document | str:
    if isinstance(item, Token):
        return encode_token(item)
    if isinstance(item, TokenChange):
        return TokenChangeDocument(token_id=item.token.token_id, before=item.before, after=item.after)
    return item


class EndDetector:
    """Detects when an instance has ended for good.

    An instance has ended if its source says so and it has no live tokens. A status derived from the tokens may show a
    moment between two steps, and live tokens under a final status may be about to finish; in these cases the end must
    be observed twice in a row.
    """

    def __init__(self) -> None:
        self._looks = 0

    def reached(self, status: InstanceStatus, *, changed: bool) -> bool:
        """Return whether the instance has ended, given its status and whether anything changed since the last call."""
        if status.status is None or not is_final(status.status):
            self._looks = 0
            return False
        self._looks = 1 if changed else self._looks + 1
        return self._looks > 1 or not (status.status_derived or status.live_tokens)


class InstanceWatch:
    """Watches one instance: keeps its last observation, and turns each new one into events.

    Events are about tokens that match ``where``, or have matched it since the watch began; totals are about all tokens.
    """

    def __init__(self, instance_id: str, where: TokenFilter = ALL_TOKENS) -> None:
        self.instance_id = instance_id
        self.where = where
        self.status: InstanceStatus | None = None
        self.summary: Summary = summarize(())
        self.live: list[Token] = []
        self.ended = False
        self.missing_since: datetime | None = None
        self._kept: TokenStates = {}
        self._end_detector = EndDetector()
        self._pending_timeouts: list[tuple[datetime, Token]] = []  # the next one last
        self._reported_timeouts: dict[str, datetime] = {}  # token id → the timeout that was reported

    def update(self, status: InstanceStatus, tokens: Iterable[Token], now: datetime) -> list[WatchEvent]:
        """Return the events since the last observation; ``tokens`` are all tokens of the instance."""
        counted: Counter[tuple[str, str | None]] = Counter()
        live: list[Token] = []

        def counting() -> Iterator[Token]:
            for token in tokens:
                counted[token.state, token.element_type] += 1
                matches = self.where.matches(token)
                if matches and token.live:
                    live.append(token)
                if matches or token.token_id in self._kept:
                    yield token

        kept, changes = compare(self._kept, counting())
        before, self.status, self._kept, self.live = self.status, status, kept, live
        self.summary = summarize((*key, number) for key, number in counted.items())
        due = [(at, token) for token in live if (at := token.context.timeout_at) is not None]
        self._pending_timeouts = sorted(due, key=lambda one: one[0], reverse=True)
        events = []
        facts: dict[str, Any]
        if before is None:
            facts = {"process_id": status.instance.process_id, "status": status.status, "summary": self.summary}
            events.append(self._event("watching", now, facts=facts))
        if changes:
            events.append(self._event("tokens_updated", now, changes=changes, facts={"status": status.status}))
        differs = before is not None and before.status != status.status
        if before is not None and differs:
            facts = {"before": {"status": before.status}, "after": {"status": status.status}}
            events.append(self._event("instance_updated", now, facts=facts))
        return events + self._collect_timed_events(now, changed=bool(changes) or differs)

    def tick(self, now: datetime) -> list[WatchEvent]:
        """Return the events caused by time alone, if nothing has changed since the last observation."""
        return [] if self.missing_since else self._collect_timed_events(now, changed=False)

    def _collect_timed_events(self, now: datetime, *, changed: bool) -> list[WatchEvent]:
        """Return the events caused by time: timeouts that have passed, and the end."""
        events, late = [], []
        while self._pending_timeouts and self._pending_timeouts[-1][0] <= now:
            at, token = self._pending_timeouts.pop()
            if self._reported_timeouts.get(token.token_id) != at:
                self._reported_timeouts[token.token_id] = at
                late.append(token)
        if late:
            events.append(self._event("tokens_timeout", now, tokens=tuple(late)))
        status, was = self.status, self.ended
        self.ended = status is not None and self._end_detector.reached(status, changed=changed)
        if status is not None and self.ended and not was:
            facts = {"status": status.status, "ended_at": format_time(status.ended_at), "summary": self.summary}
            events.append(self._event("ended", now, facts=facts))
        return events

    def _event(self, name: str, now: datetime, **fields: Any) -> WatchEvent:
        return WatchEvent(event=name, at=now, instance_id=self.instance_id, **fields)

    @property
    def next_timeout(self) -> datetime | None:
        """The next timeout of a live token that has not been reported; None if there is none."""
        return self._pending_timeouts[-1][0] if self._pending_timeouts else None
