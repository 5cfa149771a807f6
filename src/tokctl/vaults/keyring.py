"""``keyring``: secrets in the platform's own keyring, by way of the package of that name.

It fails in many ways, some of them silent: no provider, a locked one, a daemon that never answers, a backend that
keeps nothing, one that keeps everything in a plain file. So every call runs on a thread of its own with a
limit, what is written is read back, and backends that lose or show secrets are not used.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tokctl.config.file import at_home
from tokctl.errors import NotAllowedError, TokctlError, UnreachableError

T = TypeVar("T")
SERVICE = "tokctl"
PATIENCE = 5.0  # s, for each call
ELSEWHERE = "Give the secret in TOKCTL_API_KEY, or say where it is: env:NAME, file:PATH or command:WORDS."
_REFUSED = {
    "keyring.backends.null": "the null backend keeps nothing",
    "keyrings.alt": "keyrings.alt keeps secrets in a plain file",
    "keyrings.cryptfile": "keyrings.cryptfile asks for a password each time",
}
_NONE = "keyring.backends.fail"


class NoKeyringError(NotAllowedError):
    """There is no keyring on this machine, or none that this session can use."""

    def __init__(self) -> None:
        super().__init__("there is no keyring here.", ELSEWHERE)


class Keyring:
    """Implements ``vaults.base.Keeper``: the entry of the service ``tokctl`` for an account."""

    def __init__(self, account: str, patience: float = PATIENCE) -> None:
        self.account = account
        self.patience = patience
        self.name = "keyring"
        self.where = "the keyring"

    def read(self) -> str | None:
        """The secret, or None."""
        return self._call(lambda backend: backend.get_password(SERVICE, self.account)) or None

    def probe(self) -> None:
        """Write something, read it back, and remove it."""
        account, canary = f"{SERVICE}-canary-{secrets.token_hex(8)}", secrets.token_hex(16)

        def gives_back(backend: Any) -> bool:
            backend.set_password(SERVICE, account, canary)
            try:
                return bool(backend.get_password(SERVICE, account) == canary)
            finally:
                _remove(backend, account)

        if not self._call(gives_back):
            raise NotAllowedError("the keyring does not give back what is put into it.", ELSEWHERE)

    def write(self, secret: str) -> None:
        """Put the secret in; it is there once it has been read back."""
        self._call(lambda backend: backend.set_password(SERVICE, self.account, secret))
        if self._call(lambda backend: backend.get_password(SERVICE, self.account)) != secret:
            with suppress(TokctlError):  # what is there now is no good to anybody
                self.remove()
            raise NotAllowedError("the keyring does not give back what is put into it.", ELSEWHERE)

    def held(self) -> str | None:
        """The secret, or None."""
        return self.read()

    def remove(self) -> bool:
        """Take the secret out."""
        return self._call(lambda backend: _remove(backend, self.account))

    def _call(self, what: Callable[[Any], T]) -> T:
        return bounded(lambda: what(_backend()), self.patience)


def open_vault(place: str, account: str) -> Keyring:  # noqa: ARG001 - every kind has it
    """The entry for that account."""
    return Keyring(account)


def open_keeper(place: str, account: str, *, replace: bool) -> Keyring:  # noqa: ARG001 - every kind has it
    """The entry for that account."""
    return Keyring(account)


def is_absent(environ: Mapping[str, str]) -> bool:
    """Tell without asking it, which takes a third of a second, whether there can be no keyring here.

    So it is on Linux, where a keyring is reached over D-Bus, without a session bus, unless a backend was
    installed or chosen.
    """
    if sys.platform != "linux" or environ.get("PYTHON_KEYRING_BACKEND") or environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    home = at_home(environ.get("XDG_CONFIG_HOME") or "~/.config")
    bus = Path(environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "bus"
    if bus.exists() or (home / "python_keyring" / "keyringrc.cfg").exists():
        return False
    from importlib.metadata import entry_points

    known = ("keyring.backends.", "keyrings.alt.", "keyrings.cryptfile.")
    return all(point.value.startswith(known) for point in entry_points(group="keyring.backends"))


def _remove(backend: Any, account: str) -> bool:
    if backend.get_password(SERVICE, account) is None:
        return False
    backend.delete_password(SERVICE, account)
    return True


def bounded(call: Callable[[], T], patience: float) -> T:
    """Run a call to the keyring on a thread of its own, and wait for it so many seconds.

    Raises:
        UnreachableError: it has not come back; the thread is left to itself.
        NotAllowedError: there is no keyring, it is locked, or it refuses.
    """
    from queue import Empty, SimpleQueue
    from threading import Thread

    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:  # noqa: BLE001 - it may be anything, and nobody else would see it
            answers.put((False, _told(error)))

    Thread(target=run, name="keyring", daemon=True).start()
    try:
        fine, value = answers.get(timeout=patience)
    except Empty:
        raise UnreachableError(f"the keyring has not answered within {patience:g} s; it may wait to be unlocked.",
                               ELSEWHERE) from None  # fmt: skip
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]


def _told(error: BaseException) -> TokctlError:
    """What is shown of a fault: never its own words, which may hold the secret."""
    if isinstance(error, TokctlError):
        return error
    name = type(error).__name__
    if name in {"KeyringLocked", "InitError", "LockedException", "PromptDismissedException"}:
        return NotAllowedError("the keyring is locked.", f"Unlock it. {ELSEWHERE}")
    if name == "NoKeyringError":
        return NoKeyringError()
    return NotAllowedError(f"the keyring cannot be used ({name}).", ELSEWHERE)


def _backend() -> Any:
    """The backend that keyring chooses; of several the best that is fit to keep a secret.

    Raises:
        NotAllowedError: the one that was chosen cannot be loaded, or is not fit.
        NoKeyringError: there is none.
    """
    chosen = os.environ.get("PYTHON_KEYRING_BACKEND")
    try:
        import keyring

        backend = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001 - a backend of anybody's is loaded here
        what = f"PYTHON_KEYRING_BACKEND names {chosen}, which" if chosen else "the backend that keyringrc.cfg names"
        raise NotAllowedError(f"{what} cannot be loaded ({type(error).__name__}).",
                              "Set it right, or unset it." if chosen else "Set it right.") from None  # fmt: skip
    several = getattr(backend, "backends", None)  # a chain would go on to the next where one is locked
    reasons = []
    for one in several if isinstance(several, list) else [backend]:
        module = type(one).__module__
        reason = next((why for name, why in _REFUSED.items() if f"{module}.".startswith(f"{name}.")), None)
        if reason is None and module != _NONE:
            return one
        reasons += [reason] if reason else []
    if reasons:
        raise NotAllowedError(f"there is no keyring here that is fit to keep a secret: {'; '.join(reasons)}.",
                              ELSEWHERE)  # fmt: skip
    raise NoKeyringError
