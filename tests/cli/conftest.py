"""See ``commandline``."""

from support.commandline import known, orders, own_store, shell, tokctl  # noqa: F401 - fixtures
from support.own_api_tokens import keys, own  # noqa: F401 - fixtures
from support.watchers import clock, writer  # noqa: F401 - fixtures
