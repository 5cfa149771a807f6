"""What a vault is, and what a secret may look like. No other module here knows more than one kind."""

from __future__ import annotations

from typing import Protocol

from tokctl.errors import InputError

NAMED = "'tokctl config view --origin' tells where that is said."
LARGEST = 1 << 16  # bytes; what is longer is no secret


class Vault(Protocol):
    """A place for one secret. ``where`` is what to call it in messages."""

    where: str

    def read(self) -> str | None:
        """Return the secret; None where a keyring has none.

        Raises:
            NotAllowedError: what the user named is not there, may not be read, or others may read it, too.
            UnreachableError: nothing comes from it in time.
            InputError: what is there can be no secret.
        """
        ...


class Keeper(Protocol):
    """Something that a secret can be put into. ``name`` is what ``--save`` calls it; it holds no secret."""

    name: str
    where: str

    def probe(self) -> None:
        """See that a secret can be put in, and comes out again, before there is one to lose.

        Raises:
            UsageError: something is there that would have to be replaced.
            NotAllowedError, UnreachableError, InputError: as ``Vault.read``.
        """
        ...

    def write(self, secret: str) -> None:
        """Put the secret in, and read it back where that can be done. Raises as ``probe``."""
        ...

    def held(self) -> str | None:
        """The secret that is there now; None where there is none, or nobody can tell. Raises as ``probe``."""
        ...


def first_line(data: bytes, where: str) -> str:
    """Return the secret on the first line, once it can be one: some signs of ASCII, without blanks, for a header.

    Raises:
        InputError: it cannot. What it is is not repeated.
    """
    if len(data) > LARGEST:
        raise InputError(f"{where} is too long to hold a secret.", f"At most {LARGEST:,} bytes.")
    line = data.lstrip(b"\xef\xbb\xbf").partition(b"\n")[0].strip()
    if not line:
        raise InputError(f"{where} is empty.", "The secret stands on the first line.")
    if not all(0x21 <= sign <= 0x7E for sign in line):
        raise InputError(f"{where} begins with no secret: there are blanks or other signs in it that none has.",
                         "The secret stands alone on the first line.")  # fmt: skip
    return line.decode()
