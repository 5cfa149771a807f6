"""Writes the configuration file: whole or not at all, by one at a time, for its owner's eyes only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokctl.config.editing import Parts, changed, drop, put, rename
from tokctl.config.file import config_file, parse, read_data
from tokctl.errors import InputError, NotAllowedError, UnreachableError
from tokctl.files import locked, write_whole

PATIENCE = 10.0  # s; a change takes milliseconds


def set_values(environ: Mapping[str, str], values: Mapping[Parts, Any]) -> Path:
    """Set settings, all or none, making the file where there is none; returns where it is.

    Raises:
        UsageError: the configuration would not be right with them.
        InputError, NotAllowedError, UnreachableError: as ``change``.
    """

    def edit(text: str) -> str:
        for parts, value in values.items():
            text = put(text, parts, value)
        return text

    def expect(document: dict[str, Any]) -> None:
        for parts, value in values.items():
            _section(document, parts[:-1])[parts[-1]] = value

    return change(environ, edit, expect)


def unset(environ: Mapping[str, str], *settings: Parts) -> Path:
    """Take settings or sections out; what else is wrong in the file may stay so, as this may be how it is mended."""

    def edit(text: str) -> str:
        for parts in settings:
            text = drop(text, parts)
        return text

    def expect(document: dict[str, Any]) -> None:
        for parts in settings:
            _section(document, parts[:-1]).pop(parts[-1], None)

    return change(environ, edit, expect, strict=False)


def rename_context(environ: Mapping[str, str], old: str, new: str, *, current: bool) -> Path:
    """Give a context another name, in ``current_context``, too, if it is the ``current`` one."""

    def edit(text: str) -> str:
        text = rename(text, ("contexts", old), new)
        return put(text, ("current_context",), new) if current else text

    def expect(document: dict[str, Any]) -> None:
        contexts = document["contexts"]
        document["contexts"] = {new if name == old else name: contexts[name] for name in contexts}
        if current:
            document["current_context"] = new

    return change(environ, edit, expect)


def _section(document: dict[str, Any], parts: Parts) -> dict[str, Any]:
    for part in parts:
        if document.get(part) is None:
            document[part] = {}
        document = document[part]
    return document


def change(
    environ: Mapping[str, str],
    edit: Callable[[str], str],
    expect: Callable[[dict[str, Any]], None],
    *,
    strict: bool = True,
) -> Path:
    """Change the configuration file; returns where it is, symbolic links followed.

    The new text takes the place of the old one at once, and only if it is right (without ``strict``: if it is
    YAML). Two that change it at the same time do so one after the other.

    Raises:
        UsageError: the new text would not be right.
        InputError: the file is no YAML, or cannot be written.
        NotAllowedError: its rights, or its folder's, forbid it.
        UnreachableError: somebody else has been at it all the time.
    """
    file = Path(os.path.realpath(config_file(environ)))
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(file.parent, PATIENCE):  # the file itself is replaced
            text, owner = _read(file)
            new = changed(text, file, edit, expect)
            if strict:
                parse(new.encode(), file)
            if new != text or owner is None:
                write_whole(file, new.encode(), owner=owner)
    except BlockingIOError:
        raise UnreachableError(f"somebody else has been changing the configuration in {file.parent} for "
                               f"{PATIENCE:.0f} s.", "Try again.") from None  # fmt: skip
    except PermissionError:
        raise NotAllowedError(f"the configuration {file} may not be changed.",
                              "Check the rights of the file and of its folder.") from None  # fmt: skip
    except OSError as error:
        raise InputError(f"the configuration {file} cannot be written: {error.strerror}.", "It is as it was.") from None
    return file


def _read(file: Path) -> tuple[str, os.stat_result | None]:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a device would be replaced, a pipe waited for
            raise InputError(f"the configuration {file} is no regular file, and cannot be changed.")
        data, status = read_data(file)
        return data.decode(), status
    except FileNotFoundError:
        return "", None
    except UnicodeDecodeError:
        raise InputError(f"the configuration {file} is no YAML: it is not UTF-8.") from None
