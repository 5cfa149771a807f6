"""A picture that fills the terminal, and leaves it as it was."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

TICK = 0.25  # s between two looks at the terminal's size
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # the alternate screen; no cursor; no folding at the edge
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # SIGINT is a KeyboardInterrupt


class Screen:
    """Paints on the terminal's alternate screen while the block runs; keys are not shown meanwhile.

    What was painted last is left behind on the normal screen. Stopping (Ctrl-Z) and the signals that end a
    program leave the terminal as it was, too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._keys: int | None = None  # the terminal that is read from
        self._modes: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._last: list[str] = []
        self._stopping = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal as it is now."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        if columns and lines:
            return columns, lines
        return shutil.get_terminal_size((80, 24))

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, _terminate) for number in _ENDING}
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        with suppress(OSError):
            self._stream.write("".join(f"{line}\n" for line in self._last))
            self._stream.flush()

    def _begin(self) -> None:
        import termios

        with suppress(termios.error, OSError, ValueError):  # stdin may be no terminal, or nothing at all
            keys = sys.stdin.fileno()
            self._modes = termios.tcgetattr(keys)
            silent = [*self._modes]
            silent[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(keys, termios.TCSANOW, silent)
            self._keys = keys
        self._stream.write(_ENTER)
        self._stream.flush()

    def _end(self) -> None:
        if self._keys is not None:
            import termios

            with suppress(termios.error, OSError):
                termios.tcsetattr(self._keys, termios.TCSANOW, self._modes)
            self._keys = None
        with suppress(OSError):
            self._stream.write(_LEAVE)
            self._stream.flush()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True  # a moment later, for the stream may just be written to

    def _rest(self) -> None:
        """Stop as the shell has asked for, and paint once it goes on."""
        self._stopping = False
        self._end()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # here it stops, and goes on
        signal.signal(signal.SIGTSTP, self._stop)
        self._begin()
        self._paint()

    def paint(self, lines: list[str]) -> None:
        """Show lines in place of what was there."""
        self._last = lines
        self._paint()

    def _paint(self) -> None:
        self._stream.write("\x1b[H" + "\x1b[K\n".join(self._last) + "\x1b[K\x1b[J")
        self._stream.flush()

    def wait(self, seconds: float, paint: Callable[[], None]) -> bool:
        """Wait; paint every second, and when the size changes. Returns early with True for a key that ends it."""
        end = time.monotonic() + seconds
        painted, size = time.monotonic(), self.size
        while (left := end - time.monotonic()) > 0:
            if self._quits(min(left, TICK)):
                return True
            if self._stopping:
                self._rest()
            if self.size != size or time.monotonic() - painted >= 1:
                painted, size = time.monotonic(), self.size
                paint()
        return False

    def _quits(self, seconds: float) -> bool:
        if self._keys is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([self._keys], [], [], seconds)
        if not ready:
            return False
        typed = os.read(self._keys, 1024)
        if not typed:  # nobody types any more
            time.sleep(seconds)
        return bool(set(typed) & set(b"qQ"))


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(128 + number)
