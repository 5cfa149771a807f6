"""``tokctl tokens history``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_token
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.errors import NotFoundError, UsageError
from tokctl.render.result import Listing
from tokctl.render.views.history import history_listing
from tokctl.services.inspection import read_history


def show_history(
    app: App,
    ids: Annotated[
        list[str] | None,
        opt.argument(
            "[INSTANCE] [TOKEN]",
            "Instance id, or token id for the path to this token. The beginning of an id is enough.",
            complete=complete_token,
        ),
    ] = None,
) -> Listing:
    """Show the path of an instance through the model, or the path to one token, with times and durations.

    Use it to see how an instance or a token got where it is. See 'tokens tree' for all branches at once.

    WAITED is the time between the end of the previous token and the start of this one.
    """
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
    hops = read_history(engine, instance_id, token_id)
    found = engine.instance(instance_id)
    return history_listing(hops, found, engine.summary(instance_id), app.out)


app = command(
    show_history,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=("tokctl tokens history @latest", "tokctl tokens history @latest srv1-token-aB3 -o ndjson"),
)
