"""Fixtures of the tests of PostgreSQL stores: the command line."""

from support.commandline import *  # noqa: F403
