"""``tokctl config validate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.config.paths import config_file
from tokctl.documents.setup import ConfigurationProblem
from tokctl.errors import UsageError
from tokctl.render.result import Column, Listing
from tokctl.render.text import count
from tokctl.services.config_check import find_config_problems


def validate(
    app: App,  # noqa: ARG001 - every command has one
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            click_type=opt.FILE_NAME,
            help="File to check (default: the configuration file).",
            show_default=False,
        ),
    ] = None,
) -> Listing:
    """Check the names, values and thresholds of a configuration file.

    Exit code 1: the file has errors.
    """
    if file == "":
        raise UsageError("FILE is empty.", "Name a configuration file, or remove it.")
    path = Path(file) if file is not None else config_file(os.environ)
    found = find_config_problems(path, needed=file is not None or bool(os.environ.get("TOKCTL_CONFIG")))
    told = count(len(found), "problem") if found else "no problems" if path.is_file() else "the file does not exist"
    return Listing(
        key="problems",
        items=found,
        columns=(
            Column(key="key", title="KEY", value=lambda p: p.key),
            Column(key="message", title="PROBLEM", value=lambda p: p.message, fold=True),
        ),
        ident=lambda p: p.key,
        document=lambda p: ConfigurationProblem(key=p.key, message=p.message),
        head={"file": str(path)},
        notes=lambda shown: [f"{path}: {told}."] if shown else [],
        empty=f"{path}: {told}.",
        exit_code=1 if found else 0,
    )


app = command(
    validate,
    shared_options=opt.OUTPUT,
    configured=False,
    examples=("tokctl config validate", "tokctl config validate ./config.yaml -o json"),
)
