"""The summary of a simulation."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.documents.store import SimulationDocument
from tokctl.render.result import Cell, Column, Detail, Output, Section, table
from tokctl.render.text import count


def show_simulation(document: SimulationDocument, out: Output) -> Detail:
    """Return a simulation: what was recorded, what instances wait for, and what ran differently from the model."""
    said = f"Simulated {count(document.instances, 'instance')} with {count(document.tokens, 'token')}."
    newest = document.newest_instance_id or ""
    sections = _sections(document, f"{out.prefix} tokens tree {newest}" if newest else "")
    return Detail(ident=newest, document=document, title=(Cell(said),), sections=tuple(sections))


def _sections(document: SimulationDocument, next_command: str) -> Iterator[Section]:
    if document.waiting:
        columns = (
            Column("instances", "INSTANCES", right=True),
            Column("element_id", "ELEMENT", min_width=10, fold=True),
            Column("reason", "REASON", fold=True),
        )
        yield Section(title=(Cell("Instances that did not end", "bold"),), listing=table(document.waiting, columns))
    if document.approximations:
        differences = (
            Column("count", "TIMES", right=True),
            Column("element_id", "ELEMENT", min_width=10, fold=True),
            Column("element_type", "TYPE", rank=1),
            Column("what", "DIFFERENCE", fold=True),
        )
        title = (Cell("Elements that ran differently from the model", "bold"),)
        yield Section(title=title, listing=table(document.approximations, differences))
    yield Section(block=next_command)
