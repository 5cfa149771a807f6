"""The audit: who did what to which API token, when, from where. Entries and their hash chain, without a store.

Each entry is hashed (SHA-256) together with the hash of the entry before it. A changed entry breaks the chain, a
missing one leaves a gap in the numbers, and the head, which is stored apart, shows missing entries at the end. A user
who can write to the store could rebuild the whole chain, so a check can also look for a hash that was recorded
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from tokctl.documents.audit import AuditActor, AuditedToken, AuditEntryContent, AuditEntryDocument, AuditHead
from tokctl.model.times import format_time

CREATE = "create"
UPDATE = "update"
DISABLE = "disable"
ENABLE = "enable"
REVOKE = "revoke"
ROTATE = "rotate"  # the entry of the old API token; that of its successor is a creation
GENESIS_HASH = "0" * 64
"""The hash before the first entry."""


class Actor(Struct, frozen=True, kw_only=True):
    """Who did something, and from where: a user of the command line, a user with a JWT, or an API token."""

    kind: str  # cli, user, api-token
    id: str
    name: str = ""
    origin: str = ""  # a network address, or the name of a machine


class AuditEntry(Struct, frozen=True, kw_only=True):
    """An entry. ``details`` has the values given (``{member: value}``) or changed (``{member: [before, after]}``)."""

    number: int  # from 1, without gaps
    at: datetime
    action: str
    actor: Actor
    token_id: int
    token_name: str
    details: dict[str, Any] = {}
    hash: str = ""

    def content(self) -> AuditEntryContent:
        """Return what is hashed, stored and published of the entry."""
        return AuditEntryContent(
            number=self.number,
            at=format_time(self.at) or "",
            action=self.action,
            actor=AuditActor(kind=self.actor.kind, id=self.actor.id, name=self.actor.name),
            origin=self.actor.origin,
            token=AuditedToken(id=self.token_id, name=self.token_name),
            details=self.details,
        )

    def chain_hash(self, previous: str) -> str:
        """Return the hash of the entry after ``previous``, the hash before it: 64 hexadecimal digits."""
        content = msgspec.json.encode(self.content(), order="sorted")
        return sha256(previous.encode() + b"\n" + content).hexdigest()


class ChainHead(Struct, frozen=True):
    """The end of the chain: the number of the last entry and its hash."""

    number: int = 0
    hash: str = GENESIS_HASH


class ChainCheck(Struct, frozen=True, kw_only=True):
    """The result of a check: the number of intact entries, the last of them, and the fault, empty if there is none."""

    entries: int
    head: ChainHead
    fault: str = ""


def check_chain(entries: Iterable[AuditEntry], head: ChainHead, expected_hash: str | None = None) -> ChainCheck:
    """Check a chain, all entries in the order of their numbers, up to its first fault.

    It must have ``head`` as its end, and ``expected_hash``, a hash or its first digits, in it.
    """
    last = ChainHead()
    found = expected_hash is None
    fault = ""
    for entry in entries:
        if entry.number != last.number + 1:
            fault = f"entry {last.number + 1} is missing"
            break
        if entry.hash != entry.chain_hash(last.hash):
            fault = f"entry {entry.number} was changed"
            break
        last = ChainHead(entry.number, entry.hash)
        found = found or entry.hash.startswith(expected_hash or "")
    else:
        if head.number > last.number:
            fault = f"{head.number - last.number} entries are missing at the end"
        elif head != last:
            fault = "the end of the audit log differs from its recorded head"
        elif not found:
            fault = "the given head is not in the audit log"
    return ChainCheck(entries=last.number, head=last, fault=fault)


def encode_entry(entry: AuditEntry) -> AuditEntryDocument:
    """Return the document of an entry."""
    return AuditEntryDocument(**asdict(entry.content()) | {"hash": entry.hash})


def encode_head(head: ChainHead) -> AuditHead:
    """Return the document of the end of the chain."""
    return AuditHead(number=head.number, hash=head.hash)


def decode_entry(value: dict[str, Any]) -> AuditEntry:
    """Decode the JSON object of an entry. Raises msgspec.ValidationError."""
    document = msgspec.convert(value, AuditEntryDocument)
    return AuditEntry(
        number=document.number,
        at=msgspec.convert(document.at, datetime),
        action=document.action,
        actor=Actor(kind=document.actor.kind, id=document.actor.id, name=document.actor.name, origin=document.origin),
        token_id=document.token.id,
        token_name=document.token.name,
        details=document.details,
        hash=document.hash,
    )
