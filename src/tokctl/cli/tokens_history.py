"""``tokctl tokens history``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_token
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.errors import NotFoundError, UsageError
from tokctl.process.history import history
from tokctl.process.query import EVERYTHING, Order
from tokctl.render.result import Listing
from tokctl.render.views.history import history_listing


def show_history(
    app: App,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE] [TOKEN]",
            autocompletion=complete_token,
            show_default=False,
            help="An instance, or a token: then what led to it. By id or the beginning of one.",
        ),
    ] = None,
) -> Listing:
    """Show the way through the model, hop by hop, with times, waits and durations.

    WAITED is the time from the end of the token that a token came from until it began. For one
    token, the way that led to it.
    """  # fmt: skip
    engine = app.engine
    given = list(ids or [])
    token_id = None
    if len(given) > 2:
        raise UsageError("too many ids.", "Give an instance, a token, or an instance and a token.")
    if len(given) == 2:
        instance_id, token_id = resolve_token(engine, given[1], resolve_instance(engine, given[0]))
    else:
        try:
            instance_id = resolve_instance(engine, given[0] if given else None)
        except NotFoundError:
            if not given:
                raise
            instance_id, token_id = resolve_token(engine, given[0])
    found = engine.instance(instance_id)
    process = found.instance.process_id
    definition = engine.definition(process, found.instance.version) if process else None
    hops = history(engine.tokens(instance_id, EVERYTHING, Order("created")), token_id=token_id, definition=definition)
    return history_listing(hops, found, engine.summary(instance_id), app.now, unicode=app.out.unicode)


app = command(
    show_history,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=("tokctl tokens history @latest", "tokctl tokens history @latest srv1-token-aB3 -o ndjson"),
)
