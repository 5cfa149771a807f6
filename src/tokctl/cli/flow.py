"""``tokctl flow``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.filters import page_range
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.render.result import Listing
from tokctl.render.views.flow import flow_listing
from tokctl.services.inspection import analyze_flow, find_definition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokctl.analysis.variable_changes import VariableChange


def show_flow(
    app: App,
    instance: opt.Instance = None,
    variables: Annotated[bool, opt.flag("--variables", "Show how variables changed.")] = False,
    limit: opt.Limit = None,
) -> Listing:
    """Show the time line of an instance, its critical path, and where the time went.

    Use it to see why one instance took as long as it did, or what holds it up now. perf compares elements over many
    instances, 'tokens tree' shows the branches, 'tokens history' and 'tokens trace' the single steps.

    Tokens that have not ended, FAILED ones included, count until now: their bars have an open end, and their figures
    are marked "so far".

    SLACK is how much later a token could have ended without delaying the instance. The critical path is the chain of
    tokens without slack: it decided how long the instance took. Bottlenecks are elements by the time that tokens spent
    in them; waits at joins are counted separately. -o mermaid writes a flowchart: thick edges are the critical path,
    dotted edges are flows that no token took.
    """
    engine = app.engine if variables else app.open_engine(Projection.VISITS_WITH_FLOWS)
    instance_id = resolve_instance(engine, instance)
    status = engine.instance(instance_id)
    flow = analyze_flow(engine, instance_id, app.now)

    def mermaid() -> Iterable[str]:
        from tokctl.render.formats.mermaid import write_mermaid

        return write_mermaid(flow, find_definition(engine, status.instance))

    def changes() -> Sequence[VariableChange]:
        from tokctl.analysis.variable_changes import find_variable_changes

        tokens = engine.tokens(instance_id, ALL_TOKENS, SortOrder("created"))
        return find_variable_changes(flow, {token.token_id: token.variables for token in tokens})

    return flow_listing(
        flow,
        status,
        lambda: engine.summary(instance_id),
        app.out,
        limit=limit or None,
        rows=page_range(limit, 1, app.out).limit,
        changes=changes if variables else None,
        mermaid=mermaid,
    )


app = command(
    show_flow,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl flow @latest",
        "tokctl flow srv1-aB3 --variables",
        "tokctl flow @latest -o mermaid > flow.mmd",
    ),
    panel=INSPECT_PANEL,
)
