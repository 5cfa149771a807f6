"""What was done to make API tokens as they are declared, or would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokctl.documents.api_tokens import AppliedApiToken
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Listing
from tokctl.render.views.api_tokens import field_label, format_change
from tokctl.services.api_tokens.applying import CHANGING, CREATE, REVOKE, ROTATE, UNDECLARED, UPDATE, Step

_STYLES = {CREATE: "green", UPDATE: "yellow", ROTATE: "yellow", REVOKE: "red", UNDECLARED: "bold"}
_MEMBERS = {"allowed_cidrs": "allowedCidrs", "expires_at": "expiresAt"}


def applied_listing(steps: Sequence[Step], *, dry_run: bool, exit_code: int = 0) -> Listing:
    """Return the steps, as they were done or (dry run) would be."""

    def details(step: Step) -> Cell:
        if step.error is not None:
            return Cell(str(step.error), "red")
        changes = _list_changes(step).items()
        parts = [step.reason, *(f"{field_label(name)} {format_change(*pair)}" for name, pair in changes)]
        if step.saved is not None:
            parts.append(f"secret in {step.saved}")
        elif step.action in {CREATE, ROTATE} and step.declaration is not None:
            parts.append(f"secret to {step.declaration.save}")
        return Cell("; ".join(filter(None, parts)))

    def document(step: Step) -> AppliedApiToken:
        return AppliedApiToken(
            name=step.name,
            action=step.action,
            id=None if step.token is None else step.token.id,
            line=None if step.declaration is None else step.declaration.line,
            changes=_list_changes(step),
            reason=step.reason or None,
            saved=step.saved,
            error=None if step.error is None else str(step.error),
        )

    def notes(_shown: int) -> list[str]:
        found = []
        if any(step.action == UNDECLARED for step in steps):
            found.append("Undeclared API tokens are left alone. Use --prune to revoke them.")
        if dry_run:
            drift = Counter(step.action for step in steps if step.action in CHANGING)
            would = ", ".join(f"{action} {number}" for action, number in drift.items()) or "change nothing"
            found.append(f"Dry run: nothing was changed. It would {would}.")
        return found

    return Listing(
        key="apiTokens",
        items=steps,
        columns=(
            Column(
                key="action",
                title="ACTION",
                value=lambda step: step.action,
                show=lambda step: Cell(step.action, "red" if step.error else _STYLES.get(step.action, "dim")),
            ),
            Column(key="name", title="NAME", value=lambda step: step.name, fold=True),
            Column(key="id", title="ID", value=lambda step: None if step.token is None else step.token.id),
            Column(key="details", title="DETAILS", value=lambda step: details(step).text, show=details, fold=True),
        ),
        ident=lambda step: "" if step.token is None else str(step.token.id),
        document=document,
        head={"dryRun": dry_run},
        notes=notes,
        empty="No API tokens are declared, and there are none.",
        exit_code=exit_code,
    )


def _list_changes(step: Step) -> dict[str, tuple[Any, Any]]:
    return {
        _MEMBERS.get(field, field): (_plain(step.before.get(field)), _plain(value))
        for field, value in step.changes.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [*value]
    return format_time(value) if hasattr(value, "tzinfo") else value
