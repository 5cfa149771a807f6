"""``tokctl explain``."""

from __future__ import annotations

from typing import Any

import msgspec

from tokctl.cli import options as opt
from tokctl.cli.app import SEE, App, command
from tokctl.cli.tokens_show import find_token
from tokctl.process.explain import Scene, explain
from tokctl.render.result import Detail
from tokctl.render.views.explain import explanation_detail


def show_explanation(app: App, ids: opt.Ids) -> Detail:
    """Say why a token waits, and on what: in words, with the evidence.

    From the token, its context and the model: the job and its worker, the timer and when it is due, the
    message, the person. At a join the flows that have arrived and those that are missing, on which
    tokens these depend in the end, and whether they can still arrive.
    """  # fmt: skip
    engine = app.engine
    instance_id, token_id = find_token(engine, ids)
    status = engine.instance(instance_id)
    process = status.instance.process_id

    def context_of(other_id: str) -> dict[str, Any]:
        raw = engine.token(instance_id, other_id).execution_context
        context = msgspec.json.decode(raw)
        return context if isinstance(context, dict) else {}

    scene = Scene(
        status=status,
        visits=list(engine.visits(instance_id, flows=True)),
        now=app.now,
        definition=engine.definition(process, status.instance.version) if process else None,
        find_definition=lambda process_id: engine.definition(process_id, None),
        context_of=context_of,
    )
    return explanation_detail(explain(token_id, scene, app.prefix), app.out)


app = command(
    show_explanation,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=SEE,
    examples=("tokctl explain srv1-token-aB3", "tokctl explain @latest srv1-token-aB3 -o json --query blocker"),
)
