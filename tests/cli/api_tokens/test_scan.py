"""``tokctl api-tokens scan``: files, git's history, what the registry says, the formats, revoking."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import socket
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from jsonschema_rs import Draft4Validator
from msgspec.structs import replace

from support.commandline import NOW, clean_environment
from support.sarif_schema import SARIF
from support.terminal import Terminal
from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
from tokctl.api_tokens.registries.protocol import VerificationResult
from tokctl.api_tokens.registries.store import StoreRegistry
from tokctl.api_tokens.scanner import CHUNK_BYTES, SecretScanner
from tokctl.api_tokens.secrets import generate
from tokctl.model.api_tokens import VALID

pytestmark = pytest.mark.slow

STRANGER = "xvc_" + "0a" * 32


class Repository:
    """A git repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")

    def git(self, *words: object) -> str:
        me = {f"GIT_{role}_{what}": "me@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        own = {name: value for name, value in clean_environment().items() if not name.startswith("GIT_")}
        own |= me | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", "-C", str(self.folder), *map(str, words)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
        return done.stdout.strip()

    def commit(self, text: str, name: str = "app.env", message: str = "change") -> str:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        self.git("add", ".")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which the command is run."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def repository(here):
    return Repository(here)


def findings(tokctl, *words):
    """What a scan finds as (place, name), and the run."""
    ran = tokctl("api-tokens", "scan", *words, "-o", "json")
    document = json.loads(ran.out)
    return [(one["kind"], one["path"], one["line"], one["column"], one["name"]) for one in document["findings"]], ran


# --- files ----------------------------------------------------------------------------------------


def test_what_is_told_of_each(tokctl, keys, here):
    (here / "live.env").write_text(f"a=1\nключ={keys.secrets['grafana']}\n")
    (here / "old.bin").write_bytes(b"\0\xff\n" + keys.secrets["gone"].encode() + b"\0")
    (here / "foreign.txt").write_text(f"{generate()} {STRANGER} xvc_{'a1' * 20}")
    ran = tokctl("api-tokens", "scan", ".", width=120)
    assert ran.code == 1
    rows = [row.split() for row in ran.out.splitlines()]
    assert rows[0] == ["WHERE", "SECRET", "CERTAINTY", "STATE", "ID", "NAME"]
    assert rows[1] == ["live.env:2:6", keys.secrets["grafana"][:8] + "...", "certain", "valid", "2", "grafana"]
    assert [[row[0], *row[2:]] for row in rows[2:]] == [
        ["foreign.txt:1:1", "certain", "unknown", "-", "-"],
        ["old.bin:2:1", "certain", "expired", "4", "gone"],
        ["foreign.txt:1:46", "likely", "unknown", "-", "-"],
        ["foreign.txt:1:115", "possible", "unknown", "-", "-"],
    ]
    octets = sum(one.stat().st_size for one in here.iterdir())
    assert ran.err == f"Searched 3 files, {octets} B: 5 findings, 1 of them live.\n"


@pytest.mark.parametrize("form", ["table", "wide", "json", "ndjson", "yaml", "csv", "id", "sarif"])
def test_no_format_shows_a_secret(tokctl, keys, here, form):
    secret = keys.secrets["grafana"]
    (here / secret).mkdir()
    (here / secret / f"x{STRANGER}").write_text(f"{secret} {STRANGER}")
    ran = tokctl("api-tokens", "scan", ".", "-o", form)
    assert ran.code == 1
    assert ran.out
    assert secret[8:] not in ran.out + ran.err
    assert STRANGER[12:] not in ran.out + ran.err


def test_below_a_path_and_named_itself(tokctl, keys, here, tmp_path):
    secret = keys.secrets["idle"]
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "deep").write_text(secret)
    (tmp_path / "elsewhere").write_text(f"\n {secret}")
    (here / "link").symlink_to(tmp_path / "elsewhere")
    (here / "a" / "around").symlink_to(here)
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    found, ran = findings(tokctl, ".")
    assert found == [("file", "a/b/deep", 1, 1, "idle")]
    assert json.loads(ran.out)["summary"]["unread"] == []
    assert findings(tokctl, "a", "link")[0] == [("file", "a/b/deep", 1, 1, "idle"), ("file", "link", 2, 2, "idle")]
    assert findings(tokctl, here / "a")[0] == [("file", f"{here}/a/b/deep", 1, 1, "idle")]


def test_standard_input(tokctl, keys):
    ran = tokctl("api-tokens", "scan", "-", stdin=f"+key: {keys.secrets['soon']}", width=100)
    assert ran.code == 1
    assert "standard input:1:7" in ran.out


def test_odd_names(tokctl, keys, here):
    (here / "a\nb\x1b[2J").write_text(keys.secrets["idle"])
    Path(os.fsdecode(b"\xff")).write_text(keys.secrets["idle"])
    assert [path for _, path, *_ in findings(tokctl, ".")[0]] == ["a\nb\x1b[2J", "\\xff"]
    ran = tokctl("api-tokens", "scan", ".", tty=True)
    assert "\x1b[2J" not in ran.out
    document = json.loads(tokctl("api-tokens", "scan", ".", "-o", "sarif").out)
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in document["runs"][0]["results"]
    ]
    assert uris == ["a%0Ab%1B%5B2J", "%5Cxff"]


def test_a_file_that_cannot_be_read(tokctl, keys, here):
    (here / "x").write_text(keys.secrets["gone"])
    ran = tokctl("api-tokens", "scan", "/proc/self/mem", "x")
    assert ran.code == 7
    assert "gone" in ran.out
    assert f"Skipped /proc/self/mem: {os.strerror(errno.EIO)}.\n" in ran.err


def test_what_cannot_be_read_is_told_and_counted(tokctl, keys, here):
    for number in range(7):
        Repository(here / f"r{number}")
        (here / f"r{number}" / ".git" / "HEAD").write_text("nonsense")
    found, ran = findings(tokctl, ".")
    assert (found, ran.code) == ([], 7)
    assert len(json.loads(ran.out)["summary"]["unread"]) == 7
    *told, last = ran.err.splitlines()
    assert [line.partition(":")[0] for line in told] == [f"Skipped r{number}/.git" for number in range(5)]
    assert last == "Skipped 7 paths in total."
    document = json.loads(tokctl("api-tokens", "scan", ".", "-o", "sarif").out)
    (invocation,) = document["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert len(invocation["toolExecutionNotifications"]) == 7


def test_a_path_that_is_not_there_is_told_before_anything_is_read(tokctl, keys, here):
    ran = tokctl("api-tokens", "scan", ".", "nowhere")
    assert (ran.code, ran.out) == (3, "")
    assert "file or directory nowhere not found" in ran.err


def test_an_interruption_loses_nothing(keys, here):
    (here / "first").write_text(keys.secrets["idle"])
    os.mkfifo(here.parent / "pipe")
    with Terminal("api-tokens", "scan", "first", here.parent / "pipe", env=keys.environ, columns=100) as terminal:
        writing = os.open(here.parent / "pipe", os.O_WRONLY)
        os.write(writing, b"nothing yet\n")
        time.sleep(0.3)  # until it reads on
        terminal.type("\x03")
        assert terminal.end() == 130
        os.close(writing)
        assert "first:1:1" in terminal.text
        assert "The scan was interrupted" in terminal.text


# --- history --------------------------------------------------------------------------------------


def test_history_in_all_its_corners(tokctl, keys, repository):
    secrets = keys.secrets
    first = repository.commit(f"a=1\nkey={secrets['idle']}\n")
    repository.commit(f"a=2\nkey={secrets['idle']}\n")
    repository.commit("clean")
    said = repository.commit("message", message=f"use {secrets['grafana']}")
    repository.git("tag", "-a", "v1", "-m", f"with {secrets['admin']}")
    (repository.folder / "app.env").write_text(f"stashed {secrets['soon']}")
    repository.git("stash", "-q")
    repository.git("stash", "drop", "-q")  # nothing leads to it any more
    (repository.folder / ".git" / "COMMIT_EDITMSG").unlink()
    for log in (repository.folder / ".git" / "logs").rglob("*"):
        if log.is_file():
            log.unlink()
    document = json.loads(tokctl("api-tokens", "scan", ".", "-o", "json").out)
    found = {
        one["name"]: tuple(one[key] for key in ("kind", "path", "line", "commit", "versions", "repository"))
        for one in document["findings"]
        if one["kind"] != "commit" or one["object"] == said  # those of the stash name it, too
    }
    assert found == {
        "idle": ("blob", "app.env", 2, first, 2, ".git"),
        "grafana": ("commit", None, found["grafana"][2], said, 1, ".git"),
        "admin": ("tag", None, 6, None, 1, ".git"),
        "soon": ("blob", None, 1, None, 1, ".git"),
    }
    assert document["summary"]["repositories"] == 1
    assert document["summary"]["objects"] == len(
        repository.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()
    )
    table = tokctl("api-tokens", "scan", ".").out
    assert f"{first[:10]}:app.env:2:5" in table
    assert f"commit {said[:10]}:{found['grafana'][2]}:5" in table
    assert findings(tokctl, ".", "--no-history")[0] == []


def test_what_only_the_reflog_leads_to_has_its_commit(tokctl, keys, repository):
    before = repository.commit(keys.secrets["idle"])
    (repository.folder / "app.env").write_text("clean")
    repository.git("commit", "-q", "-a", "--amend", "-m", "amended")
    document = json.loads(tokctl("api-tokens", "scan", ".", "-o", "json").out)
    assert [(one["path"], one["commit"]) for one in document["findings"]] == [("app.env", before)]


def test_an_interruption_within_a_history_loses_nothing(repository):
    secret = generate()
    repository.commit(secret, message=f"with {secret}")
    repository.commit("clean")

    def search(progress):
        return SecretScanner(stdin=io.BytesIO(), progress=progress, unread=print)

    whole = search(lambda _: None)
    assert len([hit for hit in whole.hits([".git"]) if hit.place.object]) == 2
    cut, hits = search(lambda _: interrupt()), []

    def interrupt():
        if cut.objects == whole.objects:  # the last one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hits.extend(cut.hits([".git"]))
    assert [hit for hit in hits if hit.place.object]


def test_repositories_of_other_forms(tokctl, keys, here, tmp_path):
    main = Repository(tmp_path / "main")
    main.commit(keys.secrets["idle"], "d/x y\n")
    main.commit("clean", "d/x y\n")
    main.git("worktree", "add", "-q", here / "tree", "-b", "other")
    main.git("clone", "-q", "--bare", main.folder, here / "bare.git")
    main.git("gc", "-q")
    assert findings(tokctl, "tree")[0] == [("blob", "d/x y\n", 1, 1, "idle")]
    assert findings(tokctl, "bare.git")[0] == [("blob", "d/x y\n", 1, 1, "idle")]
    both = tokctl("api-tokens", "scan", "tree", main.folder, "-o", "json")
    assert json.loads(both.out)["summary"]["repositories"] == 1  # it is the same
    assert [one["repository"] for one in json.loads(both.out)["findings"]] == [f"{tmp_path}/main/.git"]


def test_a_hook_s_surroundings_do_not_matter(tokctl, keys, repository, monkeypatch, tmp_path):
    repository.commit(keys.secrets["idle"])
    other = Repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.folder / ".git" / "objects"))
    assert ("blob", "app.env", 1, 1, "idle") in findings(tokctl, ".")[0]


def test_a_large_blob(tokctl, keys, repository):
    repository.commit("line\n" * 300_000 + "   " + keys.secrets["idle"])
    repository.commit("clean")
    assert findings(tokctl, ".")[0] == [("blob", "app.env", 300_001, 4, "idle")]
    pieces = []
    assert len([*SecretScanner(stdin=io.BytesIO(), progress=pieces.append, unread=print).hits([".git"])]) == 1
    assert max(pieces) <= CHUNK_BYTES


def test_without_git_files_are_searched(tokctl, keys, repository, monkeypatch, tmp_path):
    repository.commit(keys.secrets["idle"])
    Repository(repository.folder / "inner")
    monkeypatch.setenv("PATH", str(tmp_path))
    found, ran = findings(tokctl, ".")
    assert found == [("file", "app.env", 1, 1, "idle")]
    assert ran.err.startswith(f"Skipped .git: cannot run git ({os.strerror(errno.ENOENT)})")
    assert ran.err.count("\n") == 1
    assert ran.code == 1


def test_a_damaged_repository(tokctl, keys, repository):
    repository.commit(keys.secrets["idle"])
    repository.commit("clean")
    objects = [one for one in (repository.folder / ".git" / "objects").rglob("*") if len(one.name) == 38]
    victim = next(one for one in objects if repository.git("cat-file", "-t", one.parent.name + one.name) == "tree")
    victim.chmod(0o600)
    victim.write_bytes(b"damaged")
    _, ran = findings(tokctl, ".")
    assert "Skipped .git: " in ran.err
    assert json.loads(ran.out)["summary"]["unread"]
    assert ran.code in {1, 7}  # with what was found before the damage, or nothing


# --- what fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fail_on", "code"),
    [
        ("{grafana}", "live", 1),
        ("{gone}", "live", 0),
        ("{ours}", "live", 0),
        (STRANGER, "live", 0),
        ("{grafana}", "certain", 1),
        ("{gone}", "certain", 1),
        ("{ours}", "certain", 1),
        (STRANGER, "certain", 0),
        (STRANGER, "any", 1),
        ("nothing", "any", 0),
    ],
)
def test_exit_codes(tokctl, keys, here, text, fail_on, code):
    (here / "x").write_text(text.format(ours=generate(), **keys.secrets))
    assert tokctl("api-tokens", "scan", ".", "--fail-on", fail_on).code == code


@pytest.mark.parametrize(("text", "code"), [("{grafana}", 1), ("{gone}", 1), (STRANGER, 0)])
def test_where_nobody_is_asked_a_certain_one_counts_as_live(tokctl, keys, here, text, code):
    (here / "x").write_text(text.format(**keys.secrets))
    keys.path.write_bytes(b"damaged")  # nobody looks at it
    ran = tokctl("api-tokens", "scan", ".", "--offline", "-o", "json")
    assert (ran.code, ran.err) == (code, "")
    (one,) = json.loads(ran.out)["findings"]
    assert (one["state"], one["live"], one["id"]) == (None, False, None)
    assert "not checked" in tokctl("api-tokens", "scan", ".", "--offline").out


def test_no_store_is_nobody_to_ask(tokctl, own, here, monkeypatch, tmp_path):
    monkeypatch.delenv("TOKCTL_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (here / "x").write_text(generate())
    ran = tokctl("api-tokens", "scan", ".")
    assert ran.code == 1
    assert "not checked" in ran.out
    assert "not looked up" in ran.err
    ran = tokctl("api-tokens", "scan", ".", "--store", tmp_path / "nowhere.db")
    assert (ran.code, ran.out) == (6, "")  # one that was named is meant


def test_a_registry_that_fails_loses_no_finding(tokctl, keys, here, monkeypatch):
    (here / "x").write_text(f"{keys.secrets['gone']} {STRANGER}")
    monkeypatch.setenv("TOKCTL_PEPPER", "another pepper that is long enough")
    ran = tokctl("api-tokens", "scan", ".", "--fail-on", "live", "-o", "json")
    assert [one["state"] for one in json.loads(ran.out)["findings"]] == [None, None]
    assert ran.code == 1
    assert ran.err.count("Cannot look up the secrets: ") == 1
    (here / "x").write_text(STRANGER)
    assert tokctl("api-tokens", "scan", ".").code == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "liv"], "did you mean 'live'"),
        (["--revoke"], "there is no terminal"),
        (["--revoke", "--yes", "--offline"], "cannot be used together"),
        (["--columns", "bogus"], "unknown column 'bogus'"),
        (["-o", "junit"], "does not support -o junit"),
    ],
)
def test_what_cannot_be(tokctl, keys, here, words, said):
    (here / "x").write_text(keys.secrets["idle"])
    ran = tokctl("api-tokens", "scan", ".", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "idle" in keys.names()


# --- SARIF ----------------------------------------------------------------------------------------


def test_sarif(tokctl, keys, repository):
    first = repository.commit(f"\n key={keys.secrets['idle']}", "d/a b.env")
    repository.commit(f"clean {keys.secrets['gone']} {STRANGER} {keys.secrets['gone']}", "d/a b.env", message="two")
    ran = tokctl("api-tokens", "scan", ".", "--no-history", "-o", "sarif")
    again = tokctl("api-tokens", "scan", ".", "--no-history", "-o", "sarif")
    assert again.out == ran.out
    log = json.loads(ran.out)
    Draft4Validator(SARIF).validate(log)
    (run,) = log["runs"]
    uri = "d/a%20b.env"
    assert [(result["ruleId"], result["level"], _where(result)) for result in run["results"]] == [
        ("leaked-api-token/tokctl", "note", (uri, 1, 7, 51)),
        ("leaked-api-token/tokctl", "note", (uri, 1, 121, 165)),
        ("leaked-api-token/xivercms", "warning", (uri, 1, 52, 120)),
    ]
    assert all(run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert len({one["partialFingerprints"]["leakedApiToken/v1"] for one in run["results"]}) == 3
    log = json.loads(tokctl("api-tokens", "scan", ".", "-o", "sarif").out)
    Draft4Validator(SARIF).validate(log)
    worst = log["runs"][0]["results"][0]
    assert (worst["level"], _where(worst)) == ("error", (uri, 2, 6, 50))
    assert worst["locations"][0]["properties"]["commit"] == first
    assert f"in the history since commit {first[:10]}; it is valid." in worst["message"]["text"]


def _where(result):
    place = result["locations"][0]["physicalLocation"]
    region = place["region"]
    return place["artifactLocation"]["uri"], region["startLine"], region["startColumn"], region["endColumn"]


def test_sarif_of_what_has_no_path(tokctl, keys, here):
    log = json.loads(tokctl("api-tokens", "scan", "-", "--offline", "-o", "sarif", stdin=keys.secrets["idle"]).out)
    Draft4Validator(SARIF).validate(log)
    (result,) = log["runs"][0]["results"]
    assert result["level"] == "error"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["description"]["text"] == "standard input"


# --- revoking -------------------------------------------------------------------------------------


def test_revoke(tokctl, keys, here):
    (here / "x").write_text(f"{keys.secrets['idle']} {keys.secrets['idle']} {keys.secrets['gone']} {STRANGER}")
    origin = keys.path.resolve().as_uri()
    entry = LedgerEntry(key="k1", origin=origin, name="idle", place="keyring", at=NOW, token_id="1")
    with Ledger().open_entry(replace(entry, created_at=keys.get(1).created_at)):
        assert Ledger().entries(origin)
    ran = tokctl("api-tokens", "scan", ".", "--revoke", "--yes", "-o", "json")
    assert ran.code == 1
    told = [(one["name"], one["state"], one["revoked"]) for one in json.loads(ran.out)["findings"]]
    assert told == [
        ("idle", "valid", True),
        ("idle", "valid", True),
        ("gone", "expired", False),
        (None, "unknown", False),
    ]
    assert keys.names() == ["admin", "gone", "soon", "grafana"]
    assert Ledger().entries(origin) == []
    (entry,) = [one for one in keys.audit() if one.action == "revoke"]
    assert (entry.token_id, entry.details) == (1, {"why": "leaked: found by a scan"})
    again = tokctl("api-tokens", "scan", ".", "--revoke", "--yes", "-o", "json")
    assert (again.code, json.loads(again.out)["findings"][0]["state"]) == (0, "revoked")


@pytest.mark.parametrize(("answer", "left"), [("y\r", False), ("\r", True)])
def test_it_asks_before_it_revokes(keys, here, answer, left):
    (here / "x").write_text(keys.secrets["admin"])
    with Terminal("api-tokens", "scan", ".", "--revoke", env=keys.environ, columns=100) as terminal:
        screen = terminal.until("[y/N]")
        assert "admin" in screen
        assert keys.secrets["admin"][8:] not in screen
        assert "admin" in keys.names()
        terminal.type(answer)
        assert terminal.end() == 1
        assert ("Nothing was revoked." in terminal.text) is left
        assert ("revoked now" in terminal.text) is not left
    assert ("admin" in keys.names()) is left


# --- what is not searched -------------------------------------------------------------------------


def unsearched(tokctl, *words):
    """What is not searched as {path: reason}. The exit code and the text say so."""
    ran = tokctl("api-tokens", "scan", *words, "--offline", "-o", "json")
    told = {one["path"]: one["why"] for one in json.loads(ran.out)["summary"]["unread"]}
    assert (ran.code, json.loads(ran.out)["findings"]) == (7 if told else 0, [])
    table = tokctl("api-tokens", "scan", *words, "--offline")
    assert table.code == ran.code
    assert ("No secret found in what was searched.\n" in table.err) is bool(told)
    assert ("No secret found.\n" in table.err) is not bool(told)
    assert (f"Not searched: {len(told)} path" in table.err) is bool(told)
    return told


@pytest.fixture
def original(tmp_path):
    """A repository with two commits from which others are cloned."""
    original = Repository(tmp_path / "original")
    original.git("config", "uploadpack.allowFilter", "true")
    original.commit("first\n" * 20)
    original.commit("second\n" * 20)
    return original


def test_a_whole_repository_is_searched(tokctl, own, original, here):
    original.git("clone", "-q", original.folder, here / "clone")
    assert unsearched(tokctl, "clone") == {}
    assert unsearched(tokctl, "clone/app.env") == {}


def test_a_shallow_clone_is_told(tokctl, own, original, here):
    original.git("clone", "-q", "--depth", "1", original.folder.as_uri(), here / "clone")
    (path, why), *more = unsearched(tokctl, "clone").items()
    assert (path, more) == ("clone/.git", [])
    assert why.startswith("shallow clone")
    assert unsearched(tokctl, "clone", "--no-history") == {}


def test_a_partial_clone_is_told(tokctl, own, original, here):
    original.git("clone", "-q", "--no-checkout", "--filter=blob:none", original.folder.as_uri(), here / "clone")
    why = "partial clone, 2 objects that were not fetched are not searched"
    assert unsearched(tokctl, "clone") == {"clone/.git": why}
    assert original.git("-C", here / "clone", "rev-list", "--all", "--objects", "--missing=print").count("\n?") == 2
    original.git("-C", here / "clone", "checkout", "-q")  # fetches one
    assert unsearched(tokctl, "clone") == {"clone/.git": why.replace("2 objects", "1 objects")}


def test_a_git_that_leads_nowhere_is_told(tokctl, own, original, here):
    for name in ("file", "link", "folder", "whole"):
        (here / name).mkdir()
    (here / "file" / ".git").write_text("gitdir: /nowhere/to/go\n")
    (here / "link" / ".git").symlink_to("/nowhere/to/go")
    (here / "folder" / ".git").mkdir()
    (here / "whole" / ".git").symlink_to(original.folder / ".git")
    nowhere = "it leads to no git repository, the history is not searched"
    assert unsearched(tokctl, ".") == {
        "file/.git": nowhere,
        "link/.git": nowhere,
        "folder/.git": "it is not a git repository, the history is not searched",
    }
    ran = tokctl("api-tokens", "scan", "whole", "--offline", "-o", "json")
    assert json.loads(ran.out)["summary"]["repositories"] == 1  # a link is followed to its history


def test_a_folder_of_a_repository_is_told(tokctl, own, repository):
    repository.commit("clean", "src/x")
    assert unsearched(tokctl, "src") == {
        "src": f"it is a part of the repository {repository.folder}, the history is not searched"
    }
    assert unsearched(tokctl, "src", "--no-history") == {}
    assert unsearched(tokctl, "src", ".") == {}  # the history is searched with the other path
    assert unsearched(tokctl, "src/x") == {}  # a single file is meant


def test_missing_objects_of_another_repository_are_told(tokctl, own, original, here):
    original.git("clone", "-q", "--shared", original.folder, here / "clone")
    assert unsearched(tokctl, "clone") == {}
    original.folder.rename(here / "moved")
    assert "unable to normalize alternate" in unsearched(tokctl, "clone")["clone/.git"]


def test_archives_that_cannot_be_opened_are_told(tokctl, own, repository):
    (repository.folder / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(60))
    with zipfile.ZipFile(repository.folder / "b\n\x1b[2J.zip", "w") as archive:
        archive.writestr("../\x1b]0;x\x07/x", b"\x28\xb5\x2f\xfd" + bytes(60))
    commit = repository.commit("clean")
    assert unsearched(tokctl, ".", "--no-history") == {
        "a.7z": "7z is not opened",
        "b\n\x1b[2J.zip!/../\x1b]0;x\x07/x": "zstd is not opened",
    }
    document = json.loads(tokctl("api-tokens", "scan", ".", "--offline", "-o", "json").out)
    told = {one["why"] for one in document["summary"]["unread"] if one["path"] == ".git"}
    assert f"{commit[:10]}:a.7z: 7z is not opened" in told
    for words in ([], ["-o", "csv"]):
        ran = tokctl("api-tokens", "scan", ".", "--offline", *words)
        assert "\x1b" not in ran.out + ran.err
        assert ran.err.count("Skipped ") == 4  # names stay on their lines
        assert len(ran.err.splitlines()) == ran.err.count("\n")


def test_an_unreadable_folder_is_told(tokctl, own, here):
    (here / "link-loop").symlink_to("link-loop")
    (here / "closed").mkdir(0)
    os.mkfifo(here / "pipe")
    assert unsearched(tokctl, ".") == ({} if os.geteuid() == 0 else {"closed": os.strerror(errno.EACCES)})
    assert unsearched(tokctl, "/proc/self/mem") == {"/proc/self/mem": os.strerror(errno.EIO)}


def test_holes_in_a_file_take_no_time(tokctl, own, here):
    secret = generate()
    with (here / "sparse").open("wb") as file:
        file.write(b"a\n")
        file.seek(1 << 43)
        file.write(b"\n" + secret.encode())
        file.truncate(3 << 42)
    if (here / "sparse").stat().st_blocks > 1000:
        pytest.skip("the file system has no sparse files")
    began = time.monotonic()
    ran = tokctl("api-tokens", "scan", ".", "--offline", "-o", "json")
    (one,) = json.loads(ran.out)["findings"]
    assert (one["offset"], one["line"], one["column"]) == ((1 << 43) + 1, 3, 1)
    assert time.monotonic() - began < 20


# --- archives and candidates ----------------------------------------------------------------------


def test_a_secret_in_an_archive(tokctl, keys, repository):
    packed = io.BytesIO()
    text = b"data:\n  token: " + base64.b64encode(b"user:" + keys.secrets["idle"].encode())
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("etc/secret.yaml")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    (repository.folder / "a.tar.gz").write_bytes(packed.getvalue())
    commit = repository.commit("clean")
    ran = tokctl("api-tokens", "scan", ".", width=140)
    where = "a.tar.gz!/etc/secret.yaml:2:10"
    assert [line.split()[0] for line in ran.out.splitlines()] == ["WHERE", where, f"{commit[:10]}:{where}"]
    assert "gzip, tar, base64" in ran.out
    document = json.loads(tokctl("api-tokens", "scan", ".", "-o", "json").out)
    assert {(one["path"], one["member"], *one["encodings"], one["name"]) for one in document["findings"]} == {
        ("a.tar.gz", "etc/secret.yaml", "gzip", "tar", "base64", "idle")
    }
    log = json.loads(tokctl("api-tokens", "scan", ".", "-o", "sarif").out)
    Draft4Validator(SARIF).validate(log)
    result = log["runs"][0]["results"][0]
    assert "in etc/secret.yaml:2:10 (gzip, tar, base64)" in result["message"]["text"]
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a.tar.gz"}}


def test_equal_masks_are_candidates(tokctl, keys, here, monkeypatch):
    """As with a server that tells whether a secret is valid, but not whose it is."""
    secret = keys.secrets["idle"]
    (here / "x").write_text(secret)
    list_all = StoreRegistry.list

    def list_some(registry):
        for one in list_all(registry):
            yield replace(one, token=secret[:8] + "...") if one.name in {"soon", "gone"} else one

    monkeypatch.setattr(StoreRegistry, "verify", lambda *_: VerificationResult(state=VALID))
    monkeypatch.setattr(StoreRegistry, "list", list_some)
    ran = tokctl("api-tokens", "scan", ".", width=140)
    assert "4 or 3 or 1" in ran.out
    assert "gone or soon or idle" in ran.out
    (one,) = json.loads(tokctl("api-tokens", "scan", ".", "-o", "json").out)["findings"]
    assert (one["id"], one["name"], one["live"]) == (None, None, True)
    assert one["candidates"] == [{"id": 4, "name": "gone"}, {"id": 3, "name": "soon"}, {"id": 1, "name": "idle"}]
    ran = tokctl("api-tokens", "scan", ".", "--revoke", "--yes")
    assert ran.code == 1
    assert "... may belong to 4 (gone) or 3 (soon) or 1 (idle).\n" in ran.err
    assert len(keys.names()) == 5
