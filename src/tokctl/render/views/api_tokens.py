"""API tokens: a list, one in full, the changes of an update, and revocations. Complete secrets are never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from tokctl.documents.api_tokens import (
    RevokedApiToken,
    UpdatedApiToken,
    VerifiedApiToken,
    encode_api_token_overview,
)
from tokctl.documents.base import Document
from tokctl.model.api_tokens import DISABLED, EXPIRED, FULL_ACCESS, REVOKED, UNKNOWN, VALID, ApiToken, LastUse
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section, format_value
from tokctl.render.text import age_cell, format_duration, seconds_since, time_cell
from tokctl.services.api_tokens.revocation import RevocationResult
from tokctl.services.api_tokens.succession import Succession, Successions

EXPIRY_WARNING = timedelta(days=14)
"""API tokens that expire within this time are coloured."""

_STATES = {VALID: "green", DISABLED: "yellow", EXPIRED: "red", REVOKED: "dim", UNKNOWN: "red"}
_NEVER = Cell("never", "dim")
_NOT_REPORTED = Cell("not reported by the server", "dim")


def api_token_columns(now: datetime, successions: Successions | None = None) -> tuple[Column, ...]:
    """Return the columns of a list of API tokens; their keys are the documented names. Rotations are marked."""

    def name_cell(token: ApiToken) -> Cell:
        known = Succession() if successions is None else successions.of(token)
        marks = []
        if known.rotated_to is not None:
            marks = [f"rotated to {known.rotated_to}"]
        elif known.rotated_from is not None:
            marks = [f"replaces {known.rotated_from}"]
        if token.state(now) == DISABLED:  # narrow tables have no column for the state
            marks.append(DISABLED)
        text = f"{token.name} ({', '.join(marks)})" if marks else token.name
        return Cell(text, "" if known.rotated_to is None else "dim")

    def time_column(key: str, title: str, time: Callable[[ApiToken], datetime | None], **more: Any) -> Column:
        more = {"show": lambda t: _age_or_never_cell(time(t), now)} | more
        return Column(key=key, title=title, value=lambda t: format_time(time(t)), right=True, **more)

    def state_cell(token: ApiToken) -> Cell:
        return api_token_state_cell(token.state(now))

    def updated_cell(token: ApiToken) -> Cell:
        return age_cell(token.updated_at, now)

    return (
        Column(key="id", title="ID", value=lambda t: t.id),
        Column(key="name", title="NAME", value=lambda t: t.name, show=name_cell, fold=True),
        Column(key="state", title="STATE", value=lambda t: t.state(now), show=state_cell, rank=8),
        Column(key="type", title="TYPE", value=lambda t: t.type, show=_type_cell, rank=2),
        Column(key="scopes", title="SCOPES", value=lambda t: t.scopes, show=_scopes_cell, fold=True, rank=3),
        Column(
            key="allowedCidrs",
            title="NETWORKS",
            value=lambda t: t.allowed_cidrs,
            show=_networks_cell,
            fold=True,
            wide=True,
            rank=9,
        ),
        Column(key="token", title="TOKEN", value=lambda t: t.token, show=_mask_cell, rank=5),
        time_column("lastUsedAt", "LAST USED", lambda t: t.last_used_at, rank=4),
        Column(
            key="lastUse",
            title="LAST USED BY",
            value=lambda t: t.last_use and format_use(t.last_use),
            fold=True,
            wide=True,
            rank=9,
        ),
        time_column("expiresAt", "EXPIRES", lambda t: t.expires_at, show=lambda t: _expiry_cell(t, now), rank=1),
        Column(key="createdBy", title="CREATED BY", value=_creator, fold=True, rank=7),
        time_column("createdAt", "CREATED", lambda t: t.created_at, rank=6),
        time_column("updatedAt", "UPDATED", lambda t: t.updated_at, show=updated_cell, wide=True, rank=9),
        Column(key="description", title="DESCRIPTION", value=lambda t: t.description, fold=True, wide=True, rank=9),
    )


def api_token_listing(
    tokens: Iterable[ApiToken],
    now: datetime,
    *,
    successions: Successions | None = None,
    tail: Callable[[], dict[str, Any]] = dict,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "No API tokens match.",
) -> Listing:
    """Return a list of API tokens; in JSON it is ``data`` of the documented answer, each with its ``state``."""
    return Listing(
        key="data",
        items=tokens,
        columns=api_token_columns(now, successions),
        ident=lambda token: str(token.id),
        document=lambda token: encode_api_token_overview(token, now, **_succession_members(token, successions)),
        tail=tail,
        notes=notes,
        empty=empty,
    )


def _succession_members(token: ApiToken, successions: Successions | None) -> dict[str, Any]:
    known = Succession() if successions is None else successions.of(token)
    members = {"rotated_from": known.rotated_from, "rotated_to": known.rotated_to}
    return {name: token_id for name, token_id in members.items() if token_id is not None}


def api_token_detail(
    token: ApiToken,
    now: datetime,
    successions: Successions | None = None,
    predecessor: ApiToken | None = None,
) -> Detail:
    """Return everything known about an API token, and its rotation. ``predecessor`` is None if it does not exist."""
    extra = tuple(Field(name, Cell(format_value(value))) for name, value in token.extra.items())
    fields = (
        *_rights(token),
        *([] if not token.allowed_cidrs else [Field("networks", _networks_cell(token))]),
        Field("token", Cell(token.token) if token.token else _NOT_REPORTED),
        Field("description", Cell(token.description or "none", "" if token.description else "dim")),
        Field("created by", Cell(_creator(token) or "unknown", "" if token.created_by else "dim")),
    )
    times = (
        Field("created", time_cell(token.created_at, now)),
        Field("updated", time_cell(token.updated_at, now)),
        Field("last used", time_cell(token.last_used_at, now) if token.last_used_at else _NEVER),
        *([] if token.last_use is None else [Field("used by", Cell(format_use(token.last_use)))]),
        Field("expires", _expiry_detail_cell(token, now)),
    )
    return Detail(
        ident=str(token.id),
        document=encode_api_token_overview(token, now, **_succession_members(token, successions)),
        title=_title(token, api_token_state_cell(token.state(now))),
        sections=(
            Section(fields=fields),
            Section(title="Rotation", fields=_rotation_fields(token, now, successions, predecessor)),
            Section(title="Times", fields=times),
            Section(title="Other fields", fields=extra),
        ),
    )


def _rotation_fields(
    token: ApiToken, now: datetime, successions: Successions | None, predecessor: ApiToken | None
) -> tuple[Field, ...]:
    known = Succession() if successions is None else successions.of(token)
    fields = []
    if known.rotated_from is not None:
        state = "revoked" if predecessor is None else _validity(predecessor, now)
        fields.append(Field("replaces", Cell(f"API token {known.rotated_from}, {state}")))
    if known.rotated_to is not None:
        fields.append(Field("rotated to", Cell(f"API token {known.rotated_to}; this one is {_validity(token, now)}")))
    return tuple(fields)


def _validity(token: ApiToken, now: datetime) -> str:
    until = "" if token.expires_at is None else f" {time_cell(token.expires_at, now).text}"
    if token.state(now) == VALID:
        return f"valid until{until}" if until else "valid"
    return f"{token.state(now)}{until}"


def update_detail(before: ApiToken, after: ApiToken, now: datetime) -> Detail:
    """Return the changes of an update: values before and after."""

    def changeable(token: ApiToken) -> dict[str, Any]:
        return {
            "name": token.name,
            "description": token.description,
            "type": token.type,
            "scopes": None if token.scopes is None else [*token.scopes],
            "allowedCidrs": None if token.allowed_cidrs is None else [*token.allowed_cidrs],
            "disabled": token.disabled,
            "expiresAt": format_time(token.expires_at),
        }

    old, new = changeable(before), changeable(after)
    changes = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    fields = tuple(Field(field_label(name), Cell(format_change(*pair))) for name, pair in changes.items())
    return Detail(
        ident=str(after.id),
        document=encode_api_token_overview(after, now, UpdatedApiToken, changes=changes),
        title=_title(after, Cell("updated" if changes else "unchanged: it already has these values")),
        sections=(Section(fields=fields),),
    )


def verification_detail(
    state: str, token: ApiToken | None, allowed: Mapping[str, bool], now: datetime, *, good: bool
) -> Detail:
    """Return the verification of a secret: its state, its API token, and whether that has the requested scopes."""
    fields = [
        Field(scope, Cell("allowed", "green") if yes else Cell("not allowed", "red")) for scope, yes in allowed.items()
    ]
    known: dict[str, Any] = dict.fromkeys(("id", "name", "type", "scopes", "expires_at"))
    title: tuple[Cell, ...] = (
        api_token_state_cell(state),
        Cell("" if state == UNKNOWN else "  the registry does not report the API token"),
    )
    if token is not None:
        known = {
            "id": token.id,
            "name": token.name,
            "type": token.type,
            "scopes": UNSET if token.scopes is None else [*token.scopes],
            "expires_at": format_time(token.expires_at),
        }
        title = _title(token, api_token_state_cell(state))
        fields = [
            *_rights(token),
            Field("expires", time_cell(token.expires_at, now) if token.expires_at else _NEVER),
            *fields,
        ]
    return Detail(
        ident="" if token is None else str(token.id),
        document=VerifiedApiToken(
            state=state, valid=state == VALID, **known, allows=dict(allowed) if allowed else UNSET
        ),
        title=title,
        sections=(Section(fields=tuple(fields)),),
        exit_code=0 if good else 1,
    )


def revocation_listing(
    done: Sequence[RevocationResult],
    now: datetime,
    *,
    dry_run: bool,
    exit_code: int = 0,
    empty: str = "No API tokens match. Nothing was revoked.",
) -> Listing:
    """Return the API tokens that were revoked, or would be (dry run)."""

    def document(one: RevocationResult) -> Document:
        now_revoked = {"state": REVOKED} if one.revoked else {}
        members = {"revoked": one.revoked, "removed_from": one.removed_from, "error": one.message}
        return encode_api_token_overview(one.token, now, RevokedApiToken, **now_revoked, **members)

    def outcome(one: RevocationResult) -> Cell:
        if dry_run:
            return Cell("would be revoked")
        if not one.revoked:
            return Cell("not revoked", "red")
        return Cell(f"revoked, and removed from {one.removed_from}" if one.removed_from else "revoked")

    def of_token(column: Column) -> Column:
        value, show = column.value, column.show
        return replace(
            column, value=lambda one: value(one.token), show=None if show is None else lambda one: show(one.token)
        )

    keys = ("id", "name", "type", "token", "lastUsedAt", "expiresAt")
    return Listing(
        key="apiTokens",
        items=done,
        columns=(
            *(of_token(column) for column in api_token_columns(now) if column.key in keys),
            Column(key="revoked", title="OUTCOME", value=lambda one: one.revoked, show=outcome, fold=True),
            Column(key="removedFrom", title="REMOVED FROM", value=lambda one: one.removed_from, wide=True, rank=9),
            Column(key="error", title="ERROR", value=lambda one: one.message, wide=True, fold=True, rank=9),
        ),
        ident=lambda one: str(one.token.id) if one.revoked or dry_run else "",
        document=document,
        head={"dryRun": dry_run},
        notes=lambda _: ["Dry run: nothing was revoked."] if dry_run and done else [],
        empty=empty,
        exit_code=exit_code,
    )


def api_token_state_cell(state: str) -> Cell:
    """Return a state as a word with its colour."""
    return Cell(state, _STATES.get(state, "bold cyan"))


def field_label(name: str) -> str:
    """Return the label of a member of an API token's document."""
    return {"expiresAt": "expires", "allowedCidrs": "networks"}.get(name, name)


def format_use(use: LastUse) -> str:
    """Return who used an API token last, and for what: address, user agent and endpoint, as far as they are known."""
    return ", ".join(filter(None, (use.address, use.user_agent, use.endpoint))) or "unknown"


def format_change(before: Any, after: Any) -> str:
    """Return a change as text."""
    return f"{_format_value(before)} → {_format_value(after)}"


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return format_value(value) or "none"


def _title(token: ApiToken, last: Cell) -> tuple[Cell, ...]:
    return (Cell(token.name, "bold"), Cell("  "), Cell(f"API token {token.id}"), Cell("  "), last)


def _rights(token: ApiToken) -> tuple[Field, Field]:
    scopes = _NOT_REPORTED if token.scopes is None else _scopes_cell(token)
    return Field("type", _type_cell(token)), Field("scopes", scopes)


def _type_cell(token: ApiToken) -> Cell:
    if token.unrestricted:
        return Cell(f"{token.type} (unrestricted)", "yellow")
    return Cell(token.type, "yellow" if token.type == FULL_ACCESS else "")


def _mask_cell(token: ApiToken) -> Cell:
    return Cell(token.token) if token.token else Cell("?", "dim")


def _scopes_cell(token: ApiToken) -> Cell:
    scopes = token.scopes
    return Cell("?", "dim") if scopes is None else Cell(", ".join(scopes) or "none", "" if scopes else "dim")


def _networks_cell(token: ApiToken) -> Cell:
    networks = token.allowed_cidrs
    return Cell(", ".join(networks)) if networks else Cell("?" if networks is None else "any", "dim")


def _creator(token: ApiToken) -> str | None:
    by = token.created_by
    return None if by is None else by.email or (None if by.id is None else str(by.id))


def _age_or_never_cell(time: datetime | None, now: datetime) -> Cell:
    return age_cell(time, now) if time is not None else _NEVER


def _expiry_cell(token: ApiToken, now: datetime) -> Cell:
    if token.expires_at is None:
        return _NEVER
    left = -(seconds_since(token.expires_at, now) or 0)
    if left <= 0:
        return Cell(f"{format_duration(-left)} ago", "red")
    return Cell(f"in {format_duration(left)}", "yellow" if left <= EXPIRY_WARNING.total_seconds() else "")


def _expiry_detail_cell(token: ApiToken, now: datetime) -> Cell:
    if token.expires_at is None:
        return _NEVER
    return Cell(time_cell(token.expires_at, now).text, _expiry_cell(token, now).style)
