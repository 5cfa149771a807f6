"""The messages of ``-v``: which files are read, where a credential comes from, which requests are sent.

Messages are dropped unless ``set_listener`` was called. They contain no secrets; the listener masks secrets in any
case.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], object]] = []


def set_listener(listener: Callable[[str], object] | None) -> None:
    """Set the function that receives all messages, or None."""
    _listeners[:] = [] if listener is None else [listener]


def trace(text: str, *values: object) -> None:
    """Send a message to the listener; ``values`` replace the placeholders in ``text``, as with the operator ``%``."""
    for listener in _listeners:
        listener(text % values)
