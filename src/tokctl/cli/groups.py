"""The tree of commands. A command's module is imported when the command is run or described."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, cast

import typer
from msgspec import Struct
from typer._click.types import StringParamType
from typer.core import TyperArgument, TyperGroup

from tokctl.cli.app import FILL, GUARD, SEE, SET_UP, examples_text, group_callback
from tokctl.process.query import suggest


class Group(Struct, frozen=True, eq=False):
    """A group of commands: its help, its panel in the help above, and its commands by name.

    A command is the module that makes it: one with ``app``, a Typer with a single command. ``aliases`` are
    other names of commands, which no list shows.
    """

    help: str
    panel: str
    commands: dict[str, str | Group]
    examples: tuple[str, ...] = ()
    aliases: dict[str, str] = {}


TREE = Group(
    """Shows where BPMN process instances stand, and looks after the API tokens that guard them.

    [not dim]New here? Run [bold]tokctl demo[/bold].[/not dim]
    """,
    "",
    {
        "instances": Group(
            "Process instances: list them, show one.",
            SEE,
            {"list": "tokctl.cli.instances_list", "show": "tokctl.cli.instances_show"},
            ("tokctl instances list --live", "tokctl instances show @latest"),
        ),
        "tokens": Group(
            "Tokens of a process instance: list, tree, history, one in detail.",
            SEE,
            {
                "list": "tokctl.cli.tokens_list",
                "show": "tokctl.cli.tokens_show",
                "tree": "tokctl.cli.tokens_tree",
                "history": "tokctl.cli.tokens_history",
                "watch": "tokctl.cli.tokens_watch",
                "wait": "tokctl.cli.tokens_wait",
                "trace": "tokctl.cli.tokens_trace",
            },
            ("tokctl tokens list @latest --live", "tokctl tokens tree @latest", "tokctl tokens show srv1-token-aB3"),
        ),
        "debug": "tokctl.cli.debug",
        "perf": "tokctl.cli.perf",
        "flow": "tokctl.cli.flow",
        "explain": "tokctl.cli.explain",
        "store": Group(
            "The local store: import, export, check, back up, prune.",
            FILL,
            {
                "import": "tokctl.cli.store_import",
                "export": "tokctl.cli.store_export",
                "info": "tokctl.cli.store_info",
                "check": "tokctl.cli.store_check",
                "backup": "tokctl.cli.store_backup",
                "prune": "tokctl.cli.store_prune",
            },
            ("tokctl store import answer.json", "tokctl store export @latest", "tokctl store info"),
        ),
        "api-tokens": Group(
            "API tokens, in the store or on a server: who may ask. For short: [bold]tokctl keys[/bold].",
            GUARD,
            {
                "create": "tokctl.cli.api_tokens_create",
                "list": "tokctl.cli.api_tokens_list",
                "show": "tokctl.cli.api_tokens_show",
                "update": "tokctl.cli.api_tokens_update",
                "revoke": "tokctl.cli.api_tokens_revoke",
                "rotate": "tokctl.cli.api_tokens_rotate",
                "secret": "tokctl.cli.api_tokens_secret",
                "exec": "tokctl.cli.api_tokens_exec",
                "verify": "tokctl.cli.api_tokens_verify",
                "mask": "tokctl.cli.api_tokens_mask",
                "scan": "tokctl.cli.api_tokens_scan",
                "audit": "tokctl.cli.api_tokens_audit",
            },
            ("tokctl api-tokens create grafana", "tokctl api-tokens list --expiring 30d", "tokctl api-tokens revoke 7"),
        ),
        "config": Group(
            "The configuration: contexts, and how things are shown.",
            SET_UP,
            {
                "view": "tokctl.cli.config_view",
                "get": "tokctl.cli.config_get",
                "set": "tokctl.cli.config_set",
                "unset": "tokctl.cli.config_unset",
                "use": "tokctl.cli.config_use",
                "rename": "tokctl.cli.config_rename",
                "delete": "tokctl.cli.config_delete",
                "path": "tokctl.cli.config_path",
                "validate": "tokctl.cli.config_validate",
            },
            ("tokctl config set contexts.prod.server https://engine.example:27555", "tokctl config use prod"),
        ),
        "doctor": "tokctl.cli.doctor",
        "serve": "tokctl.cli.serve",
        "snapshot": "tokctl.cli.snapshot",
        "auth": Group(
            "Credentials for servers: put one into the keyring, take it out, see which are accepted.",
            SET_UP,
            {
                "login": "tokctl.cli.auth_login",
                "logout": "tokctl.cli.auth_logout",
                "status": "tokctl.cli.auth_status",
            },
            ("tokctl auth login --context prod", "tokctl auth status"),
        ),
        "simulate": "tokctl.cli.simulate",
        "demo": "tokctl.cli.demo",
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

    group: Group

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class has it
        """The names, in the order of the tree."""
        return list(self.group.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base class has it
        """The command of that name, or None."""
        name = self.group.aliases.get(cmd_name, cmd_name)
        entry = self.group.commands.get(name)
        return None if entry is None else load(name, entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the line names; a wrong name is answered with the nearest one."""
        name = args[0] if args else "-"
        if not name.startswith("-") and name not in self.group.commands and name not in self.group.aliases:
            ctx.fail(f"no command '{name}'{suggest(name, self.group.commands)}")
        return super().resolve_command(ctx, args)


class Word(StringParamType):
    """An argument's text; the help says what it is, and need not say that it is text."""

    def get_metavar(self, param: Any, ctx: Any) -> str:  # noqa: ARG002
        """Nothing beside the argument's own name."""
        return ""


@cache
def load(name: str, entry: str | Group) -> Any:
    """Make the command (or group) of an entry in the tree."""
    if isinstance(entry, str):
        made = typer.main.get_command(import_module(entry).app)
        made.name = name
        for parameter in made.params:
            if isinstance(parameter, TyperArgument):
                parameter.type = Word()
        return made
    return make_group(name, entry)


def make_group(name: str, group: Group) -> Any:
    """Make a group whose commands are loaded when they are asked for."""
    kind = cast("type[LazyGroup]", type(f"{name.title()}Group", (LazyGroup,), {"group": group}))
    app = typer.Typer(
        cls=kind,
        name=name,
        rich_markup_mode="rich",
        add_completion=False,
        no_args_is_help=True,
        epilog=examples_text(group.examples),
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_help_panel=group.panel or None,
    )
    app.callback()(group_callback(group.help, version=not group.panel))
    made = typer.main.get_command(app)
    made.name = name
    made.rich_help_panel = group.panel or None  # type: ignore[attr-defined]
    return made


@cache
def root() -> Any:
    """The whole command line."""
    return make_group("tokctl", TREE)
