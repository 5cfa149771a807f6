"""A list of API tokens, one in full, what an update changed, and what was revoked. No secret is ever among it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from tokctl.access.model import EXPIRED, FULL_ACCESS, REVOKED, UNKNOWN, VALID, ApiToken
from tokctl.access.wire import api_token_document
from tokctl.process.model import format_time
from tokctl.render.human import age_cell, seconds_since, span, time_cell
from tokctl.render.result import Cell, Column, Detail, Document, Field, Listing, Section, plain

SOON = timedelta(days=14)
"""What expires within that time is told in a colour of its own."""

_STATES = {VALID: "green", EXPIRED: "red", REVOKED: "dim", UNKNOWN: "red"}
_NEVER = Cell("never", "dim")
_NOT_TOLD = Cell("not told by the server", "dim")


def token_document(token: ApiToken, now: datetime) -> Document:
    """The documented object of an API token, and its ``state``."""
    return api_token_document(token) | {"state": token.state(now)}


def token_columns(now: datetime) -> tuple[Column, ...]:
    """The columns that a list of API tokens can have; their keys are the documented names."""
    return (
        Column(key="id", title="ID", value=lambda t: t.id),
        Column(key="name", title="NAME", value=lambda t: t.name, fold=True),
        Column(key="state", title="STATE", value=lambda t: t.state(now), show=lambda t: state_cell(t.state(now)),
               wide=True, rank=8),
        Column(key="type", title="TYPE", value=lambda t: t.type, show=lambda t: _type_cell(t.type), rank=2),
        Column(key="scopes", title="SCOPES", value=lambda t: t.scopes, show=lambda t: _scopes_cell(t.scopes),
               fold=True, rank=3),
        Column(key="token", title="TOKEN", value=lambda t: t.token, rank=5),
        Column(key="lastUsedAt", title="LAST USED", value=lambda t: format_time(t.last_used_at),
               show=lambda t: _ago_cell(t.last_used_at, now), right=True, rank=4),
        Column(key="expiresAt", title="EXPIRES", value=lambda t: format_time(t.expires_at),
               show=lambda t: _expiry_cell(t, now), right=True, rank=1),
        Column(key="createdBy", title="CREATED BY", value=_creator, fold=True, rank=7),
        Column(key="createdAt", title="CREATED", value=lambda t: format_time(t.created_at),
               show=lambda t: _ago_cell(t.created_at, now), right=True, rank=6),
        Column(key="updatedAt", title="UPDATED", value=lambda t: format_time(t.updated_at),
               show=lambda t: age_cell(t.updated_at, now), right=True, wide=True, rank=9),
        Column(key="description", title="DESCRIPTION", value=lambda t: t.description, fold=True, wide=True, rank=9),
    )  # fmt: skip


def token_listing(
    tokens: Iterable[ApiToken],
    now: datetime,
    *,
    tail: Callable[[], Document] = dict,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "No API token matches.",
) -> Listing:
    """A list of API tokens; in JSON the documented answer's ``data``, each with its ``state``."""
    return Listing(
        key="data",
        items=tokens,
        columns=token_columns(now),
        ident=lambda token: str(token.id),
        document=lambda token: token_document(token, now),
        tail=tail,
        notes=notes,
        empty=empty,
    )


def token_detail(token: ApiToken, now: datetime) -> Detail:
    """Everything known of an API token."""
    extra = tuple(Field(name, Cell(plain(value))) for name, value in token.extra.items())
    fields = (
        Field("type", _type_cell(token.type)),
        Field("scopes", _scopes_cell(token.scopes) if token.scopes is not None else _NOT_TOLD),
        Field("token", Cell(token.token)),
        Field("description", Cell(token.description or "none", "" if token.description else "dim")),
        Field("created by", Cell(_creator(token) or "unknown", "" if token.created_by else "dim")),
    )
    times = (
        Field("created", time_cell(token.created_at, now)),
        Field("updated", time_cell(token.updated_at, now)),
        Field("last used", time_cell(token.last_used_at, now) if token.last_used_at else _NEVER),
        Field("expires", _expiry_in_full(token, now)),
    )
    return Detail(
        ident=str(token.id),
        document=token_document(token, now),
        title=_title(token, state_cell(token.state(now))),
        sections=(
            Section(fields=fields),
            Section(title="Times", fields=times),
            Section(title="Other fields", fields=extra),
        ),
    )


def update_detail(before: ApiToken, after: ApiToken, now: datetime) -> Detail:
    """What an update has changed: before and after."""
    changes = {
        name: [old, new]
        for name, old, new in (
            ("name", before.name, after.name),
            ("description", before.description, after.description),
            ("type", before.type, after.type),
            ("scopes", _list(before.scopes), _list(after.scopes)),
            ("expiresAt", format_time(before.expires_at), format_time(after.expires_at)),
        )
        if old != new
    }
    return Detail(
        ident=str(after.id),
        document=token_document(after, now) | {"changes": changes},
        title=_title(after, Cell("updated" if changes else "has all of that already: nothing was changed")),
        sections=(
            Section(fields=tuple(Field(label(name), Cell(change_text(*pair))) for name, pair in changes.items())),
        ),
    )


def verdict_detail(state: str, token: ApiToken | None, allowed: Mapping[str, bool], *, good: bool) -> Detail:
    """What was found of a secret: its state, whose it is, and whether it allows what was asked for."""
    shown: tuple[Field, ...] = ()
    known: Document = dict.fromkeys(("id", "name", "type", "scopes", "expiresAt"))
    unsaid = "" if state == UNKNOWN else "  the registry does not tell whose it is"
    title: tuple[Cell, ...] = (state_cell(state), Cell(unsaid))
    if token is not None:
        known = {name: value for name, value in api_token_document(token).items() if name in known}
        title = _title(token, state_cell(state))
        shown = (
            Field("type", _type_cell(token.type)),
            Field("scopes", _scopes_cell(token.scopes) if token.scopes is not None else _NOT_TOLD),
            Field("expires", time_cell(token.expires_at) if token.expires_at else _NEVER),
        )
    answers = tuple(
        Field(scope, Cell("allowed", "green") if yes else Cell("not allowed", "red")) for scope, yes in allowed.items()
    )
    return Detail(
        ident=str(known["id"] or ""),
        document={"state": state, "valid": state == VALID} | known | ({"allows": dict(allowed)} if allowed else {}),
        title=title,
        sections=(Section(fields=shown + answers),),
        exit_code=0 if good else 1,
    )


class Revocation(Struct, frozen=True, kw_only=True):
    """An API token that was to be revoked: whether it is, what kept it, and from where its secret was removed."""

    token: ApiToken
    revoked: bool
    error: str = ""
    removed_from: str = ""


def revocation_listing(
    done: Sequence[Revocation],
    now: datetime,
    *,
    dry_run: bool,
    exit_code: int = 0,
    empty: str = "No API token matches: there is nothing to revoke.",
) -> Listing:
    """What was revoked, or would be."""

    def outcome(one: Revocation) -> Cell:
        if dry_run:
            return Cell("would be revoked")
        if not one.revoked:
            return Cell("not revoked", "red")
        return Cell(f"revoked, and removed from {one.removed_from}" if one.removed_from else "revoked")

    def of_token(column: Column) -> Column:
        value, show = column.value, column.show
        return Column(
            key=column.key, title=column.title, value=lambda one: value(one.token), fold=column.fold,
            show=None if show is None else lambda one: show(one.token), right=column.right, rank=column.rank,
        )  # fmt: skip

    keys = ("id", "name", "type", "token", "lastUsedAt", "expiresAt")
    return Listing(
        key="api_tokens",
        items=done,
        columns=(
            *(of_token(column) for column in token_columns(now) if column.key in keys),
            Column(key="revoked", title="OUTCOME", value=lambda one: one.revoked, show=outcome, fold=True),
            Column(key="removed_from", title="REMOVED FROM", value=lambda one: one.removed_from or None, wide=True,
                   rank=9),
            Column(key="error", title="ERROR", value=lambda one: one.error or None, wide=True, fold=True, rank=9),
        ),
        ident=lambda one: str(one.token.id) if one.revoked or dry_run else "",
        document=lambda one: token_document(one.token, now)
        | ({"state": REVOKED} if one.revoked else {})
        | {"revoked": one.revoked, "removed_from": one.removed_from or None, "error": one.error or None},
        head={"dry_run": dry_run},
        notes=lambda _: ["This was a dry run: nothing was revoked."] if dry_run and done else [],
        empty=empty,
        exit_code=exit_code,
    )  # fmt: skip


def state_cell(state: str) -> Cell:
    """A state by its word and colour."""
    return Cell(state, _STATES.get(state, "bold cyan"))


def label(name: str) -> str:
    """What people call a member of an API token's document."""
    return "expires" if name == "expiresAt" else name


def change_text(before: Any, after: Any) -> str:
    """A change in words."""
    return f"{_value(before)} → {_value(after)}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return plain(value) or "none"


def _title(token: ApiToken, last: Cell) -> tuple[Cell, ...]:
    return (Cell(token.name, "bold"), Cell("  "), Cell(f"API token {token.id}"), Cell("  "), last)


def _type_cell(kind: str) -> Cell:
    return Cell(kind, "yellow" if kind == FULL_ACCESS else "")


def _scopes_cell(scopes: Sequence[str] | None) -> Cell:
    return Cell("?", "dim") if scopes is None else Cell(", ".join(scopes) or "none", "" if scopes else "dim")


def _creator(token: ApiToken) -> str | None:
    by = token.created_by
    return None if by is None else by.email or (None if by.id is None else str(by.id))


def _list(scopes: Sequence[str] | None) -> list[str] | None:
    return None if scopes is None else [*scopes]


def _ago_cell(time: datetime | None, now: datetime) -> Cell:
    return age_cell(time, now) if time is not None else _NEVER


def _expiry_cell(token: ApiToken, now: datetime) -> Cell:
    if token.expires_at is None:
        return _NEVER
    left = -(seconds_since(token.expires_at, now) or 0)
    if left <= 0:
        return Cell(f"{span(-left)} ago", "red")
    return Cell(f"in {span(left)}", "yellow" if left <= SOON.total_seconds() else "")


def _expiry_in_full(token: ApiToken, now: datetime) -> Cell:
    if token.expires_at is None:
        return _NEVER
    return Cell(time_cell(token.expires_at, now).text, _expiry_cell(token, now).style)
