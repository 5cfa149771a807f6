"""Where a recorder writes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tokctl.process.model import Definition, Instance, Token


class Sink(Protocol):
    """Takes what a recorder has seen. A later record of the same id replaces the earlier one."""

    def put_definition(self, definition: Definition) -> None:
        """Keep a process model."""

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Keep an instance as it now stands, with those of its tokens that are new or changed."""
