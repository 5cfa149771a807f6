"""A new secret is never lost: whatever happens, and whenever.

At every step of ``create``, ``rotate``, ``apply``, ``revoke`` and ``exec`` something happens. Then either the secret is
saved and valid, or there is no such token, or it is an orphan that ``doctor`` names and ``revoke --orphans`` removes.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.fake_cms import DROPPED, FAILED, FAILED_AFTER, GARBLED, TRUNCATED, UNHEARD, Fault
from support.fake_xiver import FakeXiver
from support.interruptions import FAULTS, Ended, Runs
from support.keyrings import backends, entries
from support.serving import Served, grant
from tokctl.api_tokens.custody.ledger import RESCUE_SUFFIX
from tokctl.api_tokens.registries.detection import find_registry
from tokctl.api_tokens.registries.protocol import Registry
from tokctl.api_tokens.registries.store import StoreRegistry
from tokctl.api_tokens.secrets import mask
from tokctl.client import Connection
from tokctl.model.api_tokens import VALID, ApiToken
from tokctl.store import open_store

SECRET = re.compile(r"xvc_[0-9A-Za-z]{16,}")
PEPPER = "a pepper that is used by tests alone"
STANDING = "test"  # what ``grant`` calls the one of the administrator


def now() -> datetime:
    return datetime.now(UTC)


class Registered:
    """A registry that tests share: how the command line is led to it, and how a test opens it."""

    def __init__(self, where: list[str], env: dict[str, str], opened: Callable[[], Registry]) -> None:
        self.where = where
        self.env = env
        self.opened = opened


class Place:
    """A keyring and a ledger of its own, and what there is of one name in a registry."""

    def __init__(self, folder: Path, runs: Runs, registered: Registered) -> None:
        folder.mkdir()
        self.folder = folder
        self.runs = runs
        self.name = f"ci-{folder.name}"
        self.registered = registered
        self.env = (
            registered.env
            | backends(folder, "own_backends.Kept")
            | {
                "TOKCTL_STATE_DIR": str(folder / "state"),
                "TOKCTL_PEPPER": PEPPER,
                "TOKCTL_CONFIG": str(folder / "config.yaml"),
                "HOME": str(folder / "home"),
            }
        )
        (folder / "config.yaml").write_text("{}")
        (folder / "home").mkdir()

    def ask(self, *words: Any, **more: Any) -> Ended:
        group = [] if words[0] == "doctor" else ["api-tokens"]
        at = words.index("--") if "--" in words else len(words)
        return self.runs.run(*group, *words[:at], *self.registered.where, *words[at:], env=self.env, **more)

    def valid(self) -> dict[str, str]:
        """The masks of the valid tokens by id."""
        with closing(self.registered.opened()) as registry:
            return {str(one.id): one.token for one in self.find(registry) if one.state(now()) == VALID}

    def find(self, registry: Registry) -> Iterable[ApiToken]:
        return registry.find_by_name(self.name)

    def saved(self) -> dict[str, str]:
        """The secrets in the keyring by the id of their token, and in files that were written in need."""
        found = {}
        for name, secret in entries(self.folder).items():
            if "/api-tokens/" in name:
                found[name.rpartition("/")[2]] = secret
        for file in self.folder.rglob(f"*{RESCUE_SUFFIX}"):
            assert file.stat().st_mode & 0o777 == 0o600
            found[re.search(r"token-(\w+)-", file.name)[1]] = file.read_text().strip()
        return found

    def kept(self) -> set[str]:
        """The ids of valid tokens whose secret is saved, and accepted."""
        valid = self.valid()
        fine = {number for number, secret in self.saved().items() if valid.get(number) == mask(secret)}
        with closing(self.registered.opened()) as registry:
            assert all(registry.verify(self.saved()[number]).state == VALID for number in fine)
        return fine

    def orphans(self) -> set[str]:
        """Those that the doctor names."""
        checks = json.loads(self.ask("doctor", "-o", "json").out)["checks"]
        found = next(one for one in checks if one["check"] == "api tokens")
        assert found.get("stale", []) == found.get("uncertain", []) == found.get("lost", []) == []
        return {str(one["id"]) for one in found.get("orphans", [])}

    def check_nothing_leaks(self, ended: Ended) -> None:
        assert SECRET.search(ended.out + ended.err) is None
        assert "Traceback" not in ended.err
        for file in (self.folder / "state").rglob("*.json"):
            assert SECRET.search(file.read_text()) is None

    def check(self, ended: Ended) -> None:
        """What has to hold whatever happened."""
        self.check_nothing_leaks(ended)
        lost = set(self.valid()) - self.kept()
        assert self.orphans() == lost
        if lost:
            assert self.ask("revoke", "--orphans", "--yes").code == 0
            assert self.orphans() == set()
        assert set(self.valid()) == self.kept()


BEFORE = """\
apiTokens:
  - {{name: ci, save: keyring}}
  - {{name: due, expires: 1h, save: keyring}}
  - {{name: old, save: keyring}}
"""
DECLARED = """\
apiTokens:
  - {{name: new, save: keyring}}
  - {{name: ci, description: nightly builds, save: keyring}}
  - {{name: due, expires: 1d, rotateBefore: 2h, save: keyring}}
  - {{name: filed, save: file:{folder}/filed}}
"""


class Declared(Place):
    """A file that declares API tokens, all of those in a registry but the one of this test's administrator."""

    def __init__(self, folder: Path, runs: Runs, registered: Registered) -> None:
        super().__init__(folder, runs, registered)
        with closing(registered.opened()) as registry:
            for token in self.find(registry):
                registry.revoke(str(token.id))
        self.file = folder / "tokens.yaml"
        self.file.write_text(BEFORE.format(folder=folder))
        assert self.apply().code == 0
        self.file.write_text(DECLARED.format(folder=folder))
        self.before = {*self.valid()}

    def find(self, registry: Registry) -> Iterable[ApiToken]:
        return [one for one in registry.list() if one.name != STANDING]

    def saved(self) -> dict[str, str]:
        found = super().saved()
        if (self.folder / "filed").exists():
            secret = (self.folder / "filed").read_text().strip()
            with closing(self.registered.opened()) as registry:
                found[str(registry.verify(secret).token.id)] = secret
        return found

    def apply(self, *words: str, **more: Any) -> Ended:
        return self.ask("apply", "-f", self.file, "--prune", *words or ["--yes"], **more)

    def names(self) -> list[str]:
        with closing(self.registered.opened()) as registry:
            return sorted(one.name for one in self.find(registry))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    standing_by = Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))
    yield standing_by
    standing_by.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Registered:
    path = str(tmp_path_factory.mktemp("store") / "s.db")
    return Registered(
        ["--store", path], {}, lambda: StoreRegistry(open_store(path, write=True, create=True), path, now)
    )


@pytest.fixture(scope="module")
def database(postgresql) -> Registered:
    """A store in PostgreSQL."""
    url = postgresql.new_schema()
    return Registered(["--store", url], {}, lambda: StoreRegistry(open_store(url, write=True, create=True), url, now))


def on_server(url: str, credential: str) -> Registered:
    connection = Connection(url=url, credential=lambda: credential)
    kind = find_registry(connection, warn=print, fresh=True).server_kind
    return Registered(["--server", url], {"TOKCTL_API_KEY": credential}, lambda: kind.open(connection, now, print))


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Registered]:
    """Our own."""
    path = tmp_path_factory.mktemp("server") / "served.db"
    with closing(Served(path, secret=grant(path, "*", type_="full-access"))) as served:
        yield on_server(served.url, served.secret)


@pytest.fixture(scope="module")
def cms_server() -> Iterator[FakeXiver]:
    with FakeXiver() as fake:
        yield fake


@pytest.fixture(scope="module")
def cms(cms_server) -> Registered:
    return on_server(cms_server.url, cms_server.jwt)


@pytest.fixture
def places(request, tmp_path, runs, monkeypatch) -> Callable[..., Place]:
    """Makes places at the registry that a test names; of another kind on request."""
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    registered = request.getfixturevalue(request.param)
    numbers = count()
    began = f"{request.node.name.replace('[', '-').rstrip(']')}"
    return lambda kind=Place: kind(tmp_path / f"{began}-{next(numbers)}", runs, registered)


def all_steps(place: Place, *words: str) -> list[str]:
    """The steps that a command takes when nothing happens."""
    ended = place.ask(*words)
    assert ended.code == 0, ended.err
    place.check(ended)
    return ended.steps


HAPPENS = [*(("server", what) for what in ("KILL", "TERM", "INT", *FAULTS)), ("cms", "KILL"), ("store", "disk")]
MANY = "TOKCTL_TEST_KILLS" in os.environ
"""Whether all faults are tried everywhere, as ``make test-kills`` does."""
DIRECT = [("store", "KILL"), ("database", "KILL"), ("database", "TERM")]
FEW = [("store", "KILL"), ("server", "network")]
MORE = [("cms", "network"), ("store", "KILL"), ("store", "HUP"), ("database", "KILL")]


@pytest.mark.parametrize(("places", "what"), [*HAPPENS, *MORE], indirect=["places"])
def test_create(places, what):
    first = places()
    steps = all_steps(first, "create", first.name)
    assert {"VaultSink.probe", "VaultSink.save", "Ledger.put"} <= set(steps)
    codes = set()
    for at in range(len(steps) + 1):  # the last one is none: nothing happens
        place = places()
        ended = place.ask("create", place.name, at=at, what=what)
        place.check(ended)
        codes.add(ended.code)
    assert codes & {"KILL": {-9}, "TERM": {143}, "INT": {130}, "HUP": {129}}.get(what, {0, 4, 5, 6, 7, 8})


def begun(places: Callable[[], Place]) -> tuple[Place, str]:
    """A place with a token in it, and its id."""
    place = places()
    assert place.ask("create", place.name).code == 0
    (number,) = place.valid()
    return place, number


@pytest.mark.parametrize(("places", "what"), [*HAPPENS, *DIRECT] if MANY else HAPPENS, indirect=["places"])
def test_rotate(places, what):
    place, number = begun(places)
    steps = all_steps(place, "rotate", number)
    assert {"VaultSink.save", "Ledger.put"} <= set(steps)
    for at in range(len(steps)):
        place, number = begun(places)
        place.check(place.ask("rotate", number, at=at, what=what))
        assert number in place.kept()  # the old one has its day of grace still
        again = place.ask("rotate", number)
        assert again.code == 0, (steps[at], again.err)
        assert len(place.kept()) == len(place.valid()) == 2


@pytest.mark.parametrize(("places", "what"), HAPPENS if MANY else FEW[:1], indirect=["places"])
def test_rotate_in_a_variable_of_a_file(places, what):
    """The new secret overwrites the old one: at each step one of them is there, and what is valid is accounted for."""
    place = places()
    save = ["--save", f"env-file:{place.folder}/.env"]
    assert place.ask("create", place.name, *save).code == 0
    (number,) = place.valid()
    steps = all_steps_of_rotation(place, number)
    assert {"VaultSink.save", "Ledger.put"} <= set(steps)
    for at in range(len(steps)):
        place = places()
        env = place.folder / ".env"
        assert place.ask("create", place.name, "--save", f"env-file:{env}").code == 0
        (number,) = place.valid()
        place.ask("rotate", number, at=at, what=what)
        (secret,) = SECRET.findall(env.read_text())
        assert mask(secret) in place.valid().values()
        kept = {one for one, shown in place.valid().items() if shown == mask(secret)} | place.kept()
        assert place.orphans() == {*place.valid()} - kept - {number}
        assert place.ask("rotate", number).code == 0, steps[at]
        assert place.orphans() == set()
        (secret,) = SECRET.findall(env.read_text())
        valid = place.valid()
        del valid[number]
        assert [*valid.values()] == [mask(secret)]


def all_steps_of_rotation(place: Place, number: str) -> list[str]:
    ended = place.ask("rotate", number)
    assert ended.code == 0, ended.err
    assert place.orphans() == set()
    return ended.steps


@pytest.mark.parametrize(("places", "what"), [*HAPPENS, *DIRECT] if MANY else FEW, indirect=["places"])
def test_apply(places, what):
    """Creates two, updates one, rotates one, revokes one; after an interruption the next run does what is left."""
    place = places(Declared)
    ended = place.apply()
    assert (ended.code, place.orphans()) == (0, set()), ended
    steps = ended.steps
    assert {"VaultSink.save", "Ledger.put"} <= set(steps)
    assert {step.partition(".")[2] for step in steps} >= {"create", "update", "revoke"}
    every = 1 if MANY else 25  # the usual run tries some of them, other ones each time
    for at in range(random.randrange(every), len(steps), every):
        place = places(Declared)
        ended = place.apply(at=at, what=what)
        place.check_nothing_leaks(ended)
        kept = place.kept()
        assert place.orphans() == {*place.valid()} - kept, (steps[at], ended)
        again = place.apply()
        place.check_nothing_leaks(again)
        assert again.code == 0, (steps[at], ended, again)
        assert place.orphans() == set()
        assert {*place.valid()} == place.kept()
        assert {*place.names()} == {"ci", "due", "filed", "new"}
        same = place.apply("--dry-run")
        assert same.code == 0, (steps[at], same)


@pytest.mark.parametrize(("places", "what"), [*HAPPENS, *DIRECT] if MANY else FEW, indirect=["places"])
def test_revoke(places, what):
    place, number = begun(places)
    steps = all_steps(place, "revoke", number, "--yes")
    assert any(step.endswith("Registry.revoke") for step in steps)
    for at in range(len(steps)):
        place, number = begun(places)
        place.check(place.ask("revoke", number, "--yes", at=at, what=what))
        assert place.ask("revoke", number, "--yes").code in {0, 3}  # it may be revoked
        assert place.valid() == {}
        assert place.orphans() == set()


@pytest.mark.parametrize(("places", "what"), HAPPENS if MANY else [*FEW, ("store", "disk")], indirect=["places"])
def test_exec(places, what):
    place = places()
    words = ("exec", "--name", place.name)
    steps = place.ask(*words, "--", "true").steps
    assert place.valid() == {}
    for at in range(len(steps)):
        place = places()
        ended = place.ask("exec", "--name", place.name, "--", "true", at=at, what=what)
        assert SECRET.search(ended.out + ended.err) is None
        place.check(ended)  # what is still valid is an orphan
        assert place.valid() == {}


@pytest.mark.parametrize("places", ["store"], indirect=True)
def test_rotate_without_grace(places):
    place, number = begun(places)
    steps = all_steps(place, "rotate", number, "--grace", "0")
    assert "StoreRegistry.revoke" in steps
    for at in range(len(steps)):
        place, number = begun(places)
        place.check(place.ask("rotate", number, "--grace", "0", at=at, what="KILL"))
        assert place.kept()
        again = place.ask("rotate", number, "--grace", "0")
        assert again.code in {0, 3}, again.err  # the last step may have been done
        (left,) = place.kept()
        assert left != number
        assert set(place.valid()) == {left}


@pytest.mark.parametrize("kind", [UNHEARD, DROPPED, FAILED, FAILED_AFTER, TRUNCATED, GARBLED])
@pytest.mark.parametrize("places", ["cms"], indirect=True)
def test_an_answer_that_is_lost_is_looked_for_and_the_request_not_repeated(places, kind, cms_server):
    place = places()
    cms_server.fault = Fault(kind)
    before = len(cms_server.requests)
    try:
        ended = place.ask("create", place.name)
    finally:
        cms_server.fault = None
    asked = [one.method for one in cms_server.requests[before:]]
    assert (ended.code, asked.count("POST")) == (5, 1)
    was_made = kind not in {UNHEARD, FAILED}
    assert len(place.valid()) == was_made
    assert ("revoke --orphans" if was_made else "No API token") in ended.err
    place.check(ended)
    assert place.valid() == {}
