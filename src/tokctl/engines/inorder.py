"""Work on many things at a time, with results in the order of the things, and not far ahead of who takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 8
AHEAD = 16
"""Things that are begun at most before the first of them is taken."""
HEAVY = 200_000
"""What they may weigh together; something that is heavier alone is begun alone."""


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], *, weigh: Callable[[Item], int] = lambda _: 1
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Yield each item with what returns its result, or raises what its work raised.

    An end before the last item, by Ctrl-C for one, waits for nothing: what has not begun never will.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="tokctl-read")
    begun: deque[tuple[Item, int, Future[Result]]] = deque()
    weight = 0

    def first() -> tuple[Item, Callable[[], Result]]:
        nonlocal weight
        item, its, future = begun.popleft()
        future.exception()  # waits; Ctrl-C ends that
        weight -= its
        return item, future.result

    try:
        for item in items:
            its = weigh(item)
            while begun and (len(begun) >= AHEAD or weight + its > HEAVY):
                yield first()
            begun.append((item, its, pool.submit(work, item)))
            weight += its
        while begun:
            yield first()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
