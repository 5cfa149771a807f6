"""The audit of API tokens: its entries, and the check of their hash chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tokctl.api_tokens.audit import (
    CREATE,
    DISABLE,
    ENABLE,
    REVOKE,
    ROTATE,
    UPDATE,
    AuditEntry,
    ChainCheck,
    encode_entry,
    encode_head,
)
from tokctl.documents.audit import ChainCheckDocument
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section, format_value
from tokctl.render.text import count, moment_cell
from tokctl.render.views.api_tokens import field_label, format_change

_ACTION_STYLES = {CREATE: "green", UPDATE: "", DISABLE: "yellow", ENABLE: "", REVOKE: "red", ROTATE: "yellow"}


def audit_listing(
    entries: Iterable[AuditEntry], now: datetime, *, notes: Callable[[int], list[str]] = lambda _: []
) -> Listing:
    """Return a list of entries; their documents include the hashes."""
    return Listing(
        key="entries",
        items=entries,
        columns=(
            Column(key="number", title="NO", value=lambda e: e.number, right=True, rank=4),
            Column(
                key="at",
                title="TIME",
                value=lambda e: format_time(e.at),
                show=lambda e: moment_cell(e.at, now),
            ),
            Column(
                key="action",
                title="ACTION",
                value=lambda e: e.action,
                show=lambda e: Cell(e.action, _ACTION_STYLES.get(e.action, "bold cyan")),
            ),
            Column(key="token", title="TOKEN", value=lambda e: e.token_id),
            Column(key="name", title="NAME", value=lambda e: e.token_name, fold=True),
            Column(key="by", title="BY", value=_format_actor, fold=True, rank=1),
            Column(key="from", title="FROM", value=lambda e: e.actor.origin, fold=True, rank=3),
            Column(
                key="details",
                title="DETAILS",
                value=lambda e: e.details,
                show=lambda e: Cell(_format_details(e)),
                fold=True,
                min_width=20,
                rank=2,
            ),
            Column(key="kind", title="KIND", value=lambda e: e.actor.kind, wide=True, rank=9),
            Column(
                key="hash", title="HASH", value=lambda e: e.hash, show=lambda e: Cell(e.hash[:16]), wide=True, rank=9
            ),
        ),
        ident=lambda entry: str(entry.number),
        document=encode_entry,
        notes=notes,
        empty="No audit entries match.",
    )


def chain_check_detail(checked: ChainCheck) -> Detail:
    """Return the result of a check of the chain: how many entries are valid, and the last hash."""
    entries = count(checked.entries, "entry", "entries")
    texts = "The audit log is empty." if not checked.entries else f"The audit log is valid: {entries}."
    fields = (Field("head", Cell(checked.head.hash)),) if checked.entries else ()
    if checked.fault:
        texts = f"The audit log was modified: {checked.fault}."
        fields = (Field("valid", Cell(f"the first {entries}" if checked.entries else "no entries")), *fields)
    return Detail(
        ident=checked.head.hash,
        document=ChainCheckDocument(
            whole=not checked.fault,
            entries=checked.entries,
            head=encode_head(checked.head),
            fault=checked.fault or None,
        ),
        title=(Cell(texts, "bold red" if checked.fault else "bold"),),
        sections=(Section(fields=fields),),
        exit_code=1 if checked.fault else 0,
    )


def _format_actor(entry: AuditEntry) -> str:
    actor = entry.actor
    who = actor.name or actor.id
    return f"API token {actor.id} {actor.name}".rstrip() if actor.kind == "api-token" else who


def _format_details(entry: AuditEntry) -> str:
    """Return what was set or changed, in short."""
    details = entry.details
    if entry.action == UPDATE:
        return "; ".join(f"{field_label(name)} {_format_change_pair(pair)}" for name, pair in details.items())
    if entry.action == CREATE:
        texts = [format_value(details.get("type"))]
        texts += [", ".join(map(str, details["scopes"]))] if isinstance(details.get("scopes"), list) else []
        until = format_value(details.get("expiresAt"))
        texts.append(f"expires {until[:10]}" if until else "never expires")
        texts += [f"replaces {details['replaces']}"] if "replaces" in details else []
        return "; ".join(filter(None, texts))
    if entry.action == ROTATE:
        return f"to {format_value(details.get('successor'))}"
    if entry.action in {REVOKE, DISABLE, ENABLE}:
        return "; ".join(filter(None, (format_value(details.get("why")), _format_last_use(details.get("lastUse")))))
    return format_value(details) if details else ""


def _format_last_use(use: Any) -> str:
    if not isinstance(use, dict):
        return ""
    known = (use.get(name) for name in ("at", "address", "userAgent", "endpoint"))
    return f"last used {', '.join(format_value(value) for value in known if value)}"


def _format_change_pair(pair: Any) -> str:
    return format_change(*pair) if isinstance(pair, list) and len(pair) == 2 else format_value(pair)
