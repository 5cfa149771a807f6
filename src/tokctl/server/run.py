"""Runs uvicorn, in one process or several, until a signal; requests under way are finished first."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from tokctl.api_tokens.pepper import Pepper
from tokctl.errors import StoreError, UsageError
from tokctl.server.access_log import AccessLog
from tokctl.server.authentication import create_jwt_verifier
from tokctl.server.lifetimes import MaxLifetimes
from tokctl.server.settings import ServeSettings
from tokctl.server.sockets import BACKLOG, create_tls_context, format_address, listen, read_socket_inode, remove_socket
from tokctl.server.workers import METRICS_FOLDER, Workers, get_end_signals
from tokctl.store import open_store
from tokctl.store.seen_heads import find_rollback, remember_head

if TYPE_CHECKING:
    from tokctl.server.endpoint import WebPages  # imports prometheus-client: METRICS_FOLDER must be set

SWITCH_INTERVAL_SECONDS = 0.001  # after this time a thread that makes a long response yields to the event loop
REPEATED_SIGNAL_SECONDS = 0.5  # within this time it is the same signal: terminals and systemd signal parent and workers
EXIT_SOFTWARE_ERROR = 70
_LEGACY_METRICS_FOLDER = "prometheus_multiproc_dir"  # prometheus-client still reads this name

Notify = Callable[[str], object]


def serve(
    store: str,
    pepper: Pepper,
    settings: ServeSettings,
    notify: Notify,
    load_pages: Callable[[], WebPages] | None = None,
) -> int:
    """Serve a store until a signal; returns the exit code. ``notify`` gets the address and warnings.

    ``load_pages`` returns pages to serve in addition to the APIs; each worker calls it.

    Raises:
        TokctlError: the server cannot start.
    """
    if settings.workers > 1 and not hasattr(os, "fork"):
        raise UsageError("--workers is not supported on this platform.", "Remove it.")
    for name in (METRICS_FOLDER, _LEGACY_METRICS_FOLDER):  # set by another program: ours is for our workers only
        os.environ.pop(name, None)
    with contextlib.closing(open_store(store)) as opened:
        for change in opened.find_damage(0):
            raise StoreError(f"{change}, so it is not served.", "Restore a backup.")
        peppers = opened.api_tokens.peppers()
        rollback = find_rollback(opened)
        remember_head(opened)
    AccessLog(settings.access_log).close()  # opened here too, so that errors are raised once, not in each worker
    create_jwt_verifier(settings)
    MaxLifetimes(settings.max_lifetimes)
    create_tls_context(settings)
    sock = listen(settings)
    address, inode = format_address(settings, sock), read_socket_inode(settings)

    def announce() -> None:
        workers = f" with {settings.workers} workers" if settings.workers > 1 else ""
        notify(f"Listening on {address}{workers}, serving {store}. Press Ctrl-C to stop.")
        _warn_if_locked_out(pepper, peppers, settings, notify)
        if rollback is not None:
            notify(f"warning: the store {store}: {rollback.message} {rollback.advice}")

    def work(ready: Callable[[], object]) -> int:
        return _run_worker(store, pepper, settings, sock, ready, load_pages)

    try:
        return work(announce) if settings.workers == 1 else Workers(settings.workers, work, announce).run()
    finally:
        remove_socket(settings, inode)
        sock.close()


def _warn_if_locked_out(pepper: Pepper, peppers: set[str], settings: ServeSettings, notify: Notify) -> None:
    if pepper.id in peppers or (not peppers and settings.accepts_jwts):
        return
    if peppers:
        reason = "the store's API tokens were created with another pepper."
    else:
        reason = "the store has no API token. Create one with 'tokctl api-tokens create'."
    notify(f"warning: the server will reject all requests: {reason}")


def _run_worker(
    store: str,
    pepper: Pepper,
    settings: ServeSettings,
    sock: socket.socket,
    ready: Callable[[], object],
    load_pages: Callable[[], WebPages] | None,
) -> int:
    from tokctl.server.application import Application  # imports prometheus-client: METRICS_FOLDER must be set
    from tokctl.server.connection import guard_connections

    def on_startup() -> None:
        _drain_on_signals(server)  # uvicorn has already set its own handlers
        ready()

    log = AccessLog(settings.access_log)
    app = Application(store, pepper, settings, log, on_startup, pages=load_pages and load_pages())
    config = _make_config(app, settings)
    config.http_protocol_class = guard_connections(
        config.http_protocol_class, settings.limits, app.log_refusal, app.services.proxies.trusts
    )
    server = uvicorn.Server(config)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        server.run(sockets=[sock])
    finally:
        if server.force_exit:  # then the lifespan of the application was not ended
            app.services.usage.write_now()
        log.close()
    return 0 if server.started else EXIT_SOFTWARE_ERROR


def _make_config(app: object, settings: ServeSettings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the access log has its own events
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    limits = settings.limits
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
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
    )
    config.load()
    config.ssl = create_tls_context(settings)
    return config


def _drain_on_signals(server: uvicorn.Server) -> None:
    """Finish the requests at the first signal, and stop at once at the second; the exit code stays 0."""
    first = 0.0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if not server.should_exit:
            first = now
        elif now - first > REPEATED_SIGNAL_SECONDS:
            server.force_exit = True
        server.should_exit = True

    for number in get_end_signals():
        signal.signal(number, handle)
