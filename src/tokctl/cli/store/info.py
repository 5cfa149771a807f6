"""``tokctl store info``."""

from __future__ import annotations

import msgspec

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.documents.store import StoreInfoDocument
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Detail, Field, Section
from tokctl.render.text import size, time_cell


def info(app: App) -> Detail:
    """Show the path, the size and the totals of the store."""
    facts = app.store().info()
    times = {"oldest": format_time(facts.oldest), "newest": format_time(facts.newest)}
    document = StoreInfoDocument(**msgspec.structs.asdict(facts) | times)
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


app = command(
    info,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=("tokctl store info", "tokctl store info -o json"),
)
