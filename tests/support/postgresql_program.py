"""Fetches the server programs of a version of PostgreSQL with Maven; they come without clients such as psql.

``python -m support.postgresql_program 18.0.0`` prints their folder, for TOKCTL_TEST_POSTGRESQL.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-{machine}:{version}"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64v8"}
TRIES = 3


def fetch(version: str) -> Path:
    """Return the folder of the programs, fetched unless they are in the cache."""
    own_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = (
        own_cache if os.geteuid() else Path("/var/cache")
    ) / "tokctl-tests"  # root's is closed to the user postgres
    programs = cache / f"postgresql-{version}"
    if not programs.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unpack(download(version, Path(folder)), Path(folder) / "programs")
            (Path(folder) / "programs").replace(programs)
    return programs / "bin"


def download(version: str, folder: Path) -> Path:
    """Return the archive of a version."""
    artifact = ARTIFACT.format(machine=MACHINES[platform.machine()], version=version)
    command = ["mvn", "-q", "-B", "-U", MAVEN_COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    for _ in range(TRIES):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            return next(folder.glob("*.jar"))
    sys.exit(f"cannot fetch {artifact}: {done.stdout[-500:]}{done.stderr[-500:]}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive: a file of Java with one of tar."""
    with zipfile.ZipFile(archive) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(name) as inner, tarfile.open(fileobj=inner, mode="r:xz") as files:
            files.extractall(folder, filter="data")
    folder.chmod(0o755)


if __name__ == "__main__":
    sys.stdout.write(f"{fetch(sys.argv[1])}\n")
