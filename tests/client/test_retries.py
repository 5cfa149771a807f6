"""How long and how often is tried again; nothing here really waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import faulty_server
from tokctl.client.retries import (
    MAX_BACKOFF_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    MAX_RETRY_SECONDS,
    TransientError,
    parse_rate_limit_reset,
    parse_retry_after,
    retry,
)
from tokctl.errors import UnreachableError

NOW = datetime(2025, 1, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_and_then_an_answer(calls, status):
    with faulty_server.serving(faulty_server.good(b"", status), faulty_server.good()) as server:
        assert calls(server.url).get(("x",)).body == faulty_server.GOOD
    assert calls.waits == [0.5]
    with (
        faulty_server.serving(faulty_server.good(b"", status), faulty_server.good()) as server,
        calls(server.url).stream(("x",)) as pieces,
    ):
        assert b"".join(pieces) == faulty_server.GOOD


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 501])
def test_a_failure_that_stays(calls, status):
    with faulty_server.serving(faulty_server.good(b"", status), faulty_server.good()) as server:
        with pytest.raises(Exception, match=str(status) if status not in {401, 403} else "credential|denied"):
            calls(server.url).get(("x",))
        assert len(server.seen) == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_server_that_never_recovers(calls, retries):
    with faulty_server.serving(faulty_server.good(b"", 503)) as server:
        with pytest.raises(UnreachableError):
            calls(server.url, retries=retries).get(("x",))
        assert len(server.seen) == retries + 1
    assert calls.waits == [0.5, 1.0, 2.0][:retries]


@pytest.mark.parametrize("header", ["Retry_After", "X_RateLimit_Reset"])
def test_too_many_requests_are_waited_out_once(calls, header):
    limited = faulty_server.good(b"", 429, **{header: "37"})
    with faulty_server.serving(limited, faulty_server.good()) as server:
        assert calls(server.url).get(("x",)).body == faulty_server.GOOD
    assert calls.waits == [37]
    with faulty_server.serving(limited) as server:
        with pytest.raises(UnreachableError, match="too many requests") as raised:
            calls(server.url, retries=5).get(("x",))
        assert len(server.seen) == 2
    assert raised.value.status == 429
    assert calls.waits == [37, 37]


@pytest.mark.parametrize(
    "headers", [{}, {"Retry_After": "61"}, {"X_RateLimit_Reset": "3600"}, {"X_RateLimit_Reset": "?"}]
)
def test_too_many_requests_without_a_near_end_are_told_at_once(calls, headers):
    with faulty_server.serving(faulty_server.good(b"", 429, **headers)) as server:
        with pytest.raises(UnreachableError, match=r"too many requests.*Try again"):
            calls(server.url).get(("x",))
        assert len(server.seen) == 1
    assert calls.waits == []


@pytest.mark.parametrize(
    ("given", "seconds"), [("12", 12), ("1736596815", 15), ("1736596700", 0), ("x", None), ("", None)]
)
def test_the_reset_of_a_limit_is_seconds_or_a_time(given, seconds):
    headers = {"x-ratelimit-reset": given, "date": format_datetime(NOW, usegmt=True)}
    assert parse_rate_limit_reset(headers) == seconds


@given(st.integers(0, 12), st.floats(0, 1, exclude_max=True))
def test_waits_grow_within_bounds_and_are_drawn(retries, drawn):
    waits: list[float] = []

    def attempt() -> None:
        raise TransientError("no")

    with pytest.raises(TransientError):
        retry(attempt, retries, sleep=waits.append, random=lambda: drawn)
    assert waits == [drawn * min(MAX_BACKOFF_SECONDS, 0.5 * 2**number) for number in range(retries)]


@given(st.lists(st.one_of(st.none(), st.floats(0, 200)), max_size=8), st.integers(0, 8))
def test_waiting_has_an_end(asked, retries):
    waits: list[float] = []
    left = iter(asked)

    def attempt() -> str:
        try:
            retry_after = next(left)
        except StopIteration:
            return "done"
        raise TransientError("no", retry_after=retry_after)

    ended: list[UnreachableError] = []
    try:
        assert retry(attempt, retries, sleep=waits.append, random=lambda: 1.0) == "done"
        assert len(waits) == len(asked) <= retries
    except UnreachableError as error:
        ended.append(error)
    for error in ended:
        last = asked[len(waits)]
        assert ("asks to retry after" in str(error)) == bool(last)
        wait = last if last is not None else min(MAX_BACKOFF_SECONDS, 0.5 * 2 ** len(waits))
        assert len(waits) == retries or wait > MAX_RETRY_AFTER_SECONDS or sum(waits) + wait > MAX_RETRY_SECONDS - 1
    assert sum(waits) <= MAX_RETRY_SECONDS
    assert all(wait <= MAX_RETRY_AFTER_SECONDS for wait in waits)
    assert all(wait == retry_after for wait, retry_after in zip(waits, asked, strict=False) if retry_after is not None)


# --- Retry-After ----------------------------------------------------------------------------------


def test_the_server_says_when(calls):
    with faulty_server.serving(faulty_server.good(b"", 429, Retry_After="7"), faulty_server.good()) as server:
        calls(server.url).get(("x",))
    date, until = format_datetime(NOW, usegmt=True), format_datetime(NOW + timedelta(seconds=9), usegmt=True)
    with faulty_server.serving(
        faulty_server.good(b"", 503, Retry_After=until, Date=date), faulty_server.good()
    ) as server:
        calls(server.url).get(("x",))
    body = b'{"error":{"code":"RATE_LIMITED","message":"slow","details":{"retry_after":11}}}'
    with faulty_server.serving(faulty_server.good(body, 429), faulty_server.good()) as server:
        calls(server.url).get(("x",))
    assert calls.waits == [7.0, 9.0, 11.0]


@pytest.mark.parametrize(("asked", "said"), [("61", "1m 01s"), ("99999", "1d 3h"), ("9" * 5000, "")])
def test_the_server_says_much_later(calls, asked, said):
    with faulty_server.serving(faulty_server.good(b"", 429, Retry_After=asked)) as server:
        with pytest.raises(UnreachableError, match=f"asks to retry after {said}"):
            calls(server.url).get(("x",))
        assert len(server.seen) == 1
    assert calls.waits == []


@pytest.mark.parametrize("nonsense", ["", "soon", "-5", "1.5", "1e99", "nan", "Sat, 99 Foo 2025", "\xff"])
def test_the_server_says_nonsense(calls, nonsense):
    with faulty_server.serving(faulty_server.good(b"", 503, Retry_After=nonsense), faulty_server.good()) as server:
        calls(server.url).get(("x",))
    assert calls.waits == [0.5]


def test_a_date_in_the_past_is_now():
    assert parse_retry_after({"retry-after": "Sat, 11 Jan 2020 12:00:00 GMT"}) == 0
    assert parse_retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=1))}) == pytest.approx(
        3600, abs=5
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_headers_of_any_kind_are_read(retry_after, date):
    waited = parse_retry_after({"retry-after": retry_after, "date": date})
    assert waited is None or waited >= 0
