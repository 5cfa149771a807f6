"""``file:PATH``: a secret on the first line of a file that only its owner can read and write."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokctl.api_tokens.vaults.protocol import MAX_SECRET_BYTES, parse_secret_line, translate_source_errors
from tokctl.atomic_files import write_atomically
from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, UsageError

GROUP_OTHER_BITS = 0o077


class SecretFile:
    """A file. Implements ``protocol.SecretSource`` and ``protocol.SecretSink``."""

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self.path = path
        self.replace = replace
        self.name = f"file:{path}"
        self.where = f"the file {path}"

    def read(self) -> str:
        """Return the first line. Symbolic links are followed; the permissions of their target count."""
        missing = f"cannot read the credential: {self.where} does not exist."
        with translate_source_errors(self.where, "read", missing):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # do not wait for the writer of a named pipe
            try:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode):
                    raise InputError(f"cannot read the credential: {self.where} is not a file.")
                if mode & GROUP_OTHER_BITS:
                    raise NotAllowedError(
                        f"{self.where} contains a credential, but others can read or change it.",
                        f"Run 'chmod 600 {self.path}'.",
                    )
                return parse_secret_line(os.read(descriptor, MAX_SECRET_BYTES + 1), self.where)
            finally:
                os.close(descriptor)

    def probe(self) -> None:
        """Check that the file can be written, and that nothing is there that must not be overwritten."""
        if os.path.lexists(self.path):
            if not self.replace:
                raise _exists_error(self.where)
            self.read()
        with translate_write_errors(self.where):
            check_free_space(self.path)

    def write(self, secret: str) -> None:
        """Write the file atomically and read it back."""
        with translate_write_errors(self.where):
            data = f"{secret}\n".encode()
            if self.replace:
                path = resolve_links(self.path)
                write_atomically(path, data, owner=path.stat() if path.exists() else None)
            else:
                write_atomically(self.path, data, new=True)
        if self.read() != secret:
            raise InputError(f"{self.where} does not contain the saved secret.")

    def read_current(self) -> str | None:
        """Return the first line; None if there is no file."""
        return self.read() if os.path.lexists(self.path) else None


def resolve_links(path: Path) -> Path:
    """Resolve symbolic links, so that a write replaces the file and not a link to it."""
    return Path(os.path.realpath(path))


def check_free_space(path: Path, size: int = 0) -> None:
    """Check that a file of ``size`` bytes can be written in the folder of a path. Raises OSError."""
    path = resolve_links(path)
    canary = path.with_name(f".{path.name}-{secrets.token_hex(6)}")  # as long as the names of temporary files will be
    try:
        write_atomically(canary, b"-" * (size + 4096), new=True)
    finally:
        canary.unlink(missing_ok=True)


@contextmanager
def translate_write_errors(where: str) -> Iterator[None]:
    """Translate OSErrors from writing ``where`` into NotAllowedError, UsageError (the file exists) or InputError."""
    try:
        yield
    except PermissionError:
        raise NotAllowedError(
            f"cannot write {where}: permission denied.", "Check the permissions of its directory."
        ) from None
    except FileExistsError:
        raise _exists_error(where) from None
    except FileNotFoundError:
        raise InputError(f"cannot write {where}: the directory does not exist.", "Create it first.") from None
    except OSError as error:
        raise InputError(f"cannot write {where}: {error.strerror}.") from None


def _exists_error(where: str) -> UsageError:
    return UsageError(f"{where} already exists.", "Use a path that does not exist, or --replace.")


def open_source(place: str, account: str) -> SecretFile:  # noqa: ARG001 - the same for every kind
    """Open the file at a path."""
    return SecretFile(expand_user(place))


def open_sink(place: str, account: str, *, replace: bool) -> SecretFile:  # noqa: ARG001 - the same for every kind
    """Open the file at a path. The path is made absolute, as the ledger is read in other directories, too."""
    return SecretFile(expand_user(place).absolute(), replace=replace)
