"""See ``commandline``."""

from support.commandline import shell, tokctl  # noqa: F401 - fixtures
