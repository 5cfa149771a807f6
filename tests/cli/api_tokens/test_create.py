"""``tokctl api-tokens create``: what is made, what is said of it, and where the secret goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.commandline import NOW, clean_environment
from support.keyrings import backends, entries
from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, is_tokctl_secret, mask
from tokctl.store import open_store


@pytest.fixture
def create(tokctl, own):
    """Run ``create`` on a store of one's own."""
    return lambda *words, **more: tokctl("api-tokens", "create", *words, "--store", own.path, **more)


def knows(own, secret: str, number: int = 1) -> bool:
    """Whether the store keeps the digest of a secret for an API token."""
    with open_store(str(own.path)) as store:
        found = store.api_tokens.find_by_digest(digest(load_pepper(own.environ).key, secret))
    return found is not None and found.id == number


def traces(own) -> list[Path]:
    """What runs left in the ledger."""
    return list(Path(own.environ["TOKCTL_STATE_DIR"], "api-tokens").glob("*.json"))


def test_the_secret_is_printed_alone_and_its_digest_is_kept(create, own):
    ran = create("ci", "--scope", "token,process", "--show-secret")
    secret = ran.out.removesuffix("\n")
    assert ran.code == 0
    assert is_tokctl_secret(secret)
    assert ran.err == (
        f"API token 1 'ci' ({mask(secret)}), read-only, for process, token; it expires at 2025-04-11 10:40 UTC.\n"
    )
    made = own.get(1)
    assert (made.name, made.token, made.scopes) == ("ci", mask(secret), ("process", "token"))
    assert made.expires_at == NOW + timedelta(days=90)
    assert knows(own, secret)
    assert secret[8:].encode() not in own.path.read_bytes()
    assert traces(own) == []  # there is nothing to find again


def test_unless_told_otherwise_it_goes_into_the_keyring(shell, own, tmp_path):
    env = own.environ | backends(tmp_path, "own_backends.Kept")
    ran = shell("api-tokens", "create", "ci", env=env)
    assert (ran.code, ran.err) == (0, "")
    ((name, secret),) = entries(tmp_path).items()
    assert name == f"tokctl file://{own.path}/api-tokens/1"
    assert knows(own, secret)
    assert "in the keyring" in ran.out
    assert mask(secret) in ran.out
    assert secret[8:] not in ran.out
    assert re.search(r"expires +\d{4}-\d\d-\d\d [\d:.]+ UTC  \(in (89d 23h|90d)\)", ran.out)


@pytest.mark.parametrize("kind", ["file", "env-file", "command"])
def test_where_it_is_saved_is_told(create, own, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    place, where = {
        "file": ("file:kept", f"the file {tmp_path}/kept"),
        "env-file": ("env-file:kept#KEY", f"KEY in the file {tmp_path}/kept"),
        "command": ("command:sh -c 'umask 077; cat > kept'", "the command sh"),
    }[kind]
    ran = create("ci", "--save", place, width=300)
    assert (ran.code, ran.err) == (0, "")
    secret = (tmp_path / "kept").read_text().removeprefix("KEY=").removesuffix("\n")
    assert knows(own, secret)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
    assert f"in {where}" in ran.out
    assert mask(secret) in ran.out
    assert secret[8:] not in ran.out
    assert "2025-04-11" in ran.out
    (trace,) = traces(own)
    assert secret[8:] not in trace.read_text()
    ran = create("other", "--save", f"file:{tmp_path}/other", "-o", "json")
    document = json.loads(ran.out)
    assert document["saved"] == f"file:{tmp_path}/other"
    assert document["token"] == mask((tmp_path / "other").read_text())
    assert "secret" not in document


def test_a_variable_in_a_file_of_others(create, tmp_path):
    (tmp_path / ".env").write_text("# ours\nexport TOKCTL_API_KEY='old' # of ci\nPORT=1\n")
    (tmp_path / ".env").chmod(0o600)
    place = f"env-file:{tmp_path}/.env"
    before = (tmp_path / ".env").read_text()
    ran = create("ci", "--save", place)
    assert (ran.code, (tmp_path / ".env").read_text()) == (2, before)
    assert "already has a value" in ran.err
    assert "--replace" in ran.err
    assert create("ci", "--save", place, "--replace").code == 0
    before, _, rest = (tmp_path / ".env").read_text().partition("xvc_")
    assert before == "# ours\nexport TOKCTL_API_KEY="
    assert rest.partition(" ")[2] == "# of ci\nPORT=1\n"


# --- what it is like --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("never", None),
        ("2h", NOW + timedelta(hours=2)),
        ("1w", NOW + timedelta(weeks=1)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T12:30:00+02:00", datetime(2026, 1, 1, 10, 30, tzinfo=UTC)),
        ("2026-01-01T12:30:00.75Z", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_when_it_expires(create, own, given, expected):
    ran = create("ci", "--show-secret", "--expires", given)
    assert ran.code == 0
    assert own.get(1).expires_at == expected
    assert ("never expires" in ran.err) == (expected is None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("process",)),
        (["--scope", "job"], ("job",)),
        (["--scope", "process, token", "--scope", "job"], ("process", "token", "job")),
        (["--scope", "*"], ("*",)),
        (["--scope", "job,job"], ("job",)),
    ],
)
def test_what_it_allows(create, own, words, expected):
    assert create("ci", "--show-secret", *words).code == 0
    assert sorted(own.get(1).scopes) == sorted(expected)


def test_what_else_is_said_of_it(create, own):
    ran = create("  ci ", "--type", "Full-Access", "--description", "for the night", "--show-secret", "-o", "json")
    document = json.loads(ran.out)
    made = own.get(1)
    assert (made.name, made.type, made.description) == ("ci", "full-access", "for the night")
    assert knows(own, document["secret"])
    assert (document["id"], document["name"], document["type"]) == (1, "ci", "full-access")
    assert document["token"] == mask(document["secret"])
    assert document["saved"] == "stdout"


@pytest.mark.parametrize("form", ["table", "wide", "json", "ndjson", "yaml"])
def test_a_secret_that_is_to_be_shown_is_in_the_output_whole(create, own, form):
    ran = create("ci", "--show-secret", "-o", form)
    assert ran.code == 0
    (secret,) = re.findall(r"xvc_\w{9,}", ran.out)
    assert knows(own, secret)
    assert secret not in ran.err


@pytest.mark.parametrize("form", ["csv", "ids", "junit", "dot"])
def test_no_other_format_loses_it(create, own, form):
    ran = create("ci", "--show-secret", "-o", form)
    assert (ran.code, ran.out, own.names(), traces(own)) == (2, "", [], [])
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("query", "is_shown"), [("secret", True), ("[name, secret]", True), ("name", False), ("[", False), ("no", False)]
)
def test_a_query_has_to_ask_for_the_secret(create, own, query, is_shown):
    ran = create("ci", "--show-secret", "-o", "json", "--query", query)
    if is_shown:
        found = json.loads(ran.out)
        assert knows(own, found if isinstance(found, str) else found[1])
    else:
        assert (ran.code, ran.out, own.names(), traces(own)) == (2, "", [], [])


def test_names_are_given_once_unless_it_is_wished(create, own, tmp_path):
    assert create("ci", "--show-secret").code == 0
    ran = create("ci", "--save", f"file:{tmp_path}/kept")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: an API token named 'ci' already exists (1). Use another name, rotate the existing one, "
        "or add --allow-duplicate.\n"
    )
    assert not (tmp_path / "kept").exists()
    assert own.names() == ["ci"]
    assert create("CI", "--show-secret").code == 0
    assert create("ci", "--show-secret", "--allow-duplicate").code == 0
    assert own.names() == ["ci", "CI", "ci"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([" ", "--show-secret"], "NAME is empty"),
        (["ci", "--show-secret", "--type", "full-acces"], "did you mean 'full-access'"),
        (["ci", "--show-secret", "--scope", "tokens"], "did you mean 'token'"),
        (["ci", "--show-secret", "--expires", "2020-01-01"], "is in the past"),
        (["ci", "--show-secret", "--expires", "soon"], "invalid time"),
        (["ci", "--show-secret", "--expires", "99999999w"], "year 9999"),
        (["ci", "--show-secret", "--save", "keyring"], "cannot be used together"),
        (["ci", "--show-secret", "-o", "jsn"], "json"),
        (["ci", "--save", "keyrin"], "did you mean 'keyring'"),
        (["ci", "--save", "env:KEY"], "unknown place for a secret: 'env'"),
        (["ci", "--save", "file"], "needs an argument"),
        (["ci", "--save", "command:no-such-program"], "program no-such-program not found"),
        (["ci", "--save", "file:/dev/null"], "already exists"),
    ],
)
def test_what_cannot_be_creates_nothing(create, own, words, said):
    ran = create(*words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert own.names() == []
    assert traces(own) == []


def test_a_store_is_made_only_for_an_api_token(tokctl, own, tmp_path):
    path = tmp_path / "new" / "own.db"
    assert tokctl("api-tokens", "create", "ci", "--type", "no", "--store", path).code == 2
    assert not path.exists()
    assert tokctl("api-tokens", "create", "ci", "--show-secret", "--store", path).code == 0
    assert path.exists()


# --- signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_waits_until_the_secret_is_safe(shell, own, tmp_path, name):
    """It comes while the program is at work that takes the secret."""
    script = f"kill -{name} $PPID; kill -{name} $PPID; sleep 0.3; cat > {tmp_path}/kept"
    ran = shell("api-tokens", "create", "ci", "--save", f"command:sh -c '{script}'", env=own.environ)
    assert ran.code == 128 + signal.Signals[f"SIG{name}"]
    assert ran.err.startswith("tokctl: saving the secret before exit; please wait.\n")
    assert ran.err.count("please wait") == 1
    assert knows(own, (tmp_path / "kept").read_text())
    assert "API token 1" in ran.out  # what there is now is told first
    checks = json.loads(shell("doctor", "-o", "json", env=own.environ).out)["checks"]
    assert "orphans" not in next(one for one in checks if one["check"] == "api tokens")


def test_it_needs_no_stdin(shell, own, tmp_path):
    ran = shell(
        "api-tokens",
        "create",
        "ci",
        "--save",
        f"file:{tmp_path}/kept",
        env=own.environ,
        no_stdin=True,
        preexec_fn=lambda: os.close(0),
    )
    assert (ran.code, ran.err) == (0, "")
    assert knows(own, (tmp_path / "kept").read_text().strip())


def test_a_name_that_another_run_is_about_to_give_is_taken(create, own):
    ledger = Ledger(Path(own.environ["TOKCTL_STATE_DIR"]))
    entry = LedgerEntry(key="other", origin=own.path.as_uri(), name="ci", place="keyring", at=NOW)
    with ledger.open_entry(entry):
        ran = create("ci", "--show-secret")
        assert (ran.code, own.names()) == (2, [])
        assert "another process is creating" in ran.err
    assert create("ci", "--show-secret").code == 0  # that run has ended, however it did


@pytest.mark.parametrize("where", ["> /dev/null", ">&-"])
def test_an_output_that_goes_nowhere_is_no_place_for_a_secret(own, where):
    line = f"{sys.executable} -m tokctl api-tokens create ci --show-secret {where}"
    done = subprocess.run(
        ["sh", "-c", line], env=clean_environment(own.environ), stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, own.names()) == (2, [])
    assert "the secret would be lost" in done.stderr


def test_the_words_of_a_command_are_not_told(create, own):
    ran = create("ci", "--save", "command:sh -c 'cat > /dev/null' --password=hunter2", "-o", "json")
    assert ran.code == 0
    assert "hunter2" not in ran.out + ran.err
    assert json.loads(ran.out)["saved"] == "command:sh"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["n" * 256], "NAME is too long: 256 characters"),
        (["ci", "--description", "d" * 4097], "--description is too long"),
        (["ci", "--store", ":memory:"], "is deleted with its API tokens when this command ends"),
    ],
)
def test_what_nobody_could_keep_is_refused(tokctl, own, words, said):
    ran = tokctl("api-tokens", "create", "--show-secret", "--store", own.path, *words)
    assert (ran.code, own.names()) == (2, [])
    assert said in ran.err
