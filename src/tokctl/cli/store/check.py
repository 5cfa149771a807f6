"""``tokctl store check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from tokctl.analysis.tree.builder import build_forest
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.documents.store import StoreProblemDocument
from tokctl.engines.protocol import Engine
from tokctl.render.result import Column, Listing
from tokctl.render.text import count
from tokctl.store.protocol import Store


class StoreProblem(NamedTuple):
    """A problem of the store itself, or of the links between an instance's tokens."""

    kind: str
    instance_id: str | None
    number: int
    message: str


def check(
    app: App, links: Annotated[bool, opt.flag("--links/--no-links", "Check the links between tokens.")] = True
) -> Listing:
    """Check the integrity of the store and the links between tokens.

    Exit code 1: problems were found. Contradictory links do not damage the store. They come from the imported data.
    'tokctl tokens tree' shows them.
    """
    store = app.store()
    found = [StoreProblem("STORE", None, 1, text) for text in store.find_damage()]
    if found:
        checked = f"The store is damaged: {count(len(found), 'problem')}. Its instances were not checked."
    else:
        found += [StoreProblem("STORE", None, 1, text) for text in store.find_problems()]
        total = store.info().instances
        found += _find_all_contradictions(store, total) if links else ()
        checked = f"Checked {count(total, 'instance')}: " + (
            f"{count(sum(p.number for p in found), 'problem')}." if found else "no problems."
        )
    return Listing(
        key="problems",
        items=found,
        columns=(
            Column("kind", "KIND"),
            Column("instance_id", "INSTANCE", rank=1),
            Column("number", "COUNT", right=True),
            Column("message", "EXAMPLE", fold=True),
        ),
        ident=lambda p: p.instance_id or "store",
        document=lambda p: StoreProblemDocument(**p._asdict()),
        notes=lambda shown: [checked] if shown else [],
        empty=checked,
        exit_code=1 if found else 0,
    )


def _find_all_contradictions(store: Store, total: int) -> Iterator[StoreProblem]:
    with progress("Checking links", total) as step:
        for instance_id in store.all_instance_ids():
            yield from _find_contradictions(store, instance_id)
            step(1)


def _find_contradictions(engine: Engine, instance_id: str) -> Iterator[StoreProblem]:
    anomalies = build_forest(engine.tree_rows(instance_id), max_examples=1).anomalies
    for example in anomalies.examples:
        yield StoreProblem(example.kind, instance_id, anomalies.counts[example.kind], example.message)


app = command(
    check,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=("tokctl store check", "tokctl store check --no-links"),
)
