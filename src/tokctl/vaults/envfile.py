"""``env-file:PATH`` or ``env-file:PATH#NAME``: a secret as one variable of a file of such, as programs load them.

All but its value stays as it is, the other variables, comments and blank lines. Lines are ``NAME=value``, perhaps
behind ``export``, and a comment may follow a blank; a value in quotes may go on for several lines. Of a variable
that is there more than once the last counts.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tokctl.config.file import at_home
from tokctl.errors import InputError, NotAllowedError, UsageError
from tokctl.files import locked, write_whole
from tokctl.vaults.base import first_line
from tokctl.vaults.file import OTHERS, prove_room, real, writing

NAME = "TOKCTL_API_KEY"
LARGEST = 1 << 20
PATIENCE = 10.0  # s, with others that write in the same folder
QUOTES = ("'", '"')
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)([ \t]*=)[ \t]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:+=@%-]+")


class EnvFile:
    """Implements ``vaults.base.Keeper``."""

    def __init__(self, path: Path, variable: str) -> None:
        self.path = path
        self.variable = variable
        self.name = f"env-file:{path}#{variable}"
        self.where = f"{variable} in the file {path}"

    def probe(self) -> None:
        """See that the file can be read, and written anew."""
        text, _ = self._read()
        with writing(self.where):
            prove_room(self.path, len(text.encode()))

    def write(self, secret: str) -> None:
        """Put the variable in, in the place of the one of that name, and read it back."""
        with writing(self.where), locked(real(self.path).parent, PATIENCE):  # others may write variables of theirs
            before, owner = self._read()
            write_whole(real(self.path), _replaced(before, self.variable, _quoted(secret)).encode(), owner=owner)
        if self.held() != secret:
            raise InputError(f"{self.where} does not hold what was written.")

    def held(self) -> str | None:
        """The variable's value."""
        text, _ = self._read()
        found = _spans(text).get(self.variable)
        if found is None:
            return None
        value = text[found.value : found.end]
        if value[:1] in QUOTES:
            with suppress(ValueError):  # one that does not end is part of the value
                value = "".join(shlex.split(value)[:1])
        return first_line(value.encode(), self.where) if value else None

    def _read(self) -> tuple[str, os.stat_result | None]:
        """The file's text, and whose it is; nothing, where it is not there."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return "", None
        except OSError as error:
            raise NotAllowedError(f"the file {self.path} cannot be read: {error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{self.path} is no file.")
            if status.st_mode & OTHERS:
                raise NotAllowedError(f"the file {self.path} is to hold a secret, and others can read or change it.",
                                      f"Run 'chmod 600 {self.path}'.")  # fmt: skip
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(LARGEST + 1)
        except OSError as error:
            raise InputError(f"the file {self.path} cannot be read: {error.strerror}.") from None
        finally:
            os.close(descriptor)
        if len(data) > LARGEST:
            raise InputError(f"the file {self.path} is too large for one of variables.", f"At most {LARGEST:,} bytes.")
        try:
            return data.decode(), status
        except UnicodeDecodeError:
            raise InputError(f"the file {self.path} is no text in UTF-8.") from None


class _Span(NamedTuple):
    """Where a variable's line begins, and where its value begins and ends."""

    line: int
    value: int
    end: int


def _spans(text: str) -> dict[str, _Span]:
    """Where each variable stands."""
    found = {}
    at = int(text.startswith("\ufeff"))
    while at < len(text):
        match = _LINE.match(text, at)
        end = at
        if match is not None:
            end = _end(text, match.end())
            found[match[1]] = (
                _Span(at, match.end(), end) if end > match.end() else _Span(at, match.end(2), match.end(2))
            )
        stop = text.find("\n", end)
        at = len(text) if stop < 0 else stop + 1
    return found


def _end(text: str, at: int) -> int:
    """Where the value ends that begins there: behind its quotes, before a comment, or at the line's last sign."""
    begin, is_quoted = at, text[at : at + 1] in QUOTES
    while at < len(text) and text[at] != "\n":
        sign = text[at]
        if sign == "#" and text[at - 1] in " \t":
            break
        if is_quoted and sign in QUOTES:
            at = max(at, _closing(text, at))
        elif is_quoted and sign == "\\":
            at += 1
        at += 1
    return begin + len(text[begin:at].rstrip())


def _closing(text: str, at: int) -> int:
    """Where the quote ends that begins there; -1 if it does not."""
    quote, at = text[at], at + 1
    while at < len(text):
        if text[at] == "\\" and quote == '"':
            at += 1
        elif text[at] == quote:
            return at
        at += 1
    return -1


def _replaced(text: str, variable: str, value: str) -> str:
    """The text in which the variable has a value, as it is to stand there."""
    found = _spans(text).get(variable)
    if found is not None:
        return text[: found.value] + value + text[found.end :]
    ending = "\r\n" if "\r\n" in text else "\n"
    return text + (ending if text and not text.endswith("\n") else "") + f"{variable}={value}{ending}"


def _quoted(secret: str) -> str:
    return secret if _PLAIN.fullmatch(secret) else "'" + secret.replace("'", "'\\''") + "'"


def open_keeper(place: str, account: str, *, replace: bool) -> EnvFile:  # noqa: ARG001 - every kind has them
    """The variable of that file."""
    path, sign, name = place.rpartition("#")
    if not sign:
        path, name = place, NAME
    if not path or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise UsageError(f"'{place}' names no variable in a file.", "Say env-file:PATH, or env-file:PATH#NAME.")
    return EnvFile(at_home(path).absolute(), name)
