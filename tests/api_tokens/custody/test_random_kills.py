"""Runs are killed at any moment: no secret is lost without a word, and none that is there is called lost.

Few kills in a usual run; ``make test-kills`` does many.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support import serving
from support.interruptions import Ended, Runs
from support.keyrings import backends
from support.serving import Served, grant
from tokctl.api_tokens.custody.ledger import DONE, PROVEN, RESCUE_SUFFIX, SAVED, Ledger
from tokctl.api_tokens.pepper import Pepper, load_pepper
from tokctl.api_tokens.secrets import digest
from tokctl.model.api_tokens import VALID, ApiToken
from tokctl.store import open_store

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TOKCTL_TEST_KILLS", "4"))
SECRET = re.compile(r"xvc_[0-9A-Za-z]{40}")
PEPPER = "a pepper that is used by tests alone"
TAKES = {"rotate": 2, "apply": 4}
"""How many times as long as ``create``."""
STANDING = "test"  # what ``grant`` calls the one of the administrator


class Scene:
    """A registry, a keyring and files of one's own, in which commands are killed."""

    def __init__(
        self, folder: Path, runs: Runs, store: Path | str, where: list[str], env: dict[str, str], pepper: Pepper
    ):
        self.folder, self.runs, self.store, self.where, self.pepper = folder, runs, store, where, pepper
        self.numbers = iter(range(10_000))
        self.env = (
            backends(folder, "own_backends.Kept")
            | {"TOKCTL_STATE_DIR": str(folder / "state"), "TOKCTL_CONFIG": str(folder / "config.yaml")}
            | {"HOME": str(folder / "home")}
            | env
        )
        (folder / "config.yaml").write_text("{}")
        (folder / "home").mkdir()

    def run(self, *words: Any, **more: Any) -> Ended:
        group = [] if words[0] == "doctor" else ["api-tokens"]
        at = words.index("--") if "--" in words else len(words)
        return self.runs.run(*group, *words[:at], *self.where, *words[at:], env=self.env, **more)

    def valid(self) -> list[ApiToken]:
        with open_store(str(self.store)) as store:
            now = datetime.now(UTC)
            return [one for one in store.api_tokens.list() if one.state(now) == VALID and one.name != STANDING]

    def kept(self) -> set[str]:
        """The ids of the API tokens whose secret is in the keyring or in a file, not counting temporary copies."""
        files = [self.folder / "kept", *self.folder.glob("f-*"), self.folder / ".env"]
        files += self.folder.rglob(f"*{RESCUE_SUFFIX}")
        secrets = {secret for file in files if file.exists() for secret in SECRET.findall(file.read_text())}
        with open_store(str(self.store)) as store:
            found = [store.api_tokens.find_by_digest(digest(self.pepper.key, secret)) for secret in secrets]
        return {str(one.id) for one in found if one is not None}

    def doctor(self) -> dict[str, Any]:
        checks = json.loads(self.run("doctor", "-o", "json").out)["checks"]
        return next(one for one in checks if one["check"] == "api tokens")

    def words(self, chance: random.Random) -> list[str]:
        """A command, on something that is there."""
        number = next(self.numbers)
        place = chance.choice(["keyring", f"file:{self.folder}/f-{number}", f"env-file:{self.folder}/.env#V{number}"])
        words = [["create", f"k{number}", "--save", place], ["exec", "--name", f"e{number}", "--", "true"]]
        words += [["apply", "-f", self.declare(chance, number)]] * 2
        if there := [str(one.id) for one in self.valid()]:
            one = chance.choice(there)
            words += [["rotate", one], ["rotate", one, "--grace", "0"], ["rotate", one, "--save", place]]
            words += [["revoke", one, "--yes"]]
        return chance.choice(words)

    def declare(self, chance: random.Random, number: int) -> Path:
        """Write a file with a new API token, and two that may be new, or differ, or be due."""
        lines = ["apiTokens:", f"- {{name: k{number}, save: file:{self.folder}/f-{number}}}"]
        for name in ("d0", "d1"):
            scope, hours = chance.choice(["process", "token"]), chance.randint(1, 9)
            lines.append(f"- {{name: {name}, scopes: {scope}, expires: {hours}h, rotateBefore: {hours * 59}m}}")
        file = self.folder / "tokens.yaml"
        file.write_text("\n".join(lines))
        return file

    def check(self) -> None:
        """See that every valid API token is accounted for, and nothing is called lost that is not."""
        found = self.doctor()
        assert found.get("stale", []) == found.get("uncertain", []) == []
        assert [*self.folder.rglob("*.part")] == []
        valid, kept = {str(one.id) for one in self.valid()}, self.kept()
        orphans, lost = ({str(one["id"]) for one in found.get(name, [])} for name in ("orphans", "lost"))
        replaced: set[str | None] = set()
        for entry in reversed(Ledger(self.folder / "state").entries()):  # the newest first
            if entry.step in {SAVED, PROVEN, DONE} and entry.token_id in kept | replaced:
                replaced.add(entry.replaces)
        assert (orphans | lost) & kept == set(), found
        assert valid - kept - orphans - lost - replaced == set(), found
        self.recover(found)

    def recover(self, found: dict[str, Any]) -> None:
        for number in found.get("rotations", []):
            assert self.run("rotate", number).code == 0
        if found.get("orphans"):
            assert self.run("revoke", "--orphans", "--yes").code == 0
        found = self.doctor()
        assert found.get("rotations", []) == found.get("orphans", []) == [], found


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    with closing(Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))) as standing_by:
        yield standing_by


@pytest.fixture(params=["store", "server", "postgresql"])
def scene(request, runs, tmp_path) -> Iterator[Scene]:
    store = tmp_path / "s.db"
    if request.param == "postgresql":
        store = request.getfixturevalue("postgresql").new_schema()
    if request.param != "server":
        pepper = load_pepper({"TOKCTL_PEPPER": PEPPER})
        yield Scene(tmp_path, runs, store, ["--store", str(store)], {"TOKCTL_PEPPER": PEPPER}, pepper)
        return
    secret = grant(store, "*", type_="full-access")
    with closing(Served(store, secret=secret)) as served:
        yield Scene(tmp_path, runs, store, ["--server", served.url], {"TOKCTL_API_KEY": secret}, serving.PEPPER)


def test_kills_at_random_moments_lose_nothing(scene):
    chance = random.Random()
    assert scene.run("create", "first").code == 0  # which waits for everything to be imported
    began = time.monotonic()
    assert scene.run("create", "second").code == 0
    usual = time.monotonic() - began
    killed = 0
    while killed < KILLS:
        words = scene.words(chance)
        ended = scene.run(*words, after=chance.uniform(0.01, 0.9) * usual * TAKES.get(words[0], 1))
        killed += ended.code < 0
        assert SECRET.search(ended.out + ended.err) is None
        assert ended.code in {-14, 0, 2, 3}, (words, ended)
        scene.check()
