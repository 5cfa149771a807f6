"""Permissions: the names used in the scopes of API tokens and in the requirements of endpoints."""

from __future__ import annotations

from collections.abc import Iterable

from tokctl.errors import UsageError
from tokctl.text import suggest

WILDCARD_SCOPE = "*"
DEFAULT_SCOPES = ("process",)
"""The scopes of an API token if none are given."""
PERMISSIONS = (
    "process",
    "token",
    "bpmn",
    "job",
    "timer",
    "message",
    "incident",
    "expression",
    "storage",
    "system",
    "metrics",
    "api-tokens",
    "introspect",
    WILDCARD_SCOPE,
)
"""The permissions of process engines and those of tokctl: ``metrics``, ``api-tokens``, and ``introspect``.

``introspect`` allows questions about the tokens of others.
"""


def validate_scopes(names: Iterable[str]) -> tuple[str, ...]:
    """Return scopes in the order of PERMISSIONS, without duplicates.

    Raises:
        UsageError: a permission does not exist.
    """
    wanted = set()
    for name in names:
        known = name.strip().lower()
        if known not in PERMISSIONS:
            raise UsageError(
                f"unknown scope '{name}'{suggest(known, PERMISSIONS)}.", f"Valid: {', '.join(PERMISSIONS)}."
            )
        wanted.add(known)
    return tuple(name for name in PERMISSIONS if name in wanted)
