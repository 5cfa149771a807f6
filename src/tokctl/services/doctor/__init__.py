"""The doctor: checks of configuration, store, server, credential and keyring, with results as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.config import Settings
from tokctl.errors import TokctlError
from tokctl.services.doctor.local import (
    check_api_tokens,
    check_configuration,
    check_keyring,
    check_password,
    check_store,
    check_target,
)
from tokctl.services.doctor.results import CheckResult, run_check
from tokctl.services.store_passwords import is_in_database

if TYPE_CHECKING:
    from tokctl.services.doctor.server import CheckedServer


def run_checks(
    settings: Settings, clock: Callable[[], datetime], settings_error: TokctlError | None = None
) -> Iterator[CheckResult]:
    """Run every check that applies to the settings, and yield each result as soon as it is available.

    A server is checked if the settings have one. Nothing is changed except the remembered kind of the server.
    ``settings_error`` is why the settings could not be resolved; it becomes the result of the check ``place``.
    """

    def check_place() -> CheckResult:
        if settings_error is not None:
            raise settings_error
        return check_target(settings)

    yield run_check("configuration", check_configuration)
    yield run_check("place", check_place)
    yield run_check("store", partial(check_store, settings))
    if settings.place == "store" and is_in_database(settings.store):
        yield run_check("store password", partial(check_password, str(settings.store)))
    if settings.server is not None:
        yield from _check_server(settings, clock)
    if settings.registry_server is not None and settings.registry_server != settings.server:
        yield from _check_server(_settings_of_registry(settings), clock, "registry")
    yield run_check("keyring", partial(check_keyring, settings))
    yield run_check("api tokens", partial(check_api_tokens, settings, clock))


def _settings_of_registry(settings: Settings) -> Settings:
    """Return settings in which the server of the API tokens is the server."""
    from tokctl.api_tokens.vaults.credentials import registry_place

    origins = {**settings.origins, "credential": settings.origins.get("registry_credential", "")}
    place = registry_place(settings)
    return replace(settings, server=settings.registry_server, credential=place, engine_kind=None, origins=origins)


def _check_server(settings: Settings, clock: Callable[[], datetime], name: str = "") -> Iterator[CheckResult]:
    """Check a server. One that has API tokens alone is not asked for processes; ``name`` tells that it is that one."""
    from tokctl.services.doctor.access import AccessChecks
    from tokctl.services.doctor.registry import RegistryChecks
    from tokctl.services.doctor.server import CheckedServer, ServerChecks

    server = CheckedServer(settings)
    checks, access, registry = ServerChecks(server, clock), AccessChecks(server), RegistryChecks(server)
    yield run_check(name or "server", checks.check_reachable)
    is_registry = bool(name) or _has_api_tokens_alone(server)
    remaining: list[tuple[str, Callable[[], CheckResult]]] = [
        ("TLS", checks.check_tls),
        ("kind", registry.check_kind if is_registry else checks.check_kind),
        ("clock", checks.check_clock),
        ("credential", registry.check_credential if is_registry else access.check_credential),
    ]
    if not is_registry:
        remaining.append(("permissions", access.check_permissions))
    for what, check in remaining:
        yield run_check(f"{name} {what}".lstrip(), check)
    with suppress(TokctlError, OSError):
        server.close()


def _has_api_tokens_alone(server: CheckedServer) -> bool:
    from tokctl.services.server_roles import find_pure_registry

    with suppress(TokctlError):
        return server.health is not None and find_pure_registry(server.client.connection, server.settings) is not None
    return False
