"""``tokctl store info``."""

from __future__ import annotations

import msgspec

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.process.model import format_time
from tokctl.render.human import size, time_cell
from tokctl.render.result import Cell, Detail, Field, Section


def info(app: App) -> Detail:
    """Tell where the store is and what it holds."""
    facts = app.store().info()
    document = msgspec.structs.asdict(facts)
    document["oldest"], document["newest"] = format_time(facts.oldest), format_time(facts.newest)
    fields = (
        Field("kind", Cell(f"{facts.kind}, schema {facts.schema_version}")),
        Field("size", Cell(size(facts.size_bytes))),
        Field("instances", Cell(f"{facts.instances:,}")),
        Field("tokens", Cell(f"{facts.tokens:,}, {facts.live_tokens:,} live")),
        Field("models", Cell(f"{facts.definitions:,}")),
        Field("oldest", time_cell(facts.oldest, app.now)),
        Field("newest", time_cell(facts.newest, app.now)),
    )
    return Detail(
        ident=facts.location,
        document=document,
        title=(Cell(facts.location, "bold"),),
        sections=(Section(fields=fields),),
    )


app = command(info, takes=(*opt.STORE, *opt.OUTPUT), examples=("tokctl store info", "tokctl store info -o json"))
