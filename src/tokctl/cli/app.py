"""The invocation that commands work with, and the decorator that makes a function a command."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
import typer
from msgspec.structs import replace

from tokctl.cli.clock import CommandClock
from tokctl.cli.options import GLOBAL, SERVER, SHARED, reject_invalid_bytes
from tokctl.config import Settings, resolve_settings
from tokctl.errors import TokctlError, UsageError
from tokctl.kinds import COLORS
from tokctl.text import suggest
from tokctl.verbose_log import TRAFFIC, set_listener, trace

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry
    from tokctl.cli.progress import ReadingProgress
    from tokctl.engines.projection import Projection
    from tokctl.engines.protocol import Engine
    from tokctl.errors import StoreError
    from tokctl.render.result import Output, Result
    from tokctl.store.protocol import Store

NON_TERMINAL_WIDTH = 10_000
"""Columns of output that is not a terminal, unless COLUMNS is set: lines are never folded."""

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}

INSPECT_PANEL = "Inspect instances"
STORE_PANEL = "Manage stores"
CONFIG_PANEL = "Configure"
API_TOKENS_PANEL = "Manage API tokens"
SERVER_PANEL = "Serve"


class Invocation:
    """The state of one command line, Click's ``ctx.obj``.

    Attributes:
        clock: returns the present time.
        flags: the values of the shared options on the line, by their names.
        opened: engines, stores and registries, which ``close`` closes.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.flags: dict[str, Any] = {}
        self.opened: list[Any] = []

    def debug_traceback(self, arguments: Sequence[str]) -> bool:
        """Return whether errors are raised; works for command lines that could not be parsed, too."""
        return bool(self.flags.get("debug_traceback")) or "--debug-traceback" in arguments

    def find_damage(self) -> StoreError | None:
        """Return the error for an opened store that is damaged: it may be why a command failed as it should never do.

        Checking every value when it is read would take longer than reading it.
        """
        from tokctl.store.protocol import Store, find_damage

        for opened in self.opened:
            source = getattr(opened, "store", getattr(opened, "engine", opened))  # of a registry, of an engine --at
            if isinstance(source, Store) and (error := find_damage(source)):
                return error
        return None

    def close(self) -> None:
        """Close what has been opened, the newest first."""
        for opened in reversed(self.opened):
            opened.close()
        TRAFFIC.on_request = lambda: None
        if total := TRAFFIC.summary():
            trace("%s", total)
        set_listener(None)


class App:
    """The settings and services of a command. Nothing is opened before it is used.

    Without ``configured`` a broken configuration file is ignored: for the commands that repair it.
    """

    def __init__(self, invocation: Invocation, *, configured: bool = True) -> None:
        self._invocation = invocation
        self._configured = configured
        self._opened_engine: Engine | None = None
        self._reading: ReadingProgress | None = None

    @property
    def flags(self) -> dict[str, Any]:
        """The values of the shared options on the line."""
        return self._invocation.flags

    @cached_property
    def settings(self) -> Settings:
        """The settings from the line, the environment and the configuration file, in this order of precedence."""
        try:
            return resolve_settings(self._invocation.flags, os.environ)
        except TokctlError:
            if self._configured:
                raise
            return resolve_settings(self._invocation.flags, os.environ, configured=False)

    @cached_property
    def time(self) -> CommandClock:
        """The time of the shown state, or of the source."""
        clock = self._invocation.clock
        return CommandClock(clock if self.flags.get("utc") else lambda: clock().astimezone(), self.settings.at)

    @property
    def now(self) -> datetime:
        """The time of the shown state. Raises UsageError: ``--at`` is not a time, or is in the future."""
        return self.time.now

    @property
    def prefix(self) -> str:
        """The beginning of a command line that reads from the same source as this one."""
        settings, words = self.settings, ["tokctl"]
        for name in ("store", "file", *SERVER, "at"):
            field = "timeout" if name == "request_timeout" else name
            if field not in settings.flag_names:
                continue
            value = self._invocation.flags[name]
            words.append(f"--{name.replace('_', '-')}" + (f" {quote(value)}" if isinstance(value, str) else ""))
        return " ".join(words)

    @property
    def reads_pipe(self) -> bool:
        """Whether tokens are read from a pipe, which no other command can read again."""
        file = self.settings.file
        return self.settings.kind == "file" and file is not None and not Path(file).is_file()

    @property
    def reads_store_for_people(self) -> bool:
        """Whether further queries are worth it: a terminal shows the answers, and a store has them at once."""
        return self.out.tty and self.out.format in {"table", "wide"} and self.settings.kind == "store"

    @property
    def clock(self) -> Callable[[], datetime]:
        """Returns the present time in the zone that times are shown in, for a command that runs for a while."""
        return self.time.read

    @cached_property
    def engine(self) -> Engine:
        """The engine that process tokens are read from."""
        from tokctl.engines.projection import Projection

        return self.open_engine(Projection.TOKENS)

    def open_engine(self, reading: Projection) -> Engine:
        """Open the engine for a command that needs only some parts of the tokens, named by ``reading``."""
        from tokctl.engines import open_engine

        if self.settings.at is None:
            engine = open_engine(self.settings, reading)
        else:
            from tokctl.engines.as_of import open_as_of

            engine = open_as_of(self.settings, reading, self.now)
        self._invocation.opened.append(engine)
        self._opened_engine = engine
        if engine.server_clock is not None:
            engine.server_clock.on_difference = self._adopt_server_clock
        if self.settings.kind == "server" and sys.stderr.isatty():
            from tokctl.cli.progress import watch_reading

            self._reading = watch_reading(engine)
        return engine

    def _adopt_server_clock(self, offset: timedelta) -> None:
        self.time.adopt(offset)
        if "out" in self.__dict__:  # views have it already
            self.out.now = self.now
        self.warn(f"warning: {self.time.note} Check both clocks.")

    def hide_progress(self) -> None:
        """Remove the progress bar of reading a server, before something is written to the terminal."""
        if self._reading is not None:
            self._reading.hide()

    def stop_progress(self) -> None:
        """Show no progress bar for reading a server any more: the command shows its own progress."""
        self.hide_progress()
        self._reading = None
        TRAFFIC.on_request = lambda: None
        if self._opened_engine is not None:
            self._opened_engine.watch_progress(lambda _done, _total: None)

    def require_store(self) -> None:
        """Raise UsageError if an option names another source of tokens than a store."""
        said, place = self.settings.flag_names, self.settings.place
        for name in ("file", "server", "context"):
            if name in said and (name != "context" or place == "server"):
                raise UsageError(f"--{name} does not apply: this command works on a store.", "Use --store.")

    def store(self, url: str | None = None, *, write: bool = False, create: bool = False, **more: bool) -> Store:
        """Open the store at a URL, or the local one. Raises UsageError as ``require_store``."""
        from tokctl.store import open_store

        if url is None:
            self.require_store()
        store = open_store(self.settings.store_location if url is None else url, write=write, create=create, **more)
        self._invocation.opened.append(store)
        return store

    def open_registry(self, *, write: bool = False, or_empty: bool = False) -> Registry:
        """Open the registry of API tokens; a missing store is created to write, and ``or_empty`` taken as empty."""
        from tokctl.api_tokens.registries import open_registry

        def warn(text: str) -> None:
            self.warn(f"warning: {text}")

        registry = open_registry(self.settings, self.clock, write=write, or_empty=or_empty, warn=warn)
        self._invocation.opened.append(registry)
        return registry

    @cached_property
    def out(self) -> Output:
        """Where and how results are written."""
        from tokctl.render import check_format
        from tokctl.render.result import Output

        columns, tty = self.settings.columns, sys.stdout.isatty()
        return Output(
            stream=sys.stdout,
            errors=sys.stderr,
            format=check_format(self.settings.output),
            tty=tty,
            color=self._wants_color(tty),
            unicode=(sys.stdout.encoding or "").lower().replace("-", "").startswith("utf"),
            width=max(shutil.get_terminal_size((NON_TERMINAL_WIDTH, 24)).columns, 20),
            now=self.now,
            prefix="" if self.reads_pipe else self.prefix,
            shorten_instance_id=self._shorten_instance_id if self._shortens_ids else str,
            shorten_token_id=self._shorten_token_id if self._shortens_ids else str,
            columns=tuple(c.strip() for c in columns.split(",") if c.strip()) if columns is not None else None,
            query=self.settings.query,
            headers=not self.settings.no_headers,
            quiet=self.settings.quiet,
            theme=self.settings.theme,
        )

    def emit(self, result: Result) -> None:
        """Write a result in the requested format, through a pager if it is longer than the terminal."""
        from tokctl.render import emit
        from tokctl.render.result import Listing

        if self._reading is not None and isinstance(result, Listing) and isinstance(result.items, Iterator):
            result.items = self._reading.hide_before_each(result.items)
        with self.open_output() as out:
            emit(result, out)

    def open_output(self) -> AbstractContextManager[Output]:
        """Return the output; what is written to it goes through a pager if it is longer than the terminal."""
        from tokctl.cli.pager import open_paged

        self.hide_progress()
        return open_paged(replace(self.out, source=self.describe_source()), wanted=not self.flags.get("no_pager"))

    @property
    def _shortens_ids(self) -> bool:
        """Whether people read the output, and the source can find unique prefixes quickly."""
        plain_table = (self.settings.output or "table") == "table" and self.settings.columns is None
        return sys.stdout.isatty() and plain_table and self.settings.kind == "store"

    def _shorten_instance_id(self, instance_id: str) -> str:
        from tokctl.engines.ids import shorten_instance_id

        return shorten_instance_id(self._opened_engine, instance_id) if self._opened_engine else instance_id

    def _shorten_token_id(self, token_id: str) -> str:
        from tokctl.engines.ids import shorten_token_id

        return shorten_token_id(self._opened_engine, token_id) if self._opened_engine else token_id

    def describe_source(self) -> str:
        """Return the source: context, server address, name of the file or store; '' if nothing was read."""
        if not self._invocation.opened:
            return ""
        settings = self.settings
        if settings.kind == "server":
            where = str(settings.server)
        else:
            from tokctl.store import store_name

            where = Path(settings.file).name if settings.kind == "file" and settings.file else ""
            where = where or store_name(settings.store_location)
        return f"{settings.context} ({where})" if settings.context is not None else where

    def _wants_color(self, tty: bool) -> bool:
        wish = (self.settings.color or "auto").lower()
        if wish not in COLORS:
            raise UsageError(f"invalid --color '{wish}'{suggest(wish, COLORS)}.", f"Valid: {', '.join(COLORS)}.")
        if wish != "auto":
            return wish == "always"
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or (tty and os.environ.get("TERM") != "dumb")

    def run(self, arguments: Sequence[str]) -> None:
        """Run another command line within this one, with the global options of this one.

        Raises:
            typer.Exit: its exit code is not 0.
        """
        invocation = Invocation(self.clock)
        invocation.flags |= {name: value for name, value in self.flags.items() if name in GLOBAL}
        root_command = click.get_current_context().find_root().command
        try:
            code = root_command.main(args=list(arguments), prog_name="tokctl", standalone_mode=False, obj=invocation)
        finally:
            invocation.close()
        if code:
            raise typer.Exit(code)

    def notify(self, text: str) -> None:
        """Write a note to stderr, which is not part of the result. ``--quiet`` suppresses it."""
        if not self.flags.get("quiet"):
            self.warn(text)

    def warn(self, text: str) -> None:
        """Write an error that does not end the command to stderr."""
        self.hide_progress()
        sys.stderr.write(_make_printable(text) + "\n")


class _Callback:
    """The callable that Typer runs for a command. Its signature has the parameters of the function but ``app``."""

    def __init__(self, function: Callable[..., Result | int | None], *, rejects_at: bool, configured: bool) -> None:
        _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
        self.__name__ = function.__name__
        self.__signature__ = inspect.Signature(parameters)
        self.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        self._function = function
        self._timeless = rejects_at
        self._configured = configured

    def __call__(self, **values: Any) -> int:
        """Run the command's function and write its result; returns the exit code."""
        ctx = click.get_current_context()
        for parameter in ctx.command.params:
            reject_invalid_bytes(ctx, parameter, values.get(parameter.name or ""))
        app = App(ctx.obj, configured=self._configured)
        if self._timeless and app.flags.get("at") is not None:
            raise UsageError(f"'{ctx.command_path}' does not support --at.", "Remove it.")
        if app.flags.get("verbose"):
            _enable_verbose_log(app)
        try:
            result = self._function(app, **values)
            if result is None or isinstance(result, int):
                return result or 0
            app.emit(result)
        finally:
            app.hide_progress()
        return result.exit_code


def command(
    function: Callable[..., Result | int | None],
    *,
    shared_options: Iterable[str] = (),
    examples: Sequence[str] = (),
    panel: str | None = None,
    configured: bool = True,
) -> click.Command:
    """Make a command of a function ``(app, …) -> result to show, exit code, or nothing``.

    Args:
        function: its docstring is the help, its parameters are the command's own options and arguments.
        shared_options: names of the shared options that the command uses, beside those of every command.
        examples: command lines below the help.
        panel: the title under which the group's help lists the command.
        configured: whether a broken configuration file is an error.
    """
    shared = (*shared_options, *GLOBAL)
    help_text = join_paragraphs(function.__doc__)
    declared = typer.Typer(add_completion=False, rich_markup_mode="rich")
    declared.command(
        help=help_text,
        short_help=first_paragraph(help_text),
        epilog=format_examples(examples),
        context_settings=CONTEXT_SETTINGS,
        rich_help_panel=panel,
    )(_Callback(function, rejects_at="at" not in shared, configured=configured))
    made = typer.main.get_command(declared)
    made.params += [SHARED[name]() for name in shared]
    return made


def _enable_verbose_log(app: App) -> None:
    """Log files and requests to stderr, with possible secrets masked."""
    from tokctl.api_tokens.masking import mask_text

    TRAFFIC.reset()
    set_listener(lambda text: app.warn(f"tokctl: {mask_text(text)}"))


def join_paragraphs(text: str | None) -> str:
    """Return a docstring with one line for each paragraph, which is folded at the width of the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n"))


def first_paragraph(help_text: str) -> str:
    """Return the summary of a help text, shown in lists of commands."""
    return help_text.partition("\n\n")[0]


def format_examples(examples: Sequence[str]) -> str | None:
    """Return the examples below a help text, in Rich's markup, each its own paragraph; None without any."""
    return "\n\n".join(("[bold]Examples[/bold]", *(f"$ {example}" for example in examples))) if examples else None


def format_error(error: TokctlError | click.ClickException) -> str:
    """Return an error and its hint as one line that is safe to print."""
    if isinstance(error, TokctlError):
        return _make_printable(str(error))
    if isinstance(error, click.NoSuchOption):
        text = f"no such option: {error.option_name}{_suggest_option(error)}"
    elif isinstance(error, click.BadParameter) and error.param and isinstance(error.param.type, click.IntRange):
        text = f"invalid {error.param.opts[-1]}: use {_describe_range(error.param.type)}"
    else:
        text = " ".join(error.format_message().split()).rstrip(".")
        text = text[:1].lower() + text[1:]
    if isinstance(error, click.UsageError) and error.ctx is not None:
        text += f". See '{error.ctx.command_path} --help'"
    return _make_printable(f"{text}.")


def _make_printable(text: str) -> str:
    """Return a message without control characters and secrets: it may repeat an argument that is one by mistake."""
    from tokctl.render.text import escape_controls

    text = escape_controls(text)
    if "xvc_" in text or "eyJ" in text:
        from tokctl.api_tokens.masking import mask_text

        text = mask_text(text)
    return text


def _describe_range(numbers: click.IntRange) -> str:
    """Return the numbers that an option takes. Each has a minimum."""
    least = f"a whole number from {numbers.min}"
    return f"{least} to {numbers.max}" if numbers.max is not None else f"{least} upwards"


NEVER_SUGGESTED = {"--insecure", "--insecure-http", "--no-verify", "--show-secret"}
"""Options that weaken security: never suggested for a misspelled option."""


def _suggest_option(error: click.NoSuchOption) -> str:
    """Return the suggestion of the command's option that is closest to the unknown one, or ''."""
    if error.ctx is None or not error.option_name.startswith("--"):
        return ""
    parameters = [one for one in error.ctx.command.get_params(error.ctx) if isinstance(one, click.Option)]
    names = {name for one in parameters for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}
    return suggest(error.option_name, sorted(names - NEVER_SUGGESTED))
