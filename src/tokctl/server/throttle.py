"""Throttles failed authentications: a token bucket for each address, and delays that double.

Only failures are throttled. A valid API token always passes, so that clients which share an address with an attacker (a
proxy, a company's gateway) are not locked out. The attacker gains nothing: 202 random bits cannot be guessed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address

from msgspec import Struct

MAX_FREE_FAILURES = 10  # failures without a delay
REFILL_SECONDS = 6.0  # until the bucket has another one
FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 300.0
MAX_ADDRESSES = 10_000


class _Bucket(Struct):
    remaining: float
    at: float
    blocked_until: float = 0.0
    level: int = 0


class Throttle:
    """Failed attempts by address. ``clock`` returns monotonic seconds; ``shares`` workers divide the limits."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        burst: int = MAX_FREE_FAILURES,
        capacity: int = MAX_ADDRESSES,
        shares: int = 1,
    ) -> None:
        self.clock = clock
        self.burst = max(burst // shares, 1)
        self.refill = REFILL_SECONDS * shares
        self.capacity = capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def retry_after(self, address: str) -> int:
        """Return for how many whole seconds failures of an address are throttled; 0 if they are not."""
        bucket = self._buckets.get(make_address_key(address))
        return 0 if bucket is None else max(math.ceil(bucket.blocked_until - self.clock()), 0)

    def record_failure(self, address: str) -> int:
        """Count a failure; returns for how many whole seconds it is throttled.

        A failure while the address has to wait is not counted and does not extend the wait.
        """
        if retry_after := self.retry_after(address):
            return retry_after
        now, key = self.clock(), make_address_key(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self.burst), now)
            if len(self._buckets) > self.capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.remaining = min(bucket.remaining + max(now - bucket.at, 0) / self.refill, self.burst)
        bucket.at = now
        if bucket.remaining >= self.burst:
            bucket.level = 0
        if bucket.remaining >= 1:
            bucket.remaining -= 1
            return 0
        delay = min(FIRST_DELAY_SECONDS * (1 << bucket.level), MAX_DELAY_SECONDS)
        bucket.level = min(bucket.level + 1, 32)
        bucket.blocked_until = bucket.at = now + delay  # no refill during the wait
        return math.ceil(delay)

    def __len__(self) -> int:
        return len(self._buckets)


def make_address_key(address: str) -> str:
    """Return the address, or the /64 network of an IPv6 address: a host has countless addresses in it."""
    if ":" not in address:
        return address
    try:
        number = int(ip_address(address.partition("%")[0]))
    except ValueError:
        return address
    mapped = number >> 32 == 0xFFFF
    return str(ip_address(number & 0xFFFF_FFFF)) if mapped else f"{number >> 64:x}"
