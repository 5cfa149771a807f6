"""``tokctl tokens show``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.engines.protocol import Engine
from tokctl.errors import NotFoundError, UsageError
from tokctl.render.result import Detail
from tokctl.render.views.tokens import token_detail


def show_token(app: App, ids: opt.Ids) -> Detail:
    """Show all details of a token: state, error, times, context, related tokens and variables."""
    engine = app.engine
    instance_id, token_id = find_token(engine, ids)
    token = engine.detailed_token(instance_id, token_id)
    children = engine.children(instance_id, token_id)
    return token_detail(token, engine.instance(instance_id), children, app.out)


def find_token(engine: Engine, ids: list[str]) -> tuple[str, str]:
    """Return (instance id, token id) for ``TOKEN`` or ``INSTANCE TOKEN``.

    Raises:
        UsageError: there are more ids; NotFoundError: there is no such token.
    """
    if len(ids) > 2:
        raise UsageError("too many ids.", "Give a token, or an instance and a token.")
    if len(ids) == 2:
        return resolve_token(engine, ids[1], resolve_instance(engine, ids[0]))
    try:
        return resolve_token(engine, ids[0])
    except NotFoundError:
        if ids[0] == "@latest" or (ids[0] and engine.instance_ids(ids[0], 1)):
            raise UsageError(
                f"'{ids[0]}' is a process instance, not a token.",
                f"Give one of its tokens. 'tokctl tokens list {ids[0]}' lists them.",
            ) from None
        raise


app = command(
    show_token,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl tokens show srv1-token-aB3",
        "tokctl tokens show @latest srv1-token-aB3 -o json --query variables",
    ),
)
