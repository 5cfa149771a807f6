"""Asks at the terminal: for confirmation, or for a secret, without echo. A secret is never an argument."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tokctl.api_tokens.vaults.protocol import MAX_SECRET_BYTES, parse_secret_line
from tokctl.errors import InputError, UsageError


def ask_secret(prompt: str, *, stdin: bool) -> str:
    """Return an API key or token that is valid in an HTTP header.

    Raises:
        UsageError: there is no terminal.
        InputError: the input is empty or not a secret.
    """
    return parse_secret_line(_read_line(prompt, stdin=stdin).encode("utf-8", "surrogateescape"), "the input")


def ask_password(prompt: str, *, stdin: bool) -> str:
    """Return a password: a line of any characters. Raises as ``ask_secret``."""
    line = _read_line(prompt, stdin=stdin).partition("\n")[0].removesuffix("\r")
    if not line:
        raise InputError("no password given.")
    return line


def _read_line(prompt: str, *, stdin: bool) -> str:
    if stdin:
        return sys.stdin.buffer.readline(MAX_SECRET_BYTES + 1).decode("utf-8", "surrogateescape")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "cannot ask for the secret: there is no terminal.", "Use --stdin and pass the secret on stdin."
        )
    from getpass import getpass

    try:
        return getpass(f"{prompt}: ")
    except EOFError:
        raise InputError("no input.") from None


def is_interactive() -> bool:
    """Return whether a user at a terminal can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def pause(text: str) -> bool:
    """Show a text until the user presses Enter; False if the user types q, or ends the input."""
    sys.stderr.write(f"\n[{text}] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")  # the user has not pressed Enter
    return answer.endswith("\n") and not answer.strip().lower().startswith("q")


def confirm(question: str) -> bool:
    """Ask for confirmation. Any other answer than yes, or the end of the input, means no."""
    from tokctl.render.text import escape_controls

    sys.stderr.write(f"{escape_controls(question)} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")  # the user has not pressed Enter
    return answer.strip().lower() in {"y", "yes"}


def choose(question: str, choices: Sequence[str]) -> list[str]:
    """Ask for one of several choices, or ``all`` of them. Any other answer, or the end of the input, means none."""
    from tokctl.render.text import escape_controls

    sys.stderr.write(f"{escape_controls(question)} [{', '.join(choices)} or all] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")  # the user has not pressed Enter
    if answer.strip().lower() == "all":
        return [*choices]
    return [one for one in choices if one == answer.strip()]
