"""Slows down who fails to authorise: a bucket of attempts for each address, and delays that double.

Only failures are held up. A valid token always passes, for the price of one digest, so that whoever shares an
address with an attacker (a proxy, a company's gateway) is not locked out with him; and he gains nothing, for 202
random bits are not guessed by asking often.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address

from msgspec import Struct

BURST = 10  # failures that cost nothing
REFILL_SECONDS = 6.0  # until another one does
FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
ADDRESSES = 10_000  # that are remembered


class _Bucket(Struct):
    left: float
    at: float
    until: float = 0.0
    level: int = 0


class Throttle:
    """Failed attempts by address. ``clock`` tells seconds that never go back."""

    def __init__(
        self, clock: Callable[[], float], *, burst: int = BURST, room: int = ADDRESSES, shares: int = 1
    ) -> None:
        self.clock = clock
        self.burst = max(burst // shares, 1)
        self.refill = REFILL_SECONDS * shares
        self.room = room
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str) -> int:
        """Whole seconds for which an address's failures are turned away; 0 if they are not."""
        bucket = self._buckets.get(key_of(address))
        return 0 if bucket is None else max(math.ceil(bucket.until - self.clock()), 0)

    def failed(self, address: str) -> int:
        """Count a failure; returns what ``wait`` would say of this one.

        One that comes while the address has to wait is not counted: the wait is not made longer.
        """
        if wait := self.wait(address):
            return wait
        now, key = self.clock(), key_of(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self.burst), now)
            if len(self._buckets) > self.room:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.left = min(bucket.left + max(now - bucket.at, 0) / self.refill, self.burst)
        bucket.at = now
        if bucket.left >= self.burst:
            bucket.level = 0
        if bucket.left >= 1:
            bucket.left -= 1
            return 0
        delay = min(FIRST_DELAY * (1 << bucket.level), LONGEST_DELAY)
        bucket.level = min(bucket.level + 1, 32)
        bucket.until = bucket.at = now + delay  # nothing is forgiven while it waits
        return math.ceil(delay)

    def __len__(self) -> int:
        return len(self._buckets)


def key_of(address: str) -> str:
    """What failures are counted by: the address, or the /64 that an IPv6 address is one of countless others in."""
    if ":" not in address:
        return address
    try:
        number = int(ip_address(address.partition("%")[0]))
    except ValueError:
        return address
    mapped = number >> 32 == 0xFFFF
    return str(ip_address(number & 0xFFFF_FFFF)) if mapped else f"{number >> 64:x}"
