"""Bounds of a simulated instance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of a run: how deep calls may be nested, and how many steps (actions that take time) there may be."""

    call_depth: int = 100
    steps: int = 10_000
