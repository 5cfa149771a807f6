"""Works on items concurrently, a few ahead of the consumer; results come in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 8
MAX_PENDING_ITEMS = 16
"""Maximum number of started items whose results are not consumed yet."""
MAX_PENDING_WEIGHT = 200_000
"""Maximum weight of these items together; a heavier item is processed alone."""


def map_ordered(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    weight_of: Callable[[Item], int] = lambda _: 1,
    never_waits: Callable[[Item], bool] = lambda _: False,
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Yield each item with a function that returns its result, or raises its exception.

    Items that need no waiting (``never_waits``) are worked on when that function is called: a thread would only cost.

    A consumer that stops early, as after Ctrl-C, does not wait: items that have not started are dropped.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="tokctl-read")
    begun: deque[tuple[Item, int, Future[Result] | None]] = deque()
    weight = 0

    def first() -> tuple[Item, Callable[[], Result]]:
        nonlocal weight
        item, its, future = begun.popleft()
        weight -= its
        if future is None:
            return item, partial(work, item)
        future.exception()  # waits; Ctrl-C ends that
        return item, future.result

    try:
        for item in items:
            its = weight_of(item)
            while begun and (len(begun) >= MAX_PENDING_ITEMS or weight + its > MAX_PENDING_WEIGHT):
                yield first()
            begun.append((item, its, None if never_waits(item) else pool.submit(work, item)))
            weight += its
        while begun:
            yield first()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
