"""A program in a pseudo-terminal, and the screen that a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from select import select
from typing import Self

import pyte
from rich.cells import cell_len

from support.commandline import clean_environment

PATIENCE = 30.0  # s; for a machine that is busy


def fits(line: str, room: int) -> bool:
    """Tell whether a line fits on a terminal; one with a command may not: the terminal itself folds it, to copy it."""
    return cell_len(line) <= room or "tokctl " in line


class _Screen(pyte.Screen):
    """Pyte's screen, with the alternate screen and the hidden cursor that it does not know."""

    alternate = False

    def set_mode(self, *modes: int, **kwargs: bool) -> None:
        if kwargs.get("private") and 1049 in modes:
            self.alternate = True
            self.erase_in_display(2)
        super().set_mode(*modes, **kwargs)

    def reset_mode(self, *modes: int, **kwargs: bool) -> None:
        if kwargs.get("private") and 1049 in modes and self.alternate:
            self.alternate = False
            self.erase_in_display(2)  # nothing stood on the normal one
            self.cursor_position()
        super().reset_mode(*modes, **kwargs)


class Terminal:
    """Runs ``python -m tokctl`` in a pseudo-terminal of a size, or what runs it. Use it in a ``with`` block."""

    def __init__(
        self,
        *words: object,
        columns: int = 80,
        lines: int = 24,
        env: dict[str, str] | None = None,
        shell: Sequence[str] = (),
    ) -> None:
        self.master, self.slave = pty.openpty()
        self.screen = _Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._set_size(columns, lines)
        self.modes = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, *shell, "-m", "tokctl", *map(str, words)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=clean_environment({"TERM": "xterm-256color", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"} | (env or {})),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is a signal
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, as a person who pulls at the window."""
        self.screen.resize(lines, columns)
        self.screen.erase_in_display(2)
        self._set_size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def read(self, seconds: float) -> None:
        """Take in what the program has written, for so long."""
        if select([self.master], [], [], seconds)[0]:
            data = os.read(self.master, 1 << 16)
            self.raw += data
            self.stream.feed(data)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def until(self, seen: Callable[[str], object] | str) -> str:
        """Read until something is on the screen (or a condition on it holds); returns the screen."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if seen in self.text if isinstance(seen, str) else seen(self.text):
                return self.text
            self.read(0.05)
        raise AssertionError(f"{seen} never came; the screen is\n{self.text}")

    def end(self) -> int:
        """Read until the program has ended; returns its exit code."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end; the screen is\n{self.text}"
            self.read(0.05)
        while select([self.master], [], [], 0.05)[0]:
            self.read(0)
        return self.process.returncode

    def unread(self) -> bytes:
        """What was typed and no program has read."""
        return os.read(self.slave, 1 << 16) if select([self.slave], [], [], 0)[0] else b""

    @property
    def as_it_was(self) -> bool:
        """Whether the terminal's modes are what they were, the cursor shows, and the normal screen is back."""
        hidden = self.raw.rfind(b"\x1b[?25l") > self.raw.rfind(b"\x1b[?25h")
        return termios.tcgetattr(self.slave) == self.modes and not hidden and not self.screen.alternate


class AnsweringTerminal(Terminal):
    """A terminal that answers once when it is asked for its attributes, as the last of several questions."""

    def __init__(self, *words: object, answers: bytes, **more) -> None:
        self.answers = answers
        self.asked = False
        super().__init__(*words, **more)

    def read(self, seconds: float) -> None:
        super().read(seconds)
        if not self.asked and b"\x1b[c" in self.raw:
            self.asked = True
            os.write(self.master, self.answers)
