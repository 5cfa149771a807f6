"""See ``commandline``."""

from commandline import shell, tokctl  # noqa: F401 - fixtures
