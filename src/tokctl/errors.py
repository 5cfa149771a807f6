"""The errors that tokctl raises on purpose, each with its exit code.

::

    TokctlError                 1   never raised itself
    ├── UsageError              2   the command line, a filter or a setting is wrong
    ├── NotFoundError           3   no such instance, token or file
    │   └── AmbiguousIdError    3   a prefix that several ids share
    ├── NotAllowedError         4   credentials missing or not enough; a file's rights
    ├── UnreachableError        5   a server that does not answer, a wait that ran out
    ├── UntrustedError          5   a server whose certificate does not hold
    ├── StoreError              6   the store: locked, full, read-only, damaged, too new
    ├── InputError              7   data that was handed in cannot be read
    └── NotSavedError           8   an API token was created, and its secret is not where it was to be

Exit code 0 is success, 1 means that a command found what it was asked to look for (findings). Beside
these: 70 a fault in tokctl itself, 74 output that cannot be written, 130 an interruption, 141 a reader
of the output that has gone.
One place, ``tokctl.__main__``, turns an error into one line on stderr and its exit code.
"""

from __future__ import annotations


class TokctlError(Exception):
    """A fault with a message for the user: what happened, and in ``hint`` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(TokctlError):
    """The command line, a filter or a setting cannot mean anything."""

    exit_code = 2


class NotFoundError(TokctlError):
    """What was asked for does not exist; ``code`` is a server's own word for what, where one said it."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code


class AmbiguousIdError(NotFoundError):
    """An id's prefix fits more than one; ``candidates`` holds the first of them."""

    def __init__(self, kind: str, prefix: str, candidates: list[str], *, more: bool = False) -> None:
        listed = ", ".join(candidates) + (" …" if more else "")
        super().__init__(f"{kind} id '{prefix}' is ambiguous: {listed}.", "Give more of the id.")
        self.candidates = candidates


class NotAllowedError(TokctlError):
    """A credential is missing or does not allow this, or a file's rights forbid it."""

    exit_code = 4


class UnreachableError(TokctlError):
    """Something outside did not answer, or not in time. To try again later may help."""

    exit_code = 5


class UntrustedError(TokctlError):
    """A server is there, but no trusted connection to it can be made. Waiting does not mend that."""

    exit_code = 5


class StoreError(TokctlError):
    """The store cannot be opened, read or written."""

    exit_code = 6


class WrongStoreError(StoreError):
    """What is there is no store, or none that this program can read."""


class InputError(TokctlError):
    """Data that was handed in cannot be read as what it should be."""

    exit_code = 7


class NotSavedError(TokctlError):
    """An API token was created, and its secret could not be put where it was to be; the message says where it is."""

    exit_code = 8
