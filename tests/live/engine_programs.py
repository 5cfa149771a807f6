"""Builds, starts and shares real engines: small Spring Boot applications with their REST API over H2, on loopback.

The workers of a test run share one program of each kind. Every user holds the write end of a pipe (a FIFO) that is the
program's standard input; it ends when the last of them has closed it or died, so no program outlives its tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from support.paths import TESTS

APPS = TESTS / "live" / "apps"
PROBES = {
    "operaton": "/engine-rest/engine",
    "camunda": "/engine-rest/engine",
    "flowable": "/process-api/management/engine",
}
"""What each engine answers once it has started."""
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
ARCHIVE = "classes.jsa"
"""Beside the jar: the classes as they are in memory after the start. With it an engine starts in two thirds of the
time; a JVM that cannot use it starts without."""
START_SECONDS = 180
log = logging.getLogger(__name__)


class RunningProgram(NamedTuple):
    """The address of a running engine, and what was prepared in it."""

    url: str
    prepared: dict[str, Any]


def need_java() -> None:
    """Skip the test where Java or Maven is missing; fail where CI has to run it."""
    missing = [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not installed: {', '.join(missing)}")


def build(name: str) -> Path:
    """Return the jar of an application, beside its libraries, built with Maven unless it is in the cache."""
    sources = [APPS / "pom.xml", APPS / name / "pom.xml", *sorted(APPS.glob("*/app/*.java"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + ARCHIVE.encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokctl-tests"
    built = cache / f"{name}-{digest.hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "build.lock"):  # Maven's repository takes one writer at a time
        if not built.exists():
            started = time.monotonic()
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                for source in sources:
                    copy = Path(folder) / source.relative_to(APPS)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, copy)
                run(["mvn", "-q", "-B", "package"], Path(folder) / name)
                # without the jars in a jar it starts in three quarters of the time
                run(["java", "-Djarmode=tools", "-jar", "app.jar", "extract"], Path(folder) / name / "target")
                (Path(folder) / name / "target" / "app").replace(built)
            archive_classes(name, built)
            log.warning("built %s in %.0f s", name, time.monotonic() - started)
    return built / "app.jar"


def archive_classes(name: str, built: Path) -> None:
    """Start an application once, until it is ready, to archive its classes."""
    stdin, users = os.pipe()
    try:
        options = (f"-XX:ArchiveClassesAtExit={built / ARCHIVE}", "-Dspring.context.exit=onRefresh")
        run(["java", *options, *java_arguments(name, built / "app.jar", 0)], built, stdin)
    finally:
        os.close(users)
        os.close(stdin)


def java_arguments(name: str, jar: Path, port: int) -> list[str]:
    """Return the arguments of ``java`` for an application."""
    settings = APPS / name / "application.properties"
    return [*JVM_OPTIONS, "-jar", str(jar), f"--spring.config.location=file:{settings}", f"--server.port={port}"]


def run(command: list[str], folder: Path, stdin: int = subprocess.DEVNULL) -> None:
    """Run a command in a folder; its output tells why it failed."""
    done = subprocess.run(command, cwd=folder, stdin=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def start(name: str, stdin: int, folder: Path, *options: str, port: int | None = None) -> tuple[subprocess.Popen, str]:
    """Start an engine and wait until it answers; returns the process and its address."""
    port = port or free_port()
    jar = build(name)
    began = time.monotonic()
    output = folder / "engine.log"
    with output.open("ab") as out:
        process = subprocess.Popen(
            ["java", f"-XX:SharedArchiveFile={jar.parent / ARCHIVE}", *java_arguments(name, jar, port), *options],
            stdin=stdin,
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,  # Ctrl-C ends the tests, and they end the engine
        )
    url = f"http://127.0.0.1:{port}"
    while not answers(name, url):
        tail = output.read_text(encoding="utf-8", errors="replace")[-4000:]
        assert process.poll() is None, tail
        assert time.monotonic() < began + START_SECONDS, tail
        time.sleep(0.2)
    log.warning("started %s in %.1f s", name, time.monotonic() - began)
    return process, url


def answers(name: str, url: str) -> bool:
    """Whether an engine answers at an address, be it that it wants a password."""
    with suppress(httpx.HTTPError):
        answer = httpx.get(url + PROBES[name], timeout=10)
        return answer.is_success or answer.status_code == httpx.codes.UNAUTHORIZED
    return False


@contextmanager
def shared(
    name: str, folder: Path, prepare: Callable[[str], dict[str, Any]], *options: str
) -> Iterator[RunningProgram]:
    """Use the engine of a test run, which the first user starts and prepares.

    Args:
        name: the application.
        folder: the same for all users in a test run, and for no others.
        prepare: drives the new engine at an address; what it returns is handed to every user.
        options: what the application is started with.
    """
    need_java()
    folder.mkdir(parents=True, exist_ok=True)
    pipe, marker = folder / "users.pipe", folder / "running.json"
    with locked(folder / "lock"):
        held = join(pipe)
        if held is not None and not (marker.exists() and answers(name, json.loads(marker.read_bytes())["url"])):
            os.close(held)
            held = None
        if held is None:
            held, stdin = make_pipe(pipe)
            try:
                _, url = start(name, stdin, folder, *options)
                marker.write_text(json.dumps({"url": url, "prepared": prepare(url)}), encoding="utf-8")
            except BaseException:
                os.close(held)
                raise
            finally:
                os.close(stdin)
    try:
        yield RunningProgram(**json.loads(marker.read_bytes()))
    finally:
        os.close(held)


def make_pipe(path: Path) -> tuple[int, int]:
    """Make a named pipe; returns its write end and its read end."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write = os.open(path, os.O_WRONLY)
    os.set_blocking(read, True)
    return write, read


def join(pipe: Path) -> int | None:
    """Open the write end of a pipe that a program reads; None if none does."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
