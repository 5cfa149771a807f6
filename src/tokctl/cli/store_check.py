"""``tokctl store check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.process.engine import Engine
from tokctl.process.tree import build
from tokctl.render.human import count
from tokctl.render.result import Column, Listing


class Problem(NamedTuple):
    """Something wrong: of the store itself, or in the links of an instance's tokens."""

    kind: str
    instance_id: str | None
    number: int
    message: str


def check(
    app: App,
    links: Annotated[bool, typer.Option("--links/--no-links", help="Look at the links between tokens, too.")] = True,
) -> Listing:
    """Check the store's integrity, and the links between its tokens.

    Exit code 1 means that something was found. Contradictory links do no harm to the store: they
    say that what came in contradicts itself, and 'tokctl tokens tree' shows where.
    """
    store = app.store()
    found = [Problem("STORE", None, 1, text) for text in store.problems()]
    total = store.info().instances
    if links:
        with progress("Checking links", total) as step:
            for instance_id in store.all_instance_ids():
                found += _contradictions(store, instance_id)
                step(1)
    checked = f"Checked {count(total, 'instance')}: " + (
        f"{count(sum(p.number for p in found), 'problem')}." if found else "everything is in order."
    )
    return Listing(
        key="problems",
        items=found,
        columns=(
            Column(key="kind", title="KIND", value=lambda p: p.kind),
            Column(key="instance_id", title="INSTANCE", value=lambda p: p.instance_id, rank=1),
            Column(key="number", title="COUNT", value=lambda p: p.number, right=True),
            Column(key="message", title="WHAT, FOR EXAMPLE", value=lambda p: p.message, fold=True),
        ),
        ident=lambda p: p.instance_id or "store",
        document=Problem._asdict,
        notes=lambda shown: [checked] if shown else [],
        empty=checked,
        exit_code=1 if found else 0,
    )


def _contradictions(engine: Engine, instance_id: str) -> Iterator[Problem]:
    anomalies = build(engine.tree_rows(instance_id), max_examples=1).anomalies
    for example in anomalies.examples:
        yield Problem(example.kind, instance_id, anomalies.counts[example.kind], example.message)


app = command(check, takes=(*opt.STORE, *opt.OUTPUT), examples=("tokctl store check", "tokctl store check --no-links"))
