"""Repeats attempts that fail for a transient reason.

The delays grow exponentially with full jitter: each is drawn between zero and its limit, which spreads the load of many
clients best (M. Brooker, "Exponential Backoff And Jitter", 2015). A server's Retry-After takes precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

from tokctl.errors import UnreachableError
from tokctl.model.durations import format_duration
from tokctl.server_clock import parse_date

INITIAL_BACKOFF_SECONDS = 0.5
"""The limit of the first delay; doubled for each further one."""

MAX_BACKOFF_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 60.0
"""The longest accepted Retry-After."""

MAX_RETRY_SECONDS = 120.0
"""No delay starts that would end later than this after the first attempt."""

TOO_MANY_REQUESTS = 429

T = TypeVar("T")


class OutcomeUnknownError(UnreachableError):
    """A request that changes something was sent, but it is unknown whether the server processed it."""


class TransientError(UnreachableError):
    """A transient failure; ``retry_after`` is the delay (s) that the server asks for."""

    def __init__(
        self, message: str, hint: str = "", *, retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, hint, status=status)
        self.retry_after = retry_after


def retry(
    attempt: Callable[[], T],
    retries: int,
    *,
    sleep: Callable[[float], None],
    random: Callable[[], float],
) -> T:
    """Call ``attempt``, which must be safe to repeat, until it does not raise TransientError, and return its result.

    "Too many requests" (429) is waited out once, if the server tells for how long: an earlier attempt would count
    against the limit.
    ``sleep`` waits for a number of seconds, ``random`` draws a number from 0 to 1. Raises the last failure; if the
    server asks for too long a delay, the message contains it.
    """
    waited_out = False
    spent = 0.0  # seconds in attempts and delays; added up, as an injected sleep may not take its time
    for number in range(retries + 1):
        begun = monotonic()
        try:
            return attempt()
        except TransientError as failure:
            spent += monotonic() - begun
            asked = failure.retry_after
            is_limit = failure.status == TOO_MANY_REQUESTS
            if is_limit and (asked is None or waited_out):
                raise
            waited_out = waited_out or is_limit
            wait = random() * _backoff_bound(number) if asked is None else asked
            if number == retries or spent + wait > MAX_RETRY_SECONDS or wait > MAX_RETRY_AFTER_SECONDS:
                if not asked:
                    raise
                raise UnreachableError(
                    f"{failure.message} The server asks to retry after {format_duration(asked)}.",
                    "Try again later.",
                    status=failure.status,
                ) from None
        sleep(wait)
        spent += wait
    raise AssertionError("retries are not negative")


def _backoff_bound(number: int) -> float:
    return min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2.0 ** min(number, 10))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the delay in the header Retry-After, in seconds; None if it is missing or invalid.

    A date is compared with the server's own clock, if the response has the header Date.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:18]) if len(text) <= 18 else 1e18
    until = parse_date(text)
    if until is None:
        return None
    now = parse_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def parse_rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a rate limit resets, from the header X-RateLimit-Reset; None if there is none.

    Servers send either seconds or a Unix time.
    """
    text = headers.get("x-ratelimit-reset", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    seconds = float(text)
    if seconds < 1e9:
        return seconds
    now = parse_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, seconds - now.timestamp())
