"""What may stand in the configuration file: one table of names, with what each takes.

It drives reading, ``config validate``, ``config set``, ``config view`` and completion. The thresholds of
``debug`` are the rules' own and are not listed here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.query import parse_span, suggest

ENGINE_KINDS = ("rest", "atomd")
"""What speaks on the other end of ``--server``."""

LONGEST = 86_400.0
"""Seconds that may be waited for anything: what waits takes no span without end."""

CREDENTIALS = "keyring, env:NAME, file:PATH or command:WORDS"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SECRET = re.compile(r"xvc_[0-9A-Za-z]{8,}")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class Key(Struct, frozen=True):
    """A setting: what reads its value (from YAML, or from text), and what it means.

    ``plain`` says that what stands in the file is the text as it was given, not what ``read`` makes of it.
    ``words`` are values that a shell can offer; ``path`` says that the value is a file's name.
    """

    read: Callable[[Any], Any]
    meaning: str
    plain: bool = True
    words: tuple[str, ...] = ()
    path: bool = False

    def stored(self, text: str) -> Any:
        """What to write into the file for a text from the command line. Raises UsageError."""
        value = self.read(text)
        return text.strip() if self.plain else value


# --- readers: a value as it stands in YAML or on a line → what the program works with ----------------------


def text(value: Any) -> str:
    """A text that is not empty and in which no secret stands."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"it takes text, not {_kind(value)}.")
    words = str(value).strip()
    if not words:
        raise UsageError("it is empty.")
    if not words.isprintable():
        raise UsageError("there are control characters in it.")
    return refuse_secret(words)


def refuse_secret(words: str) -> str:
    """Return the text; one that holds a secret is refused, and not repeated."""
    if _SECRET.search(words):
        raise UsageError("that is a secret, which does not belong here.", f"A credential is {CREDENTIALS}.")
    return words


def url(value: Any) -> str:
    """A server's URL: ``http://``, ``https://`` with a host, or ``unix://`` with a path; no user, no query."""
    words = text(value)
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(words)
        port = parts.port
    except ValueError:
        raise UsageError("it is no URL.", "Give one such as https://engine.example:27555.") from None
    if "@" in parts.netloc:
        raise UsageError("a URL is no place for a user or a password.", f"A credential is {CREDENTIALS}.")
    if "?" in words or "#" in words:
        raise UsageError("a server's URL has no query and no fragment.")
    if any(c.isspace() or c == "\\" for c in words) or port == 0:
        raise UsageError(f"'{words}' is no URL of a server.", "Give one such as https://engine.example:27555.")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.strip("/"):
            raise UsageError(f"'{words}' names no socket.", "Give one such as unix:///run/tokctl.sock.")
    elif parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"'{words}' is no URL of a server.", "Give one such as https://engine.example:27555.")
    return words.rstrip("/")


def seconds(value: Any) -> float:
    """A span of time such as ``30s``, in seconds."""
    if not isinstance(value, str):
        raise UsageError(f"it takes a span such as 30s, not {refuse_secret(repr(value))}.")
    span = parse_span(refuse_secret(value)).total_seconds()
    if span <= 0:
        raise UsageError(f"'{value}' is too short.")
    if span > LONGEST:
        raise UsageError(f"'{value}' is too long.", "Give a day (1d) at most.")
    return span


def boolean(value: Any) -> bool:
    """Yes or no."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise UsageError("it takes true or false.")
    return word in _TRUE


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Return what reads a whole number within bounds."""

    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else least - 1
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise UsageError(f"it takes a whole number from {least} to {most}.")
        return number

    return read


def number(value: Any) -> float:
    """A number above zero."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise UsageError("it takes a number above 0.")
    return found


def one_of(*words: str) -> Callable[[Any], str]:
    """Return what reads one of some words, whatever their case."""

    def read(value: Any) -> str:
        word = text(value).lower()
        if word not in words:
            raise UsageError(f"'{word}' means nothing{suggest(word, words)}.", f"Valid: {', '.join(words)}.")
        return word

    return read


def texts(value: Any) -> tuple[str, ...]:
    """A list, or texts between commas."""
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        raise UsageError(f"it takes a list, not {_kind(value)}.")
    return tuple(map(text, several))


def credential(value: Any) -> str:
    """Where a secret is to be had from. Whatever else it is may be the secret itself, and is not repeated."""
    words = value.strip() if isinstance(value, str) else ""
    kind, colon, rest = words.partition(":")
    if (words == "keyring" or (kind in {"env", "file", "command"} and colon and rest.strip())) and words.isprintable():
        return refuse_secret(words)
    raise UsageError("that names no place of a credential.", f"Valid: {CREDENTIALS}.")


def name(value: Any) -> str:
    """A context's name."""
    words = str(value)
    if not NAME.fullmatch(words):
        raise UsageError(f"'{refuse_secret(words)}' is no name for a context.",
                         "Give one of letters, digits, - and _.")  # fmt: skip
    return refuse_secret(words)


def _kind(value: Any) -> str:
    return {dict: "names and values", list: "a list", bool: "yes or no", type(None): "nothing"}.get(
        type(value), type(value).__name__
    )


# --- the table ------------------------------------------------------------------------------------------

FORMATS = ("table", "wide", "json", "ndjson", "yaml", "csv", "id")

_MANY = 1 << 40
OUTPUT = Key(one_of(*FORMATS), "the output format", words=FORMATS)
CONTEXT: Mapping[str, Key] = {
    "store": Key(text, "the store to look at", path=True),
    "server": Key(url, "the server to ask"),
    "engine_kind": Key(one_of(*ENGINE_KINDS), "what kind of engine the server is", words=ENGINE_KINDS),
    "registry_server": Key(url, "the server of the API tokens, if it is another"),
    "credential": Key(credential, "where the server's credential is", words=("keyring", "env:", "file:", "command:")),
    "registry_credential": Key(credential, "where the credential for registry_server is",
                               words=("keyring", "env:", "file:", "command:")),
    "ca_file": Key(text, "the certificates to trust, in PEM", path=True),
    "insecure": Key(boolean, "whether to trust any certificate", plain=False, words=("true", "false")),
    "timeout": Key(seconds, "how long to wait for an answer"),
    "connect_timeout": Key(seconds, "how long to wait for a connection"),
    "output": OUTPUT,
}  # fmt: skip
TOP: Mapping[str, Key] = {
    "current_context": Key(name, "the context to use"),
    "output": OUTPUT,
}
LIMITS: Mapping[str, Key] = {
    "head": Key(whole(1024, _MANY), "bytes of a request's head", plain=False),
    "target": Key(whole(256, _MANY), "bytes of its path and query", plain=False),
    "body": Key(whole(0, _MANY), "bytes of its body", plain=False),
    "head_seconds": Key(number, "how long a head may take", plain=False),
    "idle_seconds": Key(number, "how long a connection may rest between two requests", plain=False),
    "answer_seconds": Key(number, "how long until an answer begins", plain=False),
    "queue_seconds": Key(number, "how long until a long answer has a place", plain=False),
    "stall_seconds": Key(number, "how long a client may take nothing in", plain=False),
    "drain_seconds": Key(number, "how long answers may take when the server ends", plain=False),
    "connections": Key(whole(1, _MANY), "connections at once", plain=False),
    "failures": Key(whole(1, _MANY), "failed attempts before an address has to wait", plain=False),
    "long_answers": Key(whole(1, _MANY), "long answers at once", plain=False),
    "cache": Key(whole(0, _MANY), "bytes of answers that are kept", plain=False),
}
SERVE: Mapping[str, Key] = {
    "host": Key(text, "the address to listen on"),
    "port": Key(whole(0, 65535), "the port to listen on", plain=False),
    "workers": Key(whole(1, 64), "how many processes answer", plain=False),
    "store": Key(text, "the store to serve", path=True),
    "unix": Key(text, "the socket to listen on", path=True),
    "tls_cert": Key(text, "the certificate chain, in PEM", path=True),
    "tls_key": Key(text, "its key, in PEM", path=True),
    "insecure_http": Key(boolean, "whether to serve others than this host without TLS", plain=False,
                         words=("true", "false")),
    "access_log": Key(text, "where requests are logged: -, off or a file"),
    "trusted_proxies": Key(texts, "networks whose forwarded addresses are believed", plain=False),
    "jwt_secret_file": Key(text, "the file with the secret of JWTs", path=True),
    "jwt_key_file": Key(text, "the file with their public key, in PEM", path=True),
    "jwt_jwks_file": Key(text, "the file with their public keys, a JWKS", path=True),
    "jwt_issuer": Key(text, "the issuer of JWTs"),
    "jwt_audience": Key(text, "the audience of JWTs"),
}  # fmt: skip
