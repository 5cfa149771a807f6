"""See ``commandline``."""

from commandline import orders, tokctl  # noqa: F401 - fixtures
