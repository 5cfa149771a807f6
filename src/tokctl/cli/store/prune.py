"""``tokctl store prune``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.cli.prompts import confirm, is_interactive
from tokctl.documents.store import PruneDocument
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Detail
from tokctl.render.text import count, format_zoned_time


def prune(
    app: App,
    completed_before: Annotated[
        str, opt.option("TIME", "Remove instances that ended before this time (RFC 3339, or an age such as 90d).")
    ],
    yes: opt.Yes = False,
    with_incidents: Annotated[bool, opt.flag("--with-incidents", "Include instances with FAILED tokens.")] = False,
) -> Detail:
    """Remove old instances that have ended, with their tokens.

    On a terminal you are asked for confirmation. Without a terminal, use --yes; without --yes, only the totals are
    shown. Instances with live tokens are kept. Instances with an incident (a FAILED token) are kept, unless
    --with-incidents is given. Other programs can write to the store in the meantime. If the command is interrupted, run
    it again: it removes the rest.
    """
    moment = parse_time_or_age(completed_before, app.now)
    before = format_zoned_time(moment, app.now)
    asks = not yes and is_interactive()
    store = app.store(write=yes or asks)
    instances, tokens = store.count_prunable(moment, incidents=with_incidents)

    def describe() -> str:
        return f"{count(instances, 'instance')} that ended before {before}, with {count(tokens, 'token')}"

    if asks and instances:
        yes = confirm(f"Remove {describe()}?")
    if yes:
        with progress("Removing instances", instances) as step:
            instances, tokens = store.prune(moment, incidents=with_incidents, step=step)
    if not instances:
        kind = "instance" if with_incidents else "instance without FAILED tokens"
        said = f"No {kind} ended before {before}: nothing to remove."
    elif yes:
        said = f"Removed {describe()}."
    else:
        said = f"Would remove {describe()}. Use --yes to remove them."
    document = PruneDocument(before=format_time(moment) or "", instances=instances, tokens=tokens, removed=yes)
    return Detail(ident=str(instances), document=document, title=(Cell(said),))


app = command(
    prune,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=(
        "tokctl store prune --completed-before 90d",
        "tokctl store prune --completed-before 2025-06-01 --yes",
    ),
)
