"""The cache of small responses: the bytes of each body, its headers and its tag."""

from __future__ import annotations

from collections import OrderedDict

from tokctl.server.content_negotiation import CompressedBody

ENTRY_OVERHEAD_BYTES = 1000  # of an entry without its data

Headers = list[tuple[bytes, bytes]]


class CachedResponse:
    """A response without the end of its envelope (the request id), and the number of tokens in it."""

    __slots__ = ("_deflated", "body", "headers", "moment", "tokens")

    def __init__(self, data: bytes, headers: Headers, tokens: int = 0) -> None:
        self.body = b'{"success":true,"data":' + data
        self.headers = headers
        self.tokens = tokens
        self.moment = -1  # of the store, when the tag was last checked
        self._deflated: CompressedBody | None = None

    @property
    def size(self) -> int:
        """Estimated size in memory, in bytes; the compressed body usually adds at most a quarter."""
        return len(self.body) * 5 // 4 + ENTRY_OVERHEAD_BYTES

    @property
    def is_compressed(self) -> bool:
        """Whether it has been compressed."""
        return self._deflated is not None

    def get_compressed(self) -> CompressedBody:
        """Return the compressed body; it is compressed on the first call."""
        if self._deflated is None:
            self._deflated = CompressedBody(self.body)
        return self._deflated


class ResponseCache:
    """The most recent responses by request target, at most ``capacity`` bytes of them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used_bytes = 0
        self._responses: OrderedDict[bytes, CachedResponse] = OrderedDict()

    def get(self, target: bytes) -> CachedResponse | None:
        """Return the last response to a target."""
        found = self._responses.get(target)
        if found is not None:
            self._responses.move_to_end(target)
        return found

    def put(self, target: bytes, response: CachedResponse) -> None:
        """Store a response, and evict the oldest ones if there is no room."""
        replaced = self._responses.pop(target, None)
        if replaced is not None:
            self.used_bytes -= _entry_bytes(target, replaced)
        size = _entry_bytes(target, response)
        if size > self.capacity // 8:
            return
        self._responses[target] = response
        self.used_bytes += size
        while self.used_bytes > self.capacity:
            self.used_bytes -= _entry_bytes(*self._responses.popitem(last=False))

    def clear(self) -> None:
        """Remove every response."""
        self._responses.clear()
        self.used_bytes = 0


def _entry_bytes(target: bytes, response: CachedResponse) -> int:
    return response.size + 2 * len(target)
