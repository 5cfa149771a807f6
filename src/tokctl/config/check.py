"""Holds a configuration against the table of its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokctl.config import keys
from tokctl.config.file import at_home
from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.process.query import suggest

SECTIONS = ("contexts", "debug", "serve")


Fail = Callable[[str, TokctlError], None]
"""What is told of something wrong: the dotted name, and what is wrong with it."""


def check(document: Mapping[str, Any], file: Path, fail: Fail | None = None) -> Iterator[tuple[str, Any]]:
    """Check a configuration; yields each setting's dotted name and its value as the program works with it.

    The first thing wrong is raised, or, if there is ``fail``, all that is wrong told to that.

    Paths are taken from the file's folder on, ``~`` is the home. The thresholds of ``debug``, which only the
    rules know, are told as they stand there.

    Raises:
        InputError: a section holds something else than names and values.
        UsageError: a setting that does not exist, or a value that means nothing.
    """
    checked = _Checked(file, fail)
    yield from checked.table(document, keys.TOP, "", SECTIONS)
    yield from checked.thresholds(document.get("debug"), "debug")
    serve = checked.section(document.get("serve"), "serve")
    yield from checked.table(serve, keys.SERVE, "serve", ("limits",))
    yield from checked.table(serve.get("limits"), keys.LIMITS, "serve.limits")
    contexts = checked.section(document.get("contexts"), "contexts")
    for name, context in contexts.items():
        yield from checked.context(name, context)
    current = document.get("current_context")
    if isinstance(current, str | int) and str(current) not in contexts:
        error = UsageError(f"there is no context '{current}'{suggest(str(current), contexts)}.",
                           f"There are: {', '.join(contexts) or 'none'}.")  # fmt: skip
        checked.fail("current_context", error)


class _Checked:
    """A file that is looked through."""

    def __init__(self, file: Path, fail: Fail | None) -> None:
        self.file = file
        self.fail = fail or self._raise

    def _raise(self, name: str, error: TokctlError) -> None:
        if isinstance(error, InputError):
            raise InputError(f"the configuration {self.file}: {error.message}")
        raise UsageError(f"in the configuration {self.file}, {name}: {error.message}", error.hint)

    def section(self, value: Any, where: str) -> Mapping[str, Any]:
        """What should hold names and values, or nothing."""
        if value is not None and not isinstance(value, dict):
            self.fail(where, InputError(f"'{where}' has to hold names and values."))
            return {}
        return value or {}

    def table(
        self, value: Any, known: Mapping[str, keys.Key], where: str, sections: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Any]]:
        """The settings of a section; its own sections are left out."""
        for key, given in self.section(value, where).items():
            if key in sections:
                continue
            if key not in known:
                self.unknown(str(key), (*known, *sections), where)
            elif given is not None:
                yield from self.told(f"{where}.{key}".lstrip("."), known[key], given)

    def thresholds(self, value: Any, where: str) -> Iterator[tuple[str, Any]]:
        """Thresholds, as far as they can be told without the rules."""
        for key, given in self.section(value, where).items():
            name = f"{where}.{key}"
            if isinstance(given, dict | list):
                self.fail(name, UsageError("it takes a span such as 10m, or a number."))
            elif given is not None:
                yield from self.told(where, _ANY, key)
                yield from self.told(name, _ANY, given)

    def context(self, name: Any, value: Any) -> Iterator[tuple[str, Any]]:
        """The settings of a context."""
        for _, fine in self.told("contexts", _NAME, name):
            where = f"contexts.{fine}"
            context = self.section(value, where)
            yield from self.table(context, keys.CONTEXT, where, ("debug",))
            if context.get("store") is not None and context.get("server") is not None:
                self.fail(where, UsageError("it names a store and a server.", "Give it one of them."))
            yield from self.thresholds(context.get("debug"), f"{where}.debug")

    def unknown(self, key: str, known: tuple[str, ...], where: str) -> None:
        """Tell of a setting that does not exist."""
        for _ in self.told(where or "a name", _ANY, key):
            self.fail(f"{where}.{key}".lstrip("."), UsageError(
                f"there is no such setting{suggest(key, known)}.", f"Valid: {', '.join(known)}."))  # fmt: skip

    def told(self, name: str, key: keys.Key, given: Any) -> Iterator[tuple[str, Any]]:
        """The name and what its value means; nothing if that is nothing."""
        try:
            value = key.read(given)
        except UsageError as error:
            self.fail(name, error)
        else:
            yield name, self.located(key, value)

    def located(self, key: keys.Key, value: Any) -> Any:
        """A path as it stands, from the file's folder on."""
        if key.path and "://" not in value:
            return str(self.file.parent / at_home(value))
        if key.read is keys.credential and value.startswith("file:"):
            return f"file:{self.file.parent / at_home(value.removeprefix('file:'))}"
        return value


def _no_secret(value: Any) -> Any:
    keys.refuse_secret(str(value))
    return value


_ANY = keys.Key(_no_secret, "")
_NAME = keys.Key(keys.name, "")
