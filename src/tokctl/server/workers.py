"""Worker processes that share a socket: forked before anything is opened, restarted when they fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokctl.errors import TokctlError

RESTART_DELAY_SECONDS = 1.0  # before a worker is started again
MIN_UPTIME_SECONDS = 2.0  # a worker that ends sooner has failed to start
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder of shared metrics; prometheus-client reads it on import."""
_READY = b"R"


def get_end_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a server, including SIGHUP unless it is ignored (nohup)."""
    signals = (signal.SIGINT, signal.SIGTERM)
    hangup = getattr(signal, "SIGHUP", None)
    return signals if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else (*signals, hangup)


class Workers:
    """Worker processes. ``work`` runs one, calls its argument when it is ready, and returns the exit code.

    ``announce`` is called once, when all workers are ready.
    """

    def __init__(
        self, number: int, work: Callable[[Callable[[], object]], int], announce: Callable[[], object]
    ) -> None:
        self.number = number
        self.work = work
        self.announce = announce
        self.alive: dict[int, float] = {}
        self.signals: tuple[signal.Signals, ...] = ()
        self.ending = False
        self.orphaned = False  # in a worker: the parent was killed
        self.result = 0
        self.events = os.pipe()  # one byte for each ready worker, and the number of each signal
        self.lifetime_pipe = os.pipe()  # closed when this process ends for any reason

    def run(self) -> int:
        """Run workers until a signal; returns 0 if all stopped normally, otherwise an exit code of one."""
        folder = tempfile.mkdtemp(prefix="tokctl-metrics-")
        os.environ[METRICS_FOLDER] = folder
        self.signals = get_end_signals()
        before = {number: signal.signal(number, self._end) for number in self.signals}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        os.set_blocking(self.events[1], False)
        signal.set_wakeup_fd(self.events[1], warn_on_full_buffer=False)
        try:
            for _ in range(self.number):
                self._start()
            self._watch(folder)
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            shutil.rmtree(folder, ignore_errors=True)
        return self.result

    def _end(self, number: int, _frame: Any) -> None:
        self.ending = True
        for pid in self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)  # a signal between fork and the assignment would be lost
        pid = os.fork()
        if pid:
            self.alive[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)
            return
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in self.signals:
                signal.signal(number, lambda *_: os._exit(0))  # before it listens there is nothing to finish
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)
            os.close(self.lifetime_pipe[1])
            threading.Thread(target=self._exit_with_parent, daemon=True).start()
            code = self.work(lambda: os.write(self.events[1], _READY))
        except TokctlError as error:
            sys.stderr.write(f"error: {error}\n")
            code = error.exit_code
        finally:
            if self.orphaned:
                shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)
            sys.stderr.flush()
            os._exit(code)

    def _exit_with_parent(self) -> None:
        os.read(self.lifetime_pipe[0], 1)
        self.orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _watch(self, folder: str) -> None:
        ready = 0
        while self.alive:
            events = os.read(self.events[0], 512)
            if ready < self.number:
                ready += events.count(_READY)
                if ready >= self.number and not self.ending:
                    self.announce()
            self._replace_ended(folder, begun=ready >= self.number)

    def _replace_ended(self, folder: str, *, begun: bool) -> None:
        while self.alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            began = self.alive.pop(pid, 0.0)
            self._forget(folder, pid)
            code = abs(os.waitstatus_to_exitcode(status))
            if self.ending:
                self.result = self.result or code
                continue
            if not begun and code:  # a new one would fail, too
                self.result = code
                self._end(signal.SIGTERM, None)
                continue
            if time.monotonic() - began < MIN_UPTIME_SECONDS:
                time.sleep(RESTART_DELAY_SECONDS)
            if not self.ending:
                self._start()

    def _forget(self, folder: str, pid: int) -> None:
        """Remove the requests in flight of an ended worker from the metrics."""
        for file in Path(folder).glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)
