"""``tokctl serve``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import SERVE, App, command
from tokctl.config import config_section
from tokctl.errors import UsageError


def serve(
    app: App,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Where to listen: 127.0.0.1 unless told.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="N", help="On which port: 27555 unless told; 0 for any.", show_default=False
        ),
    ] = None,
    unix: Annotated[
        str | None, typer.Option(metavar="PATH", help="Listen at this socket in place of an address.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, metavar="N", help="In so many processes: 1 unless told.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate for TLS, with those that it rests on (PEM).")
    ] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Serve others than this machine without TLS.")
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="Believe X-Forwarded-For of these proxies, such as 10.0.0.0/8 or unix."),
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where requests are told of: a file, - (stderr, unless told) or off.",
            show_default=False,
        ),
    ] = None,
    jwt_secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Let users with a JWT look after API tokens: the secret of HS256, 0600."),
    ] = None,
    jwt_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same with a public key in PEM, for RS256 or ES256.")
    ] = None,
    jwt_jwks_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same with the public keys of a JWKS, by their ids.")
    ] = None,
    jwt_issuer: Annotated[str | None, typer.Option(metavar="TEXT", help="Only JWTs of this issuer (iss).")] = None,
    jwt_audience: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only JWTs for this audience (aud); without it, none with one.")
    ] = None,
) -> int:
    """Serve the store over HTTP, to those who have an API token.

    Speaks the process-token API and the API-token API, and tells how at /openapi.json. 'tokctl api-tokens create'
    makes the first API token; one that is full-access with the scope api-tokens can make others over HTTP, and so can
    users with a JWT, whose claims userId and email tell who they are.
    SIGTERM and Ctrl-C let answers that are under way come to their end. The section 'serve' of the configuration
    file can hold the same options, and limits.
    """  # fmt: skip
    from tokctl.pepper import load_pepper

    try:
        from tokctl.server.run import serve as run
        from tokctl.server.settings import serve_settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"uvicorn", "prometheus_client"}:
            raise
        raise UsageError("'tokctl serve' needs more packages.", "Install them with 'pip install \"tokctl[server]\"'."
                         ) from None  # fmt: skip
    flags = {
        "host": host,
        "port": port,
        "unix": unix,
        "workers": workers,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure_http": insecure_http or None,
        "trusted_proxies": tuple(trusted_proxy or ()),
        "access_log": access_log,
        "jwt_secret_file": jwt_secret_file,
        "jwt_key_file": jwt_key_file,
        "jwt_jwks_file": jwt_jwks_file,
        "jwt_issuer": jwt_issuer,
        "jwt_audience": jwt_audience,
    }
    section = config_section("serve", os.environ)
    location = section.pop("store", None)
    if location is None or app.settings.origins.get("store", "").startswith(("flag", "environment")):
        location = app.settings.store_location
    return run(location, load_pepper(os.environ), serve_settings(flags, section), app.tell)


app = command(
    serve,
    takes=opt.STORE,
    panel=SERVE,
    examples=(
        "tokctl serve --store orders.db",
        "tokctl serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --workers 2",
        "tokctl serve --jwt-jwks-file keys.json --jwt-issuer https://id.example --jwt-audience tokctl",
        "tokctl serve --unix /run/tokctl.sock --trusted-proxy unix --access-log /var/log/tokctl.jsonl",
    ),
)  # fmt: skip
