"""``tokctl engines``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import CONFIG_PANEL, App, command
from tokctl.cli.capability_tables import check_kind, encode_capabilities, list_kinds, show_kind
from tokctl.cli.completion import complete_any_engine
from tokctl.documents.kinds import EngineDocument
from tokctl.engines import ENGINES
from tokctl.engines.capabilities import FEATURES, load_capabilities
from tokctl.kinds import SERVER_ENGINES
from tokctl.render.result import Result


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
        return list_kinds("engines", "engine", [_encode_engine(one) for one in ENGINES], FEATURES)
    check_kind(kind, ENGINES, "engine")
    found = _encode_engine(kind)
    return show_kind(found, found.engine)


def _encode_engine(kind: str) -> EngineDocument:
    found = load_capabilities(kind)
    capabilities = encode_capabilities(found, FEATURES)
    return EngineDocument(kind=kind, engine=found.title, server=kind in SERVER_ENGINES, capabilities=capabilities)


app = command(
    engines,
    shared_options=opt.OUTPUT,
    panel=CONFIG_PANEL,
    examples=("tokctl engines", "tokctl engines atomd", "tokctl engines -o json"),
)
