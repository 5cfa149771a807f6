"""What every command stands on: the invocation with its lazy services, and the command decorator."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import datetime
from functools import cached_property, wraps
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError

from tokctl.cli.options import ASIDE, CONNECTION, GLOBAL, SHARED
from tokctl.config import Settings, settings_from
from tokctl.errors import TokctlError, UsageError
from tokctl.process.query import parse_moment, suggest
from tokctl.trace import listen

if TYPE_CHECKING:
    from tokctl.engines.base import Reading
    from tokctl.process.engine import Engine
    from tokctl.registries.base import Registry
    from tokctl.render.result import Output, Result
    from tokctl.store.base import Store

UNBOUNDED = 10_000
"""Columns of what is no terminal, and names no COLUMNS: whatever reads there has no edge to fold at."""

SEE = "See where instances stand"
FILL = "Fill and keep a store"
SET_UP = "Contexts and credentials"
GUARD = "Look after API tokens"
SERVE = "Serve"

__all__ = [
    "FILL", "SEE", "SET_UP", "App", "ClickException", "Invocation", "NoArgsIsHelpError", "command", "group_callback",
    "one_line",
]  # fmt: skip


class Invocation:
    """One run of the program: the shared options as they come in, and what has been opened."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.flags: dict[str, Any] = {}
        self.opened: list[Any] = []

    def debug_traceback(self, arguments: Sequence[str]) -> bool:
        """Whether errors are to be raised; asked for even if the command line could not be read."""
        return bool(self.flags.get("debug_traceback")) or "--debug-traceback" in arguments

    def close(self) -> None:
        """Close what has been opened."""
        for opened in reversed(self.opened):
            opened.close()
        listen(None)


class App:
    """What a command works with. Nothing opens until it is used.

    Without ``configured`` a broken configuration file counts for nothing: for what is to mend it.
    """

    def __init__(self, invocation: Invocation, *, configured: bool = True) -> None:
        self._invocation = invocation
        self._configured = configured

    @property
    def flags(self) -> dict[str, Any]:
        """What the shared options on the line say."""
        return self._invocation.flags

    @cached_property
    def settings(self) -> Settings:
        """What the line, the environment and the configuration file say."""
        try:
            return settings_from(self._invocation.flags, os.environ)
        except TokctlError:
            if self._configured:
                raise
            return settings_from(self._invocation.flags, os.environ, configured=False)

    @cached_property
    def now(self) -> datetime:
        """The moment of the command, the same for all that it says: the present one, or that of ``--at``.

        Raises:
            UsageError: ``--at`` is no time, or one that is still to come.
        """
        present = self._invocation.clock()
        if self.settings.at is None:
            return present
        moment = parse_moment(self.settings.at, present)
        if moment > present:
            raise UsageError(f"--at {self.settings.at} lies in the future.", "Give a time that has been.")
        return moment

    @property
    def prefix(self) -> str:
        """How a command begins that looks at the same as this one."""
        settings, words = self.settings, ["tokctl"]
        for name in ("store", "file", *CONNECTION, "at"):
            field = "timeout" if name == "request_timeout" else name
            if field not in settings.said:
                continue
            value = self._invocation.flags[name]
            words.append(f"--{name.replace('_', '-')}" + (f" {quote(value)}" if isinstance(value, str) else ""))
        return " ".join(words)

    @property
    def clock(self) -> Callable[[], datetime]:
        """What tells the time, for a command that goes on for a while."""
        return self._invocation.clock

    @cached_property
    def engine(self) -> Engine:
        """Where process tokens are read from."""
        from tokctl.engines.base import Reading

        return self.open_engine(Reading.TOKENS)

    def open_engine(self, reading: Reading) -> Engine:
        """Open what process tokens are read from, for a command that needs no more of them than that."""
        from tokctl.engines import open_engine

        if self.settings.at is None:
            engine = open_engine(self.settings, reading)
        else:
            from tokctl.engines.past import open_past

            engine = open_past(self.settings, reading, self.now)
        self._invocation.opened.append(engine)
        return engine

    def store(self, *, write: bool = False, create: bool = False) -> Store:
        """The local store."""
        from tokctl.store import open_store

        said, place = self.settings.said, self.settings.place
        for name in ("file", "server", "context"):
            if name in said and (name != "context" or place == "server"):
                raise UsageError(f"--{name} is for looking at tokens; this command works on a store.", "Leave it out.")
        store = open_store(self.settings.store_location, write=write, create=create)
        self._invocation.opened.append(store)
        return store

    def open_registry(self, *, write: bool = False) -> Registry:
        """Open where API tokens are kept; a store that is to be written to is made where there is none."""
        from tokctl.registries import open_registry

        registry = open_registry(self.settings, self.clock, write=write, warn=self.tell)
        self._invocation.opened.append(registry)
        return registry

    @cached_property
    def out(self) -> Output:
        """Where results go."""
        from tokctl.render import check_format
        from tokctl.render.result import Output

        columns = self.settings.columns
        return Output(
            stream=sys.stdout,
            errors=sys.stderr,
            format=check_format(self.settings.output),
            tty=sys.stdout.isatty(),
            color=self._wants_color(sys.stdout.isatty()),
            unicode=(sys.stdout.encoding or "").lower().replace("-", "").startswith("utf"),
            width=max(shutil.get_terminal_size((UNBOUNDED, 24)).columns, 20),
            now=self.now,
            columns=tuple(c.strip() for c in columns.split(",") if c.strip()) if columns is not None else None,
            query=self.settings.query,
        )

    def _wants_color(self, tty: bool) -> bool:
        wish = (self.settings.color or "auto").lower()
        if wish not in {"auto", "always", "never"}:
            raise UsageError(f"--color {wish} means nothing{suggest(wish, ('auto', 'always', 'never'))}.",
                             "Valid: auto, always, never.")  # fmt: skip
        if wish != "auto":
            return wish == "always"
        return tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def run(self, arguments: Sequence[str]) -> None:
        """Run another command line within this one."""
        from tokctl.cli.groups import root

        invocation = Invocation(self._invocation.clock)
        invocation.flags |= {k: v for k, v in self._invocation.flags.items() if k in GLOBAL}
        try:
            code = root().main(args=list(arguments), prog_name="tokctl", standalone_mode=False, obj=invocation)
        finally:
            invocation.close()
        if code:
            raise typer.Exit(code)

    def tell(self, text: str) -> None:
        """Say something that is no result, on stderr."""
        from tokctl.render.human import safe

        sys.stderr.write(safe(text) + "\n")


def command(
    function: Callable[..., Result | int | None],
    *,
    takes: Iterable[str] = (),
    examples: Sequence[str] = (),
    panel: str | None = None,
    configured: bool = True,
) -> typer.Typer:
    """Make a command of a function ``(app, …) -> result to show, exit code, or nothing``.

    ``takes`` names the shared options that mean something to it, beside those that every command
    takes. One that is not ``configured`` runs whatever stands in the configuration file.
    """
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "app"]
    shared = [SHARED[name] for name in (*takes, *GLOBAL)]
    timeless = SHARED["at"] not in shared

    @wraps(function)
    def run(ctx: typer.Context, **values: Any) -> int:
        invocation: Invocation = ctx.find_root().obj
        for parameter in shared:
            value = values.pop(parameter.name)
            if value is not None:
                invocation.flags[parameter.name] = value
        if timeless and invocation.flags.get("at") is not None:
            raise UsageError(f"--at means nothing to '{ctx.command_path}'.", "Leave it out.")
        app = App(invocation, configured=configured)
        if invocation.flags.get("verbose"):
            _tell_more(app)
        result = function(app, **values)
        if result is None or isinstance(result, int):
            return result or 0
        from tokctl.render import emit

        emit(result, app.out)
        return result.exit_code

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    _sign(run, [context, *own, *shared])
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(
        help=paragraphs(function.__doc__),
        epilog=examples_text(examples),
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_help_panel=panel,
    )(run)
    return app


def _tell_more(app: App) -> None:
    """Let what is done be told, with everything masked that looks like a secret."""
    from tokctl.access.masking import masked_text

    listen(lambda text: app.tell(f"tokctl: {masked_text(text)}"))


def paragraphs(text: str | None) -> str:
    """A docstring with a line for each of its paragraphs: the terminal's width folds them."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n"))


def examples_text(examples: Sequence[str]) -> str | None:
    """The examples below a help text; None where there are none."""
    return "\n".join(("[bold]Examples[/bold]", *(f"$ {example}" for example in examples))) if examples else None


def group_callback(help_text: str, *, version: bool = False) -> Callable[..., None]:
    """Return a callback that lets a group of commands take every shared option."""

    def callback(ctx: typer.Context, **values: Any) -> None:
        invocation: Invocation = ctx.find_root().obj
        invocation.flags |= {name: value for name, value in values.items() if value is not None}

    callback.__doc__ = help_text
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(_aside(SHARED[name]) if name in ASIDE else SHARED[name] for name in SHARED),
    ]
    if version:
        annotation = Annotated[
            bool,
            typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version),
        ]
        parameters.append(
            inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=False)
        )
    _sign(callback, parameters)
    return callback


def _aside(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter that is understood, but told of only where it is used: a group's help is for finding a command."""
    kind, option = get_args(parameter.annotation)
    option = copy(option)
    option.hidden = True
    return parameter.replace(annotation=Annotated[kind, option])


def _say_version(asked: bool) -> None:
    if asked:
        from tokctl import __version__

        sys.stdout.write(f"tokctl {__version__}\n")
        raise typer.Exit


def _sign(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Give a function the parameters that Typer is to see."""
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    function.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in keyword_only}


def one_line(error: TokctlError | ClickException) -> str:
    """What happened and what to do, on one line, fit for a terminal."""
    from tokctl.render.human import safe

    if isinstance(error, TokctlError):
        return safe(str(error))
    ctx = getattr(error, "ctx", None)
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    return safe(f"{text}. See '{ctx.command_path} --help'." if ctx else f"{text}.")
