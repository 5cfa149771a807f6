"""Fixtures of the tests of stores: the command line."""

from support.commandline import *  # noqa: F403
