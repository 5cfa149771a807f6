"""How far the reading of many instances is said to have come."""

from __future__ import annotations

from contextlib import contextmanager

from tokctl.cli import progress as many


class Engine:
    """Is asked for two readings, the second within the first."""

    def watch_progress(self, moved):
        self.moved = moved


def test_several_readings_of_the_same_are_no_more_than_all(monkeypatch):
    steps, totals = [], []

    @contextmanager
    def progress(_what, total):
        totals.append(total)
        yield steps.append

    monkeypatch.setattr(many, "progress", progress)
    engine = Engine()
    with many.show_reading_progress(engine):
        for done in (1, 2, 1, 2, 3, 3, 4, 1, 2, 3, 4):
            engine.moved(done, 4)
    assert totals == [4]
    assert sum(steps) == 4
    assert all(step > 0 for step in steps)
