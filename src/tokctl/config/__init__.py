"""Settings: what the command line, the environment and the configuration file say.

``settings`` joins the three into one frozen ``Settings``; ``file`` finds and reads the configuration
file, ``keys`` is the table of what may stand in it, ``writing`` changes it. The file is ``config.yaml``
in the platform's configuration directory, or the one that ``TOKCTL_CONFIG`` names, and need not be there.
"""

from __future__ import annotations

from tokctl.config.file import config_file, config_section
from tokctl.config.settings import Settings, default_store, settings_from

__all__ = ["Settings", "config_file", "config_section", "default_store", "settings_from"]
