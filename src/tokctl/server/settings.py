"""What ``tokctl serve`` is told: the command line, and the section ``serve`` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tokctl.errors import InputError, UsageError
from tokctl.server.throttle import BURST

PORT = 27555

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request may take. Times in seconds, sizes in bytes."""

    head: Annotated[int, Meta(ge=1024)] = 16 << 10
    target: Annotated[int, Meta(ge=256)] = 8 << 10  # path and query
    body: Annotated[int, Meta(ge=0)] = 64 << 10
    head_seconds: Positive = 10.0  # from the connection, or the first byte of a request, to its last
    idle_seconds: Positive = 15.0  # of a connection between two requests
    answer_seconds: Positive = 60.0  # until an answer begins
    queue_seconds: Positive = 20.0  # until a long answer has a place
    stall_seconds: Positive = 30.0  # for which a client may take nothing in
    drain_seconds: Positive = 30.0  # for answers under way when the server is told to end
    connections: Count = 1000
    failures: Count = BURST  # of an address's attempts to authorise, before it has to wait
    long_answers: Count = 32  # under way at once
    cache: Annotated[int, Meta(ge=0)] = 64 << 20


class ServeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to serve. With ``unix`` there is no host and no port."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = PORT
    unix: str | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure_http: bool = False
    trusted_proxies: tuple[str, ...] = ()
    access_log: str = "-"
    jwt_secret_file: str | None = None
    jwt_key_file: str | None = None
    jwt_jwks_file: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    limits: Limits = Limits()

    @property
    def takes_jwts(self) -> bool:
        """Whether users with a JWT may ask for something."""
        return any((self.jwt_secret_file, self.jwt_key_file, self.jwt_jwks_file))


def serve_settings(flags: Mapping[str, Any], section: Mapping[str, Any]) -> ServeSettings:
    """Join flags and the configuration's section; a flag wins. None and () are flags that were not given.

    Raises:
        InputError: a value is out of its bounds.
        UsageError: what is said does not go together.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    try:
        made = msgspec.convert(dict(section) | given, ServeSettings)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        raise InputError(f"the configuration: serve{where.rstrip('`')}: {reason[:1].lower()}{reason[1:]}.") from None
    _check(made)
    return made


def _check(settings: ServeSettings) -> None:
    keys = (settings.jwt_secret_file, settings.jwt_key_file, settings.jwt_jwks_file)
    if len([key for key in keys if key is not None]) > 1:
        raise UsageError("--jwt-secret-file, --jwt-key-file and --jwt-jwks-file exclude each other.",
                         "Give one of them; a JWKS can hold several keys.")  # fmt: skip
    if (settings.jwt_issuer or settings.jwt_audience) and not settings.takes_jwts:
        raise UsageError("--jwt-issuer and --jwt-audience need a key to check JWTs with.",
                         "Give --jwt-secret-file, --jwt-key-file or --jwt-jwks-file.")  # fmt: skip
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together.", "Give both, or neither.")
    if settings.unix is not None:
        if settings.tls_cert is not None:
            raise UsageError("--unix and TLS exclude each other: nobody can listen in on a local socket.")
        return
    if settings.tls_cert is None and not settings.insecure_http and not is_loopback(settings.host):
        raise UsageError(f"--host {settings.host} without TLS would send API tokens in the clear.",
                         "Give --tls-cert and --tls-key, or say --insecure-http where a proxy has TLS.")  # fmt: skip


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
