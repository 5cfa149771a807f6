"""A new secret is never lost: whatever happens, and whenever.

At every step of ``create`` and ``rotate`` something happens. Then either the secret is saved and valid, or there is no
such token, or it is an orphan that ``doctor`` names and ``revoke --orphans`` removes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from interrupting import FAULTS, SIGNALS, Ended, Runs

from keyrings import backends, entries
from tokctl.access.model import VALID
from tokctl.access.secret import mask
from tokctl.registries.base import Registry
from tokctl.registries.local import LocalRegistry
from tokctl.store import open_store

SECRET = re.compile(r"xvc_[0-9A-Za-z]{16,}")
PEPPER = "a pepper that is used by tests alone"


def now() -> datetime:
    return datetime.now(UTC)


class Place:
    """A registry, a keyring and a ledger of a test's own."""

    def __init__(self, folder: Path, runs: Runs, where: list[str], opened: Callable[[], Registry]) -> None:
        self.folder = folder
        self.runs = runs
        self.where = where
        self.opened = opened
        self.env = backends(folder, "own_backends.Kept") | {
            "TOKCTL_STATE_DIR": str(folder / "state"), "TOKCTL_PEPPER": PEPPER,
            "TOKCTL_CONFIG": str(folder / "config.yaml"), "HOME": str(folder / "home"),
        }  # fmt: skip
        (folder / "config.yaml").write_text("{}")
        (folder / "home").mkdir()

    def ask(self, *words: Any, **more: Any) -> Ended:
        group = [] if words[0] == "doctor" else ["api-tokens"]
        return self.runs.run(*group, *words, *self.where, env=self.env, **more)

    def valid(self) -> dict[str, str]:
        """The masks of the valid tokens by id."""
        with closing(self.opened()) as registry:
            return {str(one.id): one.token for one in registry.list() if one.state(now()) == VALID}

    def saved(self) -> dict[str, str]:
        """The secrets in the keyring by the id of their token, and in files that were written in need."""
        found = {}
        for name, secret in entries(self.folder).items():
            if "/api-tokens/" in name:
                found[name.rpartition("/")[2]] = secret
        for file in self.folder.rglob("*.secret"):
            assert file.stat().st_mode & 0o777 == 0o600
            found[re.search(r"token-(\w+)-", file.name)[1]] = file.read_text().strip()
        return found

    def kept(self) -> set[str]:
        """The ids of valid tokens whose secret is saved, and accepted."""
        valid = self.valid()
        fine = {number for number, secret in self.saved().items() if valid.get(number) == mask(secret)}
        with closing(self.opened()) as registry:
            assert all(registry.verify(self.saved()[number]).state == VALID for number in fine)
        return fine

    def orphans(self) -> set[str]:
        """Those that the doctor names."""
        checks = json.loads(self.ask("doctor", "-o", "json").out)["checks"]
        found = next(one for one in checks if one["check"] == "api tokens")
        return {str(one["id"]) for one in found.get("orphans", [])}

    def check(self, ended: Ended) -> None:
        """What has to hold whatever happened."""
        assert SECRET.search(ended.out + ended.err) is None
        assert "Traceback" not in ended.err
        for file in (self.folder / "state").rglob("*.json"):
            assert SECRET.search(file.read_text()) is None
        lost = set(self.valid()) - self.kept()
        assert self.orphans() == lost
        if lost:
            assert self.ask("revoke", "--orphans", "--yes").code == 0
            assert self.orphans() == set()
        assert set(self.valid()) == self.kept()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    standing_by = Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))
    yield standing_by
    standing_by.close()


@pytest.fixture
def on_store(tmp_path, runs, monkeypatch) -> Callable[[], Place]:
    """Makes places on stores of their own."""
    made = []
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)

    def make() -> Place:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        store = str(folder / "s.db")
        made.append(store)
        return Place(
            folder, runs, ["--store", store],
            lambda: LocalRegistry(open_store(store, write=True, create=True), store, now),
        )  # fmt: skip

    return make


def all_steps(place: Place, *words: str) -> list[str]:
    """The steps that a command takes when nothing happens."""
    ended = place.ask(*words)
    assert ended.code == 0, ended.err
    place.check(ended)
    return ended.steps


@pytest.mark.parametrize("what", [*SIGNALS, *FAULTS])
def test_create(on_store, what):
    steps = all_steps(on_store(), "create", "ci")
    assert {"Place.prove", "LocalRegistry.create", "Place.keep", "Ledger.put"} <= set(steps)
    codes = set()
    for at in range(len(steps) + 1):  # the last one is none: nothing happens
        place = on_store()
        ended = place.ask("create", "ci", at=at, what=what)
        place.check(ended)
        codes.add(ended.code)
    assert codes & {"KILL": {-9}, "TERM": {143}, "INT": {130}, "HUP": {129}}.get(what, {0, 4, 5, 6, 7, 8})


@pytest.mark.parametrize("what", ["KILL", "TERM", *FAULTS])
def test_rotate(on_store, what):
    def begun() -> Place:
        place = on_store()
        assert place.ask("create", "ci").code == 0
        return place

    steps = all_steps(begun(), "rotate", "1")
    assert {"LocalRegistry.verify", "LocalRegistry.update", "Place.keep"} <= set(steps)
    for at in range(len(steps)):
        place = begun()
        place.check(place.ask("rotate", "1", at=at, what=what))
        assert "1" in place.kept()  # the old one has its day of grace still
        again = place.ask("rotate", "1")
        assert again.code == 0, (steps[at], again.err)
        place.check(again)
        assert len(place.kept()) == 2
