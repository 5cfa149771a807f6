"""The audit: who did what to which API token, when, from where. Pure: entries, and the chain that they form.

Each entry is hashed together with the hash of the one before (SHA-256). A changed entry breaks the chain there, a
missing one leaves a gap in the numbers, and the head, kept apart, tells of missing ones at the end. Who can write
the whole store could make the whole chain anew: against that, a head that was noted elsewhere is looked for in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from tokctl.process.model import format_time

CREATE = "create"
UPDATE = "update"
REVOKE = "revoke"
START = "0" * 64
"""What stands in the place of the hash before the first entry."""


class Actor(Struct, frozen=True, kw_only=True):
    """Who does something, and from where: the command line's user and machine, a user with a JWT, an API token."""

    kind: str  # cli, user, api-token
    id: str
    name: str = ""
    origin: str = ""  # an address, or a machine's name


class AuditEntry(Struct, frozen=True, kw_only=True):
    """An entry. ``details`` holds what was given or changed: ``{member: value}``, ``{member: [before, after]}``."""

    number: int  # from 1, without gaps
    at: datetime
    action: str
    actor: Actor
    token_id: int
    token_name: str
    details: dict[str, Any] = {}
    hash: str = ""

    def content(self) -> dict[str, Any]:
        """What is hashed, and told, of the entry."""
        return {
            "number": self.number,
            "at": format_time(self.at),
            "action": self.action,
            "actor": {"kind": self.actor.kind, "id": self.actor.id, "name": self.actor.name},
            "from": self.actor.origin,
            "token": {"id": self.token_id, "name": self.token_name},
            "details": self.details,
        }

    def chained(self, previous: str) -> str:
        """Return its hash behind that of the entry before, 64 hexadecimal digits."""
        content = msgspec.json.encode(self.content(), order="deterministic")
        return sha256(previous.encode() + b"\n" + content).hexdigest()


class Head(Struct, frozen=True):
    """The end of the chain: the number of the last entry and its hash."""

    number: int = 0
    hash: str = START


class Checked(Struct, frozen=True, kw_only=True):
    """What came of looking a chain through: how many entries hold, and what is wrong, if anything."""

    entries: int
    head: Head
    fault: str = ""


def check_chain(entries: Iterable[AuditEntry], head: Head, noted: str | None = None) -> Checked:
    """Look through a chain from its first entry on, in order.

    Args:
        entries: all of them.
        head: where the chain is to end.
        noted: a hash that was noted at some time, and has to be in the chain; its beginning is enough.
    """
    last = Head()
    found = noted is None
    for entry in entries:
        if entry.number != last.number + 1:
            missing = last.number + 1
            return Checked(entries=last.number, head=last, fault=f"entry {missing} is missing")
        if entry.hash != entry.chained(last.hash):
            return Checked(entries=last.number, head=last, fault=f"entry {entry.number} was changed")
        last = Head(entry.number, entry.hash)
        found = found or entry.hash.startswith(noted or "")
    if last != head:
        fault = (f"{head.number - last.number} entries are missing at the end" if head.number > last.number
                 else "it does not end where it was left")  # fmt: skip
        return Checked(entries=last.number, head=last, fault=fault)
    return Checked(entries=last.number, head=last, fault="" if found else "the head that was noted is not in it")


def entry_document(entry: AuditEntry) -> dict[str, Any]:
    """Return the JSON object of an entry."""
    return entry.content() | {"hash": entry.hash}


def decode_entry(value: dict[str, Any]) -> AuditEntry:
    """Read the JSON object of an entry. Raises msgspec.ValidationError."""
    wire = msgspec.convert(value, _Wire)
    return AuditEntry(
        number=wire.number,
        at=wire.at,
        action=wire.action,
        actor=Actor(kind=wire.actor.kind, id=wire.actor.id, name=wire.actor.name, origin=wire.origin),
        token_id=wire.token.id,
        token_name=wire.token.name,
        details=wire.details,
        hash=wire.hash,
    )


class _WireToken(Struct):
    id: int
    name: str


class _WireActor(Struct):
    kind: str
    id: str
    name: str


class _Wire(Struct):
    number: int
    at: datetime
    action: str
    actor: _WireActor
    token: _WireToken
    details: dict[str, Any]
    hash: str
    origin: str = msgspec.field(name="from")
