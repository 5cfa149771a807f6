"""``command:WORDS``: a program that prints a secret, such as a password manager, or takes one on its stdin.

No shell is involved, and the program does not inherit variables with secrets of tokctl. Messages name the program, but
never its arguments, which may hold secrets.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Thread
from typing import IO

from tokctl.api_tokens.secrets import mask
from tokctl.api_tokens.vaults.protocol import MAX_SECRET_BYTES, MayReplace, parse_secret_line, translate_source_errors
from tokctl.config.secret_variables import without_secrets
from tokctl.errors import InputError, NotAllowedError, UnreachableError, UsageError

READ_TIMEOUT_SECONDS = 30.0  # the program may have to ask its user
WRITE_TIMEOUT_SECONDS = 60.0  # the program may have to reach a remote service
OUTPUT_GRACE_SECONDS = 0.5  # to wait for the rest of the output; background processes may keep stdout open
MAX_OUTPUT_CHARS = 2000  # characters of a program's output that are forwarded to stderr
_POLL_SECONDS = 0.1  # between two checks whether the program has ended


class CommandSource:
    """A program that prints a secret. Implements ``protocol.SecretSource``."""

    def __init__(self, words: list[str], timeout: float = READ_TIMEOUT_SECONDS) -> None:
        self.words = words
        self.timeout = timeout
        self.where = f"the command {words[0]}"

    def __repr__(self) -> str:
        return f"CommandSource({self.words[0]!r})"

    def read(self) -> str:
        """Run the program and return the first line of its stdout; its stderr goes to the stderr of tokctl."""
        missing = f"cannot read the credential: program {self.words[0]} not found."
        with translate_source_errors(self.where, "run", missing):
            process = subprocess.Popen(  # noqa: S603 - the user's own
                self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=without_secrets(os.environ)
            )
        deadline = time.monotonic() + self.timeout
        with process:
            try:
                printed = self._read_output(process, deadline)
                code = process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                raise self._timeout_error() from None
            finally:
                process.kill()
        if code:
            raise NotAllowedError(f"cannot read the credential: {self.where} {_format_exit(code)}.")
        return parse_secret_line(printed, f"the output of {self.where}")

    def _read_output(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        """Return the output up to the end of the program, at most as long as a secret.

        The end of the output is not enough: a process left running, such as an agent, may keep stdout open.
        """
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        stdout = process.stdout.fileno()
        printed = b""
        while (left := deadline - time.monotonic()) > 0:
            has_ended = process.poll() is not None
            if select.select([stdout], [], [], 0 if has_ended else min(left, _POLL_SECONDS))[0]:
                piece = os.read(stdout, MAX_SECRET_BYTES)
                printed += piece
                if len(printed) > MAX_SECRET_BYTES:
                    raise InputError(
                        f"the output of {self.where} is too long for a secret.",
                        f"The maximum is {MAX_SECRET_BYTES:,} bytes.",
                    )
                has_ended = not piece
            if has_ended:
                return printed
        raise self._timeout_error()

    def _timeout_error(self) -> UnreachableError:
        return UnreachableError(f"cannot read the credential: {self.where} printed nothing within {self.timeout:g} s.")


class CommandSink:
    """A program that takes a secret on stdin, such as ``gh secret set``. Implements ``protocol.SecretSink``.

    The secret cannot be read back: exit code 0 means that it was saved.
    """

    def __init__(self, words: list[str], timeout: float = WRITE_TIMEOUT_SECONDS) -> None:
        self.words = words
        self.timeout = timeout
        self.name = f"command:{shlex.join(words)}"
        self.where = f"the command {words[0]}"

    def probe(self) -> None:
        """Check that the program exists. Raises UsageError."""
        if shutil.which(self.words[0]) is None:
            raise UsageError(
                f"cannot save the secret: program {self.words[0]} not found.",
                "Check the name, or use a path.",
            )

    def write(self, secret: str) -> None:
        """Run the program with the secret on its stdin, without a newline; forward its output to stderr, masked."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=without_secrets(os.environ),
                bufsize=0,
                start_new_session=True,  # Ctrl-C, which is deferred here, must not end the program
            )
        except OSError as error:
            raise InputError(f"cannot run {self.where}: {error.strerror}.") from None
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        output = bytearray()
        reader = Thread(target=_collect_output, args=(process.stdout, output), daemon=True)
        reader.start()
        try:
            with suppress(BrokenPipeError), process.stdin as stdin:  # the program may not read its stdin
                stdin.write(secret.encode())
            code = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"{self.where} did not exit within {self.timeout:g} s.") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with its child processes
                process.wait()
            reader.join(OUTPUT_GRACE_SECONDS)
            _forward_output(bytes(output), secret)
        if code:
            raise NotAllowedError(f"cannot save the secret: {self.where} {_format_exit(code)}.")

    def read_current(self) -> str | None:
        """Return None: a saved secret cannot be read back from a program."""
        return None


def _format_exit(code: int) -> str:
    return f"failed with exit code {code}" if code > 0 else f"was killed by signal {-code}"


def _collect_output(stdout: IO[bytes], output: bytearray) -> None:
    """Read all output, so that the program does not block, and keep the first ``MAX_SECRET_BYTES`` of it."""
    with stdout:
        while piece := stdout.read(MAX_SECRET_BYTES):
            output += piece[: MAX_SECRET_BYTES - len(output)]


def _forward_output(output: bytes, secret: str) -> None:
    if len(output) == MAX_SECRET_BYTES:
        output = output[: -len(secret)]  # it was cut, perhaps within the secret
    text = output.decode(errors="replace").replace(secret, mask(secret))[-MAX_OUTPUT_CHARS:].rstrip()
    with suppress(OSError):
        sys.stderr.write(f"{text}\n" if text else "")


def open_source(place: str, account: str) -> CommandSource:  # noqa: ARG001 - the same for every kind
    """Open a command line as a source. Raises UsageError: it is empty, or a quote is missing."""
    return CommandSource(_split_words(place, "invalid command for the credential."))


def open_sink(place: str, account: str, *, may_replace: MayReplace) -> CommandSink:  # noqa: ARG001 - the same for every kind
    """Open a command line as a sink. Raises UsageError: it is empty, or a quote is missing."""
    return CommandSink(_split_words(place, "invalid command for the secret."))


def _split_words(place: str, message: str) -> list[str]:
    try:
        words = shlex.split(place)
    except ValueError:
        words = []
    if not words:
        raise UsageError(message, "Check the quotes.")
    return words
