"""``tokctl instances show``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.engines.ids import resolve_instance
from tokctl.process.query import Order, TokenFilter
from tokctl.render.result import Detail
from tokctl.render.views.instances import instance_detail

LIVE_SHOWN = 1000


def show_instance(app: App, instance: opt.Instance = None) -> Detail:
    """Show a process instance: its data, its totals, and the tokens at which it stands."""
    engine = app.engine
    instance_id = resolve_instance(engine, instance)
    live = engine.tokens(instance_id, TokenFilter(live=True), Order("created"), limit=LIVE_SHOWN)
    return instance_detail(
        engine.instance(instance_id), engine.summary(instance_id), live, app.now, unicode=app.out.unicode
    )


app = command(
    show_instance,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=("tokctl instances show @latest", "tokctl instances show srv1-aB3 -o json --query summary"),
)
