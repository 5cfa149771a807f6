"""``tokctl tokens tree``."""

from __future__ import annotations

from typing import Annotated

from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.drawing import draw_forest
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import words
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.model.filters import validate_states
from tokctl.render.result import Listing
from tokctl.render.views.tree import tree_listing
from tokctl.services.inspection import read_tree_rows

TABLE_FORMATS = ("table", "wide")


def tree(
    app: App,
    instance: opt.Instance = None,
    state: opt.States = None,
    depth: Annotated[
        int | None, opt.option("N", "Maximum depth. Deeper tokens are only counted.", "-d --depth", min=1)
    ] = None,
    follow_calls: Annotated[
        bool, opt.flag("--follow-calls", "Show the tokens of called instances below their call activities.")
    ] = False,
    expand: Annotated[bool, opt.flag("--expand", "Show every token, also equal branches and loop passes.")] = False,
) -> Listing:
    """Show the tokens of an instance as a tree.

    Use it to see what came from what and what is still running. See 'flow' for what took the time. Failed and
    waiting branches stand out, finished ones are dim.

    Each token is below the token that it came from. Tables show equal branches and loop passes once, with their
    number; other formats have every token. "+N in" is the number of other tokens that are joined there. Contradictory
    links are listed below the tree.
    """
    states = set(validate_states(words(state, "--state")))
    engine = app.open_engine(Projection.VISITS_WITH_FLOWS)
    instance_id = resolve_instance(engine, instance)
    forest = build_forest(read_tree_rows(engine, instance_id, follow_calls=follow_calls))
    lines = draw_forest(
        forest,
        expand=expand or app.out.query is not None or app.out.format not in TABLE_FORMATS,
        depth=depth,
        predicate=(lambda row: row.state in states) if states else None,
    )
    return tree_listing(
        lines,
        forest.anomalies,
        engine.instance(instance_id),
        engine.summary(instance_id),
        app.out,
        certainties=set(forest.certainties.values()),
    )


app = command(
    tree,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl tokens tree @latest",
        "tokctl tokens tree srv1-aB3 --state ACTIVE,WAITING",
        "tokctl tokens tree @latest --follow-calls",
        "curl $URL | tokctl tokens tree --file -",
    ),
)
