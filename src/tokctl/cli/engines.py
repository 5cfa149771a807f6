"""``tokctl engines``."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import CONFIG_PANEL, App, command
from tokctl.cli.completion import complete_any_engine
from tokctl.documents.engines import CapabilityDocument, EngineDocument
from tokctl.engines import ENGINES
from tokctl.engines.capabilities import FEATURES, Support, load_capabilities
from tokctl.errors import UsageError
from tokctl.kinds import SERVER_ENGINES
from tokctl.render.result import Cell, Column, Detail, Listing, Result, Section, table
from tokctl.text import suggest

_STYLES = {Support.YES: "green", Support.DERIVED: "cyan", Support.PARTLY: "yellow", Support.NO: "dim"}


def engines(
    app: App,  # noqa: ARG001 - every command has one
    kind: Annotated[
        str | None, opt.argument("[KIND]", "Kind of engine to show in detail.", complete=complete_any_engine)
    ] = None,
) -> Result:
    """List the kinds of engines, and what each can tell.

    yes: recorded by the engine. derived: worked out by tokctl. partly: in the cases that 'tokctl engines KIND' names.
    no: the engine cannot tell, and tokctl shows it as unknown.
    """
    if kind is None:
        return _list_engines()
    if kind not in ENGINES:
        raise UsageError(f"unknown engine kind '{kind}'{suggest(kind, ENGINES)}.", f"Valid: {', '.join(ENGINES)}.")
    return _show_engine(_encode_engine(kind))


def _encode_engine(kind: str) -> EngineDocument:
    found = load_capabilities(kind)
    capabilities = [
        CapabilityDocument(
            feature=name, meaning=feature.meaning, support=found[name].support, note=found[name].note or None
        )
        for name, feature in FEATURES.items()
    ]
    return EngineDocument(kind=kind, engine=found.title, server=kind in SERVER_ENGINES, capabilities=capabilities)


def _support_cell(support: str) -> Cell:
    return Cell(support, _STYLES[Support(support)])


def _names_of(one: EngineDocument, support: str) -> str:
    """Return the names of the features with some support."""
    return ", ".join(able.feature for able in one.capabilities if able.support == support)


def _list_engines() -> Listing:
    found = [_encode_engine(kind) for kind in ENGINES]

    return Listing(
        key="engines",
        items=found,
        columns=(
            Column("kind", "KIND"),
            Column("engine", "ENGINE", fold=True),
            *(Column(of, of.upper(), partial(_names_of, support=of), fold=True) for of in Support),
        ),
        ident=lambda one: one.kind,
        document=lambda one: one,
        sections=lambda: (Section(listing=_compare(found)),),
    )


def _compare(found: list[EngineDocument]) -> Listing:
    """Return a table of features, with a column for each kind of engine."""
    rows = [
        {"feature": feature.label, **{one.kind: one.capabilities[number].support for one in found}}
        for number, feature in enumerate(FEATURES.values())
    ]
    kinds = (Column(one.kind, one.kind.upper(), itemgetter(one.kind), form=_support_cell) for one in found)
    return table(rows, (Column("feature", "FEATURE", itemgetter("feature"), fold=True, min_width=20), *kinds))


def _show_engine(found: EngineDocument) -> Detail:
    columns = (
        Column("meaning", "FEATURE", fold=True, min_width=20),
        Column("support", "SUPPORT", form=_support_cell),
        Column("note", "NOTE", fold=True, min_width=20),
    )
    return Detail(
        ident=found.kind,
        document=found,
        title=(Cell(found.kind, "bold"), Cell(f"  {found.engine}")),
        sections=(Section(listing=table(found.capabilities, columns)),),
    )


app = command(
    engines,
    shared_options=opt.OUTPUT,
    panel=CONFIG_PANEL,
    examples=("tokctl engines", "tokctl engines atomd", "tokctl engines -o json"),
)
