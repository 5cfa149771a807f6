"""Copying instances into a store: once, and until they have ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.builders import at, instance, token
from support.commandline import NOW
from support.watchers import Clock, live, put
from tokctl.analysis.redaction import Redactor
from tokctl.engines.file import FileEngine
from tokctl.errors import NotFoundError
from tokctl.services.polling import EnginePoller
from tokctl.services.snapshot.run import SnapshotRun, list_live_instances
from tokctl.services.snapshot.writer import SnapshotWriter, describe_source
from tokctl.store import open_store


@pytest.fixture
def copy(store_kind):
    with open_store(store_kind.new_place(), write=True, create=True) as store:
        yield store


def writer(copy) -> SnapshotWriter:
    return SnapshotWriter(copy, source="here", kind="test", redaction=Redactor(()))


def test_each_instance_has_a_row_and_those_that_ended_are_not_live(copy):
    records = [instance("i1", status="ACTIVE"), live("a"), instance("i2", status="COMPLETED"), token("b", "i2")]
    engine = FileEngine(records, name="saved.json")
    assert list_live_instances(engine) == ["i1"]
    assert describe_source(engine) == ("saved.json", "file", False)
    steps: list[float] = []
    run = SnapshotRun(writer(copy), ["i1", "i2", "gone"], clock=lambda: NOW)
    run.take_all(engine, ["i1", "i2", "gone"], steps.append)
    assert steps == [1, 1, 1]
    assert [(row.added, bool(row.error)) for row in run.rows.values()] == [(1, False), (1, False), (0, True)]
    assert copy.instance_ids("", 9) == ["i1", "i2"]


def test_none_could_be_read(copy):
    run = SnapshotRun(writer(copy), ["gone"], clock=lambda: NOW)
    with pytest.raises(NotFoundError):
        run.take_all(FileEngine([], name="empty"), ["gone"])


@pytest.mark.parametrize(
    ("deadlines", "finished", "seconds"),
    [({}, True, 4), ({"end": 3}, True, 3), ({"give_up": 3}, False, 3), ({"end": 3, "give_up": 2}, False, 2)],
)
def test_a_watch_ends_with_the_instances_or_at_a_deadline(copy, clock: Clock, store_path, deadlines, finished, seconds):
    put(store_path, live("a"))
    clock.at(4, lambda: put(store_path, token("a", updated_at=at(4)), status="COMPLETED"))
    poller = EnginePoller(lambda: open_store(str(store_path)), clock, interval=1)
    run = SnapshotRun(writer(copy), ["i1"], clock=clock)
    moments = {name: NOW + timedelta(seconds=after) for name, after in deadlines.items()}
    assert run.watch(poller, **moments) is finished
    assert clock.now - NOW == timedelta(seconds=seconds)
    poller.close()
    assert (run.rows["i1"].added, run.rows["i1"].updated) == (1, int(seconds == 4))
