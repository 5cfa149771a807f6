"""``tokctl instances show``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.engines.ids import resolve_instance
from tokctl.model.filters import SortOrder, TokenFilter
from tokctl.render.result import Detail
from tokctl.render.views.instances import instance_detail

MAX_LIVE_SHOWN = 1000


def show_instance(app: App, instance: opt.Instance = None) -> Detail:
    """Show a process instance: its live and failed tokens, its totals and its data."""
    engine = app.engine
    instance_id = resolve_instance(engine, instance)
    live = engine.tokens(instance_id, TokenFilter(live=True), SortOrder("created"), limit=MAX_LIVE_SHOWN)
    return instance_detail(engine.instance(instance_id), engine.summary(instance_id), live, app.out)


app = command(
    show_instance,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=("tokctl instances show @latest", "tokctl instances show srv1-aB3 -o json --query summary"),
)
