"""Full-screen output that restores the terminal afterwards."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from rich.live import Live
from rich.segment import Segment, SegmentLines

from tokctl.engines.protocol import ChangeSignal
from tokctl.render.formats.terminal import open_console
from tokctl.render.result import Output

POLL_SECONDS = 0.25  # s between two checks of the terminal's size
_TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # SIGINT is a KeyboardInterrupt


class Screen:
    """Paints on the terminal's alternate screen while the block runs; keys are not shown meanwhile.

    The last picture stays on the normal screen. Stopping (Ctrl-Z) and the signals that end a
    program restore the terminal, too.
    """

    def __init__(self, out: Output) -> None:
        self._stream = out.stream
        self._console = open_console(out)
        self._live: Live | None = None
        self._keys: int | None = None  # the terminal that is read from
        self._modes: list[Any] = []
        self._signals = ExitStack()
        self._last = SegmentLines([])
        self._suspend_requested = False

    @property
    def size(self) -> tuple[int, int]:
        """The current columns and lines of the terminal."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return (columns, lines) if columns and lines else (80, 24)

    def __enter__(self) -> Self:
        self._signals.enter_context(exit_on_signals())
        self._signals.callback(signal.signal, signal.SIGTSTP, signal.signal(signal.SIGTSTP, self._request_suspend))
        self._enter_screen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_screen()
        self._signals.close()
        with suppress(OSError):
            self._console.print(self._last, end="")

    def _enter_screen(self) -> None:
        import termios

        with suppress(termios.error, OSError, ValueError):  # stdin may be closed, or not be a terminal
            keys = sys.stdin.fileno()
            self._modes = termios.tcgetattr(keys)
            silent = [*self._modes]
            silent[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(keys, termios.TCSANOW, silent)
            self._keys = keys
        self._console.size = self.size
        self._live = Live(
            self._last,
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _leave_screen(self) -> None:
        if self._keys is not None:
            import termios

            with suppress(termios.error, OSError):
                termios.tcsetattr(self._keys, termios.TCSANOW, self._modes)
            self._keys = None
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
            self._live = None

    def _request_suspend(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._suspend_requested = True  # later, because a write to the stream may be in progress

    def _suspend(self) -> None:
        """Stop at the request of the shell; paint again when it continues."""
        self._suspend_requested = False
        self._leave_screen()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here until SIGCONT
        signal.signal(signal.SIGTSTP, self._request_suspend)
        self._enter_screen()

    def paint(self, lines: list[list[Segment]]) -> None:
        """Replace the shown lines."""
        self._last = SegmentLines(lines, new_lines=True)
        if self._live is not None:
            self._console.size = self.size
            self._live.update(self._last, refresh=True)

    def wait(self, seconds: float, paint: Callable[[], None], signal: ChangeSignal | None = None) -> bool:
        """Wait for a time or a signal; paint every second, and when the size changes. True: a key ends it."""
        end = time.monotonic() + seconds
        painted, size = time.monotonic(), self.size
        while (left := end - time.monotonic()) > 0 and not _is_set(signal):
            if self._read_quit_key(min(left, POLL_SECONDS)):
                return True
            if self._suspend_requested:
                self._suspend()
            if self.size != size or time.monotonic() - painted >= 1:
                painted, size = time.monotonic(), self.size
                paint()
        return False

    def _read_quit_key(self, seconds: float) -> bool:
        if self._keys is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([self._keys], [], [], seconds)
        if not ready:
            return False
        typed = os.read(self._keys, 1024)
        if not typed:  # stdin is closed
            time.sleep(seconds)
        return bool(set(typed) & set(b"qQ"))


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let the signals that end a program raise SystemExit in the block, so that it can restore the terminal."""
    handlers = {number: signal.signal(number, _terminate) for number in _TERMINATION_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_set(signal: ChangeSignal | None) -> bool:
    return signal is not None and (signal.is_set or bool(select.select([signal], [], [], 0)[0]))


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(128 + number)
