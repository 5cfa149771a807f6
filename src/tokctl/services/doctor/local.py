"""The local checks of the doctor: configuration, target, store, keyring, and API tokens without a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokctl.config import Settings, config_file
from tokctl.errors import StorePermissionError, TokctlError
from tokctl.services.api_tokens.ledger_report import format_stale, format_tokens, format_uncertain
from tokctl.services.config_check import find_config_problems
from tokctl.services.doctor.results import CheckResult, note, ok, problem
from tokctl.services.store_passwords import check_store_password
from tokctl.text import count, size

if TYPE_CHECKING:
    from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
    from tokctl.store.protocol import StoreInfo


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
    from tokctl.store.protocol import find_damage
    from tokctl.store.seen_heads import find_rollback

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
    try:
        with open_store(location) as opened:
            for change in opened.find_damage(0):
                return problem(f"{location}: {change}.", "Another program has changed it. Restore a backup.")
            try:
                info = opened.info()
            except (TypeError, ValueError, OverflowError):
                if damage := find_damage(opened):
                    raise damage from None
                raise
            if rollback := find_rollback(opened):
                return problem(f"{location}: {rollback.message}", rollback.advice, location=location)
    except StorePermissionError:
        return _check_instances(location)
    found, facts = _describe_store(location, info)
    if file is not None and _file_mode(file) & 0o077:
        return note(f"{found}; other users can read it.", f"To prevent this, run 'chmod 600 {file}'.", **facts)
    return ok(f"{found}.", **facts)


def check_password(url: str) -> CheckResult:
    """Check where the password of a store in a database is, and whether the database accepts it."""
    found = check_store_password(url)
    facts: dict[str, Any] = {
        "store": found.store,
        "origin": found.place,
        "exists": found.is_found,
        "accepted": found.accepted,
    }
    if found.accepted is None:
        return note(found.note, found.advice, **facts)
    if not found.accepted:
        return problem(found.note, found.advice, **facts)
    if found.note:
        return ok(f"{found.note}.", **facts)
    return ok(f"the database accepts the password from {found.place}.", **facts)


def _check_instances(location: str) -> CheckResult:
    """Check a store for a user of its database who may only read instances. Raises StoreError."""
    from tokctl.store import open_store

    with open_store(location) as opened:
        found, facts = _describe_store(location, opened.info())
    return note(
        f"{found}. This user of the database cannot read its API tokens and audit log, so they were not checked.",
        "That is enough to inspect instances. To check everything, use the user of the servers.",
        **facts,
    )


def _describe_store(location: str, info: StoreInfo) -> tuple[str, dict[str, Any]]:
    facts = {name: getattr(info, name) for name in ("location", "schema_version", "size_bytes", "instances", "tokens")}
    return (
        f"{location}: {count(info.instances, 'instance')}, {size(info.size_bytes)}, schema {info.schema_version}",
        facts,
    )


def _file_mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode) if os.name == "posix" else 0


# --- the keyring ------------------------------------------------------------------------------------------

KEYRING_TIMEOUT_SECONDS = 3.0
"""The limit of each of the three calls to a keyring."""


def check_keyring(settings: Settings) -> CheckResult:
    """Check that there is a keyring, and that it returns what was saved in it."""
    from tokctl.api_tokens.vaults.keyring import (
        CREDENTIAL_HINT,
        Keyring,
        NoKeyringError,
        is_keyring_absent,
        run_with_timeout,
    )

    needed = "keyring" in {settings.credential, settings.registry_credential}
    none = partial(problem if needed else note, "no keyring found.", CREDENTIAL_HINT, backend=None)
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
    """Compare the ledger with the registry, and remove what killed runs have left of files with secrets.

    If the registry is unreachable, the result is a note.
    """
    from tokctl.api_tokens.custody.ledger import Ledger
    from tokctl.api_tokens.custody.reconciliation import list_unfinished

    ledger = Ledger()
    entries = ledger.entries()
    removed = [str(path) for path in _remove_leftovers(ledger, entries)]
    findings = [note(f"removed temporary copies that killed runs had left: {', '.join(removed)}.")] if removed else []
    facts: dict[str, Any] = {"removed": removed}
    if entries:
        try:
            compared = _compare_ledger(ledger, settings, clock)
        except TokctlError as error:
            if list_unfinished(ledger):
                text = f"some runs were interrupted; their results are unknown: {error.message}"
            else:
                text = f"the saved secrets were not checked: {error.message}"
            findings.append(note(text, error.hint))
        else:
            findings += [one for one in compared if one.found]
            facts |= {name: value for one in compared for name, value in one.facts.items()}
    if not findings:
        return ok("no orphaned API tokens.")
    return CheckResult(
        "problem" if any(one.state == "problem" for one in findings) else "warning",
        " ".join(one.found for one in findings),
        " ".join(dict.fromkeys(one.advice for one in findings if one.advice)),
        facts,
    )


def _remove_leftovers(ledger: Ledger, entries: list[LedgerEntry]) -> list[Path]:
    """Remove temporary copies in the ledger, beside the files with secrets that it names, and of the configuration."""
    from tokctl.api_tokens.pepper import pepper_file
    from tokctl.atomic_files import remove_leftovers

    files = {config_file(os.environ), pepper_file(os.environ)}
    files |= {part.with_name(f"{part.name.split('.')[1]}.json") for part in ledger.folder.glob(".*.json.*.part")}
    for entry in entries:
        kind, _, place = entry.place.partition(":")
        if kind in {"file", "env-file"}:
            files.add(Path(os.path.realpath(place.rpartition("#")[0] if kind == "env-file" else place)))
    return [path for file in sorted(files) for path in remove_leftovers(file)]


def _compare_ledger(ledger: Ledger, settings: Settings, clock: Callable[[], datetime]) -> list[CheckResult]:
    """Return the findings about the entries of the registry; those without a text only have facts."""
    from tokctl.api_tokens.custody.reconciliation import find_lost_secrets, list_unfinished_rotations, reconcile
    from tokctl.api_tokens.registries import open_registry

    registry = open_registry(settings, clock, warn=lambda _: None)
    try:
        found = reconcile(registry, ledger, clock())
        lost = find_lost_secrets(registry, ledger, clock())
        begun = list_unfinished_rotations(registry, ledger)
    finally:
        registry.close()
    orphans, uncertain, stale, elsewhere = found.orphans, found.uncertain, found.stale, found.elsewhere
    named = format_tokens(orphans)
    missing = "; ".join(f"{one.token.id} '{one.token.name}': {one.why}" for one in lost)
    return [
        problem(
            "" if not orphans else f"{registry.where} has orphaned API tokens, whose secrets are lost: {named}.",
            "Run 'tokctl api-tokens revoke --orphans', then create them again.",
            orphans=[{"id": one.id, "name": one.name} for one in orphans],
        ),
        problem(
            "" if not lost else f"{registry.where} has valid API tokens whose saved secret cannot be found: {missing}",
            "If nothing else uses an API token, revoke it; otherwise rotate it.",
            lost=[{"id": one.token.id, "name": one.token.name, "reason": one.why} for one in lost],
        ),
        note(
            "" if not uncertain else format_uncertain(uncertain),
            "Revoke it by id.",
            uncertain=[{"id": one.id, "name": one.name} for one in uncertain],
        ),
        _describe_rotations(begun),
        note(
            "" if not stale else format_stale(stale, registry),
            f"They are ignored. Remove their files in {ledger.folder} if you do not need them.",
            stale=[{"id": entry.token_id, "name": entry.name, "file": str(ledger.file_of(entry))} for entry in stale],
        ),
        note(
            "" if not elsewhere else f"the creation of '{elsewhere[0].name}' at {elsewhere[0].origin} was interrupted.",
            "Run 'tokctl doctor' for it with --server or --store.",
            elsewhere=sorted({entry.origin for entry in elsewhere}),
        ),
    ]


def _describe_rotations(begun: list[LedgerEntry]) -> CheckResult:
    """Return the finding about unfinished rotations; without a text if there are none."""
    facts: dict[str, Any] = {"rotations": [entry.replaces for entry in begun]}
    if not begun:
        return note("", **facts)
    first = begun[0]
    lost, grace = (" Its secret may be lost.", " --grace 0") if first.is_in_place else ("", "")
    return note(
        f"the rotation of API token {first.replaces} '{first.name}' is not complete.{lost}",
        f"Run 'tokctl api-tokens rotate {first.replaces}{grace}' to finish it.",
        **facts,
    )
