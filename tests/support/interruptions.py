"""Runs command lines that something happens to at one of their steps: a signal, a cut network, a full disk …

A process stands by with everything imported and forks for each run, so that hundreds of them take seconds. The steps
are the calls that leave the program: into the registry, the ledger and the place of the secret. Before the
n-th of them the run kills itself, or does what stands in ``FAULTS``.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from support.commandline import clean_environment
from support.paths import TESTS

SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP}


class Ended(NamedTuple):
    """What became of a run: exit code (negative: the signal that ended it), what it wrote, the steps it took."""

    code: int
    out: str
    err: str
    steps: list[str]


class Runs:
    """The process that stands by."""

    def __init__(self, env: dict[str, str]) -> None:
        tests = str(TESTS)
        path = os.pathsep.join(filter(None, [tests, env.pop("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(env | {"PYTHONPATH": path}),
        )

    def run(
        self,
        *words: Any,
        env: dict[str, str],
        stdin: str = "",
        at: int = -1,
        what: str = "",
        after: float = 0.0,
    ) -> Ended:
        """Run a command line, to which ``what`` happens before its step ``at``, which is after the one before that.

        It is killed ``after`` so many seconds, wherever it is then, or gets the signal ``what``; never if that is 0.
        """
        asked = {"words": [str(word) for word in words], "at": at, "what": what, "env": env, "stdin": stdin}
        asked["after"] = after
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


# --- in the process that stands by, and in those that it forks ------------------------------------------


def _full_disk() -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def _keyring_gone() -> None:
    os.environ["KEPT"] = "/nonexistent/kept"


def _network_cut() -> None:
    """From now on no connection is made, and those that there are have ended."""
    import socket

    def refuse(*_args: Any, **_more: Any) -> Any:
        raise ConnectionRefusedError(111, "Connection refused")

    socket.create_connection = refuse
    socket.socket.connect = refuse
    for name in ("send", "sendall", "recv"):
        setattr(socket.socket, name, refuse)


FAULTS = {"disk": _full_disk, "keyring": _keyring_gone, "network": _network_cut}


def _watch(asked: dict[str, Any], steps: list[str]) -> None:
    """Put what is to happen between the program and what it calls."""
    from tokctl.api_tokens.custody.ledger import Ledger
    from tokctl.api_tokens.custody.sinks import VaultSink
    from tokctl.api_tokens.registries.http import HttpRegistry
    from tokctl.api_tokens.registries.store import StoreRegistry
    from tokctl.api_tokens.registries.strapi import StrapiRegistry
    from tokctl.client import session
    from tokctl.client.sender import HttpSender

    def happen() -> None:
        if asked["what"] in SIGNALS:
            os.kill(os.getpid(), SIGNALS[asked["what"]])
        elif asked["what"]:
            FAULTS[asked["what"]]()

    def watched(kind: str, name: str, function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if kind == "HttpSender" and args[1].request.method != "POST":
                return function(*args, **more)
            steps.append(f"{kind}.{name}")
            if len(steps) == asked["at"] + 1:
                happen()
            return function(*args, **more)

        return call

    registry = ("find_by_name", "get", "create", "update", "revoke", "verify")
    in_place = (*registry, "regenerate")
    ours = (StoreRegistry, registry), (HttpRegistry, registry), (StrapiRegistry, in_place), (Ledger, ("put", "drop"))
    retry = session.retry
    session.retry = lambda attempt, _retries, **more: retry(attempt, 0, **more)  # it takes seconds
    # Before ``iter_body`` the server has done what it was asked, and nobody has seen its answer.
    for kind, names in (*ours, (VaultSink, ("probe", "save", "read_current")), (HttpSender, ("iter_body",))):
        for name in names:
            setattr(kind, name, watched(kind.__name__, name, getattr(kind, name)))


def _run_child(asked: dict[str, Any], folder: Path) -> Ended:
    """Fork for a run, and wait for its end."""
    pipes = os.pipe(), os.pipe()  # a full disk is none for pipes, as those of a script
    child = os.fork()
    if not child:
        for descriptor, (reading, writing) in enumerate(pipes, 1):
            os.close(reading)
            os.dup2(writing, descriptor)
            os.close(writing)
        _child(asked, folder)
    said = []
    for reading, writing in pipes:
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            said.append(file.read().decode())
    _, status = os.waitpid(child, 0)
    notes = folder / "steps"
    steps = json.loads(notes.read_text() or "[]") if notes.exists() else []
    return Ended(os.waitstatus_to_exitcode(status), *said, steps)


def _child(asked: dict[str, Any], folder: Path) -> None:
    steps: list[str] = []
    os.environ.update(asked["env"])
    given = os.open(folder / "in", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(given, asked["stdin"].encode())
    os.lseek(given, 0, os.SEEK_SET)
    os.dup2(given, 0)
    os.setsid()  # no terminal, as in a script
    _watch(asked, steps)
    if asked["after"]:
        # The alarm ends the process as SIGKILL does: nothing of Python runs any more.
        number = SIGNALS.get(asked["what"])
        signal.signal(signal.SIGALRM, signal.SIG_DFL if number is None else lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_REAL, asked["after"])
    from tokctl.__main__ import run

    notes = os.open(folder / "steps", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        code = run(asked["words"])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:  # noqa: BLE001 - as the interpreter does, which would leave by another way here
        traceback.print_exc()
        code = 1
    if asked["what"] == "":
        os.write(notes, json.dumps(steps).encode())
    os._exit(code)


PRELOADED = tuple(
    f"tokctl.{name}"
    for name in (
        "__main__",
        "analysis.debug.rules",
        "api_tokens",
        "cli.api_tokens",
        "cli.auth",
        "cli.command_tree",
        "cli.doctor",
        "client",
        "config",
        "documents",
        "render",
        "services",
        "store",
    )
)


def _stand_by() -> None:
    """Import what a run needs, so that each of the many runs begins as a copy of this process that has it."""
    import encodings.idna  # noqa: F401 - each run would take a while for these

    import httpx  # noqa: F401
    import keyring

    import tokctl

    keyring.get_keyring()
    for module in pkgutil.walk_packages(tokctl.__path__, "tokctl."):
        if module.name.startswith(PRELOADED):
            import_module(module.name)
    gc.freeze()  # so that no run copies what there is
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as name:
            ended = _run_child(json.loads(line), Path(name))
            sys.stdout.write(json.dumps(ended._asdict()) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _stand_by()
