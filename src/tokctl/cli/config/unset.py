"""``tokctl config unset``."""

from __future__ import annotations

import os
from typing import Any

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import change_detail
from tokctl.config.editing import unset
from tokctl.config.file import read_document
from tokctl.config.keys import refuse_secret
from tokctl.config.paths import config_file
from tokctl.errors import NotFoundError
from tokctl.render.result import Detail


def unset_(app: App, key: opt.ConfigKey) -> Detail:  # noqa: ARG001 - every command has one
    """Remove a setting or a section from the configuration file.

    Unknown names can be removed, too.
    """
    parts = tuple(key.split("."))
    file = config_file(os.environ)
    place: Any = read_document(file)
    for part in parts:
        if not isinstance(place, dict) or part not in place:
            raise NotFoundError(f"{refuse_secret(key)} is not set in {file}.", "See 'tokctl config view'.")
        place = place[part]
    return change_detail(f"Removed {key}", unset(os.environ, parts), key=key)


app = command(
    unset_,
    shared_options=opt.OUTPUT,
    configured=False,
    examples=("tokctl config unset debug.long_running", "tokctl config unset contexts.prod.ca_file"),
)
