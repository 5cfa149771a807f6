"""What a server is for: processes, or API tokens alone. One that has only API tokens is not asked for processes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from tokctl.api_tokens.registries.detection import FoundRegistry, find_registry
from tokctl.client.connection import CredentialProbe
from tokctl.config.remembered_servers import ENGINE_SERVERS
from tokctl.kinds import BASIC_KINDS, FALLBACK_ENGINE, SERVER_ENGINES
from tokctl.server_address import parse_url

if TYPE_CHECKING:
    from tokctl.client import Connection
    from tokctl.config import Settings


class CredentialCheck(NamedTuple):
    """Whether a server accepts a secret (None: unknown), and a note for the user.

    Of a secret that is rejected, ``reason`` is the server's, such as ``: API token expired``, and ``hint`` what to do.
    """

    accepted: bool | None
    note: str = ""
    reason: str = ""
    hint: str = ""


class ServerApi(NamedTuple):
    """How to reach the root of a server's API, and a request that needs a credential there.

    ``content`` is what the API has: ``processes`` or ``API tokens``.
    """

    connection: Connection
    kind: str
    content: str
    probe: CredentialProbe


def _silent(_: str) -> None:
    """Ignore a warning: the requests that follow give it again."""


def find_pure_registry(connection: Connection, settings: Settings, *, fresh: bool = False) -> FoundRegistry | None:
    """Return the registry at the address of a server that has API tokens and no processes; None for any other server.

    It takes no request if the server is known as an engine or a registry. Raises TokctlError: as ``find_registry``.
    """
    if settings.engine_kind is not None:
        return None
    kind = None if settings.registry_server is not None else settings.registry_kind
    engine = ENGINE_SERVERS.load(parse_url(connection.url).display_address)
    if kind is None and engine is not None and engine.kind != FALLBACK_ENGINE:
        return None
    found = find_registry(connection, kind, warn=_silent, fresh=fresh)
    return found if found.certain and not found.server_kind.has_processes else None


def registry_api(connection: Connection, found: FoundRegistry) -> ServerApi:
    """Return the API of a server of API tokens."""
    return ServerApi(found.apply_to(connection), found.kind, "API tokens", found.server_kind.probe)


def find_api(connection: Connection, settings: Settings, *, registry: bool) -> ServerApi:
    """Return the API of a server; with ``registry`` that of its API tokens. Raises as the detection of kinds."""
    if registry:
        kind = settings.registry_kind
        return registry_api(connection, find_registry(connection, kind, warn=_silent))
    pure = find_pure_registry(connection, settings)
    if pure is not None:
        return registry_api(connection, pure)
    from tokctl.engines.detection import check_engine_kind, find_server

    check_engine_kind(settings.engine_kind)
    found = find_server(connection, parse_url(connection.url), settings.engine_kind)
    reached = replace(connection, url=found.url, basic=found.kind in BASIC_KINDS)
    return ServerApi(reached, found.kind, "processes", import_module(SERVER_ENGINES[found.kind]).CREDENTIAL_PROBE)


def check_secret(api: ServerApi) -> CredentialCheck:
    """Send a request that needs a credential, and return what the answer says about it.

    A server of API tokens that accepts the request without a credential has not checked it. Raises TokctlError: there
    is no conclusive answer; see ``client.Client.get``.
    """
    from tokctl.client import Client
    from tokctl.client.failures import parse_error_body

    secret = api.connection.credential()
    with Client(api.connection) as client:
        answer = client.get(api.probe.segments, api.probe.params, accept=(401, 403, 404))
        if secret and answer.status == 200 and api.content == "API tokens":
            open_answer = client.get(api.probe.segments, api.probe.params, accept=(401, 403), with_credential=False)
            if open_answer.status == 200:
                return CredentialCheck(None, "cannot check: the server accepts requests without a credential")
    if answer.status == 401 and secret:
        detail = parse_error_body(answer.body, answer.headers, answer.mask_secrets).detail
        hint = api.connection.rejection_hint(secret)
        return CredentialCheck(False, f"rejected by the server{detail}", detail, hint)
    verdicts: Mapping[int, tuple[bool | None, str]] = {
        401: (False, "the server requires a credential"),
        403: (True, f"accepted, but without access to {api.content}"),
        404: (None, f"cannot check: the server has no {api.content} endpoint"),
    }
    return CredentialCheck(*verdicts.get(answer.status, (True,)))
