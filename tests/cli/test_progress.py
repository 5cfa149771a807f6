"""The bar that shows how far a server has been read."""

from __future__ import annotations

import time

import pytest

from support.commandline import fill
from support.documented_server import DocumentedServer
from support.paths import FIXTURES
from support.terminal import Terminal
from tokctl.cli import progress
from tokctl.cli.progress import ReadingProgress


@pytest.fixture
def bars(monkeypatch):
    """What bars show: their steps, and None when one is removed. They appear after 50 ms."""
    from contextlib import contextmanager

    seen: list[tuple[float, float | None] | None] = []

    @contextmanager
    def bar(_what, _total, *, octets):
        yield lambda done, total: seen.append((done, total))
        seen.append(None)

    monkeypatch.setattr(progress, "_bar", bar)
    monkeypatch.setattr(progress, "READING_DELAY", 0.05)
    return seen


def wait_for(seen, number):
    deadline = time.monotonic() + 5
    while len(seen) < number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_nothing_is_shown_of_a_quick_reading(bars):
    shown = ReadingProgress()
    shown.advance(0, None)
    shown.advance(7, 7)
    shown.hide()
    time.sleep(0.1)
    assert bars == []


def test_the_bar_appears_while_one_response_is_awaited(bars):
    shown = ReadingProgress()
    shown.advance(0, None)
    wait_for(bars, 1)
    shown.advance(3, 7)
    shown.hide()
    assert bars == [(0, None), (3, 7), None]


def test_several_readings_of_the_same_never_move_backwards(bars):
    shown = ReadingProgress()
    shown.advance(0, 4)
    wait_for(bars, 1)
    for done in (1, 2, 1, 2, 3, 3, 4, 1, 2, None):
        shown.advance(done or 4, None)
    shown.hide()
    assert [step[0] for step in bars[:-1]] == sorted(step[0] for step in bars[:-1])
    assert {step[1] for step in bars[:-1]} == {4}


def test_the_bar_is_removed_before_an_item_is_written(bars):
    shown = ReadingProgress()

    def read():
        for number in (1, 2):
            shown.advance(number, 2)
            wait_for(bars, 2 * number - 1)
            yield number

    for number in shown.hide_before_each(read()):
        assert bars == [(1, 2), None, (2, 2), None][: 2 * number]


class SlowServer(DocumentedServer):
    """Needs half a second for the tokens of each instance."""

    def _answer(self, store, path, given):
        if path[-1] == "tokens":
            time.sleep(0.5)
        return super()._answer(store, path, given)


@pytest.mark.parametrize("words", [("debug", "--no-pager"), ("instances", "list", "--no-pager")])
def test_a_slow_server_shows_a_bar_that_does_not_stay(store_path, tmp_path, words):
    fill(store_path, FIXTURES / "orders.ndjson")
    server = SlowServer(store_path)
    environ = {"TOKCTL_STATE_DIR": str(tmp_path / "state")}
    with Terminal(*words, "--server", server.url, columns=120, env=environ) as terminal:
        terminal.until("Reading instances")
        assert terminal.end() in {0, 1}
        assert "Reading instances" not in terminal.text
        assert terminal.as_it_was
    server.close()
