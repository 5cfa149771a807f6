"""Merges flags, environment and configuration file into the settings of a command, in this order of precedence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from tokctl.config.file import Configuration, read_configuration
from tokctl.config.store_urls import refuse_password
from tokctl.errors import UsageError

Kind = Literal["file", "store", "server"]

VARIABLES = {
    "store": "TOKCTL_STORE",
    "server": "TOKCTL_SERVER",
    "context": "TOKCTL_CONTEXT",
    "output": "TOKCTL_OUTPUT",
    "engine_kind": "TOKCTL_ENGINE_KIND",
    "registry_server": "TOKCTL_REGISTRY_SERVER",
    "registry_kind": "TOKCTL_REGISTRY_KIND",
    "registry_credential": "TOKCTL_REGISTRY_CREDENTIAL",
    "credential": "TOKCTL_CREDENTIAL",
    "ca_file": "TOKCTL_CA_FILE",
    "insecure": "TOKCTL_INSECURE",
    "timeout": "TOKCTL_TIMEOUT",
    "connect_timeout": "TOKCTL_CONNECT_TIMEOUT",
    "rate": "TOKCTL_RATE",
}
"""The environment variable of each field. An empty one counts as unset."""
API_KEY = "TOKCTL_API_KEY"
"""The variable with the secret itself; overrides ``TOKCTL_CREDENTIAL``. A context's own credential overrides both."""
STORE_CREDENTIAL = "TOKCTL_STORE_CREDENTIAL"
"""The variable that names the source of the password of a store in a database. A context's own overrides it."""

CONNECTION = ("engine_kind", "credential", "ca_file", "insecure", "timeout", "connect_timeout", "rate")
"""The fields of a context that apply to its own server only."""
REGISTRY = ("registry_server", "registry_kind", "registry_credential")
_TARGET_FIELDS = ("store", "server", "context")


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of a command. Texts are as given; None means that nothing was given."""

    store: str | None = None
    file: str | None = None
    server: str | None = None
    context: str | None = None  # whose settings are used
    engine_kind: str | None = None
    registry_server: str | None = None
    registry_kind: str | None = None
    credential: str | None = None  # where the secret is; None is the keyring
    registry_credential: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    timeout: float = 30.0  # seconds to wait for each part of a response
    connect_timeout: float = 5.0  # seconds to wait for a connection
    rate: str | None = None  # maximum rate of requests, such as 60/min
    at: str | None = None
    output: str | None = None
    columns: str | None = None
    query: str | None = None
    color: str | None = None
    no_headers: bool = False
    quiet: bool = False
    utc: bool = False
    no_pager: bool = False
    verbose: bool = False
    debug_traceback: bool = False
    debug: Mapping[str, Any] = {}  # the thresholds of the debug rules, as given
    theme: Mapping[str, str] = {}  # Rich styles by the names in THEME_STYLES
    flag_names: frozenset[str] = frozenset()  # the fields that were given on the command line
    origins: Mapping[str, str] = {}
    """Where the value of each field comes from: ``flag``, ``environment TOKCTL_X``, ``context NAME`` or
    ``configuration``; the origin of a threshold is under ``debug.NAME``, that of a style under ``theme.NAME``."""
    place: Kind | None = None  # the kind of source with the highest precedence; None for the default store
    conflict: str = ""  # why it is unclear what to read

    @property
    def kind(self) -> Kind:
        """What to read: a file, a server or a store. Raises UsageError: the environment names two of them."""
        if self.conflict:
            raise UsageError(self.conflict, "Unset one of them, or use --store or --server.")
        if self.place is not None:
            return self.place
        return "file" if self.file is not None else "server" if self.server is not None else "store"

    @property
    def store_location(self) -> str:
        """The store to use: the given one, or the default.

        Raises UsageError: the given name is empty, as an unset variable in a script is; that does not mean the default.
        """
        if self.store == "":
            raise UsageError("--store is empty.", "Give a path, or remove the option to use the default store.")
        return self.store or str(default_store())


def default_store() -> Path:
    """Return the path of the default store, in the platform's data directory."""
    from platformdirs import user_data_path

    return user_data_path("tokctl", appauthor=False) / "tokctl.db"


_FLAG, _VARIABLE, _CONFIGURED = 3, 2, 1  # precedence


class _Target(NamedTuple):
    """A source that was named."""

    precedence: int  # of the place that names it; the highest one wins
    field: str  # that names it
    kind: Kind | None  # None for a context without a store and a server
    value: str  # the path or the URL
    origin: str  # of the value
    context: str = ""  # its name; empty if the source was named without one
    context_origin: str = ""  # what names the context


def resolve_settings(flags: Mapping[str, Any], environ: Mapping[str, str], *, configured: bool = True) -> Settings:
    """Merge flags, environment and configuration file: a flag overrides a variable, a variable overrides the file.

    The source to read is one setting: ``--store`` overrides ``TOKCTL_SERVER``, and that overrides the current context.
    The credential, certificates and timeouts of a context apply to its own server only; there its credential overrides
    the variables.

    ``flags`` are the options by the names of their fields, None if not given; ``configured`` tells whether to read the
    file.

    Raises:
        NotFoundError: there is no such context, or no file where ``TOKCTL_CONFIG`` says.
        InputError: the file cannot be read.
        UsageError: flags contradict each other, or a value is invalid.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "request_timeout" in given:
        given["timeout"] = given.pop("request_timeout")
    variables = {field: environ[name] for field, name in VARIABLES.items() if environ.get(name)}
    configuration = read_configuration(environ) if configured else Configuration()
    named = _find_targets(given, variables, configuration)
    targets = [target for target in named if target.kind is not None]
    _reject_two_flags(targets)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field, value, origin in _candidates(given, variables, environ, named, configuration):
        if value is not None and field not in values:
            values[field], origins[field] = value, origin
    for field in (*CONNECTION, *REGISTRY):  # values from the file are parsed already
        if origins.get(field, "").startswith(("flag", "environment")):
            values[field] = _parse_field(field, values[field], origins[field])
    refuse_password(values.get("store", ""))
    debug, theme = _pop_section(values, "debug"), _pop_section(values, "theme")
    return Settings(
        **values,
        debug=debug,
        theme=theme,
        flag_names=frozenset(given),
        origins=origins,
        conflict=_describe_conflict(targets),
        place=targets[0].kind if targets else None,
    )


def _pop_section(values: dict[str, Any], section: str) -> dict[str, Any]:
    """Remove the values of a section; returns them by their names within it."""
    names = [name for name in values if name.startswith(f"{section}.")]
    return {name.removeprefix(f"{section}."): values.pop(name) for name in names}


def _candidates(
    flags: Mapping[str, Any],
    variables: Mapping[str, str],
    environ: Mapping[str, str],
    named: list[_Target],
    configuration: Configuration,
) -> Iterator[tuple[str, Any, str]]:
    """Yield fields with a value and its origin, by descending precedence.

    Thresholds are ``debug.NAME``, styles ``theme.NAME``.
    """
    targets = [target for target in named if target.kind is not None]
    chosen = {target.kind: target for target in reversed(targets)}  # the first of each kind
    for kind in ("store", "server"):
        if kind in chosen:
            yield kind, chosen[kind].value, chosen[kind].origin
    yield from ((field, value, "flag") for field, value in flags.items() if field not in _TARGET_FIELDS)
    context = next((target for target in named if target.context), None)
    origin = "" if context is None else f"context {context.context}"
    values = {} if context is None else configuration.section_values(f"contexts.{context.context}")
    is_server_of_context = "server" in chosen and chosen["server"].origin == origin
    if is_server_of_context and values.get("credential") is not None:
        # A secret in a variable is meant for one server, but the variable does not name it.
        yield "credential", values["credential"], origin
    if environ.get(API_KEY):
        yield "credential", f"env:{API_KEY}", f"environment {API_KEY}"
    for field, value in variables.items():
        if field not in _TARGET_FIELDS:
            yield field, value, f"environment {VARIABLES[field]}"
    if context is not None:
        # If something of higher precedence names what to read, the context is not active: then only its connection
        # settings count, and only if its server is used.
        is_active = context.kind is None or context is targets[0]
        if is_active or is_server_of_context:
            yield from ((field, values.get(field), origin) for field in CONNECTION)
        if is_active:
            if "registry_server" not in variables:  # else kind and credential of the context are for another server
                yield from ((field, values.get(field), origin) for field in REGISTRY)
            yield "output", values.get("output"), origin
            yield "context", context.context, context.context_origin
            yield from _thresholds(configuration.thresholds(context.context), origin)
    for field in ("output", "rate"):
        yield field, configuration.values.get(field), "configuration"
    yield from _thresholds(configuration.thresholds(), "configuration")
    yield from (
        (f"theme.{name}", value, "configuration") for name, value in configuration.section_values("theme").items()
    )


def _thresholds(given: Mapping[str, Any], origin: str) -> Iterator[tuple[str, Any, str]]:
    return ((f"debug.{name}", value, origin) for name, value in given.items())


def _find_targets(
    flags: Mapping[str, Any], variables: Mapping[str, str], configuration: Configuration
) -> list[_Target]:
    """Return the sources that were named, by descending precedence; at most one of them is a context."""
    targets: list[_Target] = []
    current = configuration.values.get("current_context")
    current_context = {"context": current} if current else {}
    for precedence, given in ((_FLAG, flags), (_VARIABLE, variables), (_CONFIGURED, current_context)):
        for field in ("file", "store", "server"):
            if field in given:
                origin = "flag" if precedence == _FLAG else f"environment {VARIABLES[field]}"
                targets.append(_Target(precedence, field, field, given[field], origin))
        if "context" in given and not any(target.context for target in targets):
            origins = {_FLAG: "flag", _VARIABLE: f"environment {VARIABLES['context']}", _CONFIGURED: "configuration"}
            # A context that does not decide what to read need not exist, unless a flag names it.
            if not targets or precedence == _FLAG or given["context"] in configuration.contexts:
                targets.append(_context_target(precedence, given["context"], origins[precedence], configuration))
    return targets


def _context_target(precedence: int, name: str, named_by: str, configuration: Configuration) -> _Target:
    setting = {"flag": "--context", "configuration": "current_context"}.get(
        named_by, named_by.removeprefix("environment ")
    )
    configuration.require_context(name, setting)
    context = configuration.section_values(f"contexts.{name}")
    for kind in ("server", "store"):
        if context.get(kind) is not None:
            return _Target(precedence, "context", kind, context[kind], f"context {name}", name, named_by)
    return _Target(precedence, "context", None, "", "", name, named_by)


def _reject_two_flags(targets: list[_Target]) -> None:
    flags = [target.field for target in targets if target.precedence == _FLAG]
    if len(flags) > 1:
        raise UsageError(f"--{flags[0]} and --{flags[1]} cannot be used together.", "Use one of them.")


def _describe_conflict(targets: list[_Target]) -> str:
    if len(targets) > 1 and targets[0].precedence == targets[1].precedence:
        return f"{VARIABLES[targets[0].field]} and {VARIABLES[targets[1].field]} are both set."
    return ""


def _parse_field(field: str, value: Any, origin: str) -> Any:
    """Parse a value as the table of settings says.

    Raises UsageError: it is invalid; the message names the flag or the variable.
    """
    from tokctl.config.keys import CONTEXT

    read: Callable[[Any], Any] = CONTEXT[field].read
    try:
        return read(value)
    except UsageError as error:
        option = "request-timeout" if field == "timeout" else field.replace("_", "-")
        where = f"--{option}" if origin == "flag" else origin.removeprefix("environment ")
        raise UsageError(f"{where}: {error.message}", error.hint) from None
