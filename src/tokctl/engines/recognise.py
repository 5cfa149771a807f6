"""Which kind of server it is: asked once, and remembered.

What is remembered stands in ``servers.json`` in the platform's state directory, or in the one that
``TOKCTL_STATE_DIR`` names: the kind by the server's address. It is a convenience: a file that cannot be read
or written is done without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tokctl.config.file import state_folder
from tokctl.engines.opening import client_of, shown
from tokctl.errors import UnreachableError, UsageError
from tokctl.files import write_whole
from tokctl.process.query import suggest

if TYPE_CHECKING:
    from tokctl.client import Client
    from tokctl.config import Settings

KINDS = ("rest", "atomd")
MOST = 500
"""Servers that are remembered."""


def kind_of(settings: Settings) -> str:
    """Return the kind of the server that the settings name: as they say, as remembered, or as it turns out.

    Raises:
        UsageError: the settings name a kind that there is not.
        UnreachableError, UntrustedError: the server has to be asked, and that does not work.
    """
    if settings.engine_kind is not None:
        if settings.engine_kind not in KINDS:
            raise UsageError(f"there is no engine kind '{settings.engine_kind}'"
                             f"{suggest(settings.engine_kind, KINDS)}.", f"Valid: {', '.join(KINDS)}.")  # fmt: skip
        return settings.engine_kind
    client = client_of(settings)
    address = shown(client)
    kind = remembered(address)
    if kind is None:
        try:
            kind = recognise(client)
        finally:
            client.close()
        remember(address, kind)
    return kind


def other_kind(client: Client, kind: str, evidence: str) -> UnreachableError:
    """Forget what kind a server was taken for; returns what to raise. Looking again helps where it was remembered."""
    address = shown(client)
    was_remembered = remembered(address) == kind
    remember(address, None)
    hint = "Run it again: what it is will be asked anew." if was_remembered else "Leave --engine-kind out."
    return UnreachableError(f"{address} does not answer as a server of kind {kind} ({evidence.rstrip('.')}).", hint)


def recognise(client: Client) -> str:
    """Ask a server what it is. One that says nothing we know is taken to speak the documented API."""
    answer = client.get(("health",), accept=(400, 401, 403, 404, 405, 406, 410, 501, 503))
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "rest"
    data = _member(document, "data")
    by_itself = _member(document, "meta").get("request_id") == "health" and "server" in _member(data, "checks")
    return "atomd" if by_itself and data.get("service") is None else "rest"


def _member(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


# --- what is remembered ---------------------------------------------------------------------------


def state_file() -> Path:
    """Where the kinds of servers are remembered."""
    return state_folder(os.environ) / "servers.json"


def _all() -> dict[str, str]:
    try:
        known = msgspec.json.decode(state_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return {}
    return {address: kind for address, kind in known.items() if kind in KINDS}


def remembered(address: str) -> str | None:
    """Return the kind of a server that was asked before."""
    return _all().get(address)


def remember(address: str, kind: str | None) -> None:
    """Remember the kind of a server; None forgets it."""
    known = _all()
    if known.pop(address, None) is None and kind is None:
        return
    if kind is not None:
        known[address] = kind
    _write(dict(list(known.items())[-MOST:]))


def _write(known: dict[str, str]) -> None:
    file = state_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, msgspec.json.format(msgspec.json.encode(known)) + b"\n")
