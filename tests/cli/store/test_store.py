"""What the commands that change a store, or files, must never do."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.builders import instance, token, token_json
from support.commandline import clean_environment, fill
from support.paths import MODELS
from tokctl.model.definitions import Definition
from tokctl.store import open_store
from tokctl.store.new_store import fill_new_store

GOOD = token_json(token("a", "new"))
BAD = '{"token_id":"bad"}'


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A file with a token, and with something that is none."""
    path = tmp_path / "mixed.ndjson"
    path.write_text(f"{GOOD}\n{BAD}\n")
    return path


def held(path: Path) -> int:
    with open_store(str(path)) as store:
        assert not list(store.find_problems())
        return store.info().tokens


def test_rejects_are_kept_word_by_word(tokctl, own_store, mixed, tmp_path):
    kept = tmp_path / "rejects.ndjson"
    assert tokctl("store", "import", mixed, "--store", own_store, "--rejects", kept).code == 0
    assert json.loads(kept.read_text()) == {
        "file": str(mixed),
        "where": "line 2",
        "field": "state",
        "reason": "missing or empty",
        "text": BAD,
    }


def test_rejects_never_overwrite_what_is_read(tokctl, own_store, mixed, tmp_path):
    other = tmp_path / "other name"
    other.hardlink_to(mixed)
    before = mixed.read_text()
    for kept in (mixed, other):
        ran = tokctl("store", "import", mixed, "--store", own_store, "--rejects", kept)
        assert ran.code == 2
        assert "would overwrite" in ran.err
    assert mixed.read_text() == before


@pytest.mark.parametrize("prefix", ["", "sqlite:"])
def test_rejects_never_overwrite_the_store(tokctl, own_store, mixed, prefix):
    before = held(own_store)
    ran = tokctl("store", "import", mixed, "--store", f"{prefix}{own_store}", "--rejects", own_store)
    assert ran.code == 2
    assert held(own_store) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_nothing_is_imported_where_rejects_cannot_be_kept(shell, own_store, mixed):
    before = held(own_store)
    ran = shell("store", "import", mixed, "--store", own_store, "--rejects", "/dev/full")
    assert ran.code == 6
    assert os.strerror(errno.ENOSPC) in ran.err
    assert held(own_store) == before


def test_an_export_never_overwrites_the_store(tokctl, own_store, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(own_store)
    before = held(own_store)
    for to in (own_store, link):
        ran = tokctl("store", "export", "--store", own_store, "--to", to)
        assert ran.code == 2
        assert "would overwrite the store" in ran.err
    assert held(own_store) == before


@pytest.mark.parametrize("prefix", ["", "sqlite:"])
def test_a_dry_run_makes_no_store(tokctl, mixed, tmp_path, prefix):
    path = tmp_path / "new.db"
    ran = tokctl(
        "store", "import", mixed, "--store", f"{prefix}{path}", "--dry-run", "--rejects", os.devnull, "-o", "json"
    )
    assert ran.code == 0
    assert json.loads(ran.out)["files"][0]["added"] == 1
    assert not path.exists()


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_compressed_export_is_an_equal_store(tokctl, known, tmp_path, form):
    zipped, copy = tmp_path / "all.gz", tmp_path / "copy.db"
    assert tokctl("store", "export", "-o", form, "--store", known, "--to", zipped).code == 0
    assert tokctl("store", "import", zipped, "--store", copy).code == 0
    assert tokctl("store", "export", "--store", copy).out == tokctl("store", "export", "--store", known).out
    assert gzip.decompress(zipped.read_bytes()).decode() == tokctl("store", "export", "-o", form, "--store", copy).out


def test_the_demonstration_leaves_the_store_in_use_alone(tokctl, own_store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    before = held(own_store)
    with monkeypatch.context() as patch:
        patch.setenv("TOKCTL_STORE", str(own_store))
        ran = tokctl("demo")
    assert "20 instances" in ran.err
    assert held(own_store) == before
    assert held(tmp_path / "data" / "tokctl" / "demo.db") > 0


def test_a_simulation_of_one_process_of_several(tokctl, tmp_path):
    models = MODELS
    words = (
        "simulate",
        models / "parallel.bpmn",
        models / "boundary.bpmn",
        "--store",
        tmp_path / "new.db",
        "-o",
        "json",
    )
    ran = tokctl(*words)
    assert ran.code == 7
    assert "--process" in ran.err
    assert json.loads(tokctl(*words, "--process", "parallel").out)["instances"] == 1


def test_what_was_imported_before_a_file_that_fails_is_told(tokctl, own_store, mixed, tmp_path):
    good = tmp_path / "good.ndjson"
    good.write_text(GOOD)
    before = held(own_store)
    ran = tokctl("store", "import", good, mixed, "--store", own_store)
    assert (ran.code, ran.out) == (7, "")
    assert f"Imported before that: {good}." in ran.err
    assert held(own_store) == before + 1


def test_an_export_does_not_mind_how_tables_are_to_look(tokctl, known, monkeypatch):
    plain = tokctl("store", "export", "--store", known)
    for form in ("table", "yaml", "ndjson"):
        monkeypatch.setenv("TOKCTL_OUTPUT", form)
        ran = tokctl("store", "export", "--store", known)
        assert ran.code == 0
        assert (ran.out == plain.out) == (form != "ndjson")
    assert tokctl("store", "export", "--store", known, "-o", "yaml").code == 2


def test_tasks_of_a_scenario_that_the_model_has_not_are_told(tokctl, tmp_path):
    model = MODELS / "parallel.bpmn"
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("tasks: {default: {takes: 2s}, 'b*': {takes: 3s}, nosuch: {hangs: true}}")
    ran = tokctl("simulate", model, "--scenario", scenario, "--store", tmp_path / "new.db")
    assert ran.code == 0
    assert "These parts of the scenario match nothing in the model: tasks.nosuch." in ran.err


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_an_export_has_the_models_that_no_instance_uses(tokctl, tmp_path, form):
    store, other = tmp_path / "a.db", tmp_path / "b.db"
    with open_store(str(store), write=True, create=True) as opened, opened.write() as batch:
        batch.put_definition(Definition(process_id="unused", name="Nobody's"))
    exported = tokctl("store", "export", "-o", form, "--store", store).out
    assert tokctl("store", "import", "-", "--store", other, stdin=exported).code == 0
    with open_store(str(other)) as copy:
        assert [model.name for model in copy.definitions()] == ["Nobody's"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nonsense", f"{GOOD}\n{BAD}\n".encode(), b"\x1f\x8b\x08cut"],
    ids=["empty", "cut", "text", "mixed", "gzip"],
)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_import_leaves_no_store_and_an_existing_one_alone(tokctl, own_store, tmp_path, content, exists):
    path = own_store if exists else tmp_path / "new" / "s.db"
    before = tokctl("store", "export", "--store", path).out
    for words in (["-"], [tmp_path / "missing"]):
        ran = tokctl("store", "import", *words, "--store", path, stdin=content)
        assert ran.code in {3, 7}
    assert path.exists() is exists
    assert [*path.parent.glob("*.part*")] == []
    assert tokctl("store", "export", "--store", path).out == before


def test_a_first_import_keeps_what_came_before_the_failure(tokctl, mixed, orders, tmp_path):
    path = tmp_path / "new" / "s.db"
    assert tokctl("store", "import", orders, mixed, "--store", path).code == 7
    assert [file.name for file in path.parent.iterdir()] == ["s.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert held(path) == 17


def test_a_store_that_another_process_fills_meanwhile_is_kept(tmp_path, orders):
    path = tmp_path / "s.db"
    with fill_new_store(path) as new:
        with new.write() as batch:
            batch.put(instance("i-new"), [token("a", "i-new")])
        assert not path.exists()
        fill(path, orders)
    assert held(path) == 18
    with pytest.raises(ZeroDivisionError), fill_new_store(path):
        raise ZeroDivisionError
    assert held(path) == 18
    assert [*tmp_path.glob("*.part*")] == []


def test_two_first_imports_at_once(tmp_path, orders):
    """Both start without a store, one of them reads nonsense; the other one's tokens stay."""
    path = tmp_path / "new" / "s.db"
    words = [sys.executable, "-m", "tokctl", "store", "import", "-", "--store", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    running = [subprocess.Popen(words, env=clean_environment(), **pipes) for _ in range(3)]
    until = time.monotonic() + 30
    while len([*path.parent.glob("*.part")]) < len(running):
        assert time.monotonic() < until
        time.sleep(0.02)
    for process, data in zip(running, (orders.read_bytes(), GOOD.encode(), b"nonsense"), strict=True):
        process.stdin.write(data)
    for process in running:
        process.stdin.close()
    errors = [process.stderr.read() for process in running]
    assert [process.wait(30) for process in running] == [0, 0, 7], errors
    assert held(path) == 18
    assert {file.name for file in path.parent.iterdir()} <= {"s.db", "s.db-wal", "s.db-shm"}


@pytest.mark.parametrize(
    "words",
    [
        ["info"],
        ["check"],
        ["backup", "copy.db"],
        ["export", "-o", "ndjson"],
        ["import", "new.ndjson"],
        ["migrate"],
        ["prune", "--completed-before", "9999d", "--yes"],
    ],
    ids=lambda words: words[0],
)
def test_a_context_names_the_store(tokctl, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.ndjson").write_text(f"{GOOD}\n")
    with open_store("orders.db", write=True, create=True) as store, store.write() as batch:
        batch.put_tokens([token("a", "of the context")])
    (tmp_path / "config.yaml").write_text("contexts: {a: {store: orders.db}, b: {server: 'http://127.0.0.1:9'}}")
    monkeypatch.setenv("TOKCTL_CONFIG", "config.yaml")
    monkeypatch.setenv("TOKCTL_STORE", "missing.db")
    assert tokctl("store", *words).code == (0 if words[0] == "import" else 6)
    assert tokctl("store", *words, "--context", "a").code == 0
    ran = tokctl("store", *words, "--context", "b")
    assert (ran.code, ran.out) == (2, "")
    assert "works on a store" in ran.err
