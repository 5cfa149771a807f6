"""Checks a configuration file, including the thresholds of all debug rules, which ``tokctl.config`` cannot check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokctl.config.file import read_document
from tokctl.config.keys import SettingSpec
from tokctl.config.validation import validate
from tokctl.errors import NotFoundError, UsageError
from tokctl.services.debug import load_rules
from tokctl.text import suggest


def list_threshold_keys() -> dict[str, SettingSpec]:
    """Return the thresholds of all debug rules by name, as keys of the configuration."""
    return {
        threshold.name: SettingSpec(threshold.parse) for rule in load_rules().values() for threshold in rule.thresholds
    }


class ConfigProblem(NamedTuple):
    """A setting by its dotted name, and its problem."""

    key: str
    message: str


def find_config_problems(file: Path, *, needed: bool) -> list[ConfigProblem]:
    """Find all problems of a configuration file, including thresholds.

    Raises:
        NotFoundError: the file does not exist, and ``needed`` is true.
        InputError: the file cannot be read, or is not YAML.
    """
    found: list[ConfigProblem] = []
    document = read_document(file)
    if document is None:
        if needed:
            raise NotFoundError(f"configuration file {file} not found.")
        return []
    validate(document, file, lambda name, error: found.append(ConfigProblem(name, str(error))))
    limits = list_threshold_keys()
    for section, given in _debug_sections(document):
        for name, value in given.items():
            key = f"{section}.{name}"
            if name not in limits:
                found.append(ConfigProblem(key, f"unknown threshold '{name}'{suggest(str(name), limits)}."))
                continue
            try:
                limits[name].read(value)
            except UsageError as error:
                found.append(ConfigProblem(key, str(error)))
    return found


def _debug_sections(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    contexts = document.get("contexts")
    places = [("debug", document)]
    if isinstance(contexts, dict):
        places += [(f"contexts.{name}.debug", context) for name, context in contexts.items()]
    for name, place in places:
        if isinstance(place, dict) and isinstance(given := place.get("debug"), dict):
            yield name, given
