"""How often and how long to try again.

Waits grow exponentially with full jitter (each is drawn between nothing and its bound), which spreads
many clients best: M. Brooker, "Exponential Backoff And Jitter", 2015. A server's Retry-After comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

from tokctl.errors import UnreachableError
from tokctl.process.spell import span

FIRST_WAIT = 0.5  # s; the bound of the first wait, doubled for each further one
LONGEST_WAIT = 8.0  # s
LONGEST_ASKED = 60.0  # s that a server may ask to wait
BUDGET = 120.0  # s; no wait begins that would end later than this after the first attempt

T = TypeVar("T")


class UnansweredError(UnreachableError):
    """What was to change something was sent, and no answer tells what became of it: it may have been done.

    ``status`` is that of an answer which says no more than that the server failed; None where there is none.
    """

    def __init__(self, message: str, hint: str = "", *, status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


class PassingError(UnreachableError):
    """A failure that the next attempt may not meet; ``after`` is how long (s) the server asks to wait."""

    def __init__(self, message: str, hint: str = "", *, after: float | None = None) -> None:
        super().__init__(message, hint)
        self.after = after


def patiently(
    attempt: Callable[[], T],
    retries: int,
    *,
    sleep: Callable[[float], None],
    random: Callable[[], float],
) -> T:
    """Return what the attempt does, which is repeated while it raises PassingError.

    Args:
        attempt: what is to be done; safe to do twice.
        retries: how often it may be repeated.
        sleep: waits for so many seconds.
        random: draws from 0 to 1.

    Raises:
        UnreachableError: the last failure, or with the wait that the server asks for.
    """
    spent = 0.0  # in attempts and waits; added up, so that it is right for a sleep that does not take its time
    for number in range(retries + 1):
        begun = monotonic()
        try:
            return attempt()
        except PassingError as failure:
            spent += monotonic() - begun
            asked = failure.after
            wait = random() * _bound(number) if asked is None else asked
            if number == retries or spent + wait > BUDGET or wait > LONGEST_ASKED:
                if not asked:
                    raise
                raise UnreachableError(f"{failure.message} It asks to wait {span(asked)}.", "Try again then.") from None
        sleep(wait)
        spent += wait
    raise AssertionError("retries are not negative")


def _bound(number: int) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(number, 10))


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks to wait; None where it says nothing that makes sense.

    A date is held against the server's own clock, where the answer tells it.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:18]) if len(text) <= 18 else 1e18
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        read = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
