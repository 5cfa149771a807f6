"""docs/operations.md, from top to bottom: a running installation moves to PostgreSQL, and disasters happen."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import psycopg
import pytest

from support.builders import instance, ndjson, token
from support.documentation import Fence, command_lines_of, fences
from support.paths import ROOT
from support.postgresql_server import require_postgresql
from support.site import OLD, SERVERS, Machine, Site, steps
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.store import open_store

PAGE = ROOT / "docs/operations.md"
DEPLOY = ROOT / "docs/deploy.md"
MISSING = [name for name in ("curl", "openssl", "promtool") if not shutil.which(name)]

IMPORTER = """
import os, pathlib, subprocess, sys, time
inbox = pathlib.Path(os.environ["INBOX"])
while True:
    for file in sorted(inbox.glob("*.ndjson")):
        command = [sys.executable, "-m", "tokctl", "store", "import", "--quiet", str(file)]
        if subprocess.run(command).returncode == 0:
            file.unlink()
    time.sleep(0.05)
"""
"""A service of the users that imports files, and keeps those that it could not import."""


class Clients:
    """Clients of the servers: they use, create and revoke API tokens all the time, and feed the importer.

    What a server has accepted stays so, whichever server is asked; and an API token whose revocation was accepted is
    never accepted again. Errors of servers that are not there are fine.
    """

    def __init__(self, site: Site, inbox: Path, manager: str) -> None:
        self.inbox, self.manager = inbox, manager
        socket = site.machines[OLD].path("/run/tokctl/http.sock")
        context = ssl.create_default_context(cafile=site.ca_file)
        self.servers = [httpx.Client(base_url="http://old", transport=httpx.HTTPTransport(uds=str(socket)), timeout=30)]
        for name in SERVERS:
            url = f"https://{site.addresses[name]}:27555"
            self.servers.append(httpx.Client(base_url=url, verify=context, timeout=30))
        self.accepted: dict[int, str] = {}
        self.revoked: dict[int, str] = {}
        self.answered = dict.fromkeys(range(3), 0)  # changes, by server
        self.read = dict.fromkeys(range(3), 0)
        self.fed: list[str] = []
        self.failures: list[str] = []
        self.outages = 0  # visits in which no server accepted a change
        self.pause = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for visit in count():
            if self._end.wait(0.05):
                return
            with self.pause:
                if visit % 10 == 0:
                    self._feed()
                before = sum(self.answered.values())
                for number, server in enumerate(self.servers):
                    with suppress(httpx.HTTPError):  # it is not there
                        self._visit(number, server)
                self.outages += sum(self.answered.values()) == before

    def _feed(self) -> None:
        name = f"fed-{len(self.fed)}"
        partial = self.inbox / f"{name}.part"
        partial.write_bytes(ndjson([token(f"{name}-{n}", name, state="ACTIVE") for n in range(3)]))
        partial.rename(self.inbox / f"{name}.ndjson")
        self.fed.append(name)

    def _visit(self, number: int, server: httpx.Client) -> None:
        headers = {"X-API-Key": self.manager}
        made = server.post("/api/api-tokens", headers=headers, json={"name": "made", "scopes": ["process"]})
        self._expect(made, {201, 503})
        if made.status_code == 201:
            self.accepted[made.json()["id"]] = made.json()["token"]
            self.answered[number] += 1
        if len(self.accepted) > 5 and made.status_code == 201:
            which = next(iter(self.accepted))
            secret = self.accepted.pop(which)  # if the answer is lost, it is unknown whether it is revoked
            gone = server.delete(f"/api/api-tokens/{which}", headers=headers)
            self._expect(gone, {200, 204, 503})
            if gone.status_code != 503:
                self.revoked[which] = secret
        for secret in list(self.accepted.values())[-2:]:
            read = server.get("/api/v1/processes?limit=1", headers={"X-API-Key": secret})
            self._expect(read, {200, 503})
            self.read[number] += read.status_code == 200
        for secret in list(self.revoked.values())[-1:]:
            self._expect(server.get("/api/v1/processes?limit=1", headers={"X-API-Key": secret}), {401, 429, 503})

    def _expect(self, answer: httpx.Response, statuses: set[int]) -> None:
        if answer.status_code not in statuses:
            self.failures.append(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")

    def close(self) -> None:
        self._end.set()
        self._thread.join()


class Operator:
    """Somebody who does what the page says, fence by fence."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def follow(self, fence: Fence) -> None:
        """Write the file that a fence shows, or type its command lines, on each machine that it names."""
        if fence.language == "console":
            names, file = fence.title or OLD, ""
        else:
            names, _, file = fence.title.partition(": ")
            assert file, f"{PAGE.name}:{fence.line}: neither a 'console' fence nor a file: it is not run"
        for name in names.split(", "):
            machine = self.site.machines[name]
            if file:
                machine.write(file, fence.text)
            for line in command_lines_of(fence, PAGE.name):
                self.type(machine, line.text, line.code, line.place)

    def type(self, machine: Machine, text: str, expected: int, place: str) -> None:
        if any(re.search(rf"\b{name}\b", text) for name in MISSING) and not os.environ.get("CI"):
            return
        code, output = machine.run(text)
        at = f"{place} at {machine.name}: {text}"
        assert code == expected, f"{at}\n  exit code {code}, not {expected}: {output[:800]}"


def unit(section: str) -> str:
    """The service file in a section of docs/deploy.md."""
    text = DEPLOY.read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
    found = [one for one in fences(DEPLOY) if one.title.endswith("tokctl.service") and one.text in text]
    return found[0].text


def write_importer(machine: Machine, inbox: Path, settings: str) -> None:
    machine.write("/etc/tokctl/import.py", IMPORTER)
    script = machine.path("/etc/tokctl/import.py")
    machine.write(
        "/etc/systemd/system/tokctl-import.service",
        f"[Service]\n{settings}\nEnvironment=INBOX={inbox}\nExecStart={sys.executable} {script}\n",
    )


def tokens_of(number: int) -> tuple[Instance, list[Token]]:
    """An instance of the old installation: every second one ended a hundred days ago, the others have failed."""
    name, moment = f"before-{number}", datetime.now(UTC).replace(microsecond=0) - timedelta(days=100)
    ended = {"status": "COMPLETED", "completed_at": moment} if number % 2 else {"status": "ACTIVE"}
    state = "COMPLETED" if number % 2 else "FAILED"
    recorded = [token(f"t{n}", name, state=state, created_at=moment, updated_at=moment) for n in range(25)]
    return instance(name, started_at=moment, **ended), recorded


def install_on_one_machine(old: Machine, inbox: Path) -> str:
    """Have a server and an importer run over an SQLite file; returns the secret of a manager of API tokens."""
    old.path("/run/tokctl").mkdir(parents=True)
    (old.path("/var/lib/tokctl/pepper")).write_text("the pepper of this installation, which is a long text\n")
    old.path("/var/lib/tokctl/pepper").chmod(0o600)
    old.write("/etc/systemd/system/tokctl.service", unit("systemd"))
    write_importer(old, inbox, f"Environment=TOKCTL_STORE={old.path('/var/lib/tokctl/tokctl.db')}")
    with (
        open_store(str(old.path("/var/lib/tokctl/tokctl.db")), write=True, create=True) as store,
        store.write() as batch,
    ):
        for n in range(40):
            about, recorded = tokens_of(n)
            batch.put(about, recorded)
    environment = "TOKCTL_STORE=/var/lib/tokctl/tokctl.db TOKCTL_PEPPER_FILE=/var/lib/tokctl/pepper"
    options = "--type full-access --scope '*' --expires never --show-secret"
    code, secret = old.run(f"{environment} tokctl api-tokens create manager {options} 2> /dev/null")
    assert code == 0, secret
    old.systemctl("start", "tokctl", "tokctl-import")
    return secret.strip()


@pytest.fixture
def site() -> Iterator[Site]:
    require_postgresql("psql", "pg_basebackup", "pg_verifybackup", "pg_dump", "pg_restore")
    made = Site()
    try:
        made.start_database()
        yield made
    finally:
        made.close()


class Situation:
    """What the page takes for granted before a fence, by heading and the number of the fence below it."""

    def __init__(self, site: Site, inbox: Path, manager: str) -> None:
        self.clients: Clients | None = None
        self.site, self.inbox, self.manager = site, inbox, manager
        self.before = {
            ("One machine", 1): lambda: self.make_api_tokens("recent"),
            ("Create the database", 0): self.begin_clients,
            ("Move to PostgreSQL", 7): self.check_reads,
            ("Maintenance", 0): self.check_move,
            ("Upgrade without downtime", 0): self.begin_upgrade,
            ("Upgrade without downtime", 1): lambda: self.install_next_version(SERVERS[0]),
            ("Upgrade without downtime", 3): lambda: self.install_next_version(SERVERS[1]),
            ("Monitoring", 0): lambda: shutil.copy(ROOT / "docs/monitoring/tokctl-alerts.yaml", self.old.home),
            ("Disaster drills", 0): self.end_upgrade,
            ("An API token has leaked", 0): lambda: self.make_api_tokens("leaked", "admin", "doomed"),
            ("A certificate has expired", 0): self.let_certificate_expire,
            ("The schema is newer than the program", 0): lambda: self.change_schema(100),
            ("The schema is newer than the program", 1): lambda: self.change_schema(-100),
            ("Instances were pruned by mistake", 4): self.check_pruned,
            ("Instances were pruned by mistake", 6): self.check_rescued,
            ("The database is lost", 5): self.check_restored,
        }

    @property
    def old(self) -> Machine:
        return self.site.machines[OLD]

    def ask(self, words: str) -> str:
        """What a command of the owner prints."""
        code, output = self.old.run(f'tokctl {words} --store "$NEW" 2> /dev/null')
        assert code == 0, output
        return output

    def check_reads(self) -> None:
        """The old server still serves what it has, but accepts no change."""
        with self.clients.pause:
            before, changes = self.clients.read[0], self.clients.answered[0]
        wait_until(lambda: self.clients.read[0] > before)
        assert self.clients.answered[0] == changes

    def check_move(self) -> None:
        """Nothing that the old installation had is missing, and what was imported meanwhile arrives."""
        wait_until(lambda: all(self.clients.answered.values()))
        code, before = self.old.run("tokctl store export -o ndjson --store /var/lib/tokctl/tokctl.db.moved")
        assert code == 0, before
        assert len(before.splitlines()) > 40 * 25
        assert set(before.splitlines()) - set(self.ask("store export -o ndjson").splitlines()) == set()
        fed = list(self.clients.fed)
        wait_until(lambda: not any((self.inbox / f"{name}.ndjson").exists() for name in fed))
        assert set(fed) - set(self.ask("instances list -o id --limit 0").split()) == set()
        with self.clients.pause:
            assert self.clients.accepted
            assert self.clients.revoked
            for server in self.clients.servers[1:]:
                assert {ask_status(server, secret) for secret in self.clients.accepted.values()} == {200}
                assert {ask_status(server, secret) for secret in self.clients.revoked.values()} <= {401, 429}

    def install_next_version(self, name: str) -> None:
        """Before that, both servers continue to serve: the older version with the newer schema, too."""
        self.wait_for_both_servers()
        self.site.machines[name].install_next_version()

    def wait_for_both_servers(self) -> None:
        with self.clients.pause:
            before = dict(self.clients.answered)
        wait_until(lambda: all(self.clients.answered[number] > before[number] for number in (1, 2)))

    def begin_upgrade(self) -> None:
        self.wait_for_both_servers()
        self.clients.outages = 0
        self.old.install_next_version()

    def end_upgrade(self) -> None:
        """While it was upgraded, there was always a server that accepted changes."""
        self.wait_for_both_servers()
        assert self.clients.outages == 0
        self.end_clients()

    def end_clients(self) -> None:
        if self.clients is not None:
            self.clients.close()

    def begin_clients(self) -> None:
        self.clients = Clients(self.site, self.inbox, self.manager)

    def make_api_tokens(self, *names: str) -> None:
        for name in names:
            code, output = self.old.run(f"tokctl api-tokens create {name} --save file:{name}.key")
            assert code == 0, output

    def let_certificate_expire(self) -> None:
        name = SERVERS[0]
        self.site.issue_certificate(name, not_after=datetime.now(UTC) - timedelta(days=1))
        machine = self.site.machines[name]
        machine.systemctl("restart", "tokctl")
        kept = {file: machine.path(f"/etc/tokctl/{file}.pem").read_bytes() for file in ("cert", "key")}
        self.site.issue_certificate(name)
        for file, expired in kept.items():
            path = machine.path(f"/etc/tokctl/{file}.pem")
            shutil.copy(path, machine.home / f"new-{file}.pem")
            path.write_bytes(expired)

    def change_schema(self, by: int) -> None:
        columns = (f"{name} = {name} + {by}" for name in ("schema_version", "compatible_version"))
        with psycopg.connect(self.site.database.url("tokctl"), autocommit=True) as connection:
            connection.execute(f"UPDATE tokctl_store SET {', '.join(columns)}")

    def check_pruned(self) -> None:
        assert "before-1\n" not in self.ask("instances list -o id --limit 0")

    def check_restored(self) -> None:
        """What was archived is there. The instances that were imported last may be missing."""
        found = set(self.ask("instances list -o id --limit 0").split())
        assert {f"before-{n}" for n in range(0, 40, 2)} <= found

    def check_rescued(self) -> None:
        found = set(self.ask("instances list -o id --limit 0").split())
        assert {f"before-{n}" for n in range(40)} <= found


def ask_status(server: httpx.Client, secret: str) -> int:
    return server.get("/api/v1/processes?limit=1", headers={"X-API-Key": secret}).status_code


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the addresses 127.0.0.0/8")
def test_the_page_can_be_followed_from_top_to_bottom(site):
    inbox = site.folder / "inbox"
    inbox.mkdir()
    for name in SERVERS:
        site.machines[name].write("/etc/systemd/system/tokctl.service", unit("Several servers"))
    write_importer(site.machines[SERVERS[0]], inbox, "EnvironmentFile=/etc/tokctl/environment")
    manager = install_on_one_machine(site.machines[OLD], inbox)
    situation, operator = Situation(site, inbox, manager), Operator(site)
    numbers: Counter[str] = Counter()
    try:
        for heading, fence in steps(PAGE):
            if prepare := situation.before.pop((heading, numbers[heading]), None):
                prepare()
            operator.follow(fence)
            numbers[heading] += 1
    finally:
        situation.end_clients()
    assert situation.clients.failures == []
    assert situation.before == {}
