"""The machines of docs/operations.md, all of them on this one, and somebody who follows the page.

Each machine has a folder for its files and an address of its own in 127.0.0.0/8; ``db.example`` runs a PostgreSQL whose
certificate and passwords are checked. ``systemctl`` starts the programs that the service files name, as systemd does.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import trustme

from support.commandline import clean_environment
from support.documentation import Fence, fences
from support.postgresql_server import USER, PostgreSQLServer

DATABASE = "db.example"
SERVERS = ("server-1.example", "server-2.example")
OLD = "old.example"
MACHINES = (OLD, DATABASE, *SERVERS)
PASSWORD = "a-password-of-the-tests"
MAX_STARTS = 5  # of a service that fails
_ABSOLUTE = re.compile(r"(?<![\w.}/:-])/(?=(?:etc|var|run)/)")
_PROGRAMS = {
    "tokctl": f'exec {sys.executable} -m tokctl "$@"',
    "sudo": """
        case "$1" in -u) user=$2; shift 2;; *) user=root;; esac
        if [ "$user" = postgres ]; then
            export PGHOST="$DATABASE_SOCKET" PGUSER=postgres PGOPTIONS=
            unset PGHOSTADDR PGSSLROOTCERT PGDATABASE
            [ "$(id -u)" = 0 ] && exec runuser -u postgres -- "$@"
        fi
        exec "$@" """,
    "chown": 'case "$1" in tokctl*) exit 0;; esac; [ "$(id -u)" = 0 ] || exit 0; exec /bin/chown "$@"',
    "install": '[ "$(id -u)" = 0 ] && exec /usr/bin/install "$@"; shift 3; exec /usr/bin/install -d "$@"',  # no -o
    "scp": 'for last; do :; done; cp -p "$2" "$MACHINES/${last%%:*}${last#*:}"',
    "journalctl": 'cat "$MACHINE/log/$2"',
}
"""Programs that do here what they do on machines of their own. The user tokctl does not exist here."""

_NEXT_VERSION = """
import sys
from tokctl.store.postgresql import schema
schema.MIGRATIONS += ("ALTER TABLE instance ADD COLUMN note TEXT",)
schema.SCHEMA_VERSION += 1
from tokctl.__main__ import main
sys.exit(main())
"""


class Machine:
    """A machine: its files, its services, and the environment of somebody who is logged in there."""

    def __init__(self, site: Site, name: str, address: str) -> None:
        self.site, self.name, self.address = site, name, address
        self.root = site.folder / name
        self.home = self.root / "home"
        self.services: dict[str, Service] = {}
        for folder in ("home/.postgresql", "etc/tokctl", "etc/systemd/system", "var/lib/tokctl", "var/backups", "log"):
            (self.root / folder).mkdir(parents=True)
        shutil.copy(site.ca_file, self.home / ".postgresql/root.crt")
        shutil.copy(site.ca_file, self.root / "etc/tokctl/ca.pem")
        self.environment = self.make_environment()
        self.tokctl = [sys.executable, "-m", "tokctl"]

    def make_environment(self) -> dict[str, str]:
        """What every program on the machine inherits: it finds the database by its name."""
        here = {name: value for name, value in clean_environment().items() if not name.startswith(("XDG_", "PG"))}
        return here | {
            "HOME": str(self.home),
            "PATH": f"{self.site.programs}:{self.site.database.programs}:{os.environ['PATH']}",
            "MACHINE": str(self.root),
            "MACHINES": str(self.site.folder),
            "DATABASE_SOCKET": str(self.site.database.folder),
            "PGHOSTADDR": self.site.addresses[DATABASE],
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "SSL_CERT_FILE": str(self.site.ca_file),
            "CURL_CA_BUNDLE": str(self.site.ca_file),
        }

    def path(self, name: str) -> Path:
        """Where a file of the machine is here."""
        if name.startswith("~/"):
            return self.home / name[2:]
        return self.root / name.lstrip("/") if name.startswith("/") else self.home / name

    def localize(self, text: str) -> str:
        """A text of the page with the paths and addresses that are meant here."""
        text = _ABSOLUTE.sub(f"{self.root}/", text)
        for name in SERVERS:  # as clients write it; a host and a path are for scp
            text = text.replace(f"{name}:27555", f"{self.site.addresses[name]}:27555")
        return text.replace("PASSWORD", PASSWORD).replace("10.0.0.0/8", "127.0.0.0/8")

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.localize(text), encoding="utf-8")

    def run(self, line: str) -> tuple[int, str]:
        """Run a command line; returns the exit code and the output. What it exports stays for the next ones."""
        words = shlex.split(line, comments=True)
        if words[:2] == ["sudo", "systemctl"]:
            action, *names = (word for word in words[2:] if word not in {"--now", "-s", "KILL"})
            if "--now" in words:
                action = {"enable": "start", "disable": "stop"}[action]
            self.systemctl(action, *names)
            return 0, ""
        exported = self.root / "exported"
        script = f"{self.localize(line)}\ncode=$?\nenv -0 > {exported}\nexit $code"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            input=f"{PASSWORD}\n{PASSWORD}\n",  # to those that ask
            start_new_session=True,  # without a terminal, so that they ask on stdin
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if exported.exists():
            pairs = (pair.partition("=") for pair in exported.read_text().split("\0") if pair)
            self.environment = {name: value for name, _, value in pairs if name not in {"_", "SHLVL", "PWD"}}
        return done.returncode, done.stdout + done.stderr

    def systemctl(self, action: str, *words: str) -> None:
        """Do what systemctl does with services."""
        for name in words:
            if name == "postgresql":
                self.site.control_database(action)
            else:
                self._control(action, name)

    def _control(self, action: str, name: str) -> None:
        if action == "kill":
            self.services[name].kill()
            return
        if action in {"stop", "restart"} and name in self.services:
            self.services.pop(name).stop()
        if action in {"start", "restart"}:
            self.services[name] = Service(self, name)

    def install_next_version(self) -> None:
        """Install a version of tokctl that has a schema of its own: with one column more."""
        program = self.root / "bin/tokctl"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\n{_NEXT_VERSION}")
        program.chmod(0o755)
        self.environment["PATH"] = f"{program.parent}:{self.environment['PATH']}"
        self.tokctl = [str(program)]

    def close(self) -> None:
        for service in self.services.values():
            service.stop()


class Service:
    """A running service, which is started again when it fails."""

    def __init__(self, machine: Machine, name: str) -> None:
        file = machine.path(f"/etc/systemd/system/{name}.service")
        texts = [one.read_text(encoding="utf-8") for one in (file, *sorted(Path(f"{file}.d").glob("*.conf")))]
        unit = "\n".join(texts)
        settings = re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE)
        environment = machine.make_environment()
        for key, value in settings:
            if key == "EnvironmentFile":
                lines = Path(value).read_text(encoding="utf-8").splitlines()
                environment |= dict(line.split("=", 1) for line in lines if line and line[0] != "#")
            elif key == "Environment":
                environment |= dict([value.split("=", 1)])
        command = shlex.split(dict(settings)["ExecStart"])
        if command[0].endswith("/tokctl"):
            command[:1] = machine.tokctl
        self._command = [machine.address if word == "0.0.0.0" else word for word in command]
        self._environment = environment
        self._restarts = dict(settings).get("Restart") == "on-failure"
        self._log = machine.root / "log" / name
        self._log.unlink(missing_ok=True)
        self._is_ended = False
        self._start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._wait_for_server()

    def _wait_for_server(self) -> None:
        """Wait until a server listens, or has ended for good: the reader of the page would take longer."""
        deadline = time.monotonic() + 30
        while "serve" in self._command and "Listening on" not in self.log and self._watcher.is_alive():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def _start(self) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _watch(self) -> None:
        starts = 1
        while self.process.wait() and self._restarts and not self._is_ended and starts < MAX_STARTS:
            self._start()
            starts += 1

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        self._is_ended = True
        self.process.terminate()
        self.process.wait(timeout=45)
        self._watcher.join(timeout=45)


def find_fast_folder() -> Path | None:
    """Return a folder in memory, if there is one with enough space: the database is copied several times."""
    memory = Path("/dev/shm")
    is_there = os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free > 2 << 30
    return memory if is_there else None


class Site:
    """All the machines. ``database`` is the PostgreSQL server on ``db.example``, which knows only its administrator."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tokctl-site-", dir=find_fast_folder()))
        self.folder.chmod(0o755)
        net = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        self.addresses = {name: f"{net}.{number}" for number, name in enumerate(MACHINES, start=11)}
        self.ca = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for name, script in _PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.programs / name).chmod(0o755)
        self.database = PostgreSQLServer(self.folder / "socket")
        self.database.data = self.folder / DATABASE / "var/lib/pgsql/data"
        self.machines = {name: Machine(self, name, address) for name, address in self.addresses.items()}
        for name in SERVERS:
            self.issue_certificate(name)

    def issue_certificate(self, name: str, **options) -> None:
        """Give a server a certificate of the site's authority."""
        certificate = self.ca.issue_cert(self.addresses[name], name, **options)
        folder = self.machines[name].path("/etc/tokctl") if name in SERVERS else self.database.data
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (folder / "key.pem").chmod(0o600)

    def start_database(self) -> None:
        """Create the database, which has a certificate and checks passwords, and start it."""
        database, machine = self.database, self.machines[DATABASE]
        for folder in (database.data.parent, machine.path("/var/backups"), machine.home):
            folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(folder, USER)
        database.create(listen_addresses=machine.address)
        self.issue_certificate(DATABASE)
        for file in ("cert.pem", "key.pem"):
            if os.geteuid() == 0:
                shutil.chown(database.data / file, USER)
        (database.data / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n"
        )
        with (database.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("ssl = on\nssl_cert_file = 'cert.pem'\nssl_key_file = 'key.pem'\n")
        with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE tests")
        database.stop()
        database.start()

    def control_database(self, action: str) -> None:
        """Do what systemctl does with the service of PostgreSQL."""
        if action in {"stop", "restart", "kill"}:
            self.database.stop("immediate" if action == "kill" else "fast")
        if action in {"start", "restart"}:
            self.database.start()

    def close(self) -> None:
        for machine in self.machines.values():
            machine.close()
        for file in self.database.data.parent.glob("*/postmaster.pid"):  # also of a restored backup beside it
            self.database.data = file.parent
            self.database.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def steps(page: Path) -> list[tuple[str, Fence]]:
    """The fences of a page, each with the heading that it is below."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    for fence in fences(page):
        headings = [line.lstrip("# ") for line in lines[: fence.line] if re.match(r"##+ ", line)]
        found.append((headings[-1], fence))
    return found
