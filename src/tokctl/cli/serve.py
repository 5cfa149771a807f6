"""``tokctl serve``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from tokctl.cli import options as opt
from tokctl.cli.app import SERVER_PANEL, App, command
from tokctl.config import config_section
from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.server.endpoint import WebPages


def serve(
    app: App,
    host: Annotated[str | None, opt.option("ADDRESS", "Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[
        int | None, opt.option("N", "Port to listen on, 0 for any free port (default: 27555).", min=0, max=65535)
    ] = None,
    unix: Annotated[str | None, opt.path("PATH", "Listen on this Unix socket instead of an address.")] = None,
    workers: Annotated[int | None, opt.option("N", "Number of worker processes (default: 1).", min=1, max=64)] = None,
    tls_cert: Annotated[str | None, opt.path("FILE", "TLS certificate chain, a PEM file.")] = None,
    tls_key: Annotated[str | None, opt.path("FILE", "Private key of the TLS certificate, a PEM file.")] = None,
    insecure_http: Annotated[
        bool, opt.flag("--insecure-http", "Serve other hosts without TLS (insecure; for a proxy that terminates TLS).")
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        opt.option("NETWORK", "Trust X-Forwarded-For from these proxies, such as 10.0.0.0/8 or unix (repeatable)."),
    ] = None,
    read_only: Annotated[
        bool,
        opt.flag(
            "--read-only", "Write nothing to the store: reject changes of API tokens, and do not record their use."
        ),
    ] = False,
    metrics_from: Annotated[
        list[str] | None,
        opt.option("NETWORK", "Let clients in this network read /metrics without an API token (repeatable)."),
    ] = None,
    access_log: Annotated[
        str | None, opt.path("FILE", "Log requests to this file, - for stderr, off for no log (default: -).")
    ] = None,
    jwt_secret_file: Annotated[
        str | None, opt.path("FILE", "Let users with a JWT manage API tokens: file with the HS256 secret, mode 0600.")
    ] = None,
    jwt_key_file: Annotated[str | None, opt.path("FILE", "The same with a PEM public key, for RS256 or ES256.")] = None,
    jwt_jwks_file: Annotated[str | None, opt.path("FILE", "The same with the public keys of a JWKS file.")] = None,
    jwt_issuer: Annotated[str | None, opt.option("TEXT", "Required issuer (iss) of JWTs.")] = None,
    jwt_audience: Annotated[
        str | None, opt.option("TEXT", "Required audience (aud) of JWTs (default: only JWTs without an audience).")
    ] = None,
    max_lifetime: Annotated[
        list[str] | None,
        opt.option(
            "NAME=DURATION",
            "Maximum lifetime of API tokens with this type or scope, or of all, such as full-access=30d (repeatable).",
        ),
    ] = None,
    ui: Annotated[bool, opt.flag("--ui", "Serve web pages at /ui/, too; requires the extra report.")] = False,
) -> int:
    """Serve the store over HTTP to clients with an API token.

    The server has the process-token API and the API-token API, described at /openapi.json. Create the first API token
    with 'tokctl api-tokens create'. A full-access API token with the scope api-tokens can create others over HTTP, and
    so can users with a JWT that has the claims userId and email.

    SIGTERM and Ctrl-C stop the server after the running requests. The section serve of the configuration file has the
    same settings, and limits.
    """
    from tokctl.api_tokens.pepper import load_pepper

    try:
        from tokctl.server.run import serve as run
        from tokctl.server.settings import serve_settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"uvicorn", "starlette", "prometheus_client"}:
            raise
        raise UsageError(
            "'tokctl serve' needs additional packages.", "Install them with 'pip install \"tokctl[server]\"'."
        ) from None
    flags = {
        "host": host,
        "port": port,
        "unix": unix,
        "workers": workers,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure_http": insecure_http or None,
        "trusted_proxies": tuple(trusted_proxy or ()),
        "read_only": read_only or None,
        "metrics_from": tuple(metrics_from or ()),
        "access_log": access_log,
        "jwt_secret_file": jwt_secret_file,
        "jwt_key_file": jwt_key_file,
        "jwt_jwks_file": jwt_jwks_file,
        "jwt_issuer": jwt_issuer,
        "jwt_audience": jwt_audience,
        "max_lifetimes": tuple(max_lifetime or ()),
        "ui": ui or None,
    }
    section = config_section("serve", os.environ)
    location = section.pop("store", None)
    if location is None or app.settings.origins.get("store", "").startswith(("flag", "environment")):
        location = app.settings.store_location
    settings = serve_settings(flags, section)
    load_pages = _prepare_pages(app.settings.debug) if settings.ui else None
    return run(location, load_pepper(os.environ), settings, app.notify, load_pages)


def _prepare_pages(thresholds: Mapping[str, Any]) -> Callable[[], WebPages]:
    """Return the function that makes the web pages. Raises UsageError: they cannot be made.

    Only workers may call it, because it imports prometheus-client (see ``server.workers``).
    """
    from tokctl.report.page import load_templates
    from tokctl.services.debug import load_rules, resolve_thresholds

    load_templates()
    resolve_thresholds(load_rules(), {}, thresholds)

    def load() -> WebPages:
        from tokctl.ui.pages import Pages

        return Pages(thresholds)

    return load


app = command(
    serve,
    shared_options=opt.STORE,
    panel=SERVER_PANEL,
    examples=(
        "tokctl serve --store orders.db",
        "tokctl serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --workers 2",
        "tokctl serve --jwt-jwks-file keys.json --jwt-issuer https://id.example --jwt-audience tokctl",
        "tokctl serve --max-lifetime all=365d --max-lifetime full-access=30d --max-lifetime api-tokens=7d",
        "tokctl serve --unix /run/tokctl.sock --trusted-proxy unix --access-log /var/log/tokctl.jsonl",
    ),
)
