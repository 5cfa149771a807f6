"""Builds and starts the real Strapi from npm, over SQLite, on loopback and without its admin panel."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from live.engine_programs import APPS, free_port, locked

APP = APPS / "strapi"
EMAIL, PASSWORD = "admin@example.com", "Correct-horse-1"
START_SECONDS = 180
MIN_NODE = 20
NEEDED = ("node", "npm", "g++", "make", "python3")


class Strapi(NamedTuple):
    """A running Strapi: its address, and its database."""

    url: str
    database: Path

    def expire(self, name: str) -> None:
        """Let an API token have expired a minute ago, which no request can."""
        past = int(time.time() - 60) * 1000
        with sqlite3.connect(self.database, timeout=10) as database:
            done = database.execute("update strapi_api_tokens set expires_at = ? where name = ?", (past, name))
        assert done.rowcount == 1


def need_node() -> None:
    """Skip the test where Node.js 20, npm or a C++ compiler is missing; fail where CI has to run it."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if "node" not in missing:
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        if int(version.lstrip("v").partition(".")[0]) < MIN_NODE:
            missing.append(f"Node.js {MIN_NODE} (there is {version})")
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not installed: {', '.join(missing)}")


def build() -> Path:
    """Return the application with its packages and a database with an administrator, unless they are in the cache."""
    sources = [APP / "package.json", APP / "start.js", *sorted((APP / "config").iterdir())]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokctl-tests"
    built = cache / f"strapi-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "strapi.lock"):
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                app = Path(folder) / "app"
                shutil.copytree(APP, app)
                for name in ("src/api", "public/uploads"):
                    (app / name).mkdir(parents=True)
                npm(
                    app,
                    "install",
                    "--prefer-offline",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                )
                npm(app, "rebuild", "better-sqlite3", "--build-from-source")  # its binary is on another host
                with running(app, app / "data.db") as strapi:
                    known = {"firstname": "A", "lastname": "B", "email": EMAIL, "password": PASSWORD}
                    assert httpx.post(f"{strapi.url}/admin/register-admin", json=known, timeout=30).is_success
                app.replace(built)
    return built


def npm(folder: Path, *words: str) -> None:
    """Run npm in a folder. Native code is compiled with the headers of the installed Node.js, if it has them."""
    prefix = Path(shutil.which("node") or "").resolve().parent.parent
    headers = {"npm_config_nodedir": str(prefix)} if (prefix / "include/node/node.h").exists() else {}
    done = subprocess.run(
        ["npm", *words], cwd=folder, env=os.environ | headers, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@contextmanager
def running(app: Path, database: Path) -> Iterator[Strapi]:
    """Run Strapi over a database."""
    port, log = free_port(), database.with_suffix(".log")
    environ = {"NODE_ENV": "production", "STRAPI_TELEMETRY_DISABLED": "true", "PORT": str(port)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["node", "start.js"],
            cwd=app,
            env=os.environ | environ | {"DATABASE": str(database)},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    strapi = Strapi(f"http://127.0.0.1:{port}", database)
    try:
        began = time.monotonic()
        while not _answers(strapi.url):
            tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
            assert process.poll() is None, tail
            assert time.monotonic() < began + START_SECONDS, tail
            time.sleep(0.2)
        yield strapi
    finally:
        process.stdin.close()
        process.wait(30)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/_health", timeout=10).status_code == httpx.codes.NO_CONTENT
    return False


@contextmanager
def own_strapi(folder: Path) -> Iterator[Strapi]:
    """Run a Strapi with an administrator, and the two API tokens that every Strapi has at first."""
    need_node()
    app = build()
    database = folder / "data.db"
    shutil.copy(app / "data.db", database)
    with running(app, database) as strapi:
        yield strapi


if __name__ == "__main__":  # before the tests, which are not meant to wait for a compiler
    need_node()
    build()
