"""The doctor: checks of configuration, store, server, credential and keyring, with results as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial

from tokctl.config import Settings
from tokctl.errors import TokctlError
from tokctl.services.doctor.local import check_api_tokens, check_configuration, check_keyring, check_store, check_target
from tokctl.services.doctor.results import CheckResult, run_check


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
    if settings.server is not None:
        yield from _check_server(settings, clock)
    yield run_check("keyring", partial(check_keyring, settings))
    yield run_check("api tokens", partial(check_api_tokens, settings, clock))


def _check_server(settings: Settings, clock: Callable[[], datetime]) -> Iterator[CheckResult]:
    from tokctl.services.doctor.access import AccessChecks
    from tokctl.services.doctor.server import CheckedServer, ServerChecks

    server = CheckedServer(settings)
    checks, access = ServerChecks(server, clock), AccessChecks(server)
    for name, check in (
        ("server", checks.check_reachable),
        ("TLS", checks.check_tls),
        ("kind", checks.check_kind),
        ("clock", checks.check_clock),
        ("credential", access.check_credential),
        ("permissions", access.check_permissions),
    ):
        yield run_check(name, check)
    with suppress(TokctlError, OSError):
        server.close()
