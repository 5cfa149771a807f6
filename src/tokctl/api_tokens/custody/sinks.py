"""Places for the secrets of API tokens: those that ``--save`` names, stdout, and the environment of a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from tokctl.api_tokens.vaults import open_sink
from tokctl.api_tokens.vaults.keyring import Keyring, is_keyring_absent
from tokctl.api_tokens.vaults.protocol import MayReplace, SecretSink, replace_nothing
from tokctl.errors import TokctlError, UnreachableError, UsageError
from tokctl.model.api_tokens import ApiToken

STDOUT = "stdout"
TERMINAL = "terminal"
ENVIRONMENT = "environment"
"""Places besides those of ``--save``."""
SAVE_HINT = "Choose another place: --save file:PATH, env-file:PATH or command:WORDS, or use --show-secret."
_UNREADABLE_KINDS = {STDOUT, TERMINAL, ENVIRONMENT, "command"}
_keyring_unresponsive = False  # whether the keyring failed to answer in this process


def token_account_name(origin: str, token_id: str) -> str:
    """Return the account of a token's secret in the keyring: ``https://cms.example/api-tokens/7``."""
    return f"{origin}/api-tokens/{token_id}"


class VaultSink:
    """A place as ``--save`` names it. The entry in a keyring depends on the token, so it is opened for each token."""

    def __init__(self, name: str, origin: str, *, may_replace: MayReplace = replace_nothing) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:  # it could not be written to the ledger
            raise UsageError("--save is not valid UTF-8.", "Use another place.") from None
        self._origin = origin
        self._may_replace = may_replace
        sink = open_sink(name, token_account_name(origin, ""), may_replace=may_replace)
        self.name = sink.name
        self.where = sink.where

    def probe(self) -> None:
        """Check that a secret can be written and read back. Raises as ``vaults.protocol.SecretSink.probe``."""
        try:
            self._open_sink("").probe()
        except TokctlError as error:
            if self.name == "keyring":
                error.hint = f"Nothing was created. {SAVE_HINT}"
            raise

    def save(self, token: ApiToken, secret: str) -> None:
        """Write a secret and read it back. Raises as ``vaults.protocol.SecretSink.write``."""
        self._open_sink(str(token.id)).write(secret)

    def read_current(self, token_id: str) -> str | None:
        """Return the secret that is there. Raises as ``vaults.protocol.SecretSink.read_current``."""
        return self._open_sink(token_id).read_current()

    def _open_sink(self, token_id: str) -> SecretSink:
        return open_sink(self.name, token_account_name(self._origin, token_id), may_replace=self._may_replace)


class StdoutSink:
    """Stdout, for ``--show-secret``. ``tell`` writes the token and its secret; ``probe`` checks that it can."""

    name = STDOUT
    where = "the output"

    def __init__(self, tell: Callable[[ApiToken, str], None], probe: Callable[[], None]) -> None:
        self._print_token = tell
        self.probe = probe

    def save(self, token: ApiToken, secret: str) -> None:
        """Write the token and its secret. Raises OSError."""
        try:
            self._print_token(token, secret)
            sys.stdout.flush()
        except OSError:
            with suppress(OSError, ValueError):  # the rest of the buffer must not be written at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


class ProgramSink:
    """The environment of a program. ``IssuedToken`` hands the secret over, so nothing is checked or saved."""

    name = ENVIRONMENT
    where = "the program's environment"

    def probe(self) -> None:
        """Do nothing."""

    def save(self, token: ApiToken, secret: str) -> None:
        """Do nothing."""


def is_readable(place: str) -> bool:
    """Return whether a secret can be read back from a place."""
    return place.partition(":")[0] not in _UNREADABLE_KINDS


def read_saved_secret(place: str, origin: str, token_id: str) -> str | None:
    """Return the secret of a token from its place; None if it is not there, or cannot be read. Never fails."""
    if not is_readable(place) or (place == "keyring" and is_keyring_absent(os.environ)):
        return None
    with suppress(TokctlError):
        return VaultSink(place, origin).read_current(token_id)
    return None


def remove_from_keyring(origin: str, token: ApiToken) -> str | None:
    """Remove the secret of a revoked token from the keyring; return ``the keyring`` if it was there. Never fails.

    An earlier registry at the same place may have had another token with this id: its secret stays.
    """
    global _keyring_unresponsive  # noqa: PLW0603 - its timeout is waited for once only
    if _keyring_unresponsive or is_keyring_absent(os.environ):
        return None
    try:
        keyring = Keyring(token_account_name(origin, str(token.id)))
        if not (keyring.read() or "").startswith(token.token.rstrip(".…")):
            return None
        return keyring.where if keyring.remove() else None
    except TokctlError as error:
        _keyring_unresponsive = isinstance(error, UnreachableError)
        return None
