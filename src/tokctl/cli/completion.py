"""Completion candidates for the word that is being typed. Errors give no candidates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
import typer
from click.shell_completion import CompletionItem
from click.types import StringParamType
from msgspec.structs import replace

from tokctl.errors import TokctlError, UnreachableError

if TYPE_CHECKING:
    from tokctl.engines.protocol import Engine

MAX_SUGGESTIONS = 100
MAX_FILE_BYTES = 20_000_000  # bytes
_SOURCES = ("store", "file", "server", "context", "engine_kind", "ca_file", "insecure", "rate")
TIMEOUT_SECONDS = 1.0  # s; for a server, at a keystroke


class FileName(StringParamType):
    """A file name, which the shell completes."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return one item of the type ``file``, which stands for all files of that name."""
        return [CompletionItem(incomplete, type="file")]


FILE_NAME = FileName()


def _read_options(ctx: click.Context) -> dict[str, Any]:
    """Return the shared options on the line so far that select the source of tokens."""
    given: dict[str, Any] = ctx.obj.flags
    flags = {name: given[name] for name in _SOURCES if given.get(name, "-") != "-"}
    for name, value in flags.items():
        if isinstance(value, str):
            flags[name] = os.path.expanduser(value)  # noqa: PTH111 - the shell passes the word unexpanded
    return flags


def _open_engine(ctx: typer.Context) -> Engine:
    from tokctl.config import resolve_settings
    from tokctl.engines import open_engine
    from tokctl.input_files import input_size

    flags = _read_options(ctx)
    if "file" in flags and (input_size(flags["file"]) or 0) > MAX_FILE_BYTES:
        raise UnreachableError("the file is too large for completion.")
    settings = resolve_settings(flags, os.environ)
    if settings.kind == "server":
        if (settings.credential or "").startswith("command:"):
            raise UnreachableError("completion does not run a program that may ask for a password.")
        settings = replace(settings, timeout=TIMEOUT_SECONDS, connect_timeout=TIMEOUT_SECONDS)
    return open_engine(settings)


def complete_instance(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Ids of instances, and @latest."""
    if "@latest".startswith(incomplete):
        yield "@latest"
    try:
        yield from _open_engine(ctx).instance_ids(incomplete, MAX_SUGGESTIONS)
    except TokctlError:
        return


def complete_token(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Ids of tokens of the instance given before, or of all instances."""
    before = next((value for value in ctx.params.values() if isinstance(value, list | tuple) and value), None)
    try:
        engine = _open_engine(ctx)
        instance = None
        if before:
            from tokctl.engines.ids import resolve_instance

            instance = resolve_instance(engine, str(before[0]))
        else:
            yield from engine.instance_ids(incomplete, MAX_SUGGESTIONS)
        for _, token in engine.token_ids(incomplete, instance, MAX_SUGGESTIONS):
            yield token
    except TokctlError:
        return


def _filter_by_prefix(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.lower().startswith(incomplete.lower())]


def _complete_constants(module: str, *names: str, signs: Sequence[str] = ("",)) -> Callable[[str], list[str]]:
    """Return a completer for the constants of a module, with each of the prefixes."""

    def complete(incomplete: str) -> list[str]:
        constants = import_module(module)
        words = [word for name in names for word in getattr(constants, name)]
        return _filter_by_prefix((sign + word for sign in signs for word in words), incomplete)

    return complete


complete_state = _complete_constants("tokctl.model.states", "STATES")
complete_type = _complete_constants("tokctl.model.element_types", "TYPE_FAMILIES", "ELEMENT_TYPES")
complete_order = _complete_constants("tokctl.model.filters", "TOKEN_SORT_COLUMNS", signs=("", "-"))
complete_instance_order = _complete_constants("tokctl.model.filters", "INSTANCE_SORT_COLUMNS", signs=("", "-"))
complete_engine_kind = _complete_constants("tokctl.config.keys", "ENGINE_KINDS")
complete_registry_kind = _complete_constants("tokctl.kinds", "SERVER_REGISTRIES")
complete_any_registry = _complete_constants("tokctl.api_tokens.registries.capabilities", "REGISTRIES")
complete_any_engine = _complete_constants("tokctl.engines", "ENGINES")
complete_export_format = _complete_constants("tokctl.kinds", "EXPORT_FORMATS")
complete_color = _complete_constants("tokctl.kinds", "COLORS")
complete_api_token_type = _complete_constants("tokctl.model.api_tokens", "API_TOKEN_TYPES")
complete_permission = _complete_constants("tokctl.model.scopes", "PERMISSIONS")


def complete_context(incomplete: str) -> list[str]:
    """Contexts of the configuration file."""
    from tokctl.config.file import read_configuration

    try:
        return _filter_by_prefix(read_configuration(os.environ).contexts, incomplete)
    except TokctlError:
        return []


def complete_key(incomplete: str) -> list[str]:
    """Settings by their dotted names; those of contexts only after the name of a context."""
    from tokctl.cli.config.common import known_keys
    from tokctl.config.file import read_configuration

    try:
        contexts = list(read_configuration(os.environ).contexts)
        known = [*known_keys(contexts)] if incomplete.startswith("c") else [*known_keys([])]
    except TokctlError:
        return []
    return _filter_by_prefix(known, incomplete)


def complete_setting(ctx: typer.Context, incomplete: str) -> list[str]:
    """Values of the setting given before."""
    from tokctl.cli.config.common import find_key

    try:
        words = find_key(str(ctx.params.get("key"))).words
    except TokctlError:
        return []
    return _filter_by_prefix(
        words or complete_context(incomplete) * (ctx.params.get("key") == "current_context"), incomplete
    )


def complete_format(ctx: typer.Context, incomplete: str) -> list[str]:
    """Output formats, including those that only this command has."""
    from tokctl.kinds import COMMAND_FORMATS, FORMATS

    own = (name for name, command in COMMAND_FORMATS.items() if command == ctx.info_name)
    return _filter_by_prefix((*FORMATS, *own), incomplete)


def complete_rule(incomplete: str) -> list[str]:
    """Debug rules."""
    from tokctl.analysis.debug.rules import RULES

    return [name for name in RULES if name.startswith(incomplete.upper().replace("-", "_"))]


def complete_severity(incomplete: str) -> list[str]:
    """Severities of findings."""
    return [name for name in ("low", "medium", "high") if name.startswith(incomplete.lower())]


def complete_api_token(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids and names of the API tokens of the local store; completion does not ask a server for them."""
    from itertools import islice

    from tokctl.config import resolve_settings
    from tokctl.store import open_store

    try:
        settings = resolve_settings(_read_options(ctx), os.environ)
        if settings.registry_server is not None or settings.kind != "store":
            return []
        with open_store(settings.store_location) as store:
            words = (word for token in store.api_tokens.list() for word in (str(token.id), token.name))
            return list(islice((word for word in words if word.startswith(incomplete)), MAX_SUGGESTIONS))
    except TokctlError:
        return []
