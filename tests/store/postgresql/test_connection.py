"""Connecting: each way that it can fail is one clear line, and no password is in any."""

from __future__ import annotations

import psycopg
import pytest

from support.postgresql_server import temporary_server
from tokctl.errors import StoreError, UsageError
from tokctl.store import open_store
from tokctl.store.postgresql.connection import connect, describe

PASSWORD = "s3cret-Word"
FILES = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSERVICE", "PGHOST", "PGUSER", "PGDATABASE", "PGPORT")


@pytest.fixture(scope="module")
def address():
    """The address of a server that requires a password of the user joe."""
    with temporary_server(listen_addresses="127.0.0.1", port=str(free_port()), synchronous_commit="on") as server:
        (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE joe LOGIN PASSWORD '{PASSWORD}'")
            connection.execute("SELECT pg_reload_conf()")
        server.stop()
        server.start()
        yield f"127.0.0.1:{server.port}"


def free_port() -> int:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in FILES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("place", "password", "code", "said"),
    [
        ("joe@{address}/tests", None, 6, "requires a password, and none is set. Save it with"),
        ("joe@{address}/tests", "wrong-one", 6, 'password authentication failed for user "joe"'),
        ("joe@{address}/none", PASSWORD, 6, 'database "none" does not exist'),
        ("nobody@{address}/tests", "wrong-one", 6, "authentication failed"),
        ("joe@{address}/tests?sslmode=require", PASSWORD, 5, "over TLS"),
        ("joe@127.0.0.1:1/tests", PASSWORD, 5, "refused"),
        ("joe@name.invalid/tests?connect_timeout=2", PASSWORD, 5, "name.invalid"),
        ("joe@%2Fno%2Fsuch/tests", PASSWORD, 5, "No such file"),
        ("joe@{address}/tests?nonsense=1", PASSWORD, 2, "nonsense"),
        ("joe@{address}/tests", PASSWORD, 6, "no store found"),
    ],
)
def test_each_failure_is_one_line(address, tokctl, monkeypatch, place, password, code, said):
    if password is not None:
        monkeypatch.setenv("PGPASSWORD", password)
    ran = tokctl("store", "info", "-v", "--store", f"postgresql://{place.format(address=address)}")
    assert ran.code == code, ran.err
    (line,) = (line for line in ran.err.splitlines() if line.startswith("error: "))
    assert said in line
    assert ran.err.endswith(line + "\n")
    assert "postgresql://joe@" in line or code == 2 or "nobody" in line
    assert PASSWORD not in ran.err + ran.out
    assert "wrong-one" not in ran.err + ran.out


def test_a_password_comes_from_what_libpq_reads(address, monkeypatch, tmp_path):
    host, port = address.split(":")
    place = f"postgresql://joe@{address}/tests"
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"{host}:{port}:*:joe:{PASSWORD}\n")
    passwords.chmod(0o600)
    services = tmp_path / "services"
    services.write_text(f"[orders]\nhost={host}\nport={port}\nuser=joe\ndbname=tests\npassword={PASSWORD}\n")
    for names, url in (
        ({"PGPASSWORD": PASSWORD}, place),
        ({"PGPASSFILE": str(passwords)}, place),
        ({"PGSERVICEFILE": str(services)}, "postgresql:///?service=orders"),
    ):
        with monkeypatch.context() as patch:
            for name, value in names.items():
                patch.setenv(name, value)
            connect(url).close()
    with pytest.raises(StoreError, match="requires a password"):
        connect(place)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://joe:{PASSWORD}@host/db",
        f"postgresql://host/db?user=joe&password={PASSWORD}",
        f"postgresql://host/db?%70assword={PASSWORD}",
        f"postgresql://joe:{PASSWORD}@[::1]:5432,other/db",
        f"postgres://joe:{PASSWORD}@host/db",
        f"postgresql://joe:{PASSWORD}?x@host/db",
        f"postgresql://joe:{PASSWORD}/x@host/db",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(tokctl, monkeypatch, tmp_path, url):
    configuration = tmp_path / "config.yaml"
    configuration.write_text(f"contexts:\n  a:\n    store: '{url}'\n")
    with pytest.raises(UsageError, match="contains a password"):
        open_store(url)
    for words, environment in (
        (["store", "info", "-v", "--store", url], {}),
        (["instances", "list"], {"TOKCTL_STORE": url}),
        (["snapshot", "@latest", "--to", url], {"TOKCTL_STORE": str(tmp_path / "a.db")}),
        (["serve", "--store", url], {}),
        (["instances", "list", "--context", "a"], {"TOKCTL_CONFIG": str(configuration)}),
        (["config", "set", "contexts.b.store", url], {"TOKCTL_CONFIG": str(configuration)}),
        (["doctor"], {"TOKCTL_STORE": url}),
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            ran = tokctl(*words)
        assert PASSWORD not in ran.out + ran.err, words
        assert ran.code, words


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://joe@host:5433/db?sslmode=verify-full", "postgresql://joe@host:5433/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql:///db?host=/run/pg&user=joe", "postgresql://joe@%2Frun%2Fpg/db"),
    ],
)
def test_a_location_has_no_parameters(url, shown):
    assert describe(url) == shown
