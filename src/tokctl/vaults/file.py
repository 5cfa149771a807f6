"""``file:PATH``: a secret on the first line of a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tokctl.config.file import at_home
from tokctl.errors import InputError, NotAllowedError
from tokctl.vaults.base import LARGEST, NAMED, first_line

OTHERS = 0o077


class File:
    """Implements ``vaults.base.Vault``."""

    def __init__(self, path: Path) -> None:
        self.path = path
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


def open_vault(place: str, account: str) -> File:  # noqa: ARG001 - every kind has it
    """The file at that path."""
    return File(at_home(place))
