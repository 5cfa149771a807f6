"""The audit of API tokens: its entries, and what came of looking its chain through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tokctl.access.audit import CREATE, REVOKE, UPDATE, AuditEntry, Checked, entry_document
from tokctl.process.model import format_time
from tokctl.render.human import count
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section, plain
from tokctl.render.views.api_tokens import change_text, label

_ACTIONS = {CREATE: "green", UPDATE: "", REVOKE: "red"}


def audit_listing(entries: Iterable[AuditEntry], *, notes: Callable[[int], list[str]] = lambda _: []) -> Listing:
    """A list of entries, as documents with their hashes."""
    return Listing(
        key="entries",
        items=entries,
        columns=(
            Column(key="number", title="NO", value=lambda e: e.number, right=True, rank=4),
            Column(key="at", title="AT", value=lambda e: format_time(e.at),
                   show=lambda e: Cell((format_time(e.at) or "")[:19] + "Z")),
            Column(key="action", title="ACTION", value=lambda e: e.action,
                   show=lambda e: Cell(e.action, _ACTIONS.get(e.action, "bold cyan"))),
            Column(key="token", title="TOKEN", value=lambda e: e.token_id),
            Column(key="name", title="NAME", value=lambda e: e.token_name, fold=True),
            Column(key="by", title="BY", value=_by, fold=True, rank=1),
            Column(key="from", title="FROM", value=lambda e: e.actor.origin, fold=True, rank=3),
            Column(key="details", title="WHAT", value=lambda e: e.details, show=lambda e: Cell(_what(e)), fold=True,
                   least=20, rank=2),
            Column(key="kind", title="KIND", value=lambda e: e.actor.kind, wide=True, rank=9),
            Column(key="hash", title="HASH", value=lambda e: e.hash, show=lambda e: Cell(e.hash[:16]), wide=True,
                   rank=9),
        ),
        ident=lambda entry: str(entry.number),
        document=entry_document,
        notes=notes,
        empty="The audit has no entry of that kind.",
    )  # fmt: skip


def checked_detail(checked: Checked) -> Detail:
    """What came of looking the chain through: how far it holds, and where it ends."""
    entries = count(checked.entries, "entry", "entries")
    said = "The audit is empty." if not checked.entries else f"The audit is whole: {entries}."
    fields = (Field("head", Cell(checked.head.hash)),) if checked.entries else ()
    if checked.fault:
        said = f"The audit is not what was written: {checked.fault}."
        fields = (Field("holds", Cell(f"the first {entries}" if checked.entries else "nothing of it")), *fields)
    return Detail(
        ident=checked.head.hash,
        document={
            "whole": not checked.fault,
            "entries": checked.entries,
            "head": {"number": checked.head.number, "hash": checked.head.hash},
            "fault": checked.fault or None,
        },
        title=(Cell(said, "bold red" if checked.fault else "bold"),),
        sections=(Section(fields=fields),),
        exit_code=1 if checked.fault else 0,
    )


def _by(entry: AuditEntry) -> str:
    actor = entry.actor
    who = actor.name or actor.id
    return f"API token {actor.id} {actor.name}".rstrip() if actor.kind == "api-token" else who


def _what(entry: AuditEntry) -> str:
    """What was given or changed, in short."""
    details = entry.details
    if entry.action == UPDATE:
        return "; ".join(f"{label(name)} {_change(pair)}" for name, pair in details.items())
    if entry.action == CREATE:
        said = [plain(details.get("type"))]
        said += [", ".join(map(str, details["scopes"]))] if isinstance(details.get("scopes"), list) else []
        until = plain(details.get("expiresAt"))
        said.append(f"expires {until[:10]}" if until else "never expires")
        return "; ".join(filter(None, said))
    if entry.action == REVOKE:
        return plain(details.get("why"))
    return plain(details) if details else ""


def _change(pair: Any) -> str:
    return change_text(*pair) if isinstance(pair, list) and len(pair) == 2 else plain(pair)
