"""What an engine has fetched, until it is told to show the present: bounded, and reused where a server lets it.

Knows nothing of HTTP but that an answer has an ETag, and that one which is offered again may turn out to hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from msgspec import Struct

ROOM = 60_000
"""Tokens and instances that are kept, together. What was fetched last is kept however many it has."""

_GONE: Any = object()


class Fetched(Struct, frozen=True):
    """What an answer held, how many tokens or instances that is, and the answer's ETag if it has one."""

    value: Any
    size: int = 1
    etag: str | None = None


Fetch = Callable[[str | None], Fetched | None]
"""Asks a server, with the ETag of an earlier answer or none; None means that the earlier answer holds."""


class _Held:
    __slots__ = ("at", "etag", "fetch", "fresh", "size", "used", "value")

    def __init__(self, fetched: Fetched, fetch: Fetch, at: int) -> None:
        self.value, self.size, self.etag = fetched.value, fetched.size, fetched.etag
        self.fetch, self.at = fetch, at
        self.fresh = self.used = True


class Shelf:
    """Values by what was asked for. What has become old is fetched again with its ETag, so that it may be kept."""

    def __init__(self, room: int = ROOM) -> None:
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._room = room
        self._asked = 0

    def take(self, key: Hashable, fetch: Fetch) -> Any:
        """Return what is held, or fetch it."""
        held = self._held.get(key)
        if held is None or not held.fresh or held.value is _GONE:
            held = self._fetch(key, held, fetch)
        held.used = True
        self._held.move_to_end(key)
        return held.value

    def _fetch(self, key: Hashable, held: _Held | None, fetch: Fetch) -> _Held:
        self._asked += 1
        asked = self._asked  # before the fetch, which may ask for more on its way: that is younger
        fetched = fetch(held.etag if held is not None and held.value is not _GONE else None)
        if fetched is not None:
            held = self._put(key, fetched, fetch, asked)
        assert held is not None  # noqa: S101 - without an ETag there is no answer that could hold
        held.fresh, held.at = True, asked
        return held

    def _put(self, key: Hashable, fetched: Fetched, fetch: Fetch, asked: int) -> _Held:
        held = self._held[key] = _Held(fetched, fetch, asked)
        self._held.move_to_end(key)
        self._make_room()
        return held

    def _make_room(self) -> None:
        total = sum(held.size for held in self._held.values())
        for key, held in self._held.items():
            if total <= self._room or key == next(reversed(self._held)):
                return
            total -= held.size
            held.value, held.size = _GONE, 0  # its ETag still tells whether anything has changed

    def peek(self, key: Hashable) -> Any | None:
        """Return what is held and not old; None where nothing is."""
        held = self._held.get(key)
        if held is None or not held.fresh or held.value is _GONE:
            return None
        held.used = True
        return held.value

    def used(self) -> list[Hashable]:
        """What was used since it became old, in the order in which it was asked for."""
        keys = [key for key, held in self._held.items() if held.used]
        return sorted(keys, key=lambda key: self._held[key].at)

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()

    # --- becoming old ---

    def age(self) -> None:
        """Let all become old; what was not used since the last time, or has no ETag, is let go of."""
        for key, held in list(self._held.items()):
            if not held.used or held.etag is None:
                del self._held[key]
            held.fresh = held.used = False

    def keeps(self, key: Hashable) -> bool:
        """Ask whether what has become old still holds; False where it was let go of, and where it has changed."""
        held = self._held.get(key)
        if held is None:
            return False
        fetched = held.fetch(held.etag)
        if fetched is not None:
            self._asked += 1
            self._put(key, fetched, held.fetch, self._asked)
        return fetched is None

    def renew(self) -> None:
        """Take all that has become old for what is."""
        for held in self._held.values():
            held.fresh = held.used = True
