"""Checks a configuration document against the tables of settings in ``keys``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokctl.config import keys
from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.text import suggest

SECTIONS = ("contexts", "debug", "theme", "serve")

OnError = Callable[[str, TokctlError], object]
"""Called for each invalid setting with its dotted name and the error."""


def validate(document: Mapping[str, Any], file: Path, on_error: OnError | None = None) -> dict[str, Any]:
    """Check a configuration, with dotted names expanded; return its parsed settings by their dotted names.

    Paths become relative to the directory of the file, and ``~`` becomes the home directory. The thresholds of
    ``debug`` are returned as written, as only the debug rules can parse them.

    ``on_error`` is called for every invalid setting; without it the first one is raised: InputError for a section that
    is not a mapping, UsageError for a setting that does not exist or has an invalid value.
    """
    validator = _Validator(file, on_error)
    validator.check_table(document, keys.TOP, "", SECTIONS)
    validator.check_thresholds(document.get("debug"), "debug")
    validator.check_table(document.get("theme"), keys.THEME, "theme")
    serve = validator.section(document.get("serve"), "serve")
    validator.check_table(serve, keys.SERVE, "serve", ("limits",))
    validator.check_table(serve.get("limits"), keys.LIMITS, "serve.limits")
    contexts = validator.section(document.get("contexts"), "contexts")
    for name, context in contexts.items():
        validator.check_context(name, context)
    current = document.get("current_context")
    if isinstance(current, str | int) and str(current) not in contexts:
        error = UsageError(
            f"unknown context '{current}'{suggest(str(current), contexts)}.",
            f"Contexts: {', '.join(contexts) or 'none'}.",
        )
        validator.on_error("current_context", error)
    return validator.values


class _Validator:
    """Collects the parsed settings of one file."""

    def __init__(self, file: Path, on_error: OnError | None) -> None:
        self.file = file
        self.on_error = on_error or self._raise
        self.values: dict[str, Any] = {}

    def _raise(self, name: str, error: TokctlError) -> None:
        if isinstance(error, InputError):
            raise InputError(f"the configuration {self.file}: {error.message}")
        raise UsageError(f"the configuration {self.file}: {name}: {error.message}", error.hint)

    def section(self, value: Any, where: str) -> Mapping[str, Any]:
        """Return a section; an empty one if there is none, or if it is not a mapping."""
        if value is not None and not isinstance(value, dict):
            self.on_error(where, InputError(f"'{where}' must be a mapping of names to values."))
            return {}
        return value or {}

    def check_table(
        self, value: Any, known: Mapping[str, keys.SettingSpec], where: str, sections: tuple[str, ...] = ()
    ) -> None:
        """Check the settings of a section, except the sections within it."""
        for key, given in self.section(value, where).items():
            if key in sections:
                continue
            if key not in known:
                self.report_unknown(str(key), (*known, *sections), where)
            elif given is not None:
                self.check_value(f"{where}.{key}".lstrip("."), known[key], given)

    def check_thresholds(self, value: Any, where: str) -> None:
        """Check thresholds as far as that is possible without the debug rules."""
        for key, given in self.section(value, where).items():
            name = f"{where}.{key}"
            if isinstance(given, dict | list):
                self.on_error(name, UsageError("expected a duration such as 10m, or a number."))
            elif given is not None and self.parse(where, _ANY, key) is not None:
                self.check_value(name, _ANY, given)

    def check_context(self, name: Any, value: Any) -> None:
        """Check the name and the settings of a context."""
        valid_name = self.parse("contexts", _NAME, name)
        if valid_name is None:
            return
        where = f"contexts.{valid_name}"
        context = self.section(value, where)
        self.check_table(context, keys.CONTEXT, where, ("debug",))
        if context.get("store") is not None and context.get("server") is not None:
            self.on_error(where, UsageError("it has both a store and a server.", "Remove one of them."))
        self.check_thresholds(context.get("debug"), f"{where}.debug")

    def report_unknown(self, key: str, known: tuple[str, ...], where: str) -> None:
        """Report a setting that does not exist; a name that is a secret is not repeated."""
        if self.parse(where or "a name", _ANY, key) is not None:
            self.on_error(
                f"{where}.{key}".lstrip("."),
                UsageError(f"unknown setting{suggest(key, known)}.", f"Valid: {', '.join(known)}."),
            )

    def check_value(self, name: str, spec: keys.SettingSpec, given: Any) -> None:
        """Keep the parsed value of a setting, or report that it is invalid."""
        value = self.parse(name, spec, given)
        if value is not None:
            self.values[name] = spec.map_path(value, lambda path: self.file.parent / path)

    def parse(self, name: str, spec: keys.SettingSpec, given: Any) -> Any:
        """Return a parsed value; None, after a report, if it is invalid."""
        try:
            return spec.read(given)
        except UsageError as error:
            self.on_error(name, error)
            return None


def _reject_secret(value: Any) -> Any:
    keys.refuse_secret(str(value))
    return value


_ANY = keys.SettingSpec(_reject_secret)
_NAME = keys.SettingSpec(keys.name)
