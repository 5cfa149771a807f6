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
    complete_format,
    complete_instance,
    complete_order,
    complete_state,
    complete_token,
    complete_type,
)

_PANEL = "Options of every command"


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
            help="Show as table, wide, json, ndjson, yaml, csv or id; debug as junit, too, flow as mermaid. "
            "[dim](TOKCTL_OUTPUT)[/dim]",
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
    debug_traceback: Annotated[
        bool | None,
        typer.Option("--debug-traceback", help="Show where in the program an error arose.", rich_help_panel=_PANEL),
    ] = None,
) -> None:
    """Declare the shared options."""


SHARED = dict(inspect.signature(_shared, eval_str=True).parameters)
GLOBAL = ("color", "debug_traceback")
STORE = ("store",)
ENGINE = ("store", "file")
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
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]
