"""``tokctl flow``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import SEE, App, command
from tokctl.cli.paging import TABLE_LIMIT
from tokctl.engines.base import Reading
from tokctl.engines.ids import resolve_instance
from tokctl.process.flow import Flow
from tokctl.process.query import EVERYTHING, Order
from tokctl.render.result import Listing
from tokctl.render.views.flow import flow_listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokctl.process.changes import Change


def show_flow(
    app: App,
    instance: opt.Instance = None,
    variables: Annotated[
        bool, typer.Option("--variables", help="Show what became of the variables on the way, too.")
    ] = False,
    limit: opt.Limit = None,
) -> Listing:
    """Show how an instance flowed: its way on a time line, what is live, and what took the time.

    SLACK is how much later a token could have ended without the whole ending later. The critical path has none: it is
    the chain of tokens that decided when the instance ended, or for how long a live one has been going on. Bottlenecks
    are elements by the time that tokens spent there, waits at joins apart. -o mermaid writes the way taken as a
    flowchart: thick edges are the critical path, dotted ones flows that no token took.
    """
    engine = app.engine if variables else app.open_engine(Reading.VISITS_WITH_FLOWS)
    instance_id = resolve_instance(engine, instance)
    status = engine.instance(instance_id)
    flow = Flow(engine.visits(instance_id, flows=True), app.now)

    def mermaid() -> Iterable[str]:
        from tokctl.process.mermaid import mermaid

        process = status.instance.process_id
        return mermaid(flow, engine.definition(process, status.instance.version) if process else None)

    def changes() -> Sequence[Change]:
        from tokctl.process.changes import changes

        tokens = engine.tokens(instance_id, EVERYTHING, Order("created"))
        return changes(flow, {token.token_id: token.variables for token in tokens})

    return flow_listing(
        flow,
        status,
        lambda: engine.summary(instance_id),
        app.out,
        limit=limit or None,
        rows=TABLE_LIMIT if limit is None else limit or None,
        changes=changes if variables else None,
        mermaid=mermaid,
    )


app = command(
    show_flow,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl flow @latest",
        "tokctl flow srv1-aB3 --variables",
        "tokctl flow @latest -o mermaid > way.mmd",
    ),
    panel=SEE,
)
