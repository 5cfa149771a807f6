"""``tokctl config get-contexts``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.current_context import find_current_context
from tokctl.config.file import read_configuration
from tokctl.documents.setup import ContextDocument
from tokctl.render.result import Cell, Column, Listing


def get_contexts(app: App) -> Listing:
    """List the contexts of the configuration file. * marks the current one."""
    configuration, current = read_configuration(os.environ), find_current_context(app)
    contexts = []
    for name in configuration.contexts:
        values = configuration.section_values(f"contexts.{name}")
        contexts.append(
            ContextDocument(
                name=name,
                current=name == current,
                server=values.get("server"),
                store=values.get("store"),
                credential=values.get("credential"),
            )
        )
    return Listing(
        key="contexts",
        items=contexts,
        columns=(
            Column("current", "CURRENT", show=lambda context: Cell("*" if context.current else "", "bold green")),
            Column("name", "NAME"),
            Column("server", "SERVER", fold=True),
            Column("store", "STORE", fold=True, rank=1),
            Column("credential", "CREDENTIAL", fold=True, rank=2),
        ),
        ident=lambda context: context.name,
        document=lambda context: context,
        head={"current_context": current},
        empty="There are no contexts. Create one with 'tokctl config set contexts.NAME.server URL'.",
    )


app = command(
    get_contexts,
    shared_options=("context", *opt.OUTPUT),
    examples=("tokctl config get-contexts", "tokctl config get-contexts -o id"),
)
