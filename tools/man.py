# ruff: noqa: INP001
"""The man pages: one for the program, and one for each of its commands and groups of commands."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import tokctl
from tokctl import errors
from tokctl.cli.groups import root
from tokctl.cli.shells import plain

ENVIRONMENT = {
    "TOKCTL_STORE": "The store, unless --store names one. Without either it is tokctl.db in the user's data "
    "directory (on Linux ~/.local/share/tokctl).",
    "TOKCTL_OUTPUT": "The format of results, unless --output names one.",
    "NO_COLOR": "If set, nothing is coloured unless --color says so.",
}
EXITS = {
    0: "Success.",
    1: "Findings: the command found what it was asked to look for.",
    70: "A fault in tokctl itself.",
    74: "The output cannot be written.",
    130: "Interrupted.",
    141: "Whoever read the output has gone.",
}


def walk(command: Any = None, parent: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every command and its context, from the root down."""
    command = command or root()
    context = typer.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    yield context, command
    for _, inner in children(context, command):
        yield from walk(inner, context)


def children(context: Any, command: Any) -> list[tuple[str, Any]]:
    """The commands of a group, by name; none for a command."""
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    return [(name, command.get_command(context, name)) for name in names]


def pages(repository: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of each page."""
    changes = repository / "CHANGELOG.md"
    dates = re.findall(r"\d{4}-\d\d-\d\d", changes.read_text(encoding="utf-8")) if changes.exists() else []
    for context, command in walk():
        yield f"{page_name(context)}.1", page(context, command, dates[0] if dates else "")


def page_name(context: Any) -> str:
    """``tokctl-tokens-list`` for the command ``tokctl tokens list``."""
    return str(context.command_path).replace(" ", "-")


def page(context: Any, command: Any, date: str) -> str:
    """The page of a command: man macros, in ASCII."""
    name = page_name(context)
    summary, *paragraphs = (plain(part) for part in command.help.split("\n\n") if part.strip())
    lines = [
        ".\\\" Made by 'make docs' from the program.",
        f'.TH {roff(name.upper())} 1 "{date}" "tokctl {tokctl.__version__}" "tokctl manual"',
        ".nh",
        ".ad l",
        '.SH "NAME"',
        rf"{roff(name)} \- {roff(' '.join(summary.split()).rstrip('.'))}",
        '.SH "SYNOPSIS"',
        rf"\fB{roff(context.command_path)}\fR {synopsis(context, command)}",
        '.SH "DESCRIPTION"',
        text(summary),
        *(f".PP\n{text(paragraph)}" for paragraph in paragraphs),
    ]
    for title, panels in sections(context, command).items():
        lines.append(f'.SH "{title}"')
        for panel, entries in panels.items():
            lines += [f'.SS "{roff(panel)}"'] if panel else []
            lines += [f".TP\n{term}\n{text(meaning)}" for term, meaning in entries]
    examples = re.findall(r"^\s*(\$ .+)", plain(command.epilog or ""), re.MULTILINE)
    if examples:
        lines += ['.SH "EXAMPLES"', ".EX", *map(roff, examples), ".EE"]
    for title, table in (("EXIT STATUS", exits()), ("ENVIRONMENT", ENVIRONMENT)):
        lines.append(f'.SH "{title}"')
        lines += [f".TP\n\\fB{roff(str(key))}\\fR\n{text(meaning)}" for key, meaning in table.items()]
    lines += ['.SH "SEE ALSO"', " (1),\n".join(f".BR {roff(other)}" for other in related(context, command)) + " (1)"]
    return "\n".join(lines) + "\n"


def sections(context: Any, command: Any) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Title, panel, and what stands there as pairs of term and meaning; the unnamed panel first."""
    made: dict[str, dict[str, list[tuple[str, str]]]] = {"ARGUMENTS": {"": []}, "COMMANDS": {}, "OPTIONS": {"": []}}
    for parameter in command.get_params(context):
        is_argument = parameter.param_type_name == "argument"
        if not getattr(parameter, "hidden", False):
            panels = made["ARGUMENTS" if is_argument else "OPTIONS"]
            term = usage(argument(parameter)) if is_argument else option(parameter)
            panels.setdefault(parameter.rich_help_panel or "", []).append((term, meaning(parameter)))
    for name, inner in children(context, command):
        entry = rf"\fB{roff(name)}\fR", plain(inner.help.split("\n\n")[0])
        made["COMMANDS"].setdefault(inner.rich_help_panel or "", []).append(entry)
    return {title: panels for title, panels in made.items() if any(panels.values())}


def synopsis(context: Any, command: Any) -> str:
    """What follows a command's name: its options, its arguments or commands."""
    arguments = [p for p in command.get_params(context) if p.param_type_name == "argument"]
    inner = ["COMMAND", "[ARGS]..."] if children(context, command) else []
    return " ".join(map(usage, ["[OPTIONS]", *map(argument, arguments), *inner]))


def argument(parameter: Any) -> str:
    """An argument's name, in brackets if it can be left out."""
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def option(parameter: Any) -> str:
    """An option's names, and what it takes."""
    names = [*sorted(parameter.opts, key=len), *parameter.secondary_opts]
    takes = "" if parameter.is_flag else f" {usage(parameter.metavar or parameter.name.upper())}"
    return ", ".join(rf"\fB{roff(name)}\fR" for name in names) + takes


def meaning(parameter: Any) -> str:
    """An option's or argument's help, and its default."""
    said = plain(parameter.help or "")
    default = parameter.default
    if parameter.param_type_name == "option" and parameter.required:
        return f"{said} Required."
    if getattr(parameter, "secondary_opts", None):
        default = (parameter.opts if default else parameter.secondary_opts)[0]
    shown = parameter.show_default and default not in {None, False} and not callable(default)
    return f"{said} Default: {default}." if shown else said


def exits() -> dict[int, str]:
    """The table of exit codes: that of the errors, and what is no error."""
    table = re.findall(r"(?<!Tokctl)Error +(\d) +(.+)", errors.__doc__ or "")
    return dict(
        sorted({**{int(code): f"{said[0].upper()}{said[1:]}." for code, said in reversed(table)}, **EXITS}.items())
    )


def related(context: Any, command: Any) -> list[str]:
    """The pages around a page: of the group, of what stands beside it, of what is in it."""
    around = context.parent
    names = (
        [page_name(around), *(f"{page_name(around)}-{n}" for n, _ in children(around, around.command))]
        if around
        else []
    )
    names += [f"{page_name(context)}-{name}" for name, _ in children(context, command)]
    return sorted({"tokctl", *names} - {page_name(context)})


def usage(piece: str) -> str:
    """A piece of a usage line: its words in italics, its brackets not."""
    return re.sub(r"[^\s\[\]|]+", lambda match: rf"\fI{roff(match[0])}\fR", piece)


def text(said: str) -> str:
    """A paragraph, filled."""
    return "\n".join(map(roff, textwrap.wrap(said, 90, break_long_words=False, break_on_hyphens=False)))


def roff(said: str) -> str:
    """A text as roff writes it: in ASCII, and with nothing in it that roff would take for its own."""
    signs = {"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
    done = "".join(signs.get(c, c if c.isascii() else rf"\[u{ord(c):04X}]") for c in said)
    return rf"\&{done}" if done.startswith(".") else done
