"""What a simulation tells besides its tokens: what it approximated, and what instances wait for that did not end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Approximation:
    """How an element ran differently from the model, and how often."""

    element_id: str
    element_type: str
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What instances that did not end wait for, where, and how many of them."""

    element_id: str
    element_type: str
    reason: str
    instances: int


class Approximations:
    """Counts approximations, in the order in which they first happened."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, element_id: str, element_type: str, what: str, count: int = 1) -> None:
        """Count an approximation."""
        self._counts[element_id, element_type, what] += count

    def list(self) -> tuple[Approximation, ...]:
        """Return what was counted."""
        return tuple(Approximation(*key, count) for key, count in self._counts.items())


class WaitingInstances:
    """Counts the instances that wait, by element and reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, reasons: set[tuple[str, str, str]]) -> None:
        """Count what one instance waits for: the ids and types of elements, with the reasons."""
        self._counts.update(reasons)

    def list(self) -> tuple[Waiting, ...]:
        """Return what was counted, the most frequent first."""
        return tuple(Waiting(*key, count) for key, count in self._counts.most_common())
