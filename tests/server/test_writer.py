"""Changes of API tokens by a server: over one connection to a database, as long as it is in order."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator

import psycopg
import pytest

from support.builders import TESTER, at
from tokctl.errors import StoreError
from tokctl.model.api_tokens import NewApiToken
from tokctl.server.http_errors import HTTPError
from tokctl.server.writer import Writer
from tokctl.store import open_store
from tokctl.store.protocol import ApiTokenTable


def create(table: ApiTokenTable) -> int:
    number = table.count()
    wanted = NewApiToken(name=f"n{number}", token="xvc_", scopes=(), created_at=at(number))
    return int(table.create(wanted, bytes([number]) * 32, "p", by=TESTER).id)


def find_connection(table: ApiTokenTable) -> int:
    """The process of the database server that serves the connection."""
    return table.database.connection.info.backend_pid


def fail(_table: ApiTokenTable) -> None:
    raise StoreError("the disk is full.")


def change(writer: Writer, function):
    return asyncio.run(writer.change(None, function))


@pytest.fixture
def writer(store_kind) -> Iterator[Writer]:
    url = store_kind.new_place()
    open_store(url, write=True, create=True).close()
    made = Writer(url, lambda *_arguments, **_fields: None)
    yield made
    made.close()


on_postgresql = pytest.mark.parametrize("store_kind", ["postgresql"], indirect=True)


@on_postgresql
def test_a_connection_is_used_again(writer):
    first = change(writer, find_connection)
    assert [change(writer, create) for _ in range(8)] == [*range(1, 9)]  # psycopg prepares what is repeated
    assert change(writer, find_connection) == first


@on_postgresql
def test_a_connection_is_replaced_when_the_server_has_ended_it_and_after_an_error(writer, postgresql):
    first = change(writer, find_connection)
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
    second = change(writer, find_connection)
    assert (change(writer, create), second != first) == (1, True)
    with pytest.raises(HTTPError) as raised:
        change(writer, fail)
    assert raised.value.status == 503
    assert change(writer, find_connection) != second


@on_postgresql
def test_a_store_that_a_newer_version_has_upgraded_is_refused(writer):
    assert change(writer, create) == 1
    with open_store(writer.url, write=True) as store:
        columns = (f"{name} = {name} + 100" for name in ("schema_version", "compatible_version"))
        store.database.execute(f"UPDATE tokctl_store SET {', '.join(columns)}")
    with pytest.raises(HTTPError) as raised:
        change(writer, create)
    assert raised.value.status == 503


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_file_that_was_replaced_is_written(writer, tmp_path):
    path = writer.url.removeprefix("sqlite:")
    shutil.copy(path, tmp_path / "backup.db")
    assert change(writer, create) == 1
    (tmp_path / "backup.db").replace(path)
    assert change(writer, create) == 1
