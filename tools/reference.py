# ruff: noqa: INP001
"""The command reference, docs/commands.md: every command with its arguments and options, from the command tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

from tokctl.cli.command_tree import root_command
from tokctl.cli.options import SHARED
from tokctl.cli.shell_completion import strip_markup

HEAD = """\
# Commands

<!-- Made by 'make docs' from the program. -->

Every command with its arguments and options. The man pages (`man tokctl-tokens-list`) and `--help` say the same, with
examples.

## Shared options

These are understood before a command and after it, by every command that can use them.
"""


def page() -> str:
    """Return the page as Markdown."""
    root, *inner = contexts(root_command())
    parts = [HEAD, *table(shared_rows(inner))]
    for context in inner:
        command = context.command
        level = "##" if context.parent is root else "###"
        description = "\n\n".join(escape(paragraph) for paragraph in strip_markup(command.help).split("\n\n"))
        parts.append(f"\n{level} {context.command_path}\n\n{description}\n")
        if not isinstance(command, click.Group):
            usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
            own = {parameter.name for parameter in command.params} - SHARED.keys() - {"help"}
            parts += [f"\n```text\n{usage}\n```\n", *table(rows(context, own))]
    return "".join(parts)


def shared_rows(known: list[click.Context]) -> Iterator[str]:
    """Yield a row for each shared option, from the first command whose help shows it."""
    for name in SHARED:
        yield next(row for context in known for row in rows(context, {name}))


def rows(context: click.Context, names: set[str]) -> Iterator[str]:
    """Yield a row for each of a command's parameters of these names."""
    for parameter, term, text in described(context):
        if parameter.name in names:
            yield f"| `{term.replace('|', '¦')}` | {escape(text)} |\n"  # a bar would end the cell


def table(lines: Iterable[str]) -> list[str]:
    """Return the lines of a table with these rows; none without rows."""
    listed = list(lines)
    return ["\n| option | |\n|---|---|\n", *listed] if listed else []


def escape(text: str) -> str:
    """Return a paragraph in which nothing is markup, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def contexts(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of a command, then those of the commands in it."""
    context = click.Context(command, parent, command.name, **command.context_settings)
    yield context
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from contexts(command.get_command(context, name), context)


def described(context: click.Context) -> Iterator[tuple[click.Parameter, str, str]]:
    """Yield each parameter that the help shows, its term, and its meaning with what the help says of its values."""
    for parameter in context.command.get_params(context):
        if record := parameter.get_help_record(context):
            more = record[1].removeprefix(parameter.help).replace("  [", " [")
            yield parameter, record[0], strip_markup(parameter.help) + more
