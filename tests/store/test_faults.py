"""What goes wrong outside: kills, full disks, missing rights, damage, crowds. Each ends in one clear line."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import tokctl
from support.builders import at, ndjson, token, tokens
from tokctl.errors import StoreError
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.store import open_store
from tokctl.store.protocol import Store
from tokctl.store.sqlite import connection as opening

pytestmark = pytest.mark.slow  # starts programs, or waits for them

CREATED = SortOrder("created")
NOBODY = 65534
ROOT = os.getuid() == 0
PACKAGE = Path(tokctl.__file__).parents[1]


BECOME = """
import os, pkgutil, sys, urllib.parse, urllib.request, tokctl.cli, tokctl.render, tokctl.store, tokctl.engines
from importlib import import_module
from tokctl.__main__ import main, run
for package in (tokctl.cli, tokctl.render, tokctl.store, tokctl.engines):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        import_module(module.name)  # the other user may not be able to reach where they lie
sys.stderr, stderr = open(os.devnull, "w"), sys.stderr
run(["instances", "list", "--store", "/nowhere"])  # and so where all it needs lies
sys.stderr = stderr
os.setgroups([]); os.setgid({user}); os.setuid({user}); os.environ["HOME"] = "/"  # that of the first is not his
main()
"""


def run(*arguments: object, user: int | None = None, **options) -> subprocess.CompletedProcess:
    """Run the program for real."""
    command = [sys.executable, "-m", "tokctl", *map(str, arguments)]
    if user is not None:
        command[1:3] = ["-c", BECOME.format(user=user)]
    environ = os.environ | {"PYTHONPATH": str(PACKAGE), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environ |= options.pop("environ", {})
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120, check=False, **options)


def clear_line(done: subprocess.CompletedProcess, code: int = 6) -> str:
    """Return the one line that a failed command says."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def fill(path: Path, count: int = 100, instance_id: str = "i1") -> None:
    with closing(open_store(str(path), write=True, create=True)) as store, store.write() as batch:
        batch.put_tokens(tokens(count, instance_id))


def ids(store: Store) -> dict[str, int]:
    return {name: store.instance(name).total_tokens for name in store.all_instance_ids()}


def held(path: Path) -> dict[str, int]:
    with closing(open_store(str(path))) as store:
        for name, total in ids(store).items():
            assert sum(1 for _ in store.tokens(name, ALL_TOKENS, CREATED)) == total
        assert not list(store.find_problems())
        return ids(store)


# --- kills ---


def is_being_written(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def test_a_killed_import_leaves_the_store_as_it_was(store_path):
    fill(store_path)
    before = held(store_path)
    lines = ndjson(tokens(20_000, "big", variables={"note": "x" * 900})).splitlines(keepends=True)
    data = b"".join(lines)
    chance = random.Random(7)
    environ = os.environ | {"PYTHONPATH": str(PACKAGE)}
    inside = 0
    for attempt in range(11):
        child = subprocess.Popen(
            [sys.executable, "-m", "tokctl", "store", "import", "--store", str(store_path), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
        )
        try:
            # All of it but the last line, so that the import can never be complete.
            child.stdin.write(data[: -len(lines[-1])] if attempt % 3 else data[: chance.randrange(len(data) // 2)])
            child.stdin.flush()
            time.sleep(chance.uniform(0, 0.25))
            inside += is_being_written(store_path)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(30)
            child.stdin.close()
        assert child.returncode == -signal.SIGKILL
        assert held(store_path) == before
    assert inside > 5, "no kill came while the import was writing"
    done = run("store", "import", "--store", store_path, "-", input=data.decode())
    assert done.returncode == 0, done.stderr
    assert held(store_path) == before | {"big": 20_000}


def test_a_killed_import_leaves_no_half_a_new_store(store_path):
    data = ndjson(tokens(5000)).decode()
    chance = random.Random(11)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-m", "tokctl", "store", "import", "--store", str(store_path), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        )
        time.sleep(chance.uniform(0.1, 0.5))
        child.kill()
        child.wait(30)
        child.stdin.close()
        shutil.rmtree(store_path.parent) if chance.random() < 0.3 and store_path.parent.exists() else None
    done = run("store", "import", "--store", store_path, "-", input=data)
    assert done.returncode == 0, done.stderr
    assert held(store_path) == {"i1": 5000}


# --- crowds ---

READ = """
import sys, time
from pathlib import Path
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.store import open_store

path, stop, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rounds = seen = 0
while True:
    last = stop.exists()
    store = open_store(path)
    told = list(store.instances(InstanceFilter(), SortOrder("started")))
    for one in told:
        name = one.instance.instance_id
        found = sum(1 for _ in store.tokens(name, ALL_TOKENS, SortOrder("created")))
        assert found == one.total_tokens == size == store.summary(name).total_tokens, (name, found, one)
    assert len(told) >= seen, "an instance has gone"
    seen = len(told)
    rounds += 1
    store.close()
    if last:
        break
print(rounds, seen)
"""


def test_two_writers_and_many_readers_lose_nothing(store_path, tmp_path):
    size = 400
    fill(store_path, size, "first")
    files = {}
    for writer in "ab":
        files[writer] = []
        for n in range(8):
            path = tmp_path / f"{writer}{n}.ndjson"
            path.write_bytes(ndjson(tokens(size, f"{writer}{n}")))
            files[writer].append(path)
    stop = tmp_path / "stop"
    environ = os.environ | {"PYTHONPATH": str(PACKAGE)}
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READ, store_path, stop, str(size)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for _ in range(3)
    ]
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tokctl", "store", "import", "--store", store_path, *paths],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for paths in files.values()
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    stop.touch()
    for reader in readers:
        out, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors
        rounds, seen = map(int, out.split())
        assert rounds > 1
        assert seen == 17
    assert held(store_path) == {"first": size} | {f"{w}{n}": size for w in "ab" for n in range(8)}


def test_the_same_new_store_from_four_processes_at_once(store_path):
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "tokctl", "store", "import", "--store", store_path, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        )
        for _ in range(4)
    ]
    for n, child in enumerate(starts):
        child.stdin.write(ndjson(tokens(50, f"i{n}")))
        child.stdin.close()
        child.stdin = None
    for child in starts:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    assert held(store_path) == {f"i{n}": 50 for n in range(4)}


@pytest.mark.parametrize("moment", ["SELECT count(*) FROM sqlite_master", "PRAGMA application_id"])
def test_a_store_that_another_process_creates_meanwhile(store_path, monkeypatch, moment):
    """The creation is committed right after one of the statements that tell whether this is a store."""
    store_path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(store_path)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # a database with nothing in it yet
    connect = sqlite3.connect

    class Overtaken(opening.LimitedConnection):
        done = False

        def execute(self, sql, *arguments):
            result = super().execute(sql, *arguments)
            if sql == moment and not Overtaken.done:
                Overtaken.done = True
                rows = result.fetchall()
                with closing(connect(store_path, isolation_level=None)) as other:
                    opening.migrate(other)
                result = super().execute(f"SELECT {rows[0][0]}")
            return result

    monkeypatch.setattr(opening, "LimitedConnection", Overtaken)
    with closing(open_store(str(store_path), write=True)) as store:
        assert Overtaken.done
        assert store.revisions().process == 0


def test_a_store_that_another_process_is_writing_to(store_path, monkeypatch):
    fill(store_path)
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_SECONDS", 0.2)
    with (
        closing(open_store(str(store_path), write=True)) as first,
        closing(open_store(str(store_path), write=True)) as second,
        first.write() as batch,
    ):
        batch.put_tokens([token("more")])
        with pytest.raises(StoreError, match=r"is locked: another process.*Try again later"), second.write():
            pass
        with closing(open_store(str(store_path))) as reader:
            assert ids(reader) == {"i1": 100}  # readers never wait
    assert held(store_path) == {"i1": 101}


# --- full disks ---


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real file system with room for 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not ROOT
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk, tmp_path):
    path = small_disk / "tokctl.db"
    fill(path)
    source = tmp_path / "big.ndjson"
    source.write_bytes(ndjson(tokens(40_000, "big", variables={"note": "x" * 200})))
    line = clear_line(run("store", "import", "--store", path, source))
    assert "cannot grow: the disk is full" in line
    assert str(path) in line
    assert held(path) == {"i1": 100}
    assert run("store", "import", "--store", path, "-", input=ndjson(tokens(5, "i2")).decode()).returncode == 0
    assert held(path) == {"i1": 100, "i2": 5}


def test_a_file_that_may_not_grow(store_path, tmp_path):
    fill(store_path)
    source = tmp_path / "big.ndjson"
    source.write_bytes(ndjson(tokens(40_000, "big", variables={"note": "x" * 200})))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))

    line = clear_line(run("store", "import", "--store", store_path, source, preexec_fn=limit))
    assert "disk" in line
    assert held(store_path) == {"i1": 100}


def test_a_database_that_may_not_grow(store_path):
    fill(store_path)
    with closing(open_store(str(store_path), write=True)) as store:
        store.connection.execute("PRAGMA max_page_count = 40")
        with pytest.raises(StoreError, match="cannot grow: the disk is full") as caught, store.write() as batch:
            batch.put_tokens(tokens(20_000, "big"))
        assert caught.value.exit_code == 6
        assert ids(store) == {"i1": 100}
        with store.write() as batch:
            batch.put_tokens([token("one")])
    assert held(store_path) == {"i1": 101}


# --- rights ---


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="tokctl-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_other(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Run the program as a user who owns nothing here (as ourselves, where we are not root)."""
    return run(*arguments, user=NOBODY if ROOT else None, **options)


def test_a_read_only_folder(shared_folder):
    path = shared_folder / "tokctl.db"
    fill(path)
    path.chmod(0o444)
    shared_folder.chmod(0o555)
    read = as_other("instances", "list", "--store", path, "-o", "id")
    assert (read.returncode, read.stdout) == (0, "i1\n"), read.stderr
    line = clear_line(as_other("store", "import", "--store", path, "-", input=ndjson(tokens(1)).decode()))
    assert "read-only" in line or "cannot be opened" in line
    assert "Check the permissions" in line
    line = clear_line(as_other("store", "import", "--store", shared_folder / "new.db", "-", input="[]"))
    assert f": {os.strerror(errno.EACCES)}" in line
    line = clear_line(as_other("store", "import", "--store", shared_folder / "sub" / "new.db", "-", input="[]"))
    assert "cannot create" in line
    shared_folder.chmod(0o755)
    assert held(path) == {"i1": 100}


def test_a_store_that_one_may_not_read(shared_folder):
    path = shared_folder / "tokctl.db"
    fill(path)
    path.chmod(0 if not ROOT else 0o600)
    line = clear_line(as_other("instances", "list", "--store", path))
    assert "cannot be opened" in line
    shut = shared_folder / "shut"
    shut.mkdir()
    fill(shut / "tokctl.db")
    shut.chmod(0 if not ROOT else 0o700)
    assert "cannot open the store" in clear_line(as_other("instances", "list", "--store", shut / "tokctl.db"))
    shut.chmod(0o700)


# --- what is no store ---


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("These are notes.\n" * 100)
    before = path.read_bytes()
    for arguments in (("instances", "list"), ("store", "import", "-")):
        line = clear_line(run(*arguments, "--store", path, input=ndjson(tokens(1)).decode()))
        assert "is not an SQLite database" in line
    assert path.read_bytes() == before


def test_a_database_that_is_no_store(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
    before = path.read_bytes()
    for arguments in (("instances", "list"), ("store", "import", "-")):
        line = clear_line(run(*arguments, "--store", path, input=ndjson(tokens(1)).decode()))
        assert "not a tokctl store" in line
    assert path.read_bytes() == before


def test_a_device_in_place_of_the_file():
    assert "is a device or a pipe, not a file" in clear_line(run("store", "info", "--store", os.devnull))


def test_a_folder_in_place_of_the_file(tmp_path):
    for write in (False, True):
        with pytest.raises(StoreError, match="is a directory"):
            open_store(str(tmp_path), write=write, create=write)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"cannot open the store .*: {os.strerror(errno.ENOTDIR)}"):
        open_store(str(tmp_path / "file" / "tokctl.db"), write=True, create=True)


def test_a_damaged_page(store_path):
    fill(store_path, 3000)
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page_size,),) = connection.execute("PRAGMA page_size")
        roots = [root for (root,) in connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'token'")]
    with store_path.open("r+b") as file:
        file.seek((roots[0] - 1) * page_size)
        file.write(b"\xff" * page_size)
    done = run("tokens", "list", "i1", "--store", store_path, "--variables")
    done.stdout = ""  # what could be read has been shown by then
    line = clear_line(done)
    assert "is damaged" in line
    assert "backup" in line
    with closing(open_store(str(store_path))) as store:
        try:
            assert list(store.find_problems())
        except StoreError as error:
            assert "damaged" in str(error)  # noqa: PT017


def test_a_store_cut_short(store_path):
    fill(store_path, 3000)
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(store_path, store_path.stat().st_size // 2)
    done = run("tokens", "list", "i1", "--store", store_path, "-o", "json")
    done.stdout = ""
    clear_line(done)


def test_numbers_too_large_for_a_database(store):
    with store.write() as batch:
        batch.put_tokens([token(execution_context={"retries_used": 10**30, "retries_left": 2**63}, created_at=at(0))])
    context = store.token("i1", "t1").context
    assert (context.retries_used, context.retries_left) == (None, None)
    assert b"1000000000000000000000000000000" in bytes(store.token("i1", "t1").execution_context)
