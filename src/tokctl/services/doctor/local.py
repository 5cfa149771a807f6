"""The local checks of the doctor: configuration, target, store, keyring, and API tokens without a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from tokctl.config import Settings, config_file
from tokctl.errors import TokctlError
from tokctl.services.config_check import find_config_problems
from tokctl.services.doctor.results import CheckResult, note, ok, problem
from tokctl.text import count, size


def check_configuration() -> CheckResult:
    """Check the configuration file: valid, and not writable by others."""
    file = config_file(os.environ)
    facts = {"file": str(file)}
    problems = find_config_problems(file, needed=bool(os.environ.get("TOKCTL_CONFIG")))
    if problems:
        more = f" ({count(len(problems) - 1, 'more problem')})" if len(problems) > 1 else ""
        return problem(
            f"{file}, {problems[0].key}: {problems[0].message}{more}",
            "The whole file is ignored until this is fixed. See 'tokctl config validate'.",
            **facts,
        )
    if not file.exists():
        return ok(f"no file at {file}; all settings have their defaults.", **facts)
    if _file_mode(file) & 0o022:
        return problem(
            f"others can change {file}, and redirect secrets to another server.", f"Run 'chmod go-w {file}'.", **facts
        )
    return ok(f"{file} is valid.", **facts)


def check_target(settings: Settings) -> CheckResult:
    """Check what commands read from. Raises UsageError: two targets are set, or the URL is invalid."""
    kind = settings.kind
    where = settings.file if kind == "file" else settings.store_location
    if kind == "server":
        from tokctl.client import check_url

        where = check_url(settings.server or "")  # one with a password in it is not shown
    origin = settings.origins.get(kind)
    if origin is None:
        said = "the default"
    else:
        said = f"set by {'--' + kind if origin == 'flag' else origin.removeprefix('environment ')}"
    return ok(f"the {kind} {where}, {said}.", kind=kind, place=where, origin=origin, context=settings.context)


def check_store(settings: Settings) -> CheckResult:
    """Check the local store. Raises StoreError."""
    from tokctl.store import open_store, store_file

    location = settings.store_location
    file = store_file(location)
    if file is not None and not file.exists():
        if settings.kind != "store":
            return ok(f"no store at {location}; none is needed for a server.", location=location)
        return note(
            f"no store at {location} yet.",
            "Fill one with 'tokctl store import' or 'tokctl simulate', or try 'tokctl demo'.",
            location=location,
        )
    with open_store(location) as opened:
        info = opened.info()
    found = f"{location}: {count(info.instances, 'instance')}, {size(info.size_bytes)}, schema {info.schema_version}"
    facts = {name: getattr(info, name) for name in ("location", "schema_version", "size_bytes", "instances", "tokens")}
    if file is not None and _file_mode(file) & 0o077:
        return note(f"{found}; other users can read it.", f"To prevent this, run 'chmod 600 {file}'.", **facts)
    return ok(f"{found}.", **facts)


def _file_mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode) if os.name == "posix" else 0


# --- the keyring ------------------------------------------------------------------------------------------

KEYRING_TIMEOUT_SECONDS = 3.0
"""The limit of each of the three calls to a keyring."""


def check_keyring(settings: Settings) -> CheckResult:
    """Check that there is a keyring, and that it returns what was saved in it."""
    from tokctl.api_tokens.vaults.keyring import Keyring, NoKeyringError, is_keyring_absent, run_with_timeout

    needed = "keyring" in {settings.credential, settings.registry_credential}
    none = partial(
        problem if needed else note,
        "no keyring found.",
        "Set the secret in TOKCTL_API_KEY, or set its source: env:NAME, file:PATH or command:WORDS.",
        backend=None,
    )
    if is_keyring_absent(os.environ):
        return none()
    try:
        backend = run_with_timeout(_backend_name, KEYRING_TIMEOUT_SECONDS)
        Keyring("doctor", KEYRING_TIMEOUT_SECONDS).probe()
    except NoKeyringError:
        return none()
    except TokctlError as error:
        return (problem if needed else note)(error.message, error.hint)
    return ok(f"{backend} works: it returned a test secret.", backend=backend)


def _backend_name() -> str:
    try:
        import keyring as package

        backend = package.get_keyring()
    except Exception:  # noqa: BLE001 - third-party code is loaded here; the probe reports what is wrong
        return "?"
    several = getattr(backend, "backends", None)
    one = several[0] if isinstance(several, list) and several else backend
    return type(one).__module__.removeprefix("keyring.backends.")


# --- API tokens ---------------------------------------------------------------------------------------------


def check_api_tokens(settings: Settings, clock: Callable[[], datetime]) -> CheckResult:
    """Check the ledger for unfinished work. If the registry is unreachable, the result is a note."""
    try:
        return _reconcile(settings, clock)
    except TokctlError as error:
        return note(f"some runs were interrupted; their results are unknown: {error.message}", error.hint)


def _reconcile(settings: Settings, clock: Callable[[], datetime]) -> CheckResult:
    from tokctl.api_tokens.custody.ledger import (
        DONE,
        Ledger,
        list_unfinished,
        list_unfinished_rotations,
        reconcile,
    )
    from tokctl.api_tokens.registries import open_registry

    ledger = Ledger()
    left = list_unfinished(ledger)
    begun = [entry for entry in ledger.entries() if entry.replaces is not None and entry.step != DONE]
    if not left and not begun:
        return ok("no orphaned API tokens.")
    registry = open_registry(settings, clock, warn=lambda _: None)
    try:
        orphans, foreign_entries = reconcile(registry, ledger, clock())
        begun = list_unfinished_rotations(ledger, registry.origin)
    finally:
        registry.close()
    facts = {
        "orphans": [{"id": one.id, "name": one.name} for one in orphans],
        "rotations": [entry.replaces for entry in begun],
        "elsewhere": sorted({entry.origin for entry in foreign_entries}),
    }
    if orphans:
        named = ", ".join(f"{one.id} '{one.name}'" for one in orphans)
        return problem(
            f"{registry.where} has orphaned API tokens, whose secrets are lost: {named}.",
            "Run 'tokctl api-tokens revoke --orphans', then create them again.",
            **facts,
        )
    if begun:
        lost, grace = (" Its secret may be lost.", " --grace 0") if begun[0].is_in_place else ("", "")
        return note(
            f"the rotation of API token {begun[0].replaces} '{begun[0].name}' is not complete.{lost}",
            f"Run 'tokctl api-tokens rotate {begun[0].replaces}{grace}' to finish it.",
            **facts,
        )
    if foreign_entries:
        one = foreign_entries[0]
        return note(
            f"the creation of '{one.name}' at {one.origin} was interrupted.",
            "Run 'tokctl doctor' for it with --server or --store.",
            **facts,
        )
    return ok("no orphaned API tokens.")
