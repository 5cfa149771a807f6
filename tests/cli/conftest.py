"""See ``commandline``."""

from commandline import known, orders, own_store, shell, tokctl  # noqa: F401 - fixtures
from own_api_tokens import keys, own  # noqa: F401 - fixtures
from watchers import clock, writer  # noqa: F401 - fixtures
