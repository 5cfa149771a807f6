"""``file:PATH``: a secret on the first line of a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokctl.config.file import at_home
from tokctl.errors import InputError, NotAllowedError, UsageError
from tokctl.files import write_whole
from tokctl.vaults.base import LARGEST, NAMED, first_line

OTHERS = 0o077


class File:
    """Implements ``vaults.base.Vault`` and ``vaults.base.Keeper``."""

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self.path = path
        self.replace = replace
        self.name = f"file:{path}"
        self.where = f"the file {path}"

    def read(self) -> str:
        """The first line; symbolic links are followed, and what they lead to has to be for its owner only."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not hold us up
        except FileNotFoundError:
            raise NotAllowedError(f"{self.where}, which should hold the credential, is not there.", NAMED) from None
        except PermissionError:
            raise NotAllowedError(f"{self.where} may not be read.", "Check the file's rights.") from None
        except OSError as error:
            raise InputError(f"{self.where} cannot be read: {error.strerror}.") from None
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"{self.where}, which should hold the credential, is no file.")
            if mode & OTHERS:
                raise NotAllowedError(f"{self.where} holds a credential, and others can read or change it.",
                                      f"Run 'chmod 600 {self.path}'.")  # fmt: skip
            return first_line(os.read(descriptor, LARGEST + 1), self.where)
        except OSError as error:
            raise InputError(f"{self.where} cannot be read: {error.strerror}.") from None
        finally:
            os.close(descriptor)

    def probe(self) -> None:
        """See that the file can be written."""
        if os.path.lexists(self.path):
            if not self.replace:
                raise UsageError(f"{self.where} is there already.", "Name one that is not, so that nothing is lost.")
            self.read()
        with writing(self.where):
            prove_room(self.path)

    def write(self, secret: str) -> None:
        """Write the file, whole, and read it back."""
        with writing(self.where):
            data = f"{secret}\n".encode()
            if self.replace:
                path = real(self.path)
                write_whole(path, data, owner=path.stat() if path.exists() else None)
            else:
                write_whole(self.path, data, new=True)
        if self.read() != secret:
            raise InputError(f"{self.where} does not hold what was written.")

    def held(self) -> str | None:
        """What is on its first line."""
        return self.read() if os.path.lexists(self.path) else None


def real(path: Path) -> Path:
    """Where a path leads: what is replaced is the file, not a link to it."""
    return Path(os.path.realpath(path))


def prove_room(path: Path, size: int = 0) -> None:
    """See that a file can be written beside a path, and that there is room for so many bytes. Raises OSError."""
    path = real(path)
    canary = path.with_name(f".{path.name}-{secrets.token_hex(6)}")  # no shorter than any name that is to be
    try:
        write_whole(canary, b"-" * (size + 4096), new=True)
    finally:
        canary.unlink(missing_ok=True)


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turn the faults of writing a file into ours.

    Raises:
        NotAllowedError: its rights forbid it.
        UsageError: something is in its place.
        InputError: it cannot be written.
    """
    try:
        yield
    except PermissionError:
        raise NotAllowedError(f"{where} may not be written.", "Check the rights of its folder.") from None
    except FileExistsError:
        raise UsageError(f"{where} is there already.", "Name one that is not, so that nothing is lost.") from None
    except FileNotFoundError:
        raise InputError(f"{where} cannot be written: there is no such folder.", "Make it first.") from None
    except OSError as error:
        raise InputError(f"{where} cannot be written: {error.strerror}.") from None


def open_vault(place: str, account: str) -> File:  # noqa: ARG001 - every kind has it
    """The file at that path."""
    return File(at_home(place))


def open_keeper(place: str, account: str, *, replace: bool) -> File:  # noqa: ARG001 - every kind has it
    """The file at that path, from wherever it will be looked for."""
    return File(at_home(place).absolute(), replace=replace)
