"""Where the configuration file and the state directory are."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def config_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the configuration file, which need not exist.

    It is the file in ``TOKCTL_CONFIG``, or ``config.yaml`` in the platform's configuration directory.
    """
    if named := environ.get("TOKCTL_CONFIG"):
        return expand_user(named)
    if sys.platform == "linux":  # the same as platformdirs returns, which takes a while to import
        home = environ.get("XDG_CONFIG_HOME", "")
        return expand_user(home if os.path.isabs(home) else "~/.config") / "tokctl" / "config.yaml"  # noqa: PTH117
    from platformdirs import user_config_path

    return user_config_path("tokctl", appauthor=False) / "config.yaml"


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory for what one run leaves for the next: ``TOKCTL_STATE_DIR``, or the platform's."""
    if named := environ.get("TOKCTL_STATE_DIR"):
        return expand_user(named)
    from platformdirs import user_state_path

    return user_state_path("tokctl", appauthor=False)


def expand_user(path: str) -> Path:
    """Return a path with ``~`` replaced by the home directory; a home that is unknown stays as written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises if the home is unknown
