"""Fixtures of the tests of services: a clock that moves when something waits, stores with API tokens, command lines."""

from support.commandline import tokctl  # noqa: F401 - fixtures
from support.own_api_tokens import keys, own  # noqa: F401 - fixtures
from support.watchers import clock  # noqa: F401 - fixtures
