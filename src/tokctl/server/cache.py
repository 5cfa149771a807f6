"""Small answers as they were last given: the bytes of ``data``, and the tag that they are good for."""

from __future__ import annotations

from collections import OrderedDict

from tokctl.server.coding import Deflated

OVERHEAD = 1000  # bytes of an entry beside its data

Headers = list[tuple[bytes, bytes]]


class Answer:
    """The body of an answer but for its request id, its headers, and how many tokens it tells."""

    __slots__ = ("_deflated", "body", "headers", "moment", "tag", "tokens")

    def __init__(self, data: bytes, headers: Headers, tag: str | None = None, tokens: int = 0) -> None:
        self.body = b'{"success":true,"data":' + data
        self.headers = headers
        self.tag = tag
        self.tokens = tokens
        self.moment = -1  # of the store, when its tag was found to be still right
        self._deflated: Deflated | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes; compressed, a quarter more at most, usually."""
        return len(self.body) * 5 // 4 + OVERHEAD

    @property
    def is_deflated(self) -> bool:
        """Whether it has been compressed."""
        return self._deflated is not None

    def deflated(self) -> Deflated:
        """The body, compressed the first time that somebody wants it so."""
        if self._deflated is None:
            self._deflated = Deflated(self.body)
        return self._deflated


class Cache:
    """The answers that were given last, by the target of the request; so many bytes of them at most."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = 0
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._sizes: dict[bytes, int] = {}

    def get(self, target: bytes) -> Answer | None:
        """The answer that was last given to a target."""
        found = self._answers.get(target)
        if found is not None:
            self._answers.move_to_end(target)
        return found

    def put(self, target: bytes, answer: Answer) -> None:
        """Keep an answer, in place of older ones."""
        self.drop(target)
        size = answer.size + 2 * len(target)
        if size > self.room // 8:
            return
        self._answers[target] = answer
        self._sizes[target] = size
        self.taken += size
        while self.taken > self.room:
            oldest, _ = self._answers.popitem(last=False)
            self.taken -= self._sizes.pop(oldest)

    def clear(self) -> None:
        """Forget every answer."""
        self._answers.clear()
        self._sizes.clear()
        self.taken = 0

    def drop(self, target: bytes) -> None:
        """Forget an answer."""
        if self._answers.pop(target, None) is not None:
            self.taken -= self._sizes.pop(target)
