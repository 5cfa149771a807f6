"""Permissions: the names that an API token's scopes and an endpoint's demand are made of."""

from __future__ import annotations

from collections.abc import Iterable

from tokctl.errors import UsageError
from tokctl.process.query import suggest

EVERY = "*"
DEFAULT_SCOPES = ("process",)
"""What an API token opens of which nothing else was said."""
PERMISSIONS = (
    "process", "token", "bpmn", "job", "timer", "message", "incident", "expression", "storage", "system",
    "metrics", "api-tokens", "introspect", EVERY,
)  # fmt: skip
"""Those that process engines know, and ours: ``metrics``, ``api-tokens``, and ``introspect`` to ask about others."""


def check_scopes(names: Iterable[str]) -> tuple[str, ...]:
    """Return scopes in their usual order, each once.

    Raises:
        UsageError: there is no such permission.
    """
    wanted = set()
    for name in names:
        known = name.strip().lower()
        if known not in PERMISSIONS:
            raise UsageError(f"there is no permission '{name}'{suggest(known, PERMISSIONS)}.",
                             f"Valid: {', '.join(PERMISSIONS)}.")  # fmt: skip
        wanted.add(known)
    return tuple(name for name in PERMISSIONS if name in wanted)
