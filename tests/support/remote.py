"""Engines over real servers for the contract suites: one server of each kind, and one store that is filled anew."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path
from shutil import rmtree

from support.documented_server import DocumentedServer
from support.postgresql_server import shared_server
from support.serving import Served
from tokctl.engines.protocol import Engine
from tokctl.store import open_store
from tokctl.store.importing import import_records


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tokctl-remote-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder


@cache
def served() -> Served:
    return Served(_folder() / "served.db")


@cache
def bare() -> DocumentedServer:
    return DocumentedServer(_folder() / "bare.db", honours=False)


@cache
def postgresql_place() -> str:
    return shared_server().new_schema()


def refill(place: Path | str, records: list) -> None:
    """Put records into a store in place of all that is there."""
    with open_store(str(place), write=True, create=True) as store, store.write() as batch:
        store.database.execute("DELETE FROM instance")
        store.database.execute("DELETE FROM definition")
        store.database.execute("UPDATE revision SET number = number + 1 WHERE kind = 'process'")
        import_records(batch, records, _refuse)


def _refuse(reject) -> None:
    raise AssertionError(reject)


def from_rest(records: list) -> Engine:
    refill(served().path, records)
    return served().engine()


def from_bare(records: list) -> Engine:
    refill(bare().path, records)
    return bare().engine()


def from_postgresql(records: list) -> Engine:
    refill(postgresql_place(), records)
    return open_store(postgresql_place())
