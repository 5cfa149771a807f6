"""``env-file:PATH`` or ``env-file:PATH#NAME``: a secret in a variable of an env file (``.env``).

Only the value of the variable changes; other variables, comments and blank lines stay as they are. Lines are
``NAME=value``, optionally after ``export``, and a comment may follow after a blank. A quoted value may span several
lines. If a variable occurs more than once, the last one counts.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tokctl.api_tokens.vaults.file import (
    GROUP_OTHER_BITS,
    check_free_space,
    check_owner,
    resolve_links,
    translate_write_errors,
)
from tokctl.api_tokens.vaults.protocol import MayReplace, parse_secret_line, replace_nothing
from tokctl.atomic_files import file_lock, write_atomically
from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, UsageError

DEFAULT_VARIABLE = "TOKCTL_API_KEY"
MAX_FILE_BYTES = 1 << 20
LOCK_TIMEOUT_SECONDS = 10.0  # while another process writes in the same folder
QUOTES = ("'", '"')
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)([ \t]*=)[ \t]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:+=@%-]+")


class EnvFile:
    """A variable in an env file. Implements ``protocol.SecretSink``."""

    def __init__(self, path: Path, variable: str, *, may_replace: MayReplace = replace_nothing) -> None:
        self.path = path
        self.variable = variable
        self.may_replace = may_replace
        self.name = f"env-file:{path}#{variable}"
        self.where = f"{variable} in the file {path}"

    def probe(self) -> None:
        """Check that the file can be read and rewritten, and that no value is there that must not be overwritten."""
        text = self._read()
        self._check_value(text)
        with translate_write_errors(self.where):
            check_free_space(self.path, len(text.encode()))

    def write(self, secret: str) -> None:
        """Set the variable and read it back."""
        with translate_write_errors(self.where):
            path = resolve_links(self.path)
            with file_lock(path.parent, LOCK_TIMEOUT_SECONDS):  # other processes may set other variables of the file
                before = self._read()
                self._check_value(before)  # another process may have set it meanwhile
                after = _replace_value(before, self.variable, _quote_value(secret))
                write_atomically(path, after.encode())
        if self.read_current() != secret:
            raise InputError(f"{self.where} does not contain the saved secret.")

    def read_current(self) -> str | None:
        """Return the value of the variable, without its quotes; None if it is not set."""
        value = self._value(self._read())
        return parse_secret_line(value.encode(), self.where) if value else None

    def _value(self, text: str) -> str:
        """Return the value of the variable in a text, without its quotes; empty if it is not set."""
        found = _find_assignments(text).get(self.variable)
        if found is None:
            return ""
        value = text[found.value : found.end]
        if value[:1] in QUOTES:
            with suppress(ValueError):  # an unclosed quote is part of the value
                value = "".join(shlex.split(value)[:1])
        return value

    def _check_value(self, text: str) -> None:
        """Raise UsageError if the variable has a value that must stay: it may be the only copy of another secret."""
        value = self._value(text)
        if value.strip("'\"") and not self.may_replace(value):
            raise UsageError(
                f"{self.where} already has a value.",
                f"Use another variable, such as env-file:{self.path}#NAME, or --replace.",
            )

    def _read(self) -> str:
        """Return the text of the file; empty if there is no file."""
        check_owner(self.path)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise NotAllowedError(f"cannot read the file {self.path}: {error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{self.path} is not a file.")
            if status.st_mode & GROUP_OTHER_BITS:
                raise NotAllowedError(
                    f"the file {self.path} is for a secret, but others can read or change it.",
                    f"Run 'chmod 600 {self.path}'.",
                )
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot read the file {self.path}: {error.strerror}.") from None
        finally:
            os.close(descriptor)
        if len(data) > MAX_FILE_BYTES:
            raise InputError(f"the file {self.path} is too large.", f"The maximum is {MAX_FILE_BYTES:,} bytes.")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise InputError(f"the file {self.path} is not valid UTF-8.") from None


class _Assignment(NamedTuple):
    """Offsets of the beginning of a variable's line, and of the beginning and the end of its value."""

    line: int
    value: int
    end: int


def _find_assignments(text: str) -> dict[str, _Assignment]:
    """Return the assignment of each variable."""
    found = {}
    at = int(text.startswith("\ufeff"))
    while at < len(text):
        match = _LINE.match(text, at)
        end = at
        if match is not None:
            end = _find_value_end(text, match.end())
            found[match[1]] = (
                _Assignment(at, match.end(), end) if end > match.end() else _Assignment(at, match.end(2), match.end(2))
            )
        stop = text.find("\n", end)
        at = len(text) if stop < 0 else stop + 1
    return found


def _find_value_end(text: str, at: int) -> int:
    """Return the end of the value at an offset: after its quotes, before a comment, or at the end of the line."""
    begin, is_quoted = at, text[at : at + 1] in QUOTES
    while at < len(text) and text[at] != "\n":
        sign = text[at]
        if sign == "#" and text[at - 1] in " \t":
            break
        if is_quoted and sign in QUOTES:
            at = max(at, _find_closing_quote(text, at))
        elif is_quoted and sign == "\\":
            at += 1
        at += 1
    return begin + len(text[begin:at].rstrip())


def _find_closing_quote(text: str, at: int) -> int:
    """Return the offset of the quote that closes the one at an offset; -1 if there is none."""
    quote, at = text[at], at + 1
    while at < len(text):
        if text[at] == "\\" and quote == '"':
            at += 1
        elif text[at] == quote:
            return at
        at += 1
    return -1


def _replace_value(text: str, variable: str, value: str) -> str:
    """Return the text with the variable set to a value that is quoted already."""
    found = _find_assignments(text).get(variable)
    if found is not None:
        return text[: found.value] + value + text[found.end :]
    ending = "\r\n" if "\r\n" in text else "\n"
    return text + (ending if text and not text.endswith("\n") else "") + f"{variable}={value}{ending}"


def _quote_value(secret: str) -> str:
    return secret if _PLAIN.fullmatch(secret) else "'" + secret.replace("'", "'\\''") + "'"


def open_sink(place: str, account: str, *, may_replace: MayReplace) -> EnvFile:  # noqa: ARG001 - the same for every kind
    """Open a variable of an env file: ``PATH``, for ``TOKCTL_API_KEY``, or ``PATH#NAME``. Raises UsageError."""
    path, sign, name = place.rpartition("#")
    if not sign:
        path, name = place, DEFAULT_VARIABLE
    if not path or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise UsageError(f"invalid place '{place}'.", "Use env-file:PATH or env-file:PATH#NAME.")
    return EnvFile(expand_user(path).absolute(), name, may_replace=may_replace)
