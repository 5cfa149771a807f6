"""What an expression or a script may use, and the exception for what it may not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

MAX_TEXT = 20_000
"""Characters of an expression or a script."""
MAX_DEPTH = 100
"""Levels of brackets and operators in a text, and of lists and objects in a value."""
MAX_WORK = 500_000
"""Steps of an evaluation: nodes evaluated, and characters and items that they read and create."""
MAX_BITS = 1024
"""Size of an integer."""

TIMES = (datetime, date, timedelta)
PLAIN_TYPES = frozenset({type(None), bool, int, float, Decimal, str, list, dict, *TIMES})


class CannotEvaluate(Exception):  # noqa: N818 - not an error of the program: its callers fall back to something else
    """A text cannot be evaluated; ``str()`` is the reason, a clause such as ``'amount' is not defined``."""


class Budget:
    """The work that is left of an evaluation."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def charge(self, work: int) -> None:
        """Use some of the work; raises ``CannotEvaluate`` if there is not enough left."""
        self._left -= work
        if self._left < 0:
            raise CannotEvaluate("takes too long")

    def weigh(self, value: Any) -> Any:
        """Charge for every item and character of a value, and return it.

        A list that is in two places counts twice, since comparing or writing the value visits it twice. Raises
        ``CannotEvaluate`` also for objects that are not plain data, cycles, and numbers that are too large.
        """
        level, depth = [value], 0
        while level:
            self.charge(len(level))
            depth += 1
            if depth > MAX_DEPTH:
                raise CannotEvaluate("is nested too deeply")
            inner: list[Any] = []
            for one in level:
                kind = type(one)
                if kind is list or kind is dict:
                    self.charge(len(one))
                    inner.extend(one if kind is list else (*one, *one.values()))
                elif kind is str:
                    self.charge(len(one) // 8)
                elif kind is int:
                    if one.bit_length() > MAX_BITS:
                        raise CannotEvaluate("has a number that is too large")
                elif kind not in PLAIN_TYPES:
                    raise CannotEvaluate("has a value that is not plain data")
            level = inner
        return value
