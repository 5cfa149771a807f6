"""``tokctl config unset``."""

from __future__ import annotations

import os
from typing import Any

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import changed
from tokctl.config.file import config_file, read_document
from tokctl.config.keys import refuse_secret
from tokctl.config.writing import unset
from tokctl.errors import NotFoundError
from tokctl.render.result import Detail


def unset_(app: App, key: opt.ConfigKey) -> Detail:  # noqa: ARG001 - every command has one
    """Take a setting, or a section with all in it, out of the configuration file.

    It also takes out a name that has no meaning, as a file may have that was written by hand.
    """
    parts = tuple(key.split("."))
    file = config_file(os.environ)
    place: Any = read_document(file)
    for part in parts:
        if not isinstance(place, dict) or part not in place:
            raise NotFoundError(f"{refuse_secret(key)} is not set in {file}.", "See 'tokctl config view'.")
        place = place[part]
    return changed(f"Took {key} out", unset(os.environ, parts), key=key)


app = command(
    unset_,
    takes=opt.OUTPUT,
    configured=False,
    examples=("tokctl config unset debug.long_running", "tokctl config unset contexts.prod.ca_file"),
)
