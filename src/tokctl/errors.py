"""The exceptions of tokctl, each with its exit code.

::

    TokctlError                 1   base class, not raised itself
    ├── UsageError              2   the command line, a filter or a setting is invalid
    ├── NotFoundError           3   no such instance, token or file
    │   └── AmbiguousIdError    3   several ids begin with the given prefix
    ├── NotAllowedError         4   a credential is missing or insufficient; a file's permissions
    ├── UnreachableError        5   a server does not answer, or a wait timed out
    ├── UntrustedError          5   a server's certificate is not trusted
    ├── StoreError              6   the store is locked, full, read-only, damaged or too new
    │   └── WrongStoreError     6   the file is not a store, or one that this version cannot read
    ├── InputError              7   input data cannot be read
    └── NotSavedError           8   an API token was created, but its secret could not be saved

Exit code 0 is success; 1 means that a check has findings. Further exit codes: 70 a bug in tokctl, 74 the output cannot
be written, 130 interrupted, 141 the reader of the output has closed it. ``tokctl.__main__`` turns an exception into one
line on stderr and the exit code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class TokctlError(Exception):
    """An error with a message for the user: what failed and why, and in ``hint`` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(TokctlError):
    """The command line, a filter or a setting is invalid."""

    exit_code = 2


class NotFoundError(TokctlError):
    """The requested object does not exist; ``code`` is the error code of the server, if it sent one."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code


class AmbiguousIdError(NotFoundError):
    """Several ids begin with the given prefix; ``candidates`` are the first of them."""

    def __init__(self, kind: str, prefix: str, candidates: list[str], *, more: bool = False) -> None:
        listed = ", ".join(candidates) + (" …" if more else "")
        super().__init__(f"{kind} id '{prefix}' is ambiguous: {listed}.", "Use a longer prefix.")
        self.candidates = candidates


class NotAllowedError(TokctlError):
    """A credential is missing or insufficient, or a file's permissions forbid the access."""

    exit_code = 4


class ExpiryLimitError(NotAllowedError):
    """A server does not let an API token expire so late; ``latest`` is the latest time that it allows."""

    def __init__(self, message: str, hint: str = "", *, latest: datetime) -> None:
        super().__init__(message, hint)
        self.latest = latest


class UnreachableError(TokctlError):
    """A server or another process did not answer in time. Trying again later may help.

    ``status`` is the HTTP status of a response that says only that the server failed; None if there was no response.
    """

    exit_code = 5

    def __init__(self, message: str, hint: str = "", *, status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


class UntrustedError(TokctlError):
    """A server answers, but its certificate is not trusted. Trying again does not help."""

    exit_code = 5


class StoreError(TokctlError):
    """The store cannot be opened, read or written."""

    exit_code = 6


class UnreachableStoreError(StoreError):
    """The server of a store does not answer, or the connection to it is not secure. Trying again later may help."""

    exit_code = 5


class StoreOutcomeUnknownError(UnreachableStoreError):
    """The connection to the server of a store was lost while a change was saved: it may have been saved."""


class StorePermissionError(StoreError):
    """The user of a store's database is not allowed to do this."""


class MissingStoreError(StoreError):
    """There is no store at this place."""


class WrongStoreError(StoreError):
    """The file is not a store, or one that this version cannot read."""


class InputError(TokctlError):
    """Input data cannot be read, or does not have the expected format."""

    exit_code = 7


class NotSavedError(TokctlError):
    """An API token was created, but its secret could not be saved; the message tells where the secret is."""

    exit_code = 8
