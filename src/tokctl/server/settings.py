"""Settings of ``tokctl serve``, from the command line and the section ``serve`` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tokctl.errors import InputError, UsageError
from tokctl.model.networks import validate_networks
from tokctl.server.throttle import MAX_FREE_FAILURES

PORT = 27555

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits on requests. Times in seconds, sizes in bytes."""

    head: Annotated[int, Meta(ge=1024)] = 16 << 10
    target: Annotated[int, Meta(ge=256)] = 8 << 10  # path and query
    body: Annotated[int, Meta(ge=0)] = 64 << 10
    head_seconds: Positive = (
        10.0  # from the connection, or a request's first byte, to the end of its head; and to the end of its body
    )
    idle_seconds: Positive = 15.0  # between two requests on a connection
    answer_seconds: Positive = 60.0  # until a response starts
    queue_seconds: Positive = 20.0  # until a long response has a place
    stall_seconds: Positive = 30.0  # while a client reads nothing
    read_seconds: Positive = 300.0  # until a long response is complete: it holds a snapshot of the store
    drain_seconds: Positive = 30.0  # for requests under way at shutdown
    connections: Count = 1000
    address_connections: Count = 250  # of one address
    failures: Count = MAX_FREE_FAILURES  # failed authentications of an address before it has to wait
    long_answers: Count = 32  # at the same time
    token_answers: Count = 8  # of these, for one API token
    store_connections: Count = 16  # for responses from a database, at the same time
    cache: Annotated[int, Meta(ge=0)] = 64 << 20


class ServeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to serve. With ``unix``, host and port are not used."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = PORT
    unix: str | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure_http: bool = False
    trusted_proxies: tuple[str, ...] = ()
    read_only: bool = False  # nothing is written to the store
    metrics_from: tuple[str, ...] = ()  # networks whose clients get the metrics without an API token
    access_log: str = "-"
    jwt_secret_file: str | None = None
    jwt_key_file: str | None = None
    jwt_jwks_file: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    max_lifetimes: tuple[str, ...] = ()  # of API tokens, such as full-access=30d
    ui: bool = False
    limits: Limits = Limits()

    @property
    def accepts_jwts(self) -> bool:
        """Whether JWTs are accepted."""
        return any((self.jwt_secret_file, self.jwt_key_file, self.jwt_jwks_file))


def serve_settings(flags: Mapping[str, Any], section: Mapping[str, Any]) -> ServeSettings:
    """Merge flags and the configuration's section; flags win. None and () mean that a flag was not given.

    Raises:
        InputError: a value is invalid.
        UsageError: settings conflict.
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
    validate_networks(settings.metrics_from)
    keys = (settings.jwt_secret_file, settings.jwt_key_file, settings.jwt_jwks_file)
    if len([key for key in keys if key is not None]) > 1:
        raise UsageError(
            "--jwt-secret-file, --jwt-key-file and --jwt-jwks-file cannot be used together.",
            "Use one of them. A JWKS can contain several keys.",
        )
    if (settings.jwt_issuer or settings.jwt_audience) and not settings.accepts_jwts:
        raise UsageError(
            "--jwt-issuer and --jwt-audience require a key to verify JWTs.",
            "Add --jwt-secret-file, --jwt-key-file or --jwt-jwks-file.",
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("--tls-cert and --tls-key must be used together.", "Use both or neither.")
    if settings.unix is not None:
        if settings.tls_cert is not None:
            raise UsageError("--unix and TLS cannot be used together. A local socket needs no TLS.")
        return
    if settings.tls_cert is None and not settings.insecure_http and not is_loopback(settings.host):
        raise UsageError(
            f"--host {settings.host} without TLS would send API tokens unencrypted.",
            "Add --tls-cert and --tls-key, or --insecure-http if a proxy terminates TLS.",
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
