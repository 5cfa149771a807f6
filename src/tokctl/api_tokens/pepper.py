"""The pepper: the key of the digests of secrets. It is kept outside the store that has the digests.

It is the value of ``TOKCTL_PEPPER``, or the content of the file that ``TOKCTL_PEPPER_FILE`` names, or of the file
``pepper`` beside the configuration file, which the first API token creates. If it is lost, every API token must be
created again.
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

from tokctl.atomic_files import make_folder, write_atomically
from tokctl.config import config_file
from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, NotFoundError

MIN_PEPPER_LENGTH = 32  # characters
MAX_PEPPER_BYTES = 4096
_GROUP_OTHER_BITS = 0o077


class Pepper(Struct, frozen=True):
    """A key, and the id under which a store records it beside its digests."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        """Show the id only: the key is a secret."""
        return f"Pepper(id={self.id!r})"


def load_pepper(environ: Mapping[str, str], *, create: bool = False) -> Pepper:
    """Read the pepper; with ``create``, create its file if there is none.

    Raises NotFoundError: there is none; NotAllowedError: others can read its file, or this user cannot; InputError: it
    is too short, or its file cannot be read or created.
    """
    if text := environ.get("TOKCTL_PEPPER"):
        return _parse_pepper(text, "TOKCTL_PEPPER")
    path = pepper_file(environ)
    if create and not path.exists():
        _create_pepper_file(path)
    return _parse_pepper(_read_pepper_file(path), str(path))


def pepper_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the pepper, which may not exist."""
    if named := environ.get("TOKCTL_PEPPER_FILE"):
        return expand_user(named)
    return config_file(environ).with_name("pepper")


def _parse_pepper(text: str, where: str) -> Pepper:
    text = text.strip()
    if len(text) < MIN_PEPPER_LENGTH:
        raise InputError(
            f"the pepper in {where} is too short: {len(text)} characters.",
            f"Use at least {MIN_PEPPER_LENGTH}; 'openssl rand -hex 32' generates one.",
        )
    key = text.encode(errors="surrogateescape")
    return Pepper(hashlib.sha256(b"tokctl pepper " + key).hexdigest()[:8], key)


def _read_pepper_file(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - O_NONBLOCK: do not wait for the writer of a named pipe
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"the pepper {path} is not a file.")
            if os.name == "posix" and status.st_mode & _GROUP_OTHER_BITS:
                raise NotAllowedError(f"the pepper {path} can be read by others.", f"Run 'chmod 600 {path}'.")
            return stream.read(MAX_PEPPER_BYTES).decode(errors="surrogateescape")
    except FileNotFoundError:
        raise NotFoundError(
            f"no pepper found at {path}. API tokens cannot be checked without it.",
            "Copy the pepper of the store's API tokens to this file, or set TOKCTL_PEPPER_FILE."
            " 'tokctl api-tokens create' creates one with the first API token of a store.",
        ) from None
    except IsADirectoryError:
        raise InputError(f"the pepper {path} is not a file.") from None
    except PermissionError:
        raise NotAllowedError(
            f"cannot read the pepper {path}: permission denied.", "Check the permissions of the file."
        ) from None
    except OSError as error:
        raise InputError(f"cannot read the pepper {path}: {error.strerror}.") from None


def _create_pepper_file(path: Path) -> None:
    """Create the file of a new pepper, whole or not at all. A file that another process creates meanwhile is kept."""
    try:
        make_folder(path.parent)
        with suppress(FileExistsError):
            write_atomically(path, secrets.token_hex(32).encode() + b"\n", new=True)
    except OSError as error:
        raise InputError(
            f"cannot create the pepper {path}: {error.strerror}.", "Set TOKCTL_PEPPER or TOKCTL_PEPPER_FILE."
        ) from None
