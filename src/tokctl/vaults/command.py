"""``command:WORDS``: a secret that a program prints, such as a password manager. No shell is between."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from typing import IO, cast

from tokctl.errors import InputError, NotAllowedError, UnreachableError, UsageError
from tokctl.vaults.base import LARGEST, NAMED, first_line

PATIENCE = 30.0  # s; it may have to ask its user
_LOOK = 0.1  # s between two looks whether it has ended


class Command:
    """Implements ``vaults.base.Vault``. Only the program's name is ever shown, not its arguments."""

    def __init__(self, words: list[str], patience: float = PATIENCE) -> None:
        self.words = words
        self.patience = patience
        self.where = f"the command {words[0]}"

    def __repr__(self) -> str:
        return f"Command({self.words[0]!r})"

    def read(self) -> str:
        """Run it and return the first line that it prints; what it says on stderr goes to ours."""
        try:
            process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # noqa: S603 - the user's own
        except FileNotFoundError:
            raise NotAllowedError(f"there is no program {self.words[0]}, which should print the credential.",
                                  NAMED) from None  # fmt: skip
        except PermissionError:
            raise NotAllowedError(f"{self.where} may not be run.", "Check the file's rights.") from None
        except OSError as error:
            raise InputError(f"{self.where} cannot be run: {error.strerror}.") from None
        deadline = time.monotonic() + self.patience
        with process:
            try:
                printed = self._printed(process, deadline)
                code = process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                raise self._late() from None
            finally:
                process.kill()
        if code:
            how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
            raise NotAllowedError(f"{self.where}, which should print the credential, ended {how}.")
        return first_line(printed, f"what {self.where} prints")

    def _printed(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        """All that it prints until it ends, as far as that may be a secret.

        What it left running, such as an agent, may keep its stdout open for long.
        """
        stdout = cast("IO[bytes]", process.stdout).fileno()
        printed = b""
        while (left := deadline - time.monotonic()) > 0:
            has_ended = process.poll() is not None
            if select.select([stdout], [], [], 0 if has_ended else min(left, _LOOK))[0]:
                piece = os.read(stdout, LARGEST)
                printed += piece
                if len(printed) > LARGEST:
                    raise InputError(f"{self.where} prints more than a secret.", f"At most {LARGEST:,} bytes.")
                has_ended = not piece
            if has_ended:
                return printed
        raise self._late()

    def _late(self) -> UnreachableError:
        return UnreachableError(f"{self.where} has printed no credential within {self.patience:g} s.")


def open_vault(place: str, account: str) -> Command:  # noqa: ARG001 - every kind has it
    """The command of those words."""
    try:
        words = shlex.split(place)
    except ValueError:
        words = []
    if not words:
        raise UsageError("the command for the credential cannot be read.", "A quote may be missing.")
    return Command(words)
