"""Lends an API token to a program: for ``tokctl api-tokens exec``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tokctl.errors import NotFoundError, NotSavedError, TokctlError

if TYPE_CHECKING:
    from tokctl.api_tokens.custody.creation import Custody, DeferredSignals, IssuedToken
    from tokctl.api_tokens.registries.protocol import ApiTokenSpec

EXIT_NOT_FOUND = 127
EXIT_CANNOT_RUN = 126
_FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGQUIT)

Notify = Callable[[str], object]


class ProgramProblem(Struct, frozen=True):
    """Why a program cannot be run, and the exit code that shells give then: 126 or 127."""

    message: str
    exit_code: int


def check_program(name: str) -> ProgramProblem | None:
    """Check beforehand whether a program can be run; None if it can."""
    if shutil.which(name) is not None:
        return None
    if os.path.lexists(name) and os.sep in name:
        return ProgramProblem(f"cannot run {name}", EXIT_CANNOT_RUN)
    return ProgramProblem(f"program {name} not found", EXIT_NOT_FOUND)


def run_with_api_token(
    custody: Custody,
    spec: ApiTokenSpec,
    program: Sequence[str],
    environ: Mapping[str, str],
    variable: str,
    notify: Notify,
) -> int:
    """Create an API token, run a program with its secret in an environment variable, and always revoke it at the end.

    Signals that the program does not get are delivered at the end; one that comes during the creation keeps the program
    from being run. If this process is killed, the API token is an orphan until it expires, so it should expire.
    ``notify`` receives a message if the program cannot be run. Returns the exit code as ``run_program``.

    Raises TokctlError: the API token cannot be created; NotSavedError: it could not be revoked.
    """
    from tokctl.api_tokens.custody.creation import defer_signals
    from tokctl.api_tokens.custody.sinks import ProgramSink

    code = 0
    entry = custody.plan(spec, ProgramSink.name)
    with custody.ledger.open_entry(entry), defer_signals() as deferred:
        issued = custody.create_and_save(spec, ProgramSink(), entry)
        try:
            if deferred.first is None:
                code = run_program(program, {**environ, variable: issued.secret}, deferred, notify)
        finally:
            _revoke_lent(custody, issued)
    deferred.deliver()
    return code


def _revoke_lent(custody: Custody, issued: IssuedToken) -> None:
    token = issued.token
    try:
        with suppress(NotFoundError):
            custody.registry.revoke(str(token.id), reason="the program has ended")
    except TokctlError as error:
        raise NotSavedError(
            f"API token {token.id} '{token.name}' could not be revoked: {error.message}",
            "It expires on its own. To revoke it earlier, run 'tokctl api-tokens revoke --orphans'.",
        ) from None
    custody.ledger.drop(issued.entry)


def run_program(program: Sequence[str], environ: Mapping[str, str], deferred: DeferredSignals, notify: Notify) -> int:
    """Run a program and return its exit code, 128 and the signal's number if one ended it.

    TERM and HUP are passed on to it. INT and QUIT are left to it: the terminal sends them to both.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward_signal(number: int, _frame: Any) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    before = {number: signal.signal(number, forward_signal) for number in _FORWARDED_SIGNALS}
    before |= {number: signal.signal(number, lambda *_: None) for number in _IGNORED_SIGNALS}
    try:
        try:
            process = subprocess.Popen(list(program), env=dict(environ))  # noqa: S603 - the user's own
        except OSError as error:
            notify(f"error: cannot run {program[0]}: {error.strerror}.")
            return EXIT_CANNOT_RUN
        if deferred.first is not None:  # it came before these handlers were installed
            early.append(deferred.first)
            deferred.first = None
        for number in early:
            process.send_signal(number)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
