"""Reading instances for an export: one after the other, and on after failures."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.builders import NOON, at, instance, token, tokens
from support.documented_server import DocumentedServer
from tokctl.analysis.redaction import Redactor
from tokctl.config import Settings
from tokctl.engines.protocol import MAX_CONSECUTIVE_FAILURES
from tokctl.errors import InputError, NotFoundError, StoreError, UsageError
from tokctl.exports import chrome_trace, event_log_csv, otlp, xes
from tokctl.exports.export_format import prepare
from tokctl.model.filters import InstanceFilter
from tokctl.services.export import InstanceReading, select_compared, select_instances
from tokctl.services.span_delivery import open_collector

IDS = [f"i{n:02}" for n in range(MAX_CONSECUTIVE_FAILURES + 2)]


@pytest.fixture
def filled(store):
    """A store with instances of three tokens each."""
    with store.write() as batch:
        for name in IDS:
            batch.put(instance(name, process_id="p"), tokens(3, name))
    return store


@pytest.fixture
def broken(filled, store_path):
    """Make an engine over a server that cannot tell the tokens of some instances."""
    servers = []

    class Broken(DocumentedServer):
        failing: tuple[str, ...] = ()

        def _answer(self, known, path, given):
            if path[-1] == "tokens" and path[-2] in self.failing:
                return {"tokens": [{"token_id": 5}]}
            return super()._answer(known, path, given)

    def make(*failing):
        servers.append(Broken(store_path))
        servers[-1].failing = failing
        return servers[-1].engine()

    yield make
    for server in servers:
        server.close()


def reading(engine, ids, *redact, **options):
    return InstanceReading(engine, ids, Redactor(redact), lambda: NOON, **options)


@pytest.mark.parametrize("form", [chrome_trace, event_log_csv, otlp, xes])
def test_an_instance_is_written_before_the_next_one_is_read(filled, form):
    done = []
    several = reading(filled, IDS[:3], step=done.append)
    pieces = form.FORMAT.write(map(prepare, several), NOON)
    for number, name in enumerate(IDS[:3]):
        while name not in next(pieces):
            pass
        assert len(done) == number


def test_failures_are_recorded(broken):
    found = reading(broken("i01"), IDS[:3], remote=True)
    assert [one.status.instance.instance_id for one in found] == ["i00", "i02"]
    ((name, message),) = [(one.instance_id, one.message) for one in found.unread]
    assert (name, "token_id" in message) == ("i01", True)


def test_after_many_consecutive_failures_the_rest_is_skipped(broken):
    found = reading(broken(*IDS[1:]), IDS, remote=True)
    assert [one.status.instance.instance_id for one in found] == ["i00"]
    assert [one.instance_id for one in found.unread] == IDS[1:]
    assert sum(one.message.startswith("skipped") for one in found.unread) == 1
    with pytest.raises(InputError):
        list(reading(broken(*IDS), IDS, remote=True))


def test_a_store_that_cannot_be_read_ends_the_export(filled):
    found = iter(reading(filled, IDS[:2]))
    next(found)
    filled.connection.execute("DROP TABLE token")
    with pytest.raises(StoreError):
        next(found)


def test_what_is_redacted(store):
    failed = token(state="FAILED", element_name="n", execution_context={"error_message": "secret"})
    with store.write() as batch:
        batch.put(instance(business_key="secret"), [failed])
    (one,) = reading(store, ["i1"], "execution_context.*", "element_name", "business_key")
    assert "secret" not in repr(one.status) + repr(one.visits)
    (plain,) = reading(store, ["i1"])
    assert "secret" in repr(plain.status)


def test_ids_are_in_order_of_their_start(store):
    with store.write() as batch:
        for name, second in (("b", 1), ("c", 2), ("a", 3)):
            batch.put(instance(name, started_at=NOON.replace(second=second)), tokens(1, name))
    assert select_instances(store, InstanceFilter(), NOON) == ["b", "c", "a"]


def test_connection_settings_of_a_context_are_for_its_own_server():
    given = Settings(ca_file="/engine.pem", insecure=True, timeout=3.0)
    of_context = replace(given, origins={"ca_file": "context prod", "insecure": "context prod", "timeout": "flag"})
    with open_collector("https://collector.example", of_context, None) as client:
        connection = client.connection
    assert (connection.ca_file, connection.insecure, connection.timeout) == (None, False, 3.0)
    of_flags = replace(given, origins={"ca_file": "flag", "insecure": "flag"})
    with open_collector("https://collector.example", of_flags, None) as client:
        connection = client.connection
    assert (connection.ca_file, connection.insecure, connection.credential()) == ("/engine.pem", True, None)


class TestComparedInstances:
    """Of versions 1 and 2; those of version 2 began later, and one of version 1 ended after that."""

    @pytest.fixture
    def versions(self, store):
        with store.write() as batch:
            for name, version, begin, end in (("a1", 1, 0, 10), ("a2", 1, 1, 150), ("b1", 2, 100, 110)):
                about = instance(name, process_id="p", version=version)
                batch.put(about, [token(name, name, created_at=at(begin), completed_at=at(end), updated_at=at(end))])
            batch.put(instance("other", process_id="q", version=1), tokens(1, "other"))
        return store

    @pytest.mark.parametrize(
        ("base", "ids", "others"),
        [
            ("v1", ["b1"], ["a1", "a2"]),
            ("p:2", ["a1", "a2"], ["b1"]),
            ("2025-01-11T12:00:00Z..2025-01-11T12:01:00Z", ["a2", "b1"], ["a1"]),
            ("2025-01-11T12:01:40Z..", ["a1", "a2"], ["b1"]),
        ],
    )
    def test_versions_and_periods(self, versions, base, ids, others):
        found, (_, compared) = select_compared(versions, InstanceFilter(processes=("p",)), base, at(3600))
        assert (found, compared) == (ids, others)

    @pytest.mark.parametrize(
        ("base", "error", "message"),
        [
            ("v9", NotFoundError, "no instance of version 9 matches"),
            ("a1", UsageError, "cannot compare with the instance a1"),
            ("..", UsageError, "the period is empty"),
        ],
    )
    def test_nothing_to_compare_with(self, versions, base, error, message):
        with pytest.raises(error, match=message):
            select_compared(versions, InstanceFilter(processes=("p",)), base, at(3600))

    def test_a_version_that_is_all(self, versions):
        with pytest.raises(NotFoundError, match="no process instance matches"):
            select_compared(versions, InstanceFilter(processes=("q",)), "v1", at(3600))
