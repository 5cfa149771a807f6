"""``keyring``: secrets in the platform's keyring, through the package ``keyring``.

Keyrings fail in many ways, some of them silently: there is no provider, it is locked, its daemon does not respond, the
backend stores nothing, or stores everything in a plain file. So every call runs in its own thread with a timeout, every
secret is read back, and backends that lose or expose secrets are refused.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tokctl.api_tokens.vaults.protocol import MayReplace
from tokctl.config.paths import expand_user
from tokctl.errors import NotAllowedError, TokctlError, UnreachableError

T = TypeVar("T")
SERVICE = "tokctl"
TIMEOUT_SECONDS = 5.0  # for each call
CREDENTIAL_HINT = (
    "Set the secret in TOKCTL_API_KEY, or the password of a database in PGPASSWORD,"
    " or set its source: env:NAME, file:PATH or command:WORDS."
)
_UNSAFE_BACKENDS = {
    "keyring.backends.null": "the null backend stores nothing",
    "keyrings.alt": "keyrings.alt stores secrets in a plain file",
    "keyrings.cryptfile": "keyrings.cryptfile asks for a password each time",
}
_LOSES = "the keyring does not return the saved secret."
_FAIL_BACKEND = "keyring.backends.fail"


class NoKeyringError(NotAllowedError):
    """There is no keyring on this machine, or this session cannot use it."""

    def __init__(self) -> None:
        super().__init__("no keyring found.", CREDENTIAL_HINT)


class Keyring:
    """The entry of an account in the service ``tokctl``. Implements ``SecretSource`` and ``SecretSink``."""

    def __init__(self, account: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.account = account
        self.timeout = timeout
        self.name = "keyring"
        self.where = "the keyring"

    def read(self) -> str | None:
        """Return the secret; None if there is none."""
        return self._call(lambda backend: backend.get_password(SERVICE, self.account)) or None

    def probe(self) -> None:
        """Write a random value, read it back, and remove it."""
        account, canary = f"{SERVICE}-canary-{secrets.token_hex(8)}", secrets.token_hex(16)

        def gives_back(backend: Any) -> bool:
            backend.set_password(SERVICE, account, canary)
            try:
                return bool(backend.get_password(SERVICE, account) == canary)
            finally:
                _remove(backend, account)

        if not self._call(gives_back):
            raise NotAllowedError(_LOSES, CREDENTIAL_HINT)

    def write(self, secret: str) -> None:
        """Write the secret and read it back."""
        self._call(lambda backend: backend.set_password(SERVICE, self.account, secret))
        if self._call(lambda backend: backend.get_password(SERVICE, self.account)) != secret:
            with suppress(TokctlError):  # what is there now is useless
                self.remove()
            raise NotAllowedError(_LOSES, CREDENTIAL_HINT)

    read_current = read

    def remove(self) -> bool:
        """Remove the secret. Returns whether there was one."""
        return self._call(lambda backend: _remove(backend, self.account))

    def _call(self, what: Callable[[Any], T]) -> T:
        return run_with_timeout(lambda: what(_choose_backend()), self.timeout)


def open_source(place: str, account: str) -> Keyring:  # noqa: ARG001 - the same for every kind
    """Open the entry of an account."""
    return Keyring(account)


def open_sink(place: str, account: str, *, may_replace: MayReplace) -> Keyring:  # noqa: ARG001 - the same for every kind
    """Open the entry of an account."""
    return Keyring(account)


def is_keyring_absent(environ: Mapping[str, str]) -> bool:
    """Return whether there is certainly no keyring, without loading the package (a third of a second).

    That is so on Linux without a session bus, as keyrings are reached over D-Bus, unless a backend was installed or
    chosen.
    """
    if sys.platform != "linux" or environ.get("PYTHON_KEYRING_BACKEND") or environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    home = expand_user(environ.get("XDG_CONFIG_HOME") or "~/.config")
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


def run_with_timeout(call: Callable[[], T], timeout: float) -> T:
    """Run a call to the keyring in its own thread, and wait at most ``timeout`` seconds.

    Raises:
        UnreachableError: it has not returned; the thread, a daemon, is abandoned.
        NotAllowedError: there is no keyring, it is locked, or it refuses the call.
    """
    from queue import Empty, SimpleQueue
    from threading import Thread

    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the calling thread
            answers.put((False, _translate_error(error)))

    Thread(target=run, name="keyring", daemon=True).start()
    try:
        fine, value = answers.get(timeout=timeout)
    except Empty:
        raise UnreachableError(
            f"the keyring did not respond within {timeout:g} s. It may be locked.", CREDENTIAL_HINT
        ) from None
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]


def _translate_error(error: BaseException) -> TokctlError:
    """Return the error to raise. It never has the text of the original error, which may quote the secret."""
    if isinstance(error, TokctlError):
        return error
    name = type(error).__name__
    if name in {"KeyringLocked", "InitError", "LockedException", "PromptDismissedException"}:
        return NotAllowedError("the keyring is locked.", f"Unlock it. {CREDENTIAL_HINT}")
    if name == "NoKeyringError":
        return NoKeyringError()
    return NotAllowedError(f"cannot use the keyring ({name}).", CREDENTIAL_HINT)


def _choose_backend() -> Any:
    """Return the backend that ``keyring`` chooses; of a chain of backends, the first that keeps secrets safely."""
    chosen = os.environ.get("PYTHON_KEYRING_BACKEND")
    try:
        import keyring

        backend = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001 - third-party backends are loaded here
        what = f"{chosen} (set by PYTHON_KEYRING_BACKEND)" if chosen else "set by keyringrc.cfg"
        raise NotAllowedError(
            f"cannot load the keyring backend {what}: {type(error).__name__}.",
            "Correct or unset the variable." if chosen else "Correct the file.",
        ) from None
    several = getattr(backend, "backends", None)  # used as a chain, it would skip a locked backend
    reasons = []
    for one in several if isinstance(several, list) else [backend]:
        module = type(one).__module__
        reason = next((why for name, why in _UNSAFE_BACKENDS.items() if f"{module}.".startswith(f"{name}.")), None)
        if reason is None and module != _FAIL_BACKEND:
            return one
        reasons += [reason] if reason else []
    if reasons:
        raise NotAllowedError(f"no safe keyring found: {'; '.join(reasons)}.", CREDENTIAL_HINT)
    raise NoKeyringError
