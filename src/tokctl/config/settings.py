"""What a command works with: flags, environment and configuration file, joined. The nearest to the line wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from msgspec import Struct

from tokctl.config.file import Configuration, read_configuration
from tokctl.errors import UsageError

Kind = Literal["file", "store", "server"]

VARIABLES = {
    "store": "TOKCTL_STORE",
    "server": "TOKCTL_SERVER",
    "context": "TOKCTL_CONTEXT",
    "output": "TOKCTL_OUTPUT",
    "engine_kind": "TOKCTL_ENGINE_KIND",
    "registry_server": "TOKCTL_REGISTRY_SERVER",
    "credential": "TOKCTL_CREDENTIAL",
    "ca_file": "TOKCTL_CA_FILE",
    "insecure": "TOKCTL_INSECURE",
    "timeout": "TOKCTL_TIMEOUT",
    "connect_timeout": "TOKCTL_CONNECT_TIMEOUT",
}
"""Field → environment variable. An empty one says nothing."""
API_KEY = "TOKCTL_API_KEY"
"""The variable that holds a secret itself; it goes before ``TOKCTL_CREDENTIAL``."""

CONNECTION = ("engine_kind", "credential", "ca_file", "insecure", "timeout", "connect_timeout")
"""What belongs to the server of a context, and is not used with another."""
REGISTRY = ("registry_server", "registry_credential")
_PLACES = ("store", "server", "context")


class Settings(Struct, frozen=True, kw_only=True):
    """What every command may want to know. Strings are as they were given; None is "not said".

    ``context`` is the one whose settings are used. ``credential`` says where the secret is to be had
    from; None is the keyring. Times are in seconds. ``debug`` holds thresholds as they were given.
    ``origins`` says where each field's value comes from: ``flag``, ``environment TOKCTL_X``, ``context
    NAME`` or ``configuration``; that of a threshold is under ``debug.NAME``.
    """

    store: str | None = None
    file: str | None = None
    server: str | None = None
    context: str | None = None
    engine_kind: str | None = None
    registry_server: str | None = None
    credential: str | None = None
    registry_credential: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    timeout: float = 30.0
    connect_timeout: float = 5.0
    at: str | None = None
    output: str | None = None
    columns: str | None = None
    query: str | None = None
    color: str | None = None
    verbose: bool = False
    debug_traceback: bool = False
    debug: Mapping[str, Any] = {}
    said: frozenset[str] = frozenset()  # what stands on the command line, not in the environment
    origins: Mapping[str, str] = {}
    place: Kind | None = None
    clash: str = ""

    @property
    def kind(self) -> Kind:
        """What to look at: a saved answer, a server or a store; whichever was named nearest to the line.

        Raises:
            UsageError: the environment names two.
        """
        if self.clash:
            raise UsageError(self.clash, "Unset one of them, or say --store or --server.")
        if self.place is not None:
            return self.place
        return "file" if self.file is not None else "server" if self.server is not None else "store"

    @property
    def store_location(self) -> str:
        """The store to use: the one that was named, or that in the platform's data directory.

        Raises:
            UsageError: the name is empty, as a script's variable may be; the usual store is not meant then.
        """
        if self.store == "":
            raise UsageError("--store names no file.", "Give a path, or leave it out for the usual store.")
        return self.store or str(default_store())


def default_store() -> Path:
    """Where the store is unless someone says otherwise."""
    from platformdirs import user_data_path

    return user_data_path("tokctl", appauthor=False) / "tokctl.db"


class _Place(NamedTuple):
    """Something to look at that was named: how near to the line, by which field, and where its value comes from."""

    near: int
    field: str
    kind: Kind | None  # None: a context that names neither store nor server
    value: str
    origin: str
    context: str | None = None
    named_by: str = ""  # where the context is named


def settings_from(flags: Mapping[str, Any], environ: Mapping[str, str], *, configured: bool = True) -> Settings:
    """Join flags, environment and configuration file: a flag wins over a variable, a variable over the file.

    What is looked at goes as a whole: ``--store`` wins over ``TOKCTL_SERVER``, that over the current
    context. A context's credential, certificates and times are used for its server only. Without
    ``configured`` the file is not read.

    Raises:
        NotFoundError: no such context, or no file where ``TOKCTL_CONFIG`` says.
        InputError: the file cannot be read.
        UsageError: flags that contradict each other, or a value that means nothing.
    """
    said = {name: value for name, value in flags.items() if value is not None}
    if "request_timeout" in said:
        said["timeout"] = said.pop("request_timeout")
    variables = {field: environ[name] for field, name in VARIABLES.items() if environ.get(name)}
    configuration = read_configuration(environ) if configured else Configuration()
    places = _places(said, variables, configuration)
    placed = [place for place in places if place.kind is not None]
    _refuse_two_flags(placed)
    nearest = placed[0] if placed else None
    taken = _Taken()
    for kind in ("store", "server"):
        if (place := next((place for place in placed if place.kind == kind), None)) is not None:
            taken.take({kind: place.value}, {kind: place.origin}.__getitem__)
    taken.take(said, lambda _: "flag", leaving=_PLACES)
    if environ.get(API_KEY):
        taken.take({"credential": f"env:{API_KEY}"}, lambda _: f"environment {API_KEY}")
    taken.take(variables, lambda field: f"environment {VARIABLES[field]}", leaving=_PLACES)
    if (chosen := next((place for place in places if place.context is not None), None)) is not None:
        taken.take_context(chosen, configuration, in_force=chosen.kind is None or chosen is nearest)
    taken.take({"output": configuration.values.get("output")}, lambda _: "configuration")
    taken.take_thresholds(configuration.thresholds(), "configuration")
    taken.read((*CONNECTION, *REGISTRY))
    clash = ""
    if len(placed) > 1 and placed[0].near == placed[1].near:
        clash = f"{VARIABLES[placed[0].field]} and {VARIABLES[placed[1].field]} both say what to look at."
    return Settings(
        **taken.values,
        debug=taken.debug,
        said=frozenset(said),
        origins=taken.origins,
        clash=clash,
        place=nearest.kind if nearest is not None else None,
    )


class _Taken:
    """The value of each field and where it comes from; what is taken first stays."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.debug: dict[str, Any] = {}

    def take(self, values: Mapping[str, Any], origin: Callable[[str], str], leaving: tuple[str, ...] = ()) -> None:
        """Take what has not been taken before, but for the fields to leave."""
        for field, value in values.items():
            if value is not None and field not in self.values and field not in leaving:
                self.values[field], self.origins[field] = value, origin(field)

    def take_context(self, place: _Place, configuration: Configuration, *, in_force: bool) -> None:
        """Take what a context says.

        One that is not in force, as something nearer says what to look at, counts for its own server at most.
        """
        name = cast("str", place.context)
        origin, context = f"context {name}", configuration.within(f"contexts.{name}")
        its_server = in_force or self.origins.get("server") == origin
        fields = (*REGISTRY, "output") * in_force + CONNECTION * its_server
        self.take({field: context.get(field) for field in fields}, lambda _: origin)
        if in_force:
            self.take({"context": name}, lambda _: place.named_by)
            self.take_thresholds(configuration.thresholds(name), origin)

    def take_thresholds(self, thresholds: Mapping[str, Any], origin: str) -> None:
        """Take the thresholds that have not been taken before."""
        for name, value in thresholds.items():
            if name not in self.debug:
                self.debug[name], self.origins[f"debug.{name}"] = value, origin

    def read(self, fields: Iterable[str]) -> None:
        """Turn text into what the program works with; what stands in the file is that already.

        Raises:
            UsageError: a value that means nothing, and where it comes from.
        """
        for field in fields:
            if field in self.values and self.origins[field].startswith(("flag", "environment")):
                self.values[field] = _read(field, self.values[field], self.origins[field])


def _places(said: Mapping[str, Any], variables: Mapping[str, str], configuration: Configuration) -> list[_Place]:
    """What was named to look at, the nearest first; of contexts only the nearest."""
    places: list[_Place] = []
    current = configuration.values.get("current_context")
    for near, given in ((3, said), (2, variables), (1, {"context": current} if current else {})):
        for field in ("file", "store", "server"):
            if field in given:
                origin = "flag" if near == 3 else f"environment {VARIABLES[field]}"
                places.append(_Place(near, field, field, given[field], origin))
        if "context" in given and not any(place.context is not None for place in places):
            origin = {3: "flag", 2: f"environment {VARIABLES['context']}", 1: "configuration"}[near]
            if not places or near == 3 or given["context"] in configuration.contexts:
                places.append(_context_place(near, given["context"], origin, configuration))
    return places


def _context_place(near: int, name: str, named_by: str, configuration: Configuration) -> _Place:
    says = {"flag": "--context", "configuration": "current_context"}.get(
        named_by, named_by.removeprefix("environment ")
    )
    configuration.find(name, says)
    context = configuration.within(f"contexts.{name}")
    for kind in ("server", "store"):
        if context.get(kind) is not None:
            return _Place(near, "context", kind, context[kind], f"context {name}", name, named_by)
    return _Place(near, "context", None, "", "", name, named_by)


def _refuse_two_flags(placed: list[_Place]) -> None:
    flags = [place.field for place in placed if place.near == 3]
    if len(flags) > 1:
        raise UsageError(f"--{flags[0]} and --{flags[1]} both say what to look at.", "Give one of them.")


def _read(field: str, value: Any, origin: str) -> Any:
    """Read a value as the table of settings says. Raises UsageError that names the flag, variable or context."""
    from tokctl.config.keys import CONTEXT

    read: Callable[[Any], Any] = CONTEXT[field].read
    try:
        return read(value)
    except UsageError as error:
        option = "request-timeout" if field == "timeout" else field.replace("_", "-")
        where = f"--{option}" if origin == "flag" else origin.removeprefix("environment ")
        raise UsageError(f"{where}: {error.message}", error.hint) from None
