"""See ``commandline``."""

from support.commandline import known, orders, own_store, shell, tokctl  # noqa: F401 - fixtures
