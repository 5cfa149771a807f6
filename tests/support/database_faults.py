"""Commands on a PostgreSQL store behind a proxy, and what has to be true of the store whatever happened to them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from support.builders import at, instance, ndjson, tokens
from support.commandline import Ran
from support.old_stores import postgresql_program
from support.postgresql_server import PostgreSQLServer
from support.running_server import make_secret, serving
from support.tcp_proxy import TcpProxy
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest
from tokctl.errors import MissingStoreError, StoreError
from tokctl.model.api_tokens import VALID
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.store import open_store, schema_versions

PEPPER = "a pepper that is used by tests alone"
SECRET = re.compile(r"xvc_[0-9A-Za-z]{40}")
IMPORTED = 1200
"""Tokens of a file: more than are written at once in tests."""
RECOVERY_SECONDS = 60
WELL = {200, 201}
"""The codes of a server of a store that can be read and written."""


def socket_of(server: PostgreSQLServer) -> Callable[[], Path]:
    """Return where a server listens, for a proxy."""
    return lambda: server.folder / f".s.PGSQL.{server.port}"


class Case(NamedTuple):
    """A command, and what tells whether it was done: True, False, or None if that is halfway, and may be."""

    words: list[Any]
    is_done: Callable[[], bool | None]


@contextmanager
def asked_server(scene: Scene) -> Iterator[Callable[[], set[int]]]:
    """Start a server of the store; yields what sends it a question and a change, and returns the codes."""
    secret, _ = make_secret(scene.place, "manager", "*", type_="full-access")
    with serving(scene.url) as served:

        def ask() -> set[int]:
            made = served.client.post("/api/api-tokens", headers={"X-API-Key": secret}, json={"name": "new"})
            return {served.get("/api/v1/processes/i1/tokens", secret).status_code, made.status_code}

        assert ask() == WELL
        yield ask


def wait_until_well(ask: Callable[[], set[int]]) -> None:
    """Ask a server until it answers as usual; before, it is only unavailable."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (codes := ask()) != WELL:
        assert codes <= {*WELL, 503}
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Scene:
    """A store with an instance, reached directly (``place``) and over a proxy (``url``), and commands for it."""

    def __init__(
        self, folder: Path, call: Callable[..., Ran], new_place: Callable[[], str], proxied: Callable[[str], str]
    ) -> None:
        self.folder, self.call, self.new_place, self.proxied = folder, call, new_place, proxied
        self.place, self.url = self.new_schema()
        self.numbers = count()
        self.where = ["--store", self.url]
        with open_store(self.place, write=True, create=True) as store, store.write() as batch:
            batch.put(instance("i1", status="ACTIVE"), tokens(3, state="ACTIVE"))

    def new_schema(self) -> tuple[str, str]:
        """Return the URL of a place for a store, and the one over the proxy."""
        place = self.new_place()
        return place, self.proxied(place)

    def run(self, *words: Any) -> Ran:
        """Run a command: it says at most one line of an error, and nothing that it should not."""
        ran = self.call(*words)
        assert SECRET.search(ran.out + ran.err) is None
        assert "Traceback" not in ran.err
        if ran.code > 0 and not ran.err.startswith("tokctl: "):
            lines = [line for line in ran.err.splitlines() if not line.startswith("warning: ")]
            assert len(lines) == 1, ran
            assert lines[0].startswith(("error: ", "API token ")), ran
        return ran

    def cases(self) -> dict[str, Callable[[], Case]]:
        """Return each kind of command by its name; it is prepared by a call."""
        return {
            name.removeprefix("_case_"): getattr(self, name) for name in sorted(dir(self)) if name.startswith("_case_")
        }

    # --- the commands ---

    def _case_read(self) -> Case:
        return Case(["tokens", "list", "i1", *self.where], lambda: None)

    def _case_import(self) -> Case:
        name = f"i-{next(self.numbers)}"
        file = self.folder / "imported.ndjson"
        file.write_bytes(ndjson(tokens(IMPORTED, name)))

        def is_done() -> bool:
            found = self._count(name)
            assert found in {None, IMPORTED}
            return found is not None

        return Case(["store", "import", file, *self.where], is_done)

    def _case_prune(self) -> Case:
        name = f"i-{next(self.numbers)}"
        with open_store(self.place, write=True) as store, store.write() as batch:
            batch.put(instance(name, status="COMPLETED", completed_at=at(0)), tokens(3, name))

        def is_done() -> bool:
            found = self._count(name)
            assert found in {None, 3}
            return found is None

        return Case(["store", "prune", "--completed-before", "2025-01-12", "--yes", *self.where], is_done)

    def _count(self, name: str) -> int | None:
        """Return the number of an instance's tokens; None if it is not there."""
        with open_store(self.place) as store:
            if name not in store.all_instance_ids():
                return None
            tokens = list(store.tokens(name, ALL_TOKENS, SortOrder("created")))
            assert store.instance(name).total_tokens == len(tokens)
            return len(tokens)

    def _case_create(self) -> Case:
        name = f"k-{next(self.numbers)}"
        words = ["api-tokens", "create", name, "--save", f"file:{self.folder / name}", *self.where]
        return Case(words, lambda: self._is_saved(name, self.folder / name))

    def _case_rotate(self) -> Case:
        name = f"k-{next(self.numbers)}"
        file = self.folder / name
        number = self._create(name, file)
        before = file.read_text()

        def is_done() -> bool | None:
            self._is_saved(name, file)
            return None if file.read_text() != before else False

        return Case(["api-tokens", "rotate", number, *self.where], is_done)

    def _case_revoke(self) -> Case:
        name = f"k-{next(self.numbers)}"
        number = self._create(name, self.folder / name)

        def is_done() -> bool:
            with open_store(self.place) as store:
                return store.api_tokens.by_id(int(number)).revoked_at is not None

        return Case(["api-tokens", "revoke", number, "--yes", *self.where], is_done)

    def _create(self, name: str, file: Path) -> str:
        ran = self.call("api-tokens", "create", name, "--save", f"file:{file}", "--store", self.url)
        assert ran.code == 0, ran
        with open_store(self.place) as store:
            return str(next(store.api_tokens.named(name)).id)

    def _is_saved(self, name: str, file: Path) -> bool:
        """Check that a saved secret is valid; return whether there is one."""
        with open_store(self.place) as store:
            if not file.exists():
                return False
            key = load_pepper(os.environ).key
            (secret,) = SECRET.findall(file.read_text())
            found = store.api_tokens.find_by_digest(digest(key, secret))
            assert found is not None
            assert found.name == name
            assert found.revoked_at is None
            return True

    def _case_copy(self) -> Case:
        """Copies a store into a new one, over the proxy; until it is finished, nobody can open the copy."""
        source = self.folder / "source.db"
        if not source.exists():
            with open_store(str(source), write=True, create=True) as store, store.write() as batch:
                batch.put(instance("i1"), tokens(700))
        direct, proxied = self.new_schema()

        def is_done() -> bool:
            try:
                with open_store(direct) as store:
                    return store.info().tokens == 700
            except StoreError:  # unfinished, or not even begun
                return False

        return Case(["store", "copy", source, proxied], is_done)

    def _case_migrate(self) -> Case:
        """Creates the tables of a store, as any other migration does its own, and imports a token."""
        direct, proxied = self.new_schema()
        (self.folder / "first.ndjson").write_bytes(ndjson(tokens(1)))

        def is_done() -> bool:
            try:
                with open_store(direct) as store:
                    assert list(store.find_damage()) == []
                    return True
            except MissingStoreError:
                return False

        return Case(["store", "import", self.folder / "first.ndjson", "--store", proxied], is_done)

    def _case_upgrade(self) -> Case:
        """Upgrades a store of schema 1 or 2; as long as it is not done, programs of its schema can write."""
        number = next(self.numbers)
        oldest = 1 + number % 2
        direct, proxied = self.new_schema()
        with postgresql_program(oldest), open_store(direct, write=True, create=True) as store, store.write() as batch:
            batch.put(instance("i1"), tokens(30))
        written = ["i1"]

        def is_done() -> bool:
            version, latest = schema_versions(direct)
            assert version >= oldest
            with postgresql_program(version), open_store(direct, write=True) as store:
                with store.write() as batch:
                    batch.put_tokens(tokens(30, f"then-{len(written)}"))
                written.append(f"then-{len(written)}")
                assert sorted(store.all_instance_ids()) == sorted(written)
                assert store.count_tokens(None, ALL_TOKENS) == 30 * len(written)
                assert [*store.find_damage(), *store.find_problems()] == []
            return version == latest

        return Case(["store", "migrate", "--store", proxied], is_done)

    # --- afterwards ---

    def check_api_tokens(self) -> None:
        """Check that the secret of each valid API token is saved, or that it is known as an orphan."""
        ran = self.call("api-tokens", "revoke", "--orphans", "--yes", "--store", self.url)
        assert ran.code in {0, 3}, ran
        key = load_pepper(os.environ).key
        texts = [file.read_text() for file in self.folder.glob("k-*")]
        saved = {digest(key, secret) for text in texts for secret in SECRET.findall(text)}
        with open_store(self.place) as store:
            now = at(0)
            found = map(store.api_tokens.find_by_digest, saved)
            known = {one.id for one in found if one is not None}
            known |= {entry.token_id for entry in store.audit.entries() if entry.action == "rotate"}  # the old ones
            assert [one for one in store.api_tokens.list() if one.state(now) == VALID and one.id not in known] == []
            assert list(store.find_problems()) == []


def wait_until_idle(place: str) -> None:
    """Wait until no other session of the database is in a transaction: one whose client is gone may still be."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now()"
    with psycopg.connect(place, autocommit=True) as connection:
        while connection.execute(f"{query} AND pid != pg_backend_pid()").fetchone() != (0,):
            connection.execute("SELECT pg_sleep(0.01)")


def steps_of(proxy: TcpProxy, run: Callable[[], Any]) -> int:
    """Run something; return how many messages it sent."""
    sent: list[int] = []
    with proxy.ruled(lambda data: sent.append(len(data))):
        run()
    return len(sent)


def strike_at(step: int, verdict: str) -> Callable[[bytes], str | None]:
    """Return a rule for the message of a step, from 0."""
    numbers = count()
    return lambda _data: verdict if next(numbers) == step else None
