"""``file:PATH``: a secret on the first line of a file that only its owner can read and write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tokctl.api_tokens.vaults.protocol import (
    MAX_SECRET_BYTES,
    MayReplace,
    parse_secret_line,
    replace_nothing,
    translate_source_errors,
)
from tokctl.atomic_files import check_writable, is_foreign, write_atomically
from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, UsageError

GROUP_OTHER_BITS = 0o077


class SecretFile:
    """A file. Implements ``protocol.SecretSource`` and ``protocol.SecretSink``."""

    def __init__(self, path: Path, *, may_replace: MayReplace = replace_nothing) -> None:
        self.path = path
        self.may_replace = may_replace
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
        self._check_value()
        with translate_write_errors(self.where):
            check_free_space(self.path)

    def write(self, secret: str) -> None:
        """Write the file atomically and read it back."""
        is_there = self._check_value()
        with translate_write_errors(self.where):
            path = resolve_links(self.path) if is_there else self.path
            write_atomically(path, f"{secret}\n".encode(), new=not is_there)
        if self.read() != secret:
            raise InputError(f"{self.where} does not contain the saved secret.")

    def read_current(self) -> str | None:
        """Return the first line; None if there is no file."""
        if not os.path.lexists(self.path):
            return None
        check_owner(self.path)
        return self.read()

    def _check_value(self) -> bool:
        """Return whether there is a file; raise UsageError if its secret must stay: it may be the only copy."""
        if not os.path.lexists(self.path):
            return False
        if self.may_replace is replace_nothing or not self.may_replace(self.read_current() or ""):
            raise _exists_error(self.where)
        return True


def check_owner(path: Path) -> None:
    """Check that a file, and a link to it, belong to this user or to root. Raises NotAllowedError."""
    for status in (path.lstat, path.stat):
        with suppress(OSError):
            if is_foreign(found := status()):
                raise NotAllowedError(
                    f"the file {path} belongs to another user (uid {found.st_uid}), who can read or change it.",
                    "Use a file of your own, or run the command as that user.",
                )


def resolve_links(path: Path) -> Path:
    """Resolve symbolic links, so that a write replaces the file and not a link to it."""
    return Path(os.path.realpath(path))


def check_free_space(path: Path, size: int = 0) -> None:
    """Check that a file of ``size`` bytes can be written in the folder of a path. Raises OSError."""
    check_writable(resolve_links(path), size + 4096)


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


def open_sink(place: str, account: str, *, may_replace: MayReplace) -> SecretFile:  # noqa: ARG001 - the same for every kind
    """Open the file at a path. The path is made absolute, as the ledger is read in other directories, too."""
    return SecretFile(expand_user(place).absolute(), may_replace=may_replace)
