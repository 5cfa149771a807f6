"""Rotation in place, where there is no grace period: whatever happens at any step, no secret is lost unaccounted for.

After each run over a server without a grace period, either the secret in its place is the valid one, or the ledger
knows that a new one must be made, ``doctor`` says so, and running the rotation again makes and saves it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path

import httpx
import pytest

from support.fake_cms import DROPPED, FAILED, FAILED_AFTER, GARBLED, TRUNCATED, UNHEARD, Fault
from support.fake_strapi import FakeStrapi
from support.interruptions import Ended, Runs
from support.keyrings import backends

pytestmark = pytest.mark.slow  # starts programs

SECRET = re.compile(r"[0-9a-f]{64}")
ASKING = httpx.Client(trust_env=False)  # one for all: each takes a while to read the certificates
MANY = "TOKCTL_TEST_KILLS" in os.environ
"""Whether all faults are tried, as ``make test-kills`` does."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    standing_by = Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))
    yield standing_by
    standing_by.close()


@pytest.fixture
def strapi() -> Iterator[FakeStrapi]:
    with FakeStrapi() as server:
        yield server


class Place:
    """A folder with a ledger, a file with the secret of one API token, and what the server knows of that."""

    def __init__(self, folder: Path, runs: Runs, strapi: FakeStrapi) -> None:
        folder.mkdir()
        self.folder, self.runs, self.strapi = folder, runs, strapi
        self.name = f"ci-{folder.name}"
        self.file = folder / "ci.key"
        self.env = backends(folder, "own_backends.Kept") | {
            "TOKCTL_STATE_DIR": str(folder / "state"),
            "TOKCTL_CONFIG": str(folder / "config.yaml"),
            "TOKCTL_API_KEY": strapi.jwt,
            "HOME": str(folder / "home"),
        }
        (folder / "config.yaml").write_text("{}")
        (folder / "home").mkdir()
        made = self.run("create", self.name, "--save", f"file:{self.file}")
        assert made.code == 0, made
        self.first = self.saved()
        self.began = deepcopy((strapi.records, strapi.secrets))
        shutil.copytree(folder, f"{folder}-began")

    def begin_again(self) -> None:
        """Make all of it as it was after the creation."""
        self.strapi.records, self.strapi.secrets = deepcopy(self.began)
        shutil.rmtree(self.folder)
        shutil.copytree(f"{self.folder}-began", self.folder)

    def run(self, *words: str, **more) -> Ended:
        group = [] if words[0] == "doctor" else ["api-tokens"]
        ended = self.runs.run(*group, *words, "--server", self.strapi.url, env=self.env, **more)
        assert SECRET.search(ended.out + ended.err) is None
        assert "Traceback" not in ended.err
        for file in (self.folder / "state").rglob("*.json"):
            assert SECRET.search(file.read_text()) is None
        return ended

    def rotate(self, **more) -> Ended:
        return self.run("rotate", self.name, "--grace", "0", **more)

    def rotate_to(self, place: str) -> Ended:
        return self.run("rotate", self.name, "--grace", "0", "--save", place)

    def saved(self) -> str:
        return self.file.read_text().strip()

    def is_valid(self, secret: str) -> bool:
        asked = {"Authorization": f"Bearer {secret}"}
        return ASKING.get(f"{self.strapi.url}/api/upload/files", headers=asked).status_code == 200

    def kept(self) -> list[str]:
        """The valid secrets that are saved, in the place or in a file that was written in need."""
        rescued = [file.read_text().strip() for file in self.folder.rglob("api-token-*.tokctl-secret")]
        return [secret for secret in {self.saved(), *rescued} if self.is_valid(secret)]

    def is_told(self) -> bool:
        """Whether the doctor names an unfinished rotation; it must not name an orphan."""
        checks = json.loads(self.run("doctor", "-o", "json").out)["checks"]
        found = next(one for one in checks if one["check"] == "api tokens")
        assert not found.get("orphans")
        told = bool(found.get("rotations"))
        assert not told or "--grace 0' to finish it" in found["advice"]
        return told

    def check(self) -> None:
        """What has to hold after a run, and after the one that follows it."""
        told = self.is_told()
        assert self.kept() or told
        assert self.name in [one["name"] for one in self.strapi.records.values()]  # it is never revoked
        if told:
            again = self.rotate()
            assert again.code == 0, again
            assert self.is_valid(self.saved())
            assert self.unfinished() == []

    def unfinished(self) -> list[str]:
        """The steps of the rotations that the ledger has as unfinished."""
        entries = [json.loads(file.read_bytes()) for file in self.folder.glob("state/api-tokens/*.json")]
        return [one["step"] for one in entries if one["replaces"] is not None]


@pytest.fixture
def places(tmp_path, runs, strapi) -> Callable[[], Place]:
    numbers = count()
    return lambda: Place(tmp_path / str(next(numbers)), runs, strapi)


def test_nothing_happens(places, strapi):
    place = places()
    ended = place.rotate()
    assert ended.code == 0
    assert f"The old secret of API token 3 '{place.name}' is invalid." in ended.err
    second = place.saved()
    assert (place.is_valid(place.first), place.is_valid(second)) == (False, True)
    assert not place.is_told()
    assert strapi.asked("POST") == ["/admin/api-tokens", "/admin/api-tokens/3/regenerate"]
    assert place.rotate().code == 0
    assert (place.is_valid(second), place.is_valid(place.saved())) == (False, True)
    assert len([*(place.folder / "state/api-tokens").glob("*.json")]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rotate", "{name}"], "no grace period"),
        (["rotate", "{name}", "--grace", "1h"], "no grace period"),
        (["rotate", "{name}", "--grace", "0", "--expires", "30d"], "cannot change the expiry"),
        (["rotate", "{name}", "--grace", "0", "--save", "file:/nonexistent/x"], "/nonexistent"),
        (["rotate", "{name}", "--grace", "0", "--save", "keyring", "--show-secret"], "cannot be used together"),
    ],
)
def test_what_is_refused_before_anything_is_changed(places, strapi, words, said):
    place = places()
    ended = place.run(*(word.format(name=place.name) for word in words))
    assert ended.code
    assert said in ended.err
    assert place.is_valid(place.first)
    assert strapi.asked("POST") == ["/admin/api-tokens"]
    assert not place.is_told()


@pytest.mark.parametrize("what", ["KILL", "TERM", "disk", "network", *(["INT", "keyring"] if MANY else [])])
def test_something_happens_at_each_step(places, what):
    place = places()
    steps = place.rotate().steps
    assert "StrapiRegistry.regenerate" in steps
    assert "VaultSink.save" in steps
    for at in range(len(steps)):
        place.begin_again()
        assert place.is_valid(place.first)
        ended = place.rotate(at=at, what=what)
        if what in {"TERM", "INT"} and at >= steps.index("StrapiRegistry.regenerate"):
            assert place.is_valid(place.saved()), ended  # the signal waits
        place.check()


@pytest.mark.parametrize("kind", [UNHEARD, DROPPED, FAILED, FAILED_AFTER, TRUNCATED, GARBLED])
def test_an_answer_that_is_lost(places, strapi, kind):
    place = places()
    strapi.fault = Fault(kind, "POST", times=1)
    ended = place.rotate()
    assert ended.code == 5
    if kind in {UNHEARD, FAILED}:
        assert "The secret was not replaced: the old one is valid." in ended.err
        assert place.is_valid(place.first)
        assert not place.is_told()
    else:
        assert "the new one is lost" in ended.err
        assert "Run it again" in ended.err
        assert place.is_told()
    place.check()


def test_a_place_that_takes_no_more(places):
    """The secret is rescued to a file, and with that the rotation is complete: nothing is made again."""
    place = places()
    refused = place.folder / "refuses"
    refused.write_text("#!/bin/sh\nexit 1\n")
    refused.chmod(0o700)
    ended = place.rotate_to(f"command:{refused}")
    assert ended.code == 8
    assert "has a new secret, but it was not saved" in ended.err
    assert place.kept()
    assert not place.is_valid(place.first)
    assert place.unfinished() == []
    assert not place.is_told()


def test_an_expired_api_token(places, strapi):
    place = places()
    strapi.records["3"]["expiresAt"] = "2020-01-01T00:00:00.000Z"
    ended = place.rotate()
    assert (ended.code, "would not extend it" in ended.err) == (2, True)
    assert strapi.asked("POST") == ["/admin/api-tokens"]
    assert not place.is_told()
