"""The ledger against the registry: what is about another API token is left alone, and what is lost is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support.builders import TESTER
from support.commandline import NOW, Ran
from support.own_api_tokens import DAY, OwnStore
from tokctl.api_tokens.custody.creation import Custody
from tokctl.api_tokens.custody.ledger import CREATED, Ledger
from tokctl.api_tokens.registries.protocol import ApiTokenSpec
from tokctl.api_tokens.registries.store import StoreRegistry
from tokctl.api_tokens.secrets import is_tokctl_secret
from tokctl.errors import StoreError
from tokctl.model.api_tokens import VALID
from tokctl.store import open_store

Run = Callable[..., Ran]
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def run(own: OwnStore, tokctl: Run, monkeypatch) -> Run:
    """Runs a command about API tokens on a store of one's own; the tokctl fixture takes TOKCTL_* away."""
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)
    return lambda *words, **more: tokctl("api-tokens", *words, **more)


@pytest.fixture
def doctor(run: Run, tokctl: Run) -> Callable[[], dict[str, Any]]:
    """Asks the doctor about API tokens."""

    def ask() -> dict[str, Any]:
        checks = json.loads(tokctl("doctor", "-o", "json", now=LATER).out)["checks"]
        return next(one for one in checks if one["check"] == "api tokens")

    return ask


def lose(run: Run, folder: Path) -> None:
    """Create an API token whose secret is lost, as by a crash before it was saved."""
    assert run("create", "ci", "--save", f"file:{folder}/lost").code == 0
    (folder / "lost").unlink()
    ledger = Ledger()
    ledger.put(replace(ledger.entries()[-1], step=CREATED))


def recreate(own: OwnStore) -> None:
    for file in own.path.parent.glob(f"{own.path.name}*"):
        file.unlink()
    own.add("ci", created_at=NOW)  # by another user, and even at the same time


def restore(own: OwnStore) -> None:
    for file in own.path.parent.glob(f"{own.path.name}*"):
        file.unlink()
    shutil.copy(own.path.parent / "backup", own.path)
    own.add("ci", created_at=NOW + timedelta(hours=1))


AGAIN = [recreate, restore]
"""How an id comes to be given again."""


def back_up(own: OwnStore) -> None:
    with open_store(str(own.path)) as store:
        store.backup(own.path.parent / "backup")


@pytest.mark.parametrize("again", AGAIN)
def test_an_orphan_whose_id_was_given_again_is_not_revoked(run, own, doctor, tmp_path, again):
    back_up(own)
    lose(run, tmp_path)
    assert doctor()["orphans"] == [{"id": 1, "name": "ci"}]
    again(own)
    found = doctor()
    assert (found["orphans"], [one["id"] for one in found["stale"]]) == ([], ["1"])
    assert "1 ledger entry of the store" in found["found"]
    ran = run("revoke", "--orphans", "--yes", now=LATER)
    assert (ran.code, own.names()) == (0, ["ci"])
    assert "is stale (1 'ci')" in ran.err
    assert len(Ledger().entries()) == 1


@pytest.mark.parametrize("again", AGAIN)
def test_a_rotation_of_an_id_that_was_given_again_is_not_over(run, own, tmp_path, again):
    back_up(own)
    assert run("create", "ci", "--save", f"file:{tmp_path}/kept").code == 0
    assert run("rotate", "1").code == 0
    again(own)
    ran = run("rotate", "1")
    assert "the place of the old secret is unknown" in ran.err
    ran = run("rotate", "1", "--save", f"file:{tmp_path}/kept")
    assert (ran.code, own.names()) == (2, ["ci"])  # it has a secret of the earlier store
    ran = run("rotate", "1", "--save", f"file:{tmp_path}/new", "--grace", "0", now=LATER)
    assert ran.code == 0, ran.err
    assert own.get(1).revoked_at == LATER
    assert run("secret", "2").out == (tmp_path / "new").read_text()
    assert run("secret", "1").code == 3


def test_a_name_that_was_changed_here_is_the_same_api_token(run, own, doctor, tmp_path):
    assert run("create", "ci", "--save", f"file:{tmp_path}/kept").code == 0
    assert run("update", "1", "--name", "ci-new").code == 0
    assert run("secret", "ci-new").out == (tmp_path / "kept").read_text()
    assert doctor()["state"] == "ok"
    with open_store(str(own.path), write=True) as store:  # elsewhere
        store.api_tokens.update(1, {"name": "theirs"}, NOW, by=TESTER)
    assert [one["name"] for one in doctor()["stale"]] == ["ci-new"]


def test_an_entry_of_an_earlier_version_is_completed_by_its_secret(run, own, doctor, tmp_path):
    for name in ("ci", "other"):
        assert run("create", name, "--save", f"file:{tmp_path}/{name}").code == 0
    ledger = Ledger()
    for entry in ledger.entries():
        ledger.put(replace(entry, created_at=None, identity=None, digest=None, wanted=None))
    (tmp_path / "other").unlink()
    assert [one["name"] for one in doctor()["stale"]] == ["other"]
    assert run("rotate", "ci").code == 0
    assert "the place of the old secret is unknown" in run("rotate", "other").err


# --- without an id ---


def planned(own: OwnStore, *before: str) -> ApiTokenSpec:
    """What a killed run was about to create, as in its entry."""
    spec = ApiTokenSpec(name="ci", scopes=("process",), expires_at=NOW + 90 * DAY)
    registry = StoreRegistry(open_store(str(own.path)), str(own.path), lambda: NOW)
    ledger = Ledger()
    with ledger.open_entry(Custody(registry, ledger, lambda: NOW).plan(spec, "keyring", before=before)):
        registry.close()
    return spec


@pytest.mark.parametrize("apart", [timedelta(hours=-9), timedelta(minutes=6), timedelta(days=40)])
def test_an_orphan_is_found_however_wrong_the_clock_of_the_server_is(run, own, doctor, apart):
    own.add("ci", created_at=NOW - DAY)
    planned(own, "1")
    own.add("ci", created_at=NOW + apart)
    own.add("ci", created_at=NOW, expires_at=NOW + 90 * DAY + timedelta(minutes=1))  # another user's
    own.add("ci", created_at=NOW, scopes=("token",))
    assert doctor()["orphans"] == [{"id": 2, "name": "ci"}]
    assert run("revoke", "--orphans", "--yes", now=LATER).code == 0
    assert own.get(2).revoked_at == LATER
    assert len(own.names()) == 3
    assert doctor()["state"] == "ok"


def test_of_two_that_it_may_be_none_is_revoked(run, own, doctor):
    planned(own)
    own.add("ci", created_at=NOW)
    own.add("ci", created_at=NOW)
    found = doctor()
    assert (found["orphans"], [one["id"] for one in found["uncertain"]]) == ([], [2, 1])
    ran = run("revoke", "--orphans", "--yes", now=LATER)
    assert "created one of the API tokens 2 'ci', 1 'ci'; it is unknown which. Revoke it by id." in ran.err
    assert len(own.names()) == 2
    planned(own)  # another run that was killed: both are orphans
    assert [one["id"] for one in doctor()["orphans"]] == [2, 1]


# --- secrets that are gone ---


def hide(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


@pytest.mark.parametrize("kind", ["file", "env-file"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (hide, "it is not in {where} any more."),
        (lambda file: file.write_text("TOKCTL_API_KEY=xvc_another\n"), "{where} has another secret now."),
        (lambda file: file.chmod(0o640), "others can read or change it. Run 'chmod 600 {file}'."),
        (lambda file: os.chown(file, 1234, -1), "{file} belongs to another user (uid 1234)"),
    ],
    ids=["gone", "other", "open", "foreign"],
)
def test_a_secret_that_is_no_longer_where_it_was_put_is_named(run, doctor, tmp_path, kind, spoil, said):
    file = tmp_path / "kept"
    place = f"{kind}:{file}"
    assert run("create", "ci", "--save", place).code == 0
    assert doctor()["state"] == "ok"
    if "uid" in said and os.geteuid() != 0:
        pytest.skip("needs to make files of others")
    spoil(file)
    found = doctor()
    where = f"the file {file}" if kind == "file" else f"TOKCTL_API_KEY in the file {file}"
    assert found["state"] == "problem"
    assert [one["id"] for one in found["lost"]] == [1]
    assert said.format(where=where, file=file) in found["found"].replace(f"{where} contains", f"the file {file} is")
    assert run("revoke", "1", "--yes").code == 0
    assert doctor()["state"] == "ok"


def test_temporary_copies_that_killed_runs_left_are_removed(run, doctor, own, tmp_path):
    assert run("create", "ci", "--save", f"env-file:{tmp_path}/.env").code == 0
    ledger = Path(own.environ["TOKCTL_STATE_DIR"]) / "api-tokens"
    (entry,) = ledger.glob("*.json")
    left = {
        tmp_path / "..env.12345.part",  # as an earlier version named them, too
        ledger / f".{entry.name}.12345.part",
        ledger / ".0123456789abcdef.json.12345.part",  # of an entry that was never complete
    }
    for file in left:
        file.write_text("TOKCTL_API_KEY=xvc_another\n")
    found = doctor()
    assert (found["state"], {*found["removed"]}) == ("warning", {*map(str, left)})
    assert not any(file.exists() for file in left)
    assert doctor()["state"] == "ok"


def test_a_state_directory_of_another_user_is_refused(run, own):
    if os.geteuid() != 0:
        pytest.skip("needs to make folders of others")
    state = Path(own.environ["TOKCTL_STATE_DIR"])
    state.mkdir()
    os.chown(state, 1234, -1)
    ran = run("create", "ci", "--show-secret")
    assert (ran.code, own.names()) == (4, [])
    assert "it belongs to another user (uid 1234)" in ran.err


def test_a_secret_in_another_place_of_the_ledger_is_not_lost(run, doctor, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("create", "one", "--save", f"file:{first}").code == 0
    assert run("create", "two", "--save", f"file:{second}").code == 0
    secret = first.read_text()
    first.write_text(second.read_text())
    second.write_text(secret)
    assert doctor()["state"] == "ok"


def test_the_old_one_without_a_secret_is_named_once_its_successor_is_gone(run, doctor, tmp_path):
    file = tmp_path / "kept"
    assert run("create", "ci", "--save", f"file:{file}").code == 0
    assert run("rotate", "1").code == 0
    assert doctor()["state"] == "ok"  # its secret was replaced, as it should be
    assert run("revoke", "2", "--yes").code == 0
    found = doctor()
    assert [(one["id"], one["reason"]) for one in found["lost"]] == [(1, f"the file {file} has another secret now.")]
    ran = run("rotate", "1")
    assert (ran.code, "--replace" in ran.err) == (2, True)
    assert run("rotate", "1", "--replace", "--grace", "0").code == 0
    assert doctor()["state"] == "ok"


def test_of_a_chain_all_are_named_once_no_secret_of_it_is_there(run, doctor, tmp_path):
    file = tmp_path / "kept"
    assert run("create", "ci", "--save", f"file:{file}").code == 0
    for _ in range(2):
        assert run("rotate", "ci").code == 0
    assert doctor()["state"] == "ok"
    file.unlink()
    assert sorted(one["id"] for one in doctor()["lost"]) == [1, 2, 3]


# --- what is said and what the ledger says ---


def fail_after_planning(monkeypatch) -> None:
    put = Ledger.put

    def fail(ledger: Ledger, entry: Any) -> None:
        if entry.step != "planned":
            raise StoreError("cannot rename.")
        put(ledger, entry)

    monkeypatch.setattr(Ledger, "put", fail)


def test_a_rescued_secret_is_no_orphan_though_the_ledger_could_not_be_written(run, own, doctor, monkeypatch):
    with monkeypatch.context() as patch:
        fail_after_planning(patch)
        ran = run("create", "ci", "--save", "command:false")
    assert ran.code == 8
    (file,) = Path(own.environ["TOKCTL_STATE_DIR"]).glob("*.tokctl-secret")
    assert f"The secret is in {file}" in ran.err
    assert run("revoke", "--orphans", "--yes", "-o", "id", now=LATER).out == ""
    assert own.get(1).state(LATER) == VALID
    assert run("secret", "1").out == file.read_text()
    assert is_tokctl_secret(file.read_text().strip())
    assert doctor()["state"] == "ok"


def test_a_secret_that_was_handed_over_is_no_orphan_though_the_ledger_could_not_be_written(run, own, monkeypatch):
    with monkeypatch.context() as patch:
        fail_after_planning(patch)
        assert run("create", "ci", "--save", "command:true").code == 0
    assert run("revoke", "--orphans", "--yes", "-o", "id", now=LATER).out == ""
    assert own.get(1).state(LATER) == VALID
