"""See ``commandline`` and ``own_api_tokens``."""

from support.commandline import shell, tokctl  # noqa: F401 - fixtures
from support.own_api_tokens import keys, own  # noqa: F401 - fixtures
