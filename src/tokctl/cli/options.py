"""Options and arguments that several commands take, each declared once.

``SHARED`` are those that are understood before the command and after it; the nearer to the end of
the line wins. The others are annotations for a command's own parameters.
"""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from tokctl.cli.complete import (
    complete_color,
    complete_context,
    complete_engine_kind,
    complete_format,
    complete_instance,
    complete_key,
    complete_order,
    complete_state,
    complete_token,
    complete_type,
)

_PANEL = "Options of every command"
_SERVER = "Which server, and how to reach it"


def _shared(
    *,
    store: Annotated[
        str | None,
        typer.Option(
            help="Use the store in this file. [dim](TOKCTL_STORE)[/dim]",
            metavar="PATH",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="Look at a saved answer of the API, not at the store; '-' reads stdin.",
            metavar="FILE",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="Ask the server at this URL, not the store. [dim](TOKCTL_SERVER)[/dim]",
            metavar="URL",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="Use this context of the configuration, and what belongs to it. [dim](TOKCTL_CONTEXT)[/dim]",
            metavar="NAME",
            autocompletion=complete_context,
            rich_help_panel=_SERVER,
        ),
    ] = None,
    engine_kind: Annotated[
        str | None,
        typer.Option(
            help="What the server is, if it is not to be asked: rest or atomd. [dim](TOKCTL_ENGINE_KIND)[/dim]",
            metavar="KIND",
            autocompletion=complete_engine_kind,
            rich_help_panel=_SERVER,
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(
            help="Trust the certificates in this file (PEM). [dim](TOKCTL_CA_FILE)[/dim]",
            metavar="PATH",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure",
            help="Trust any certificate: whoever sits between can read and change all. [dim](TOKCTL_INSECURE)[/dim]",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    request_timeout: Annotated[
        str | None,
        typer.Option(
            help="Give up on an answer after that; 30s unless told. [dim](TOKCTL_TIMEOUT)[/dim]",
            metavar="SPAN",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="As it stood then: a time, or a span before now such as 15m.",
            metavar="TIME",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Show as table, wide, json, ndjson, yaml, csv or id; debug as junit, too, flow as mermaid, scan as "
            "sarif. [dim](TOKCTL_OUTPUT)[/dim]",
            metavar="FORMAT",
            autocompletion=complete_format,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Show these columns, separated by commas.", metavar="A,B,...", rich_help_panel=_PANEL),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(help="Show what a JMESPath expression finds.", metavar="EXPR", rich_help_panel=_PANEL),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(
            help="Colour the output: auto, always or never. [dim](NO_COLOR)[/dim]",
            metavar="WHEN",
            autocompletion=complete_color,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    verbose: Annotated[
        bool | None,
        typer.Option("--verbose", "-v", help="Say what is read, and what servers are asked.", rich_help_panel=_PANEL),
    ] = None,
    debug_traceback: Annotated[
        bool | None,
        typer.Option("--debug-traceback", help="Show where in the program an error arose.", rich_help_panel=_PANEL),
    ] = None,
) -> None:
    """Declare the shared options."""


SHARED = dict(inspect.signature(_shared, eval_str=True).parameters)
GLOBAL = ("color", "verbose", "debug_traceback")
STORE = ("store",)
CONNECTION = ("server", "context", "engine_kind", "ca_file", "insecure", "request_timeout")
ASIDE = ("engine_kind", "ca_file", "insecure", "request_timeout", "columns", "query")
"""Those that only the help of the commands tells of, which take them."""
SERVER = ("server", "context", "ca_file", "insecure", "request_timeout")
ENGINE = ("store", "file", *CONNECTION)
AT = ("at",)
OUTPUT = ("output", "columns", "query")

# --- arguments ------------------------------------------------------------------------------------

Instance = Annotated[
    str | None,
    typer.Argument(
        metavar="[INSTANCE]",
        help="A process instance: its id, the beginning of it, or @latest. Not needed where there is just one.",
        autocompletion=complete_instance,
        show_default=False,
    ),
]
ConfigContext = Annotated[
    str,
    typer.Argument(
        metavar="CONTEXT", help="A context of the configuration file.", autocompletion=complete_context,
        show_default=False,
    ),
]  # fmt: skip
ConfigKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="A setting's name, such as output, debug.retries or contexts.prod.server.",
        autocompletion=complete_key,
        show_default=False,
    ),
]
Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="[INSTANCE] TOKEN",
        help="A token's id or the beginning of it; the instance in front where it is needed.",
        autocompletion=complete_token,
        show_default=False,
    ),
]

# --- filters --------------------------------------------------------------------------------------

Save = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE", show_default=False,
        help="Where the secret goes: keyring, file:PATH, env-file:PATH (or PATH#NAME), or command:'WORDS', which "
        "gets it on stdin.",
    ),
]  # fmt: skip
ShowSecret = Annotated[
    bool, typer.Option("--show-secret", help="Print the secret in place of saving it: now, and never again.")
]

_FILTERS = "Which ones"

States = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--state", help="Only tokens in this state; may be repeated.", metavar="STATE",
        autocompletion=complete_state, rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Types = Annotated[
    list[str] | None,
    typer.Option(
        "-t", "--type", help="Only this element type, or a family: gateway, task, event.", metavar="TYPE",
        autocompletion=complete_type, rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Elements = Annotated[
    list[str] | None,
    typer.Option(
        "-e", "--element", help="Only elements whose id or name fits this pattern (* ? \\[a-z]).", metavar="GLOB",
        rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Workers = Annotated[
    list[str] | None,
    typer.Option("-w", "--worker", help="Only workers that fit this pattern.", metavar="GLOB",
                 rich_help_panel=_FILTERS),
]  # fmt: skip
Since = Annotated[
    str | None,
    typer.Option(
        help="Only what changed since then: a time, or a span such as 15m.", metavar="TIME",
        rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Until = Annotated[
    str | None,
    typer.Option(help="Only what began before then.", metavar="TIME", rich_help_panel=_FILTERS),
]
Live = Annotated[bool, typer.Option("--live", help="Only what has not come to its end.", rich_help_panel=_FILTERS)]
NoCompleted = Annotated[
    bool, typer.Option("--no-completed", help="Leave out what is COMPLETED.", rich_help_panel=_FILTERS)
]

Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--status", help="Only instances in this state; may be repeated.", metavar="STATUS",
        autocompletion=complete_state, rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Variables = Annotated[bool, typer.Option("--variables", help="Show the variables, too.")]

# --- order and pages --------------------------------------------------------------------------------

_PAGES = "In which order, how many"

TokenSort = Annotated[
    str,
    typer.Option(
        help="created, updated, finished, duration, element, type, state, worker or retries; "
        "'-' in front for the reverse.",
        metavar="ORDER", autocompletion=complete_order, rich_help_panel=_PAGES,
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(
        "-n", "--limit", min=0, metavar="N", rich_help_panel=_PAGES, show_default=False,
        help="At most so many; 0 for all. Tables show 100 unless told, other formats all.",
    ),
]  # fmt: skip
Page = Annotated[int, typer.Option(min=1, metavar="N", help="Which page of --limit items.", rich_help_panel=_PAGES)]
Registry = Annotated[
    bool, typer.Option("--registry", help="The server of the API tokens (registry_server), where that is another.")
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]
