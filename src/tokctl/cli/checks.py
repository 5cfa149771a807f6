"""Checks of how tokctl is set up: what each found, and what is to be done. Those of a server are in ``server_checks``.

A check runs on a thread of its own, with a limit: none can hold up the others, or end the program.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import Struct

from tokctl.config import Settings, config_file
from tokctl.errors import TokctlError
from tokctl.render.human import count, size

T = TypeVar("T")
LIMIT = 10.0
"""Seconds for a check."""

State = Literal["ok", "note", "problem"]


class Finding(Struct, frozen=True, kw_only=True):
    """What a check found; ``advice`` is what to do about it, ``facts`` are what programs may want of it."""

    check: str
    state: State
    found: str
    advice: str = ""
    facts: dict[str, Any] = {}


def ok(check: str, found: str, advice: str = "", **facts: Any) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", found=found, advice=advice, facts=facts)


def note(check: str, found: str, advice: str = "", **facts: Any) -> Finding:
    """It works, but not as well as it could; or nobody knows."""
    return Finding(check=check, state="note", found=found, advice=advice, facts=facts)


def problem(check: str, found: str, advice: str = "", **facts: Any) -> Finding:
    """Something does not work, or is dangerous."""
    return Finding(check=check, state="problem", found=found, advice=advice, facts=facts)


def of_error(check: str, error: TokctlError) -> Finding:
    """What an error says, as a problem."""
    return problem(check, error.message, error.hint)


def run(name: str, check: Callable[[], Finding], limit: float = LIMIT) -> Finding:
    """Run a check, whatever becomes of it."""
    try:
        return within(check, limit)
    except TimeoutError:
        return problem(name, f"no result within {limit:g} s.")
    except TokctlError as error:
        return of_error(name, error)
    except Exception as error:  # noqa: BLE001 - a check that fails must not hide the others
        return problem(name, f"the check failed ({type(error).__name__}).",
                       "This is a fault in tokctl itself: please report it.")  # fmt: skip


def within(call: Callable[[], T], limit: float) -> T:
    """Return what a call returns, or raise what it raises; TimeoutError if that takes longer. It is left to itself."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    done: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        try:
            done.put((True, call()))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            done.put((False, error))

    Thread(target=work, name="check", daemon=True).start()
    try:
        fine, value = done.get(timeout=limit)
    except Empty:
        raise TimeoutError from None
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]


# --- what is set ------------------------------------------------------------------------------------------


def configuration() -> Finding:
    """The configuration file: there, right, and nobody else's to change."""
    from tokctl.cli.configuring import find_problems

    name, file = "configuration", config_file(os.environ)
    facts = {"file": str(file)}
    problems = find_problems(file, needed=bool(os.environ.get("TOKCTL_CONFIG")))
    if problems:
        more = f" ({count(len(problems) - 1, 'more problem')})" if len(problems) > 1 else ""
        return problem(name, f"{file}, {problems[0].key}: {problems[0].message}{more}",
                       "Nothing in it counts until it is right; see 'tokctl config validate'.", **facts)  # fmt: skip
    if not file.exists():
        return ok(name, f"there is none at {file}; everything has its usual value.", **facts)
    if _rights(file) & 0o022:
        return problem(name, f"others can change {file}, and have secrets sent to another server.",
                       f"Run 'chmod go-w {file}'.", **facts)  # fmt: skip
    return ok(name, f"{file} is in order.", **facts)


def place(settings: Settings) -> Finding:
    """What commands look at, and who says so. Raises UsageError where two are named, or no URL."""
    kind = settings.kind
    where = settings.file if kind == "file" else settings.store_location
    if kind == "server":
        from tokctl.client import check_url

        where = check_url(settings.server or "")  # one with a password in it is not shown
    origin = settings.origins.get(kind)
    if origin is None:
        said = "the usual one, as nothing names another"
    else:
        said = f"named by {'--' + kind if origin == 'flag' else origin.removeprefix('environment ')}"
    return ok("place", f"the {kind} {where}, {said}.", kind=kind, place=where, origin=origin, context=settings.context)


def store(settings: Settings) -> Finding:
    """The local store. Raises StoreError."""
    from tokctl.store import file_of, open_store

    name, location = "store", settings.store_location
    file = file_of(location)
    if file is not None and not file.exists():
        if settings.kind != "store":
            return ok(name, f"there is none at {location}, and none is needed to ask a server.", location=location)
        return note(name, f"there is none at {location} yet.",
                    "Fill one with 'tokctl store import' or 'tokctl simulate', see one with 'tokctl demo'.",
                    location=location)  # fmt: skip
    with open_store(location) as opened:
        info = opened.info()
    found = f"{location}: {count(info.instances, 'instance')}, {size(info.size_bytes)}, schema {info.schema_version}"
    facts = {name: getattr(info, name) for name in ("location", "schema_version", "size_bytes", "instances", "tokens")}
    if file is not None and _rights(file) & 0o077:
        return note(name, f"{found}; other users may read it.", f"Run 'chmod 600 {file}' if they should not.", **facts)
    return ok(name, f"{found}.", **facts)


def _rights(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode) if os.name == "posix" else 0


# --- the keyring ------------------------------------------------------------------------------------------

PATIENCE = 3.0
"""Seconds for each of the three calls to a keyring."""


def keyring(settings: Settings) -> Finding:
    """The keyring: whether there is one, and gives back what is put into it."""
    from tokctl.vaults.keyring import Keyring, NoKeyringError, bounded, is_absent

    name = "keyring"
    needed = "keyring" in {settings.credential, settings.registry_credential}
    none = partial(problem if needed else ok, name, "there is none here.",
                   "Give secrets in TOKCTL_API_KEY, or name env:, file: or command: as their place.",
                   backend=None)  # fmt: skip
    if is_absent(os.environ):
        return none()
    try:
        backend = bounded(_backend_name, PATIENCE)
        Keyring("doctor", PATIENCE).probe()
    except NoKeyringError:
        return none()
    except TokctlError as error:
        return (problem if needed else note)(name, error.message, error.hint)
    return ok(name, f"{backend} gives back what is put into it.", backend=backend)


def _backend_name() -> str:
    try:
        import keyring as package

        backend = package.get_keyring()
    except Exception:  # noqa: BLE001 - a backend of anybody's is loaded here; the probe says what is wrong
        return "?"
    several = getattr(backend, "backends", None)
    one = several[0] if isinstance(several, list) and several else backend
    return type(one).__module__.removeprefix("keyring.backends.")
