"""Polling: outages, backoff, deadlines, and what is due before the interval is over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.commandline import NOW
from support.watchers import Clock
from tokctl.client.retries import TransientError
from tokctl.errors import StoreError, UnreachableError, WrongStoreError
from tokctl.services.polling import EnginePoller, notify_outage, poll_repeatedly


class Remote:
    """An engine that cannot tell whether anything has changed, and breaks down at times."""

    def __init__(self, errors: list[Exception | None], opened: list[int]) -> None:
        self.errors, self.closed = errors, False
        opened.append(1)

    def refresh(self) -> bool:
        assert not self.closed
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return True

    def release(self) -> None:
        pass

    def listen(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def test_an_engine_that_broke_down_is_opened_anew():
    opened: list[int] = []
    errors = [None, UnreachableError("no answer."), StoreError("locked."), None, None, WrongStoreError("too new.")]
    poller = EnginePoller(lambda: Remote(errors, opened), lambda: NOW, interval=5)
    looks: list[bool] = []

    def look() -> bool:
        return poller.poll(lambda _, changed: looks.append(changed)).succeeded

    assert look()
    assert (len(opened), poller.next_at(NOW)) == (1, NOW + timedelta(seconds=5))
    assert not look()
    assert (str(poller.error), poller.failures, poller.next_at(NOW)) == ("no answer.", 1, NOW + timedelta(seconds=1))
    assert not look()
    assert (str(poller.error), poller.failures, poller.next_at(NOW)) == ("locked.", 2, NOW + timedelta(seconds=2))
    assert look()
    assert (poller.error, poller.failures, poller.next_at(NOW)) == (None, 0, NOW + timedelta(seconds=5))
    assert len(opened) == 3
    assert look()
    with pytest.raises(WrongStoreError):
        look()
    assert looks == [True, True, True]


def poll_with(errors: list[Exception | None], clock: Clock, **options) -> tuple[list[float], list[str]]:
    """Poll an engine with such errors; returns when it was polled, in seconds, and the messages."""
    poller = EnginePoller(lambda: Remote(errors, []), clock, interval=5)
    times: list[float] = []
    said: list[str] = []
    for poll in poll_repeatedly(poller, lambda *_: None, wait=clock.wait, **options):
        times.append((poll.at - NOW).total_seconds())
        notify_outage(poll, said.append)
    return times, said


def test_an_outage_is_reported_once_and_its_end():
    errors: list[Exception | None] = [None, StoreError("a."), StoreError("a."), UnreachableError("b."), None, None]
    times, said = poll_with(errors, Clock(), deadline=NOW + timedelta(seconds=17))
    assert times == [0, 5, 6, 8, 12, 17]
    assert said == ["a. Retrying.", "b. Retrying.", "Available again."]


def test_a_rate_limit_slows_down_the_polls():
    def limit() -> UnreachableError:
        return UnreachableError("too many requests.", status=429)

    errors: list[Exception | None] = [None, limit(), TransientError("limit.", retry_after=20, status=429), None, None]
    times, said = poll_with(errors, Clock(), deadline=NOW + timedelta(seconds=125))
    assert times == [0, 5, 65, 85, 105, 125], (
        "after a window, after the time asked for, then at four times the interval"
    )
    assert said == ["too many requests. Retrying.", "limit. Retrying.", "Available again."]


def test_at_the_deadline_nothing_is_waited_for():
    _, said = poll_with([StoreError("a.")] * 9, Clock(), deadline=NOW)
    assert said == ["a."]


def test_what_is_due_brings_the_next_poll_forward_but_not_too_near():
    clock = Clock()
    due = [NOW + timedelta(seconds=seconds) for seconds in (3, 3.1, 99, 99)]
    times, _ = poll_with([], clock, deadline=NOW + timedelta(seconds=8), next_due=lambda: due.pop(0))
    assert times == [0, 3, 4, 8]
