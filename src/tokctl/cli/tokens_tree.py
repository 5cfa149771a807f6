"""``tokctl tokens tree``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import words
from tokctl.engines.ids import resolve_instance
from tokctl.process.draw import ASCII, UNICODE, draw
from tokctl.process.query import check_states
from tokctl.process.tree import build
from tokctl.render.result import Listing
from tokctl.render.views.tree import tree_listing

FOR_PEOPLE = ("table", "wide")


def tree(
    app: App,
    instance: opt.Instance = None,
    state: opt.States = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "-d",
            "--depth",
            min=1,
            metavar="N",
            show_default=False,
            help="So many levels of indent; what lies deeper is counted.",
        ),
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Draw every token by itself.")] = False,
) -> Listing:
    """Draw the tree of an instance's tokens, every token once.

    A token stands below the one that it came from; where there are several, they are its branches.
    Tables draw equal branches and the passes of a loop once, with their number; other formats have
    every token. +N in counts further tokens that are joined there. Links that contradict each other
    are told below the tree.
    """  # fmt: skip
    states = set(check_states(words(state, "--state")))
    engine = app.engine
    instance_id = resolve_instance(engine, instance)
    forest = build(engine.tree_rows(instance_id))
    lines = draw(
        forest,
        expand=expand or app.out.query is not None or app.out.format not in FOR_PEOPLE,
        depth=depth,
        keep=(lambda row: row.state in states) if states else None,
        signs=UNICODE if app.out.unicode else ASCII,
    )
    return tree_listing(
        lines,
        forest.anomalies,
        engine.instance(instance_id),
        engine.summary(instance_id),
        app.now,
        unicode=app.out.unicode,
    )


app = command(
    tree,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl tokens tree @latest",
        "tokctl tokens tree srv1-aB3 --state ACTIVE,WAITING",
        "curl $URL | tokctl tokens tree --file -",
    ),
)
