"""Lets signals wait while a secret is on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAID = b"tokctl: waiting until the secret is safe; a moment.\n"


class Held:
    """The signals that came."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal, and say that it was heard."""
        if self.first is None:
            self.first = signal.Signals(number)
            with suppress(OSError):
                os.write(2, _SAID)

    def deliver(self) -> None:
        """Do what the first of them asked for.

        Raises:
            KeyboardInterrupt: it was INT.
            SystemExit: another, with 128 and its number.
        """
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt
        if self.first is not None:
            raise SystemExit(128 + self.first)


@contextmanager
def unhurried() -> Iterator[Held]:
    """Within it INT, TERM and HUP wait; the caller delivers them when all is told. Only the main thread has signals."""
    held = Held()
    kept: dict[signal.Signals, Any] = {}
    try:
        for number in WAITING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                kept[number] = signal.signal(number, held)
        yield held
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
