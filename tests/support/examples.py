"""The number of examples that a property is tried on, as a multiple of the active hypothesis profile's."""

from __future__ import annotations

from hypothesis import settings


def scaled(factor: float) -> int:
    """Return ``factor`` times the number of examples of the profile; ``conftest`` has the profiles."""
    return max(1, round(settings().max_examples * factor))
