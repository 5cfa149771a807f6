"""``command:WORDS``: a program that takes a secret on its stdin, such as ``gh secret set``. No shell is between."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Thread
from typing import IO, cast

from tokctl.access.secret import mask
from tokctl.errors import InputError, NotAllowedError, UnreachableError, UsageError
from tokctl.vaults.base import LARGEST

PATIENCE = 60.0  # s; it may have to reach something far away
LINGER = 0.5  # s for the rest of what it says: something that it leaves running may keep its stdout open
LONGEST = 2000  # characters of what it says that are passed on


class Receiver:
    """Implements ``vaults.base.Keeper``. What it has taken cannot be read back; its exit code is believed."""

    def __init__(self, words: list[str], patience: float = PATIENCE) -> None:
        self.words = words
        self.patience = patience
        self.name = f"command:{shlex.join(words)}"
        self.where = f"the command {words[0]}"

    def probe(self) -> None:
        """See that there is such a program."""
        if shutil.which(self.words[0]) is None:
            raise UsageError(f"there is no program {self.words[0]}, which is to take the secret.",
                             "Check its name, or give its path.")  # fmt: skip

    def write(self, secret: str) -> None:
        """Run it, with the secret on its stdin and nothing behind it; what it says goes to our stderr, masked."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own
                self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                start_new_session=True,  # an interruption that waits for us must not end it
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"{self.where} cannot be run: {error.strerror}.") from None
        said = bytearray()
        listening = Thread(target=_listen, args=(process.stdout, said), daemon=True)
        listening.start()
        try:
            with suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as stdin:  # it may need no secret
                stdin.write(secret.encode())
            code = process.wait(self.patience)
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"{self.where} has not ended within {self.patience:g} s.") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # and what it runs
                process.wait()
            listening.join(LINGER)
            _repeat(bytes(said), secret)
        if code:
            how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
            raise NotAllowedError(f"{self.where}, which was to take the secret, ended {how}.")

    def held(self) -> str | None:
        """Nobody can tell."""
        return None


def _listen(stdout: IO[bytes], said: bytearray) -> None:
    """Take in what it says; of what is too long only the beginning is kept."""
    with stdout:
        while piece := stdout.read(LARGEST):
            said += piece[: LARGEST - len(said)]


def _repeat(said: bytes, secret: str) -> None:
    if len(said) == LARGEST:
        said = said[: -len(secret)]  # it may end within the secret
    text = said.decode(errors="replace").replace(secret, mask(secret))[-LONGEST:].rstrip()
    with suppress(OSError):
        sys.stderr.write(f"{text}\n" if text else "")


def open_keeper(place: str, account: str, *, replace: bool) -> Receiver:  # noqa: ARG001 - every kind has them
    """The command of those words."""
    try:
        words = shlex.split(place)
    except ValueError:
        words = []
    if not words:
        raise UsageError("the command that is to take the secret cannot be read.", "A quote may be missing.")
    return Receiver(words)
