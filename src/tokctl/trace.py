"""What ``-v`` tells on stderr: which files are read, where a credential comes from, what servers are asked.

Nobody hears it unless ``listen`` was called. What is told holds no secret, and is masked all the same.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], object]] = []


def listen(listener: Callable[[str], object] | None) -> None:
    """Have everything told to someone, or to nobody, in place of whoever listened before."""
    _listeners[:] = [] if listener is None else [listener]


def trace(text: str, *values: object) -> None:
    """Tell what is done; ``values`` are put in where ``text`` says ``%s``."""
    for listener in _listeners:
        listener(text % values)
