"""The protocols of vaults, and what a secret may look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from tokctl.errors import InputError, NotAllowedError

ORIGIN_HINT = "See 'tokctl config view --origin' for where this is set."
MAX_SECRET_BYTES = 1 << 16


MayReplace = Callable[[str], bool]
"""Whether a value that is in a place, and may be the only copy of a secret, may be overwritten."""


def replace_nothing(_value: str) -> bool:
    """Keep every value."""
    return False


def replace_anything(_value: str) -> bool:
    """Overwrite any value."""
    return True


class SecretSource(Protocol):
    """A place that a secret can be read from. ``where`` is its name in messages."""

    where: str

    def read(self) -> str | None:
        """Return the secret; None if a keyring has none.

        Raises:
            NotAllowedError: the place does not exist, may not be read, or is readable by others.
            UnreachableError: timeout.
            InputError: the content cannot be a secret.
        """
        ...


class SecretSink(Protocol):
    """A place that a secret can be written to. ``name`` is the place as ``--save`` takes it; it holds no secret."""

    name: str
    where: str

    def probe(self) -> None:
        """Check that a secret can be written and read back, before there is a secret to lose.

        Raises:
            UsageError: the place already has data that must not be overwritten.
            NotAllowedError, UnreachableError, InputError: as ``SecretSource.read``.
        """
        ...

    def write(self, secret: str) -> None:
        """Write the secret, and read it back where possible. Raises as ``probe``."""
        ...

    def read_current(self) -> str | None:
        """Return the secret that is there; None if there is none, or it cannot be read back. Raises as ``probe``."""
        ...


@contextmanager
def translate_source_errors(where: str, verb: str, missing: str) -> Iterator[None]:
    """Translate OSErrors from a source of a credential, which is ``read`` or ``run``, into errors for the user."""
    try:
        yield
    except FileNotFoundError:
        raise NotAllowedError(missing, ORIGIN_HINT) from None
    except PermissionError:
        raise NotAllowedError(
            f"cannot {verb} {where}: permission denied.", "Check the permissions of the file."
        ) from None
    except OSError as error:
        raise InputError(f"cannot {verb} {where}: {error.strerror}.") from None


def parse_secret_line(data: bytes, where: str) -> str:
    """Return the secret on the first line: printable ASCII without blanks, so that it fits into an HTTP header.

    Of the form ``user:password`` it is any printable text in UTF-8; blanks in it count, also at its end.

    Raises InputError: there is no such secret. The message does not quote the data.
    """
    if len(data) > MAX_SECRET_BYTES:
        raise InputError(f"{where} is too long for a secret.", f"The maximum is {MAX_SECRET_BYTES:,} bytes.")
    line = data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].removesuffix(b"\r")
    with suppress(UnicodeDecodeError):
        user, _, password = line.decode().partition(":")
        if user and password.strip() and line.decode().isprintable():
            return line.decode()
    line = line.strip()
    if not line:
        raise InputError(f"{where} is empty.", "The secret must be on the first line.")
    if not all(0x21 <= sign <= 0x7E for sign in line):
        raise InputError(
            f"{where} does not start with a secret: the first line contains spaces or other invalid characters.",
            "The first line must contain the secret only.",
        )
    return line.decode()
