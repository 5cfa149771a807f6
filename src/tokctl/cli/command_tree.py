"""The tree of commands. A command's module is imported when the command is run or described."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from keyword import iskeyword

import click
from click.shell_completion import CompletionItem
from msgspec import Struct
from typer.core import TyperGroup, TyperOption

from tokctl.cli.app import (
    API_TOKENS_PANEL,
    CONFIG_PANEL,
    CONTEXT_SETTINGS,
    INSPECT_PANEL,
    STORE_PANEL,
    first_paragraph,
    format_examples,
    join_paragraphs,
)
from tokctl.cli.options import HIDDEN_IN_GROUPS, SHARED
from tokctl.text import suggest
from tokctl.version import __version__


class CommandGroup(Struct, frozen=True, eq=False):
    """A group of commands: its help, its panel in the help of the group above, and its commands by name.

    A command is named by its module, whose ``app`` is the command. ``aliases`` are other names of commands. They are
    not listed in the help, and completed only once their first character is typed.
    """

    help: str
    panel: str
    commands: dict[str, str | CommandGroup]
    examples: tuple[str, ...] = ()
    aliases: dict[str, str] = {}


def _modules(folder: str, names: str) -> dict[str, str | CommandGroup]:
    """Return the commands of these names with their modules, such as ``import_`` and ``get_contexts``."""
    return {name: f"tokctl.cli.{folder}.{name.replace('-', '_')}{'_' * iskeyword(name)}" for name in names.split()}


LIST_ALIASES = {"ls": "list", "get": "show", "describe": "show"}
"""Other names of the commands that list and show things, known from other programs."""

COMMAND_TREE = CommandGroup(
    """Inspect BPMN process instances and manage API tokens.

    [not dim]New here? Run [bold]tokctl demo[/bold].[/not dim]
    """,
    "",
    {
        "instances": CommandGroup(
            "List and show process instances.",
            INSPECT_PANEL,
            _modules("instances", "list show"),
            ("tokctl instances list --live", "tokctl instances show @latest"),
            LIST_ALIASES,
        ),
        "incidents": CommandGroup(
            "List incidents: FAILED tokens with their error messages.",
            INSPECT_PANEL,
            _modules("incidents", "list"),
            ("tokctl incidents list", "tokctl incidents list --by error"),
            {"ls": "list"},
        ),
        "tokens": CommandGroup(
            "List, show and watch the tokens of process instances.",
            INSPECT_PANEL,
            _modules("tokens", "list show tree history watch wait trace"),
            ("tokctl tokens list @latest --live", "tokctl tokens tree @latest", "tokctl tokens show srv1-token-aB3"),
            LIST_ALIASES,
        ),
        "debug": "tokctl.cli.debug",
        "perf": "tokctl.cli.perf",
        "flow": "tokctl.cli.flow",
        "explain": "tokctl.cli.explain",
        "diagram": "tokctl.cli.diagram",
        "report": "tokctl.cli.report",
        "export": "tokctl.cli.export",
        "store": CommandGroup(
            "Import, export, check, back up, copy and prune stores.",
            STORE_PANEL,
            _modules("store", "import export info check backup copy migrate prune"),
            ("tokctl store import answer.json", "tokctl store export @latest", "tokctl store info"),
        ),
        "api-tokens": CommandGroup(
            "Manage API tokens, in the store or on a server. Short name: [bold]tokctl keys[/bold].",
            API_TOKENS_PANEL,
            _modules(
                "api_tokens",
                "create list show update disable enable revoke rotate apply secret exec verify mask scan audit kinds",
            ),
            ("tokctl api-tokens create grafana", "tokctl api-tokens list --expiring 30d", "tokctl api-tokens revoke 7"),
            LIST_ALIASES | {"rm": "revoke"},
        ),
        "config": CommandGroup(
            "View and change the configuration and its contexts.",
            CONFIG_PANEL,
            _modules("config", "view get set unset get-contexts current-context use rename delete path validate"),
            ("tokctl config set contexts.prod.server https://engine.example:27555", "tokctl config use prod"),
            {"use-context": "use", "ls": "get-contexts", "rm": "delete"},
        ),
        "doctor": "tokctl.cli.doctor",
        "engines": "tokctl.cli.engines",
        "serve": "tokctl.cli.serve",
        "snapshot": "tokctl.cli.snapshot",
        "auth": CommandGroup(
            "Log in to servers, log out, and check credentials.",
            CONFIG_PANEL,
            _modules("auth", "login logout status"),
            ("tokctl auth login --context prod", "tokctl auth status"),
        ),
        "simulate": "tokctl.cli.simulate",
        "demo": "tokctl.cli.demo",
        "completion": "tokctl.cli.completion_command",
    },
    (
        "tokctl instances list --live",
        "tokctl tokens tree @latest",
        "tokctl tokens list @latest --state FAILED -o json",
        "curl ... | tokctl tokens list --file -",
    ),
    {"keys": "api-tokens"},
)


class LazyGroup(TyperGroup):
    """A group of commands that imports those it needs."""

    def __init__(self, name: str, group: CommandGroup) -> None:
        help_text = join_paragraphs(group.help)
        super().__init__(
            name=name,
            params=[make(hidden=option in HIDDEN_IN_GROUPS) for option, make in SHARED.items()],
            help=help_text,
            short_help=first_paragraph(help_text),
            epilog=format_examples(group.examples),
            no_args_is_help=True,
            context_settings=CONTEXT_SETTINGS,
            rich_help_panel=group.panel or None,
        )
        self.tree = group

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class has it
        """Return the names, in the order of the tree."""
        return list(self.tree.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the base class has it
        """Return the command of that name, or None."""
        name = self.tree.aliases.get(cmd_name, cmd_name)
        entry = self.tree.commands.get(name)
        return None if entry is None else load_command(name, entry)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that complete a word, and the aliases if it is not empty."""
        aliases = [alias for alias in self.tree.aliases if incomplete and alias.startswith(incomplete)]
        found = super().shell_complete(ctx, incomplete)
        return found + [CompletionItem(alias, help=f"the same as {self.tree.aliases[alias]}") for alias in aliases]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the line names.

        Raises:
            click.UsageError: there is no such command; the message names the nearest one.
        """
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            hint = suggest(name, (*self.tree.commands, *self.tree.aliases)) or self._suggest_group(args)
            ctx.fail(f"no command '{name}'{hint}")
        return super().resolve_command(ctx, args)

    def _suggest_group(self, args: list[str]) -> str:
        """Return the suggestion to name the group first, for lines such as ``get instances``; '' if no group fits."""
        groups = {
            group: entry.aliases.get(args[0], args[0])
            for group, entry in self.tree.commands.items()
            if isinstance(entry, CommandGroup) and (args[0] in entry.commands or args[0] in entry.aliases)
        }
        group = next((word for word in args[1:] if word in groups), next(iter(groups), None))
        return f" (did you mean '{group} {groups[group]}'?)" if group is not None else ""


@cache
def load_command(name: str, entry: str | CommandGroup) -> click.Command:
    """Make the command (or group) of an entry in the tree."""
    if isinstance(entry, CommandGroup):
        return LazyGroup(name, entry)
    built: click.Command = import_module(entry).app
    built.name = name
    return built


def _install_completion(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from tokctl.cli.completion_command import install_completion

        install_completion(ctx)


@cache
def root_command() -> LazyGroup:
    """Return the whole command line."""
    built = LazyGroup("tokctl", COMMAND_TREE)
    version = click.version_option(
        __version__, "-V", "--version", message="%(prog)s %(version)s", help="Show the version and exit."
    )
    version(built)
    built.params.append(
        TyperOption(
            param_decls=["--install-completion"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_install_completion,
            help="Install the completion for your shell and exit.",
        )
    )
    return built
