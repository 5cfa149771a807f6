"""Where the secret of an API token is kept: what ``--save`` names, once it is known whose secret it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from tokctl.access.model import ApiToken
from tokctl.errors import TokctlError, UnreachableError, UsageError
from tokctl.vaults import open_keeper
from tokctl.vaults.base import Keeper
from tokctl.vaults.keyring import Keyring, is_absent

STDOUT = "stdout"
TERMINAL = "terminal"
ENVIRONMENT = "environment"
"""Places that nothing can be read back from, beside those of ``--save``."""
ELSEWHERE = "Say where else: --save file:PATH, env-file:PATH or command:WORDS, or --show-secret."
LOST = (STDOUT, TERMINAL, ENVIRONMENT)
_silent = False  # whether the keyring has not answered, in this run


def account(origin: str, token_id: str) -> str:
    """What the keyring calls a token's secret, in the service ``tokctl``: ``https://cms.example/api-tokens/7``."""
    return f"{origin}/api-tokens/{token_id}"


class Place:
    """A place as ``--save`` names it. What is put into it is put there for one token."""

    def __init__(self, name: str, origin: str, *, replace: bool = False) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:  # the ledger could not tell of it
            raise UsageError("--save is no text in UTF-8.", "Name another place.") from None
        self._origin = origin
        self._replace = replace
        keeper = open_keeper(name, account(origin, ""), replace=replace)
        self.name = keeper.name
        self.where = keeper.where

    def prove(self) -> None:
        """See that a secret can be put in and comes out again. Raises as ``vaults.base.Keeper.probe``."""
        try:
            self._keeper("").probe()
        except TokctlError as error:
            if self.name == "keyring":
                error.hint = f"Nothing was created. {ELSEWHERE}"
            raise

    def keep(self, token: ApiToken, secret: str) -> None:
        """Put it in, and read it back. Raises as ``vaults.base.Keeper.write``."""
        self._keeper(str(token.id)).write(secret)

    def held(self, token_id: str) -> str | None:
        """The secret that is there, None where nobody can tell. Raises as ``vaults.base.Keeper.held``."""
        return self._keeper(token_id).held()

    def _keeper(self, token_id: str) -> Keeper:
        return open_keeper(self.name, account(self._origin, token_id), replace=self._replace)


class Shown:
    """Stdout, as ``--show-secret`` wishes: ``tell`` writes the token and its secret, ``prove`` sees that it can."""

    name = STDOUT
    where = "the output"

    def __init__(self, tell: Callable[[ApiToken, str], None], prove: Callable[[], None]) -> None:
        self._tell = tell
        self.prove = prove

    def keep(self, token: ApiToken, secret: str) -> None:
        """Write it. Raises OSError."""
        try:
            self._tell(token, secret)
            sys.stdout.flush()
        except OSError:
            with suppress(OSError, ValueError):  # what is left in the buffer is not to be tried again
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise

    def held(self, token_id: str) -> str | None:  # noqa: ARG002 - every place has it
        """Whoever has read it has it."""
        return None


def held_at(place: str, origin: str, token_id: str) -> str | None:
    """The secret of a token at a place, as the ledger names it; None where it is not there, or nobody can tell."""
    if place in LOST or (place == "keyring" and is_absent(os.environ)):
        return None
    with suppress(TokctlError):
        return Place(place, origin, replace=True).held(token_id)
    return None


def remove_kept(origin: str, token_id: str) -> str:
    """Take the secret of a token that is gone out of the keyring; returns where it was, or nothing. Never fails."""
    global _silent  # noqa: PLW0603 - one that has not answered is not waited for again and again
    if _silent or is_absent(os.environ):
        return ""
    try:
        keyring = Keyring(account(origin, token_id))
        return keyring.where if keyring.remove() else ""
    except UnreachableError:
        _silent = True
    except TokctlError:
        pass
    return ""
