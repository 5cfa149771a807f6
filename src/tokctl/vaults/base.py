"""What a vault is, and what a secret may look like. No other module here knows more than one kind."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Keeper(Vault, Protocol):
    """A vault that can be written to."""

    def probe(self) -> None:
        """See that a secret put in comes out again, before there is one to lose. Raises as ``read``."""
        ...

    def write(self, secret: str) -> None:
        """Put the secret in, and read it back. Raises as ``read``."""
        ...

    def remove(self) -> bool:
        """Take the secret out; returns whether there was one. Raises as ``read``."""
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
