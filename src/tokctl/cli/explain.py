"""``tokctl explain``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.completion import complete_token
from tokctl.cli.tokens.show import find_token
from tokctl.engines.ids import resolve_instance
from tokctl.engines.protocol import Engine
from tokctl.render.result import Detail, Listing
from tokctl.render.views.explain import explanation_detail, explanation_listing
from tokctl.services.inspection import explain_instance, explain_token

Ids = Annotated[
    list[str],
    opt.argument(
        "[INSTANCE] [TOKEN]",
        "Instance id, token id, or both. The beginning of an id is enough.",
        complete=complete_token,
    ),
]


def show_explanation(app: App, ids: Ids) -> Detail | Listing:
    """Explain why a token, or each live token of an instance, is waiting and for what.

    The explanation names the job and its worker, the timer and its due time, the message, the user, or the error of
    the failed job. For a join it lists the flows that arrived, the flows that are missing, the tokens that they depend
    on, and whether they can still arrive.
    """
    engine = app.engine
    instance_id = _find_instance(engine, ids)
    if instance_id is not None:
        found = explain_instance(engine, instance_id, app.now, prefix=app.prefix)
        status, summary = engine.instance(instance_id), engine.summary(instance_id)
        return explanation_listing(found, status, summary, app.out, app.prefix)
    instance_id, token_id = find_token(engine, ids)
    return explanation_detail(explain_token(engine, instance_id, token_id, app.now, prefix=app.prefix), app.out)


def _find_instance(engine: Engine, ids: list[str]) -> str | None:
    """Return the instance that a single id names, unless it names a token."""
    if len(ids) != 1:
        return None
    (given,) = ids
    if given.startswith("@"):
        return resolve_instance(engine, given)
    tokens = engine.token_ids(given, None, 1) if given else []
    if tokens and tokens[0][1] == given:
        return None
    instances = engine.instance_ids(given, 1) if given else []
    is_token = bool(tokens) and (tokens[0][1] == given or instances != [given])
    return resolve_instance(engine, given) if instances and not is_token else None


app = command(
    show_explanation,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl explain srv1-token-aB3",
        "tokctl explain @latest",
        "tokctl explain @latest srv1-token-aB3 -o json --query blocker",
    ),
)
