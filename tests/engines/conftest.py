"""See ``commandline`` and ``watchers``."""

from commandline import orders, tokctl  # noqa: F401 - fixtures
from watchers import clock  # noqa: F401 - a fixture
