"""``tokctl config validate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import find_problems
from tokctl.config.file import config_file
from tokctl.errors import UsageError
from tokctl.render.human import count
from tokctl.render.result import Column, Listing


def validate(
    app: App,  # noqa: ARG001 - every command has one
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="Another file than the usual one.", show_default=False)
    ] = None,
) -> Listing:
    """Check a configuration file: every name, every value, every threshold.

    Exit code 1 means that something is wrong with it.
    """
    if file == "":
        raise UsageError("FILE is empty.", "Name a configuration file, or leave it out.")
    path = Path(file) if file is not None else config_file(os.environ)
    found = find_problems(path, needed=file is not None or bool(os.environ.get("TOKCTL_CONFIG")))
    told = count(len(found), "problem") if found else "everything is in order" if path.is_file() else "there is none"
    return Listing(
        key="problems",
        items=found,
        columns=(
            Column(key="key", title="KEY", value=lambda p: p.key),
            Column(key="message", title="WHAT IS WRONG", value=lambda p: p.message, fold=True),
        ),
        ident=lambda p: p.key,
        document=lambda p: p._asdict(),
        head={"file": str(path)},
        notes=lambda shown: [f"{path}: {told}."] if shown else [],
        empty=f"{path}: {told}.",
        exit_code=1 if found else 0,
    )


app = command(
    validate,
    takes=opt.OUTPUT,
    configured=False,
    examples=("tokctl config validate", "tokctl config validate ./config.yaml -o json"),
)
