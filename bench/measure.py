"""Runs commands and measures them."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
PYTHON = [sys.executable]
TOKCTL = [str(BIN / "tokctl")]
SQLITE_UTILS = [str(BIN / "sqlite-utils")]

# Starts a command in a pseudo-terminal of 120 columns, and reads what it writes.
TERMINAL_RUNNER = """
import fcntl, os, pty, struct, sys, termios, time
began = time.perf_counter()
pid, terminal = pty.fork()
if not pid:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
try:
    while os.read(terminal, 65536):
        pass
except OSError:  # the other end is closed
    pass
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""

# Starts a command and measures it. A process of its own, and a small one: what it starts begins with its peak memory.
RUNNER = """
import os, sys, time
nowhere = os.open(os.devnull, os.O_WRONLY)
files = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, nowhere, 1)]
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=files)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Side:
    """A command, with what it took: seconds, those of the processors, KiB.

    Its output goes nowhere, or to a terminal.
    """

    command: Sequence[str]
    cleanup: Sequence[Path] = ()
    stdin: str = "/dev/null"
    terminal: bool = False
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Run the command once, and keep its time and peak memory."""
        for path in self.cleanup:
            path.unlink(missing_ok=True)
        runner = TERMINAL_RUNNER if self.terminal else RUNNER
        command = [sys.executable, "-I", "-S", "-c", runner, self.stdin, *map(str, self.command)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(self.command)}: {done.stderr}")
        seconds, busy, peak = done.stdout.split()
        self.seconds.append(float(seconds))
        self.busy.append(float(busy))
        self.peak.append(int(peak))

    @property
    def ms(self) -> float:
        """How long it took."""
        return statistics.median(self.seconds) * 1000

    @property
    def busy_ms(self) -> float:
        """How long it kept processors busy: on a busy machine that is the steadier figure."""
        return statistics.median(self.busy) * 1000

    @property
    def megabytes(self) -> float:
        """Peak memory."""
        return statistics.median(self.peak) / 1024


@dataclass
class Line:
    """Two commands that do the same work. ``aim`` is the ratio of times, or of times and of memory."""

    title: str
    aim: str
    ours: Side
    peer: Side
    name: str
    rounds: int


def in_turn(sides: Sequence[Side], rounds: int) -> None:
    """Run each once unmeasured, so that bytecode and the file cache are warm for all, then all in turn."""
    for number in range(rounds + 1):
        for side in sides:
            side.run()
            if number == 0:
                for figures in (side.seconds, side.busy, side.peak):
                    figures.clear()


def header() -> None:
    """Begin a table of lines."""
    print("| what | ms | MB | beside | ms | MB | time | processor time | memory | aim |")
    print("|---|--:|--:|---|--:|--:|--:|--:|--:|--:|")


def measure(line: Line) -> None:
    """Run both sides in turn and print their line."""
    ours, peer = line.ours, line.peer
    in_turn((ours, peer), line.rounds)
    print(
        f"| {line.title} | {ours.ms:,.0f} | {ours.megabytes:.0f} | {line.name} | {peer.ms:,.0f} | {peer.megabytes:.0f} "
        f"| **{ours.ms / peer.ms:.2f}** | {ours.busy_ms / peer.busy_ms:.2f} "
        f"| {ours.megabytes / peer.megabytes:.2f} | {line.aim} |",
        flush=True,
    )
