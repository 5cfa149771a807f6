"""Listens with uvicorn: one process, or several that share a socket; drains and ends when told to."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from tokctl.errors import TokctlError, UsageError
from tokctl.pepper import Pepper
from tokctl.process.model import format_time
from tokctl.server.accesslog import Log
from tokctl.server.callers import users_of
from tokctl.server.listening import BACKLOG, address_of, listen, mark_of, remove_socket, tls_context
from tokctl.server.refusals import Refusal
from tokctl.server.settings import ServeSettings
from tokctl.server.stores import open_reader

SWITCH_SECONDS = 0.001  # after which a thread that makes a long answer lets the event loop go on
SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 0.5  # a signal that comes sooner is the same one, told by a terminal or systemd and by our parent, too
RESTART_SECONDS = 1.0  # between two starts of a worker that fails
LEAST_LIFE_SECONDS = 2.0  # a worker that lives no longer has failed to start
_READY = b"R"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Names where several processes keep their figures; prometheus-client looks there when it is imported."""
_METRICS_FOLDER_ONCE = "prometheus_multiproc_dir"  # its name in older versions, which is still looked at

Tell = Callable[[str], object]


def serve(store: str, pepper: Pepper, settings: ServeSettings, tell: Tell) -> int:
    """Serve a store until told to end; returns the exit code. ``tell`` says where it listens.

    Raises:
        TokctlError: it cannot begin.
    """
    if settings.workers > 1 and not hasattr(os, "fork"):
        raise UsageError("--workers is not for this platform.", "Leave it out.")
    for name in (METRICS_FOLDER, _METRICS_FOLDER_ONCE):  # of another program: ours is made for our workers alone
        os.environ.pop(name, None)
    with contextlib.closing(open_reader(store)) as opened:
        opened.refresh()
        peppers = opened.api_tokens.peppers()
    Log(settings.access_log).close()  # what is wrong with it is said once, not by each worker
    users_of(settings)
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls_context(settings.tls_cert, settings.tls_key)
    sock = listen(settings)
    where, mark = address_of(settings, sock), mark_of(settings)
    workers = f" with {settings.workers} workers" if settings.workers > 1 else ""

    def say() -> None:
        tell(f"Listening at {where}{workers}, serving {store}. Press Ctrl-C to end.")
        if pepper.id not in peppers and (peppers or not settings.takes_jwts):
            tell("Warning: no request can be authorised: " + (
                "the store's API tokens were made with another pepper." if peppers else
                "there is no API token yet. 'tokctl api-tokens create' makes one."))  # fmt: skip

    try:
        if settings.workers == 1:
            return _work(store, pepper, settings, sock, say)
        return _Workers(settings.workers, lambda ready: _work(store, pepper, settings, sock, ready), say).run()
    finally:
        remove_socket(settings, mark)
        sock.close()


# --- one process ------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Tells when it has begun, and ends in peace: a signal is an order, not a misfortune."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.ready = ready
        self.told = 0.0  # when it was told to end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        await super().startup(sockets)
        self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain at the first signal; end at the second."""
        before = {number: signal.signal(number, self._end) for number in _signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, _number: int, _frame: Any) -> None:
        now = time.monotonic()
        if not self.should_exit:
            self.told = now
        elif now - self.told > AGAIN_SECONDS:
            self.force_exit = True
        self.should_exit = True


def _signals() -> tuple[signal.Signals, ...]:
    """The signals that end a server: a terminal that is closed, too, unless 'nohup' says otherwise."""
    hangup = getattr(signal, "SIGHUP", None)
    return SIGNALS if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else (*SIGNALS, hangup)


def _work(store: str, pepper: Pepper, settings: ServeSettings, sock: socket.socket, ready: Callable[[], object]) -> int:
    from tokctl.server.app import Application

    limits = settings.limits
    log = Log(settings.access_log)
    app = Application(store, pepper, settings, log)

    def refused(refusal: Refusal, peer: tuple[str, int] | None) -> None:
        app.metrics.answered("unmatched", "other", refusal.status, 0.0, 0)
        if log.requests:
            log.request({
                "time": format_time(datetime.now(UTC)), "client": peer[0] if peer else "unix",
                "status": refusal.status, "reason": refusal.reason or refusal.message,
            })  # fmt: skip

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what happens is told in our own log
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {}
    with contextlib.suppress(ImportError):  # httptools is not for every platform
        from tokctl.server.protocol import limited

        options["http"] = limited(limits, refused)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        interface="asgi3",
        ws="none",
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(limits.idle_seconds) or 1,
        timeout_graceful_shutdown=int(limits.drain_seconds) or 1,
        h11_max_incomplete_event_size=limits.head,
        **options,
    )
    config.load()
    if settings.tls_cert is not None and settings.tls_key is not None:
        config.ssl = tls_context(settings.tls_cert, settings.tls_key)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    server = _Server(config, ready)
    try:
        server.run(sockets=[sock])
    finally:
        if server.force_exit:  # the application was not asked to end
            app.usage.write_now()
        log.close()
    return 0 if server.started else 70


# --- several ----------------------------------------------------------------------------------------


class _Workers:
    """Processes that share a socket: begun by fork before anything is open, begun again when they fail."""

    def __init__(self, number: int, work: Callable[[Callable[[], object]], int], say: Callable[[], object]) -> None:
        self.number = number
        self.work = work
        self.say = say
        self.alive: dict[int, float] = {}
        self.signals: tuple[signal.Signals, ...] = ()
        self.ending = False
        self.orphaned = False  # in a worker: who began it has been killed
        self.result = 0
        self.news = os.pipe()  # a byte for each worker that is ready, and the number of each signal
        self.life = os.pipe()  # ends when this process does, however it does

    def run(self) -> int:
        """Run them until told to end; 0 if every one ended in peace."""
        folder = tempfile.mkdtemp(prefix="tokctl-metrics-")
        os.environ[METRICS_FOLDER] = folder
        self.signals = _signals()
        before = {number: signal.signal(number, self._end) for number in self.signals}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        os.set_blocking(self.news[1], False)
        signal.set_wakeup_fd(self.news[1], warn_on_full_buffer=False)
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
        signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)  # one that came between two lines would reach nobody
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
                signal.signal(number, lambda *_: os._exit(0))  # until it listens there is nothing to drain
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)
            os.close(self.life[1])
            threading.Thread(target=self._outlive_nobody, daemon=True).start()
            code = self.work(lambda: os.write(self.news[1], _READY))
        except TokctlError as error:
            sys.stderr.write(f"tokctl: {error}\n")
            code = error.exit_code
        finally:
            if self.orphaned:
                shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)
            sys.stderr.flush()
            os._exit(code)

    def _outlive_nobody(self) -> None:
        os.read(self.life[0], 1)
        self.orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _watch(self, folder: str) -> None:
        ready = 0
        while self.alive:
            news = os.read(self.news[0], 512)
            if ready < self.number:
                ready += news.count(_READY)
                if ready >= self.number and not self.ending:
                    self.say()
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
            if not begun and code:  # nor would another begin
                self.result = code
                self._end(signal.SIGTERM, None)
                continue
            if time.monotonic() - began < LEAST_LIFE_SECONDS:
                time.sleep(RESTART_SECONDS)
            if not self.ending:
                self._start()

    def _forget(self, folder: str, pid: int) -> None:
        """Take a worker's requests in flight out of the figures."""
        for file in Path(folder).glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)
