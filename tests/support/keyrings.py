"""Keyrings to test with: backends as real modules, and a real Secret Service of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKENDS = '''
import json, os, threading, time
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordDeleteError


class Kept(KeyringBackend):
    """Keeps everything in the file that KEPT names."""

    priority = 1

    @property
    def file(self):
        return Path(os.environ["KEPT"])

    def entries(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def get_password(self, service, username):
        return self.entries().get(f"{service} {username}")

    def keep(self, entries):
        part = self.file.with_name(f"kept.{os.getpid()}")
        part.write_text(json.dumps(entries))  # a full disk must not take what is there
        part.replace(self.file)

    def set_password(self, service, username, password):
        self.keep(self.entries() | {f"{service} {username}": password})

    def delete_password(self, service, username):
        entries = self.entries()
        if entries.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError("not there")
        self.keep(entries)


class Locked(Kept):
    def get_password(self, service, username):
        raise KeyringLocked("Failed to unlock the collection!")

    def set_password(self, service, username, password):
        raise InitError("Failed to create the collection: Prompt dismissed..")


class Frozen(Kept):
    def get_password(self, service, username):
        time.sleep(3600)

    set_password = get_password


class Forgetful(Kept):
    def set_password(self, service, username, password):
        pass


class Telling(Kept):
    """An error that repeats what it was given."""

    def set_password(self, service, username, password):
        if "canary" in username:
            return super().set_password(service, username, password)
        raise ValueError(f"cannot store {password}\\nin {service}")


class Twisting(Kept):
    """Gives back something else, though not of the canary."""

    def get_password(self, service, username):
        found = super().get_password(service, username)
        return found if found is None or "canary" in username else found[:-1]


class Asking(Kept):
    def get_password(self, *given):
        raise EOFError

    set_password = get_password


class Chain(KeyringBackend):
    """As keyring's own chain: the first of several that is asked."""

    priority = 10
    backends = []

    def get_password(self, service, username):
        return self.backends[0].get_password(service, username)

    def set_password(self, service, username, password):
        self.backends[0].set_password(service, username, password)
'''

CHAIN = """
from own_backends import Chain, Kept, Locked
from keyrings.alt.file import PlaintextKeyring


class Poor(Chain):
    backends = [PlaintextKeyring()]


class Mixed(Chain):
    backends = [PlaintextKeyring(), Kept()]
"""

PLAINTEXT = """
import own_backends


class PlaintextKeyring(own_backends.Kept):
    pass
"""


WAIT = """
import secretstorage, time
bus = secretstorage.dbus_init()
while not secretstorage.check_service_availability(bus):
    time.sleep(0.05)
"""


def backends(folder: Path, name: str) -> dict[str, str]:
    """The environment in which one of the backends above is the keyring; what it keeps is in ``folder/kept``."""
    modules = folder / "modules"
    (modules / "keyrings" / "alt").mkdir(parents=True, exist_ok=True)
    (modules / "keyrings" / "cryptfile").mkdir(parents=True, exist_ok=True)
    (modules / "own_backends.py").write_text(BACKENDS)
    (modules / "own_chain.py").write_text(CHAIN)
    (modules / "keyrings" / "alt" / "file.py").write_text(PLAINTEXT)
    (modules / "keyrings" / "cryptfile" / "cryptfile.py").write_text(PLAINTEXT.replace("Plaintext", "CryptFile"))
    return {"PYTHON_KEYRING_BACKEND": name, "PYTHONPATH": str(modules), "KEPT": str(folder / "kept")}


def entries(folder: Path) -> dict[str, str]:
    """What a backend has kept."""
    file = folder / "kept"
    return json.loads(file.read_text()) if file.exists() else {}


def has_secret_service() -> bool:
    """Whether a Secret Service can be started here."""
    return all(map(shutil.which, ("dbus-daemon", "gnome-keyring-daemon", "secret-tool")))


@contextmanager
def secret_service(folder: Path, *, unlocked: bool = True) -> Iterator[dict[str, str]]:
    """Run a Secret Service on a bus of its own; yields the environment in which it is the keyring."""
    home, runtime = folder / "home", folder / "run"
    home.mkdir()
    runtime.mkdir(mode=0o700)
    environ = {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_RUNTIME_DIR": str(runtime),
    }
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    environ["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--components=secrets", *(["--unlock"] if unlocked else [])],
        env=os.environ | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        daemon.stdin.write(b"a password")
        daemon.stdin.close()
        subprocess.run([sys.executable, "-c", WAIT], env=os.environ | environ, check=True, timeout=30)
        yield environ
    finally:
        for process in (daemon, bus):
            process.kill()
            process.wait()
        bus.stdout.close()
