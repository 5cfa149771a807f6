"""A store that was restored from a backup: what this machine has seen of it tells."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from support.running_server import ENVIRONMENT, make_secret, make_store, serving

BACK = "went back to an earlier state"


@pytest.fixture
def path(tmp_path) -> Path:
    """A store without API tokens."""
    return make_store(tmp_path / "own.db")


@pytest.fixture
def run(path, tokctl, monkeypatch):
    """Run a command on the store."""
    for name, value in (ENVIRONMENT | {"TOKCTL_STATE_DIR": str(path.parent / "state")}).items():
        monkeypatch.setenv(name, value)

    def call(*words):
        return tokctl(*words, "--store", path)

    return call


def restore(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(path.with_name("copy.db"), path.with_name("new.db"))
    path.with_name("new.db").replace(path)


def store_check(run) -> dict:
    return next(one for one in json.loads(run("doctor", "-o", "json").out)["checks"] if one["check"] == "store")


def test_the_doctor_tells_that_a_store_went_back(run, path):
    assert run("api-tokens", "create", "one", "--save", f"file:{path.parent / 'one'}").code == 0
    assert run("store", "backup", path.with_name("copy.db")).code == 0
    assert run("api-tokens", "revoke", "1", "--yes").code == 0
    assert store_check(run)["state"] != "problem"
    restore(path)
    found = store_check(run)
    assert (found["state"], BACK in found["found"]) == ("problem", True)
    assert "1 change of API tokens" in found["found"]
    for name in ("two", "three"):  # it has as many entries again, but others
        assert run("api-tokens", "create", name, "--save", f"file:{path.parent / name}").code == 0
        assert BACK in store_check(run)["found"]
    (file,) = (path.parent / "state" / "stores").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in store_check(run)["advice"]
    file.unlink()
    assert BACK not in store_check(run)["found"]
    assert run("api-tokens", "revoke", "1", "--yes").code == 0
    assert BACK not in store_check(run)["found"]


def test_a_new_store_at_the_same_place_did_not_go_back(run, path):
    for name in ("one", "two"):
        assert run("api-tokens", "create", name, "--save", f"file:{path.parent / name}").code == 0
    make_store(path)
    assert BACK not in store_check(run)["found"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"number":"x"}'])
def test_a_damaged_record_is_ignored(run, path, content):
    assert run("api-tokens", "create", "one", "--save", f"file:{path.parent / 'one'}").code == 0
    (file,) = (path.parent / "state" / "stores").iterdir()
    file.write_bytes(content)
    assert BACK not in store_check(run)["found"]


def test_an_identity_is_no_path(run, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE identity SET value = '../../escaped'")
    assert run("api-tokens", "create", "one", "--save", f"file:{path.parent / 'one'}").code == 0
    assert not (path.parent / "state" / "stores").exists()
    assert not list(path.parent.glob("**/escaped*"))


def test_a_secret_is_saved_if_nothing_can_be_remembered(run, path):
    (path.parent / "state").mkdir()
    (path.parent / "state" / "stores").write_text("")
    assert run("api-tokens", "create", "one", "--save", f"file:{path.parent / 'one'}").code == 0
    assert (path.parent / "one").read_text().startswith("xvc_")


def test_the_server_tells_it_at_its_start_and_when_the_file_is_replaced(run, path):
    secret, number = make_secret(path, "every", "*", type_="full-access")
    state = {"TOKCTL_STATE_DIR": str(path.parent / "state")}
    run("store", "backup", path.with_name("copy.db"))
    with serving(path, env=state) as served:
        answer = served.client.delete(f"/api/api-tokens/{number}", headers={"X-API-Key": secret})
        assert answer.status_code == 200
        event = find_event(served, "api tokens changed")
        verified = run("api-tokens", "audit", "verify", "--head", event["audit_hash"])
        assert (verified.code, event["audit_number"]) == (0, 2)
        restore(path)
        assert served.get("/api/v1/processes", secret).status_code == 200
        assert BACK in find_event(served, "store went back")["problem"]
    with serving(path, env=state) as served:
        deadline = time.monotonic() + 5
        while not any(line.startswith("warning: ") and BACK in line for line in served.lines):
            assert time.monotonic() < deadline, served.lines
            time.sleep(0.02)


def find_event(served, name: str) -> dict:
    deadline = time.monotonic() + 5
    while True:
        for line in list(served.lines):
            if line.startswith("{") and json.loads(line).get("event") == name:
                return json.loads(line)
        assert time.monotonic() < deadline, served.lines
        time.sleep(0.02)
