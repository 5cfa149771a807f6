"""A full disk of a database: one clear line, nothing by half, and everything works when there is space again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from support.builders import ndjson, tokens
from support.database_faults import PEPPER, Scene
from support.postgresql_server import USER, PostgreSQLServer, temporary_server
from support.running_server import make_secret, serving
from tokctl.store import open_store

RECOVERY_SECONDS = 60


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    with temporary_server(synchronous_commit="on", max_wal_size="32MB", min_wal_size="32MB") as running:
        yield running


@pytest.fixture
def new_scene(tokctl, tmp_path, monkeypatch) -> Callable[[str], Scene]:
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    return lambda url: Scene(tmp_path, tokctl, lambda: url, str)


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Callable[[], None]]:
    """Mount a small file system; yields what makes it large."""
    folder.mkdir()
    size = f"size={int(megabytes * 1024)}k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the permission to mount a file system")
    shutil.chown(folder, USER)
    folder.chmod(0o700)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def large_file(folder: Path) -> Path:
    file = folder / "large.ndjson"
    file.write_bytes(ndjson(tokens(12000, "large", variables={"text": "x" * 1000})))
    return file


def test_a_full_disk(server, new_scene, tmp_path):
    with small_disk(server.folder / "small", 11) as enlarge:
        with psycopg.connect(server.url(), autocommit=True) as opened:
            opened.execute(f"CREATE TABLESPACE small LOCATION '{server.folder / 'small'}'")
            opened.execute("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
        scene, file = new_scene(server.url("small")), large_file(tmp_path)
        ran = scene.run("store", "import", file, *scene.where)
        assert (ran.code, "the disk is full" in ran.err) == (6, True), ran
        enlarge()
        with open_store(scene.place) as store:
            assert list(store.all_instance_ids()) == ["i1"]
        assert scene.run("tokens", "list", "i1", *scene.where).code == 0
        assert scene.run("store", "import", file, *scene.where).code == 0
        server.stop()


def test_a_full_disk_of_the_write_ahead_log(server, new_scene, tmp_path):
    """PostgreSQL stops, and does not start before there is space."""
    server.stop("fast")
    log = server.data / "pg_wal"
    used = sum(file.stat().st_size for file in log.rglob("*") if file.is_file())
    with small_disk(server.folder / "small", used / 2**20 + 4) as enlarge:
        subprocess.run(["cp", "-a", f"{log}/.", str(server.folder / "small")], check=True)
        shutil.rmtree(log)
        log.symlink_to(server.folder / "small")
        server.start()
        scene, file = new_scene(server.url()), large_file(tmp_path)
        secret, _ = make_secret(scene.place, "reader", "*")
        with serving(scene.url) as served:

            def get() -> int:
                answer = served.get("/api/v1/processes/i1/tokens", secret)
                assert answer.status_code != 503 or int(answer.headers["retry-after"]) > 0
                return answer.status_code

            assert get() == 200
            while (server.data / "postmaster.pid").exists():  # it may stop only at the next one
                ran = scene.run("store", "import", file, *scene.where)
                assert ran.code == 5 or (ran.code == 6 and "the disk is full" in ran.err), ran
            case = scene.cases()["create"]()
            for words in (["tokens", "list", "i1", *scene.where], case.words):
                assert scene.run(*words).code == 5
            assert get() == 503
            enlarge()
            server.stop()
            server.start()
            deadline = time.monotonic() + RECOVERY_SECONDS
            while get() != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with open_store(scene.place) as store:
            assert list(store.all_instance_ids()) == ["i1"]
        assert scene.run("store", "import", file, *scene.where).code == 0
        assert scene.run(*case.words).code == 0
        assert case.is_done()
        server.stop()
