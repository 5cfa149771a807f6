"""The pepper: the key of the digests that a store keeps of secrets, itself kept outside of the store.

It is ``TOKCTL_PEPPER``, or what the file holds that ``TOKCTL_PEPPER_FILE`` names, or the file ``pepper``
beside the configuration file, which the first API token makes. Who loses it makes every API token new.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tokctl.config import config_file
from tokctl.config.file import at_home
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.files import write_whole

LEAST = 32  # characters
LARGEST = 4096
_DOOR = 0o077


class Pepper(Struct, frozen=True):
    """A key, and the name under which digests remember it."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        """The name alone: the key is a secret."""
        return f"Pepper(id={self.id!r})"


def load_pepper(environ: Mapping[str, str], *, create: bool = False) -> Pepper:
    """Find the pepper; make one where there is none, if ``create`` says so.

    Raises:
        NotFoundError: there is none.
        NotAllowedError: its file can be read by others, or not by us.
        InputError: it is too short to be one, or its file cannot be made.
    """
    if text := environ.get("TOKCTL_PEPPER"):
        return _pepper(text, "TOKCTL_PEPPER")
    path = pepper_file(environ)
    if create and not path.exists():
        _make(path)
    return _pepper(_read(path), str(path))


def pepper_file(environ: Mapping[str, str]) -> Path:
    """Where the pepper is, or would be."""
    if named := environ.get("TOKCTL_PEPPER_FILE"):
        return at_home(named)
    return config_file(environ).with_name("pepper")


def _pepper(text: str, where: str) -> Pepper:
    text = text.strip()
    if len(text) < LEAST:
        raise InputError(f"the pepper in {where} is too short: {len(text)} characters.",
                         f"Give at least {LEAST}, such as 'openssl rand -hex 32' prints.")  # fmt: skip
    key = text.encode(errors="surrogateescape")
    return Pepper(hashlib.sha256(b"tokctl pepper " + key).hexdigest()[:8], key)


def _read(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - a pipe would hold us up
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"the pepper {path} is no file.")
            if os.name == "posix" and status.st_mode & _DOOR:
                raise NotAllowedError(f"the pepper {path} can be read by others.", f"Run 'chmod 600 {path}'.")
            return stream.read(LARGEST).decode(errors="surrogateescape")
    except FileNotFoundError:
        raise NotFoundError(f"there is no pepper at {path}, without which no API token can be checked.",
                            "'tokctl api-tokens create' makes one with the first API token.") from None  # fmt: skip
    except IsADirectoryError:
        raise InputError(f"the pepper {path} is no file.") from None
    except PermissionError:
        raise NotAllowedError(f"the pepper {path} may not be read.", "Check the file's rights.") from None
    except OSError as error:
        raise InputError(f"the pepper {path} cannot be read: {error.strerror}.") from None


def _make(path: Path) -> None:
    """Make a pepper that is there whole or not at all; one that comes at the same time stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            write_whole(path, secrets.token_hex(32).encode() + b"\n", new=True)
    except OSError as error:
        raise InputError(f"the pepper {path} cannot be made: {error.strerror}.",
                         "Set TOKCTL_PEPPER or TOKCTL_PEPPER_FILE.") from None  # fmt: skip
