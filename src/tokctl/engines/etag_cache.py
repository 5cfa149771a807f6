"""A bounded cache of fetched data, revalidated by ETag when the engine is refreshed.

It is independent of HTTP, except that a response has an ETag and that the response to an ETag may be "not modified".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from msgspec import Struct

MAX_CACHED_ITEMS = 60_000
"""Maximum number of cached tokens and instances. The last response is kept even if it is larger."""

CacheKey = tuple[Hashable, ...]
"""The kind of a response, and its subject."""

_EVICTED: Any = object()


T = TypeVar("T")


class FetchResult(Struct, Generic[T], frozen=True):
    """The value of a response, its number of tokens or instances, and the ETag of the response if it has one."""

    value: T
    size: int = 1
    etag: str | None = None


Fetch = Callable[[str | None], FetchResult[T] | None]
"""Sends a request with an earlier ETag, or none; None means that the earlier response is still valid."""


class _CacheEntry:
    __slots__ = ("at", "etag", "fetch", "fresh", "size", "used", "value")

    def __init__(self, fetched: FetchResult[Any], fetch: Fetch[Any], at: int) -> None:
        self.value, self.size, self.etag = fetched.value, fetched.size, fetched.etag
        self.fetch, self.at = fetch, at
        self.fresh = self.used = True


class ETagCache:
    """Values by request. An expired value is fetched again with its ETag, so that it can be kept."""

    def __init__(self, max_size: int = MAX_CACHED_ITEMS) -> None:
        self._entries: OrderedDict[CacheKey, _CacheEntry] = OrderedDict()
        self._max_size = max_size
        self._sequence = 0

    def get_or_fetch(self, key: CacheKey, fetch: Fetch[T]) -> T:
        """Return the cached value, or fetch it."""
        entry = self._entries.get(key)
        if entry is None or not entry.fresh or entry.value is _EVICTED:
            entry = self._fetch(key, entry, fetch)
        entry.used = True
        self._entries.move_to_end(key)
        value: T = entry.value
        return value

    def _fetch(self, key: CacheKey, entry: _CacheEntry | None, fetch: Fetch[Any]) -> _CacheEntry:
        self._sequence += 1
        sequence = self._sequence  # before the fetch: what it fetches meanwhile is newer
        fetched = fetch(entry.etag if entry is not None and entry.value is not _EVICTED else None)
        if fetched is not None:
            entry = self._put(key, fetched, fetch, sequence)
        assert entry is not None  # noqa: S101 - without an ETag no answer is "not modified"
        entry.fresh, entry.at = True, sequence
        return entry

    def _put(self, key: CacheKey, fetched: FetchResult[Any], fetch: Fetch[Any], sequence: int) -> _CacheEntry:
        entry = self._entries[key] = _CacheEntry(fetched, fetch, sequence)
        self._entries.move_to_end(key)
        self._evict()
        return entry

    def _evict(self) -> None:
        total = sum(entry.size for entry in self._entries.values())
        for key, entry in self._entries.items():
            if total <= self._max_size or key == next(reversed(self._entries)):
                return
            total -= entry.size
            entry.value, entry.size = _EVICTED, 0  # its ETag still shows whether anything has changed

    def get_fresh(self, key: CacheKey) -> Any | None:
        """Return the cached value if it has not expired, else None."""
        entry = self._entries.get(key)
        if entry is None or not entry.fresh or entry.value is _EVICTED:
            return None
        entry.used = True
        return entry.value

    def used(self) -> list[CacheKey]:
        """Return the keys that were used since the last ``expire_all``, in the order in which they were fetched."""
        keys = [key for key, entry in self._entries.items() if entry.used]
        return sorted(keys, key=lambda key: self._entries[key].at)

    def clear(self) -> None:
        """Remove everything."""
        self._entries.clear()

    # --- expiry ---

    def expire_all(self) -> None:
        """Expire all values; drop those that were not used since the last time, or have no ETag."""
        for key, entry in list(self._entries.items()):
            if not entry.used or entry.etag is None:
                del self._entries[key]
            entry.fresh = entry.used = False

    def revalidate(self, key: CacheKey) -> bool:
        """Check whether an expired value is still valid; False if it was dropped or has changed."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        fetched = entry.fetch(entry.etag)
        if fetched is not None:
            self._sequence += 1
            self._put(key, fetched, entry.fetch, self._sequence)
        return fetched is None

    def mark_fresh(self) -> None:
        """Mark all expired values as valid again."""
        for entry in self._entries.values():
            entry.fresh = entry.used = True
