"""Takes a secret from a person at the terminal, without echo, or from stdin. It is never an argument."""

from __future__ import annotations

import sys

from tokctl.errors import InputError, UsageError
from tokctl.vaults.base import LARGEST, first_line


def ask_secret(prompt: str, *, stdin: bool) -> str:
    """Return an API key or token: one that can stand in a header.

    Raises:
        UsageError: nobody can be asked.
        InputError: nothing was given, or something that is no secret.
    """
    return first_line(_read(prompt, stdin=stdin).encode("utf-8", "surrogateescape"), "what was given")


def ask_password(prompt: str, *, stdin: bool) -> str:
    """Return a password: a line of any signs. Raises as ``ask_secret``."""
    line = _read(prompt, stdin=stdin).partition("\n")[0].removesuffix("\r")
    if not line:
        raise InputError("no password was given.")
    return line


def _read(prompt: str, *, stdin: bool) -> str:
    if stdin:
        return sys.stdin.buffer.readline(LARGEST + 1).decode("utf-8", "surrogateescape")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("there is no terminal to ask at.", "Say --stdin, and hand the secret in there.")
    from getpass import getpass

    try:
        return getpass(f"{prompt}: ")
    except EOFError:
        raise InputError("nothing was given.") from None
