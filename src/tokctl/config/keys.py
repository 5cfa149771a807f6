"""The settings of the configuration file: tables of their names, and a parser for each.

Reading, ``config validate``, ``config set``, ``config view`` and shell completion use these tables. The thresholds of
``debug`` belong to the debug rules and are not listed here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tokctl.api_tokens.vault_kinds import SOURCE_SYNTAX, SOURCES
from tokctl.config.paths import expand_user
from tokctl.config.store_urls import refuse_password
from tokctl.errors import UsageError
from tokctl.kinds import FALLBACK_ENGINE, FORMATS, SERVER_ENGINES, SERVER_REGISTRIES, THEME_STYLES
from tokctl.model.durations import parse_duration
from tokctl.text import suggest

ENGINE_KINDS = (FALLBACK_ENGINE, *(kind for kind in SERVER_ENGINES if kind != FALLBACK_ENGINE))
"""The kinds of engines that ``--server`` may name, the general one first."""

MAX_SECONDS = 86_400.0
"""The maximum of a timeout: the functions that wait do not accept any number of seconds."""

CONTEXT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SECRET = re.compile(r"xvc_[0-9A-Za-z]{8,}")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class SettingSpec(Struct, frozen=True):
    """How a setting is parsed."""

    read: Callable[[Any], Any]  # parses a value from YAML or from a text; raises UsageError
    words: tuple[str, ...] = ()  # values for shell completion
    path: bool = False  # whether the value is the path of a file

    def stored(self, text: str) -> Any:
        """Return the value to write into the file for a text from the command line; a duration stays as it is given.

        Raises UsageError.
        """
        value = self.read(text)
        is_typed = isinstance(value, int | float | tuple) and self.read is not seconds
        return value if is_typed else text.strip()

    def map_path(self, value: Any, change: Callable[[Path], object]) -> Any:
        """Return a value with the path in it changed, after ``~`` is expanded; other values as they are."""
        if self.path and "://" not in value:
            return str(change(expand_user(value)))
        if self.read is credential and value.startswith("file:"):
            return f"file:{change(expand_user(value.removeprefix('file:')))}"
        return value


# --- parsers: a value from YAML or the command line → the value that the program uses; they raise UsageError ---


def text(value: Any) -> str:
    """Parse a text that is not empty and contains no secret."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"expected text, got {_type_name(value)}.")
    words = str(value).strip()
    if not words:
        raise UsageError("the value is empty.")
    if not words.isprintable():
        raise UsageError("the value contains control characters.")
    return refuse_secret(words)


def refuse_secret(words: str) -> str:
    """Return a text that contains no secret. Raises UsageError, whose message does not repeat the secret."""
    if _SECRET.search(words):
        raise UsageError(
            "the value is a secret, which is not allowed here.",
            f"Set the source of the credential instead: {SOURCE_SYNTAX}.",
        )
    return words


def url(value: Any) -> str:
    """Parse the base URL of a server, as ``tokctl.server_address`` defines it; returns it without what is around it."""
    from tokctl.server_address import parse_url

    return parse_url(text(value)).url


def store(value: Any) -> str:
    """Parse the path or the URL of a store."""
    return refuse_password(text(value))


def seconds(value: Any) -> float:
    """Parse a duration such as ``30s`` into seconds."""
    if not isinstance(value, str):
        raise UsageError(f"expected a duration such as 30s, got {refuse_secret(repr(value))}.")
    span = parse_duration(refuse_secret(value)).total_seconds()
    if span <= 0:
        raise UsageError(f"'{value}' is too short.")
    if span > MAX_SECONDS:
        raise UsageError(f"'{value}' is too long.", "The maximum is one day (1d).")
    return span


def rate(value: Any) -> str:
    """Parse a rate of requests such as ``60/min``; returns it in its shortest form."""
    from tokctl.model.rates import parse_rate

    return str(parse_rate(text(value)))


def boolean(value: Any) -> bool:
    """Parse true or false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise UsageError("expected true or false.")
    return word in _TRUE


def integer_between(least: int, most: int) -> Callable[[Any], int]:
    """Return a parser of whole numbers from ``least`` to ``most``."""

    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else least - 1
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise UsageError(f"expected an integer from {least} to {most}.")
        return number

    return read


def number(value: Any) -> float:
    """Parse a number above zero."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise UsageError("expected a number greater than 0.")
    return found


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a parser of one of some words, in any case."""

    def read(value: Any) -> str:
        word = text(value).lower()
        if word not in words:
            raise UsageError(f"invalid value '{word}'{suggest(word, words)}.", f"Valid: {', '.join(words)}.")
        return word

    return read


def text_list(value: Any) -> tuple[str, ...]:
    """Parse a list, or texts separated by commas."""
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        raise UsageError(f"expected a list, got {_type_name(value)}.")
    return tuple(map(text, several))


def credential(value: Any) -> str:
    """Parse the source of a secret. Anything else may be the secret itself, so the message does not repeat it."""
    words = value.strip() if isinstance(value, str) else ""
    name, colon, argument = words.partition(":")
    kind = SOURCES.get(name)
    if kind is not None and words.isprintable() and (bool(argument.strip()) if kind.argument else not colon):
        return refuse_secret(words)
    raise UsageError("invalid source of a credential.", f"Valid: {SOURCE_SYNTAX}.")


def style(value: Any) -> str:
    """Parse a style as Rich writes it, such as ``bold red`` or ``#ff8800 on black``."""
    from rich.errors import StyleSyntaxError
    from rich.style import Style

    words = text(value)
    try:
        Style.parse(words)
    except StyleSyntaxError:
        raise UsageError(f"invalid style '{words}'.", "Give attributes and colors such as 'bold bright_red'.") from None
    return words


def name(value: Any) -> str:
    """Parse the name of a context."""
    words = str(value)
    if not CONTEXT_NAME.fullmatch(words):
        raise UsageError(f"invalid context name '{refuse_secret(words)}'.", "Use letters, digits, - and _ only.")
    return refuse_secret(words)


def _type_name(value: Any) -> str:
    return {dict: "a mapping", list: "a list", bool: "true or false", type(None): "nothing"}.get(
        type(value), type(value).__name__
    )


# --- the tables -----------------------------------------------------------------------------------------

_MAX_INTEGER = 1 << 40
_TEXT, _URL, _PATH, _SECONDS = SettingSpec(text), SettingSpec(url), SettingSpec(text, path=True), SettingSpec(seconds)
_RATE, _STORE = SettingSpec(rate), SettingSpec(store, path=True)
_BOOLEAN, _NUMBER = SettingSpec(boolean, words=("true", "false")), SettingSpec(number)
_COUNT, _POSITIVE = (SettingSpec(integer_between(least, _MAX_INTEGER)) for least in (0, 1))
_OUTPUT = SettingSpec(one_of(*FORMATS), words=(*FORMATS,))
_CREDENTIAL = SettingSpec(
    credential, words=tuple(f"{name}:" if kind.argument else name for name, kind in SOURCES.items())
)
CONTEXT: Mapping[str, SettingSpec] = {
    "store": _STORE,
    "server": _URL,
    "engine_kind": SettingSpec(one_of(*ENGINE_KINDS), words=ENGINE_KINDS),
    "registry_server": _URL,
    "registry_kind": SettingSpec(one_of(*SERVER_REGISTRIES), words=(*SERVER_REGISTRIES,)),
    "credential": _CREDENTIAL,
    "registry_credential": _CREDENTIAL,
    "ca_file": _PATH,  # PEM
    "insecure": _BOOLEAN,
    "timeout": _SECONDS,
    "connect_timeout": _SECONDS,
    "rate": _RATE,
    "output": _OUTPUT,
}
TOP: Mapping[str, SettingSpec] = {"current_context": SettingSpec(name), "output": _OUTPUT, "rate": _RATE}
THEME: Mapping[str, SettingSpec] = dict.fromkeys(THEME_STYLES, SettingSpec(style))
LIMITS: Mapping[str, SettingSpec] = {
    "head": SettingSpec(integer_between(1024, _MAX_INTEGER)),  # bytes of the request headers
    "target": SettingSpec(integer_between(256, _MAX_INTEGER)),  # bytes of its path and query
    "body": _COUNT,  # bytes of its body
    "head_seconds": _NUMBER,  # to receive the request headers
    "idle_seconds": _NUMBER,  # of a connection between two requests
    "answer_seconds": _NUMBER,  # until a response starts
    "queue_seconds": _NUMBER,  # that a long response waits for a free place
    "stall_seconds": _NUMBER,  # that a client may read nothing
    "read_seconds": _NUMBER,  # until a long response is complete
    "drain_seconds": _NUMBER,  # to finish responses at shutdown
    "connections": _POSITIVE,  # concurrent
    "address_connections": _POSITIVE,  # concurrent, of one address
    "failures": _POSITIVE,  # failed attempts before an address has to wait
    "long_answers": _POSITIVE,  # concurrent
    "token_answers": _POSITIVE,  # concurrent, for one API token
    "store_connections": _POSITIVE,  # concurrent, for responses from a database
    "cache": _COUNT,  # bytes of cached responses
}
SERVE: Mapping[str, SettingSpec] = {
    "host": _TEXT,
    "port": SettingSpec(integer_between(0, 65535)),
    "workers": SettingSpec(integer_between(1, 64)),  # processes
    "store": _STORE,
    "unix": _PATH,  # a socket
    "tls_cert": _PATH,  # the chain, PEM
    "tls_key": _PATH,  # PEM
    "insecure_http": _BOOLEAN,
    "access_log": _TEXT,  # -, off or a file
    "trusted_proxies": SettingSpec(text_list),  # networks
    "read_only": _BOOLEAN,
    "metrics_from": SettingSpec(text_list),  # networks
    "jwt_secret_file": _PATH,
    "jwt_key_file": _PATH,  # PEM
    "jwt_jwks_file": _PATH,
    "jwt_issuer": _TEXT,
    "jwt_audience": _TEXT,
    "max_lifetimes": SettingSpec(text_list),  # of API tokens, such as full-access=30d
    "ui": _BOOLEAN,
}
