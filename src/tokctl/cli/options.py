"""Options and arguments that several commands take, each declared once.

``SHARED`` are understood before a command and after it, and stored in the invocation's flags: the one nearest to the
end of the line wins. The others are annotations for a command's own parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any

import click
import typer
from typer.core import TyperOption

from tokctl.cli.completion import (
    FILE_NAME,
    FileName,
    complete_color,
    complete_context,
    complete_engine_kind,
    complete_format,
    complete_instance,
    complete_key,
    complete_order,
    complete_registry_kind,
    complete_state,
    complete_token,
    complete_type,
)
from tokctl.errors import UsageError
from tokctl.kinds import SERVER_ENGINES, SERVER_REGISTRIES
from tokctl.text import is_utf8

_PANEL = "Common options"
_SERVER = "Server options"


def reject_invalid_bytes(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Raise UsageError for a value that is not UTF-8. Names of files may be any bytes."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if isinstance(text, str) and not isinstance(parameter.type, FileName) and not is_utf8(text):
            raise UsageError(f"{parameter.get_error_hint(ctx)} is not valid UTF-8.", "Check the terminal's encoding.")


def _store_flag(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store the value in the invocation's flags, overriding that of a group further left on the line."""
    reject_invalid_bytes(ctx, parameter, value)
    if value is not None and parameter.name is not None:
        ctx.obj.flags[parameter.name] = value


def _shared(
    names: str,
    metavar: str | None,
    help: str,  # noqa: A002
    *,
    panel: str = _PANEL,
    env: str = "",
    complete: Callable[[Any, str], list[str]] | None = None,
    **more: Any,
) -> Callable[..., TyperOption]:
    if env:
        help = f"{help} [dim]\\[env: {env}][/dim]"  # noqa: A001
    return partial(
        TyperOption,
        param_decls=names.split(),
        metavar=metavar,
        help=help,
        rich_help_panel=panel,
        autocompletion=None if complete is None else lambda ctx, _words, incomplete: complete(ctx, incomplete),
        default=None,
        expose_value=False,
        callback=_store_flag,
        is_flag=True if metavar is None else None,
        **more,
    )


_server_option = partial(_shared, panel=_SERVER)

SHARED: dict[str, Callable[..., TyperOption]] = {
    "store": _shared(
        "--store", "PATH", "Store to use: a file, or a postgresql:// URL.", env="TOKCTL_STORE", type=FILE_NAME
    ),
    "file": _shared("--file", "FILE", "Read a saved API response instead of the store. - reads stdin.", type=FILE_NAME),
    "server": _server_option("--server", "URL", "Server to use instead of the store.", env="TOKCTL_SERVER"),
    "context": _shared(
        "--context",
        "NAME",
        "Context of the configuration file to use.",
        env="TOKCTL_CONTEXT",
        complete=lambda _, incomplete: complete_context(incomplete),
    ),
    "engine_kind": _server_option(
        "--engine-kind",
        "KIND",
        "Kind of the server: " + ", ".join(SERVER_ENGINES) + " (default: detected).",
        env="TOKCTL_ENGINE_KIND",
        complete=lambda _, incomplete: complete_engine_kind(incomplete),
    ),
    "registry_kind": _server_option(
        "--registry-kind",
        "KIND",
        "Kind of the server of API tokens: " + ", ".join(SERVER_REGISTRIES) + " (default: detected).",
        env="TOKCTL_REGISTRY_KIND",
        complete=lambda _, incomplete: complete_registry_kind(incomplete),
    ),
    "ca_file": _server_option(
        "--ca-file", "PATH", "Certificates to trust, a PEM file.", env="TOKCTL_CA_FILE", type=FILE_NAME
    ),
    "insecure": _server_option("--insecure", None, "Do not verify TLS certificates (insecure).", env="TOKCTL_INSECURE"),
    "request_timeout": _server_option(
        "--request-timeout", "DURATION", "Timeout for each request (default: 30s).", env="TOKCTL_TIMEOUT"
    ),
    "rate": _server_option(
        "--rate",
        "RATE",
        "Maximum rate of requests: N/s, N/min or N/h, such as 60/min (default: no limit).",
        env="TOKCTL_RATE",
    ),
    "at": _shared("--at", "TIME", "Show the state at this time (RFC 3339, or an age such as 15m)."),
    "output": _shared(
        "-o --output",
        "FORMAT",
        "Output format: table, wide, json, ndjson, yaml, csv or id (default: table). Some commands have more: "
        "junit (debug), mermaid (flow), sarif (scan).",
        env="TOKCTL_OUTPUT",
        complete=complete_format,
    ),
    "columns": _shared("--columns", "A,B,...", "Columns to show, separated by commas."),
    "query": _shared("--query", "EXPR", "JMESPath expression to apply to the JSON output."),
    "no_headers": _shared("--no-headers", None, "Do not print the header line of tables and CSV."),
    "color": _shared(
        "--color",
        "WHEN",
        "Use colours: auto, always or never (default: auto).",
        env="NO_COLOR",
        complete=lambda _, incomplete: complete_color(incomplete),
    ),
    "quiet": _shared("--quiet -q", None, "Print only results and errors: no notes, hints, footers or progress bars."),
    "utc": _shared("--utc", None, "Show times in UTC (default: the local time zone)."),
    "no_pager": _shared("--no-pager", None, "Do not use a pager.", env="TOKCTL_PAGER, PAGER"),
    "verbose": _shared(
        "--verbose -v", None, "Log files and requests to stderr, with the number of requests at the end."
    ),
    "debug_traceback": _shared("--debug-traceback", None, "Print a Python traceback on errors."),
}
"""Option factories by name; takes further arguments of TyperOption."""

GLOBAL = ("color", "quiet", "utc", "no_pager", "verbose", "debug_traceback")
STORE = ("store",)
STORE_OR_CONTEXT = ("store", "context")
CONNECTION = ("server", "context", "engine_kind", "ca_file", "insecure", "request_timeout", "rate")
HIDDEN_IN_GROUPS = (
    "engine_kind",
    "registry_kind",
    "ca_file",
    "insecure",
    "request_timeout",
    "rate",
    "columns",
    "query",
    "no_headers",
)
"""Options that a group accepts but shows only in the help of its commands: its own help is for finding a command."""
SERVER = (*CONNECTION, "registry_kind")
ENGINE = ("store", "file", *CONNECTION)
AT = ("at",)
OUTPUT = ("output", "columns", "query", "no_headers")

# --- declarations -----------------------------------------------------------------------------------


def option(
    metavar: str,
    help: str,  # noqa: A002 - as in Typer
    names: str = "",
    *,
    panel: str | None = None,
    complete: Callable[..., Iterable[str]] | None = None,
    **more: Any,
) -> Any:
    """Declare an option with a value. ``names`` are separated by spaces (default: that of the parameter)."""
    return typer.Option(
        *names.split(), metavar=metavar, help=help, rich_help_panel=panel, autocompletion=complete, **more
    )


path = partial(option, click_type=FILE_NAME)


def flag(names: str, help: str, *, panel: str | None = None) -> Any:  # noqa: A002
    """Declare an option without a value."""
    return typer.Option(*names.split(), help=help, rich_help_panel=panel)


def argument(
    metavar: str,
    help: str,  # noqa: A002
    *,
    complete: Callable[..., Iterable[str]] | None = None,
    **more: Any,
) -> Any:
    """Declare an argument."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=complete, **more)


# --- arguments ------------------------------------------------------------------------------------

Instance = Annotated[
    str | None,
    argument(
        "[INSTANCE]",
        "Instance id, the beginning of one, or @latest. Optional if there is only one instance.",
        complete=complete_instance,
    ),
]
Instances = Annotated[
    list[str] | None,
    argument(
        "[INSTANCE]...",
        "Instance ids, beginnings of ids, or @latest. Optional if there is only one instance.",
        complete=complete_instance,
    ),
]
ConfigContext = Annotated[str, argument("CONTEXT", "Name of the context.", complete=complete_context)]
ConfigKey = Annotated[
    str,
    argument(
        "KEY", "Name of the setting, such as output, debug.retries or contexts.prod.server.", complete=complete_key
    ),
]
Ids = Annotated[
    list[str],
    argument(
        "[INSTANCE] TOKEN",
        "Token id, or the beginning of one. Put the instance before it if the id is not unique.",
        complete=complete_token,
    ),
]

# --- filters --------------------------------------------------------------------------------------

Save = Annotated[
    str | None,
    option(
        "PLACE",
        "Where to save the secret: keyring, file:PATH, env-file:PATH, env-file:PATH#NAME, or command:'WORDS' "
        "(gets it on stdin). Default: keyring.",
    ),
]
ShowSecret = Annotated[bool, flag("--show-secret", "Print the secret instead of saving it. It cannot be shown again.")]

Redact = Annotated[
    list[str] | None,
    option(
        "PATTERN",
        "Remove the values at these paths, such as variables.*, variables.card.number or **.password (repeatable).",
    ),
]

FILTER_PANEL = "Filters"

ChangedSince = Annotated[
    str | None,
    option(
        "TIME", "Only instances that changed since this time (RFC 3339, or an age such as 15m).", panel=FILTER_PANEL
    ),
]
StartedBefore = Annotated[
    str | None, option("TIME", "Only instances that started before this time.", panel=FILTER_PANEL)
]
Troubled = Annotated[
    bool, flag("--troubled", "Only instances in which 'tokctl debug' finds a problem.", panel=FILTER_PANEL)
]
States = Annotated[
    list[str] | None,
    option(
        "STATE",
        "Only tokens in this state (repeatable).",
        "-s --state",
        complete=complete_state,
        panel=FILTER_PANEL,
    ),
]
Types = Annotated[
    list[str] | None,
    option(
        "TYPE",
        "Only elements of this type or family (gateway, task, event; repeatable).",
        "-t --type",
        complete=complete_type,
        panel=FILTER_PANEL,
    ),
]
Elements = Annotated[
    list[str] | None,
    option(
        "GLOB",
        "Only elements whose id or name matches this pattern: * ? \\[a-z] (repeatable).",
        "-e --element",
        panel=FILTER_PANEL,
    ),
]
Workers = Annotated[
    list[str] | None,
    option("GLOB", "Only workers that match this pattern (repeatable).", "--worker", panel=FILTER_PANEL),
]
Since = Annotated[
    str | None,
    option("TIME", "Only what changed since this time (RFC 3339, or an age such as 15m).", panel=FILTER_PANEL),
]
Until = Annotated[str | None, option("TIME", "Only what started before this time.", panel=FILTER_PANEL)]
Live = Annotated[bool, flag("--live", "Only what has not finished. FAILED counts as not finished.", panel=FILTER_PANEL)]
NoCompleted = Annotated[bool, flag("--no-completed", "Hide COMPLETED tokens.", panel=FILTER_PANEL)]

Statuses = Annotated[
    list[str] | None,
    option(
        "STATUS",
        "Only instances with this status (repeatable).",
        "-s --status",
        complete=complete_state,
        panel=FILTER_PANEL,
    ),
]
Processes = Annotated[
    list[str] | None,
    option(
        "GLOB",
        "Only processes whose id matches this pattern: * ? \\[a-z] (repeatable).",
        "-p --process",
        panel=FILTER_PANEL,
    ),
]
Variables = Annotated[bool, flag("--variables", "Show variables.")]

# --- order and pages --------------------------------------------------------------------------------

PAGE_PANEL = "Sorting and paging"

TokenSort = Annotated[
    str,
    option(
        "ORDER",
        "Sort by created, updated, finished, duration, element, type, state, worker or retries; -NAME for descending.",
        complete=complete_order,
        panel=PAGE_PANEL,
    ),
]
Limit = Annotated[
    int | None,
    option(
        "N",
        "Maximum number of rows, 0 for all (default: 100 in tables on a terminal, otherwise all).",
        "-n --limit",
        min=0,
        panel=PAGE_PANEL,
    ),
]
Page = Annotated[int, option("N", "Page number; a page has --limit rows.", min=1, panel=PAGE_PANEL)]
Registry = Annotated[bool, flag("--registry", "Use the server of the API tokens (setting registry_server).")]
Yes = Annotated[bool, flag("-y --yes", "Do not ask for confirmation.")]
