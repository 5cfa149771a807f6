"""``tokctl store prune``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.process.model import format_time
from tokctl.process.query import parse_moment
from tokctl.render.human import count
from tokctl.render.result import Cell, Detail


def prune(
    app: App,
    completed_before: Annotated[
        str,
        typer.Option(metavar="TIME", help="A time, or a span before now such as 90d.", show_default=False),
    ],
    yes: opt.Yes = False,
) -> Detail:
    """Remove instances that came to their end long ago, with their tokens.

    Says what it would remove; --yes removes it. Instances with a live token are never removed.
    """
    moment = parse_moment(completed_before, app.now)
    store = app.store(write=yes)
    instances, tokens = store.prune(moment) if yes else store.finished_before(moment)
    what = f"{count(instances, 'instance')} that ended before {format_time(moment)}, with {count(tokens, 'token')}"
    if not instances:
        said = f"No instance ended before {format_time(moment)}: nothing to remove."
    elif yes:
        said = f"Removed {what}."
    else:
        said = f"Would remove {what}. Say --yes to remove them."
    document = {"before": format_time(moment), "instances": instances, "tokens": tokens, "removed": yes}
    return Detail(ident=str(instances), document=document, title=(Cell(said),))


app = command(
    prune,
    takes=(*opt.STORE, *opt.OUTPUT),
    examples=(
        "tokctl store prune --completed-before 90d",
        "tokctl store prune --completed-before 2025-06-01 --yes",
    ),
)
