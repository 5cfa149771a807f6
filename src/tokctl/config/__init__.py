"""Settings from the command line, the environment and the configuration file.

``settings`` merges the three into one ``Settings``. ``paths`` finds the file, ``file`` reads it, ``keys`` lists the
settings it may contain, ``validation`` checks it, ``editing`` changes it.
"""

from __future__ import annotations

from tokctl.config.file import config_section
from tokctl.config.paths import config_file
from tokctl.config.settings import Settings, default_store, resolve_settings

__all__ = ["Settings", "config_file", "config_section", "default_store", "resolve_settings"]
