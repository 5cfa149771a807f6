"""What the shell offers for a word that is being typed. Errors offer nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer
from msgspec.structs import replace

from tokctl.errors import TokctlError, UnreachableError

if TYPE_CHECKING:
    from tokctl.process.engine import Engine

OFFERED = 100
LARGE = 20_000_000  # bytes
PATIENCE = 1.0  # s; for a server, at a keystroke


def _flags(ctx: typer.Context) -> dict[str, Any]:
    """The shared options on the line so far, of the command and of those around it."""
    flags: dict[str, Any] = {}
    context: Any = ctx
    while context is not None:
        flags = {name: value for name, value in context.params.items() if value is not None} | flags
        context = context.parent
    return {
        name: os.path.expanduser(flags[name]) if isinstance(flags[name], str) else flags[name]  # noqa: PTH111 - a shell hands the word over as it stands
        for name in ("store", "file", "server", "context", "engine_kind", "ca_file", "insecure")
        if name in flags and flags[name] != "-"
    }


def _engine(ctx: typer.Context) -> Engine:
    from tokctl.config import settings_from
    from tokctl.engines import open_engine
    from tokctl.source import input_size

    flags = _flags(ctx)
    if "file" in flags and (input_size(flags["file"]) or 0) > LARGE:
        raise UnreachableError("the file is too large to be read at a keystroke.")
    settings = settings_from(flags, os.environ)
    if settings.kind == "server":
        if (settings.credential or "").startswith("command:"):
            raise UnreachableError("a program that may ask for a password is not run at a keystroke.")
        settings = replace(settings, timeout=PATIENCE, connect_timeout=PATIENCE)
    return open_engine(settings)


def complete_instance(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Ids of instances, and @latest."""
    if "@latest".startswith(incomplete):
        yield "@latest"
    try:
        yield from _engine(ctx).instance_ids(incomplete, OFFERED)
    except TokctlError:
        return


def complete_token(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Ids of tokens: those of the instance that stands before, if one does; else of any."""
    before = next((value for value in ctx.params.values() if isinstance(value, list | tuple) and value), None)
    try:
        engine = _engine(ctx)
        instance = None
        if before:
            from tokctl.engines.ids import resolve_instance

            instance = resolve_instance(engine, str(before[0]))
        else:
            yield from engine.instance_ids(incomplete, OFFERED)
        for _, token in engine.token_ids(incomplete, instance, OFFERED):
            yield token
    except TokctlError:
        return


def _fitting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.lower().startswith(incomplete.lower())]


def complete_state(incomplete: str) -> list[str]:
    """States of tokens."""
    from tokctl.process.model import STATES

    return _fitting(STATES, incomplete)


def complete_type(incomplete: str) -> list[str]:
    """Element types and their families."""
    from tokctl.process.model import ELEMENT_TYPES, FAMILIES

    return _fitting((*FAMILIES, *ELEMENT_TYPES), incomplete)


def complete_order(incomplete: str) -> list[str]:
    """Orders of tokens."""
    from tokctl.process.query import TOKEN_ORDERS

    return _fitting((*TOKEN_ORDERS, *(f"-{order}" for order in TOKEN_ORDERS)), incomplete)


def complete_instance_order(incomplete: str) -> list[str]:
    """Orders of instances."""
    from tokctl.process.query import INSTANCE_ORDERS

    return _fitting((*INSTANCE_ORDERS, *(f"-{order}" for order in INSTANCE_ORDERS)), incomplete)


def complete_context(incomplete: str) -> list[str]:
    """Contexts of the configuration file."""
    from tokctl.config.file import read_configuration

    try:
        return _fitting(read_configuration(os.environ).contexts, incomplete)
    except TokctlError:
        return []


def complete_key(incomplete: str) -> list[str]:
    """Settings by their dotted names; of those of contexts only once one is named."""
    from tokctl.cli.configuring import known_keys
    from tokctl.config.file import read_configuration

    try:
        contexts = list(read_configuration(os.environ).contexts)
        known = [*known_keys(contexts)] if incomplete.startswith("c") else [*known_keys([])]
    except TokctlError:
        return []
    return _fitting(known, incomplete)


def complete_setting(ctx: typer.Context, incomplete: str) -> list[str]:
    """Values of the setting that is named before."""
    from tokctl.cli.configuring import find_key

    try:
        words = find_key(str(ctx.params.get("key"))).words
    except TokctlError:
        return []
    return _fitting(words or complete_context(incomplete) * (ctx.params.get("key") == "current_context"), incomplete)


def complete_engine_kind(incomplete: str) -> list[str]:
    """Kinds of servers."""
    from tokctl.config.keys import ENGINE_KINDS

    return _fitting(ENGINE_KINDS, incomplete)


def complete_color(incomplete: str) -> list[str]:
    """When to colour."""
    return _fitting(("auto", "always", "never"), incomplete)


def complete_format(ctx: typer.Context, incomplete: str) -> list[str]:
    """Output formats, those that only this command has among them."""
    from tokctl.render import FORMATS, OWN_FORMATS

    own = (name for name, command in OWN_FORMATS.items() if command == ctx.info_name)
    return _fitting((*FORMATS, *own), incomplete)


def complete_rule(incomplete: str) -> list[str]:
    """Debug rules."""
    from tokctl.process.rules import RULES

    return [name for name in RULES if name.startswith(incomplete.upper().replace("-", "_"))]


def complete_severity(incomplete: str) -> list[str]:
    """Severities of findings."""
    return [name for name in ("low", "medium", "high") if name.startswith(incomplete.lower())]


def complete_api_token(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids and names of the API tokens of the local store; a server is not asked for them at a keystroke."""
    from itertools import islice

    from tokctl.config import settings_from
    from tokctl.store import open_store

    try:
        settings = settings_from(_flags(ctx), os.environ)
        if settings.registry_server is not None or settings.kind != "store":
            return []
        with open_store(settings.store_location) as store:
            words = (word for token in store.api_tokens.list() for word in (str(token.id), token.name))
            return list(islice((word for word in words if word.startswith(incomplete)), OFFERED))
    except TokctlError:
        return []


def complete_api_token_type(incomplete: str) -> list[str]:
    """Types of API tokens."""
    from tokctl.access.model import TYPES

    return _fitting(TYPES, incomplete)


def complete_permission(incomplete: str) -> list[str]:
    """What an API token may allow."""
    from tokctl.access.scopes import PERMISSIONS

    return _fitting(PERMISSIONS, incomplete)
