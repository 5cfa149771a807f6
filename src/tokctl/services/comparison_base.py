"""What instances are compared with: another one, a version, or a period."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from tokctl.engines.ids import resolve_instance
from tokctl.engines.protocol import Engine
from tokctl.errors import UsageError
from tokctl.model.time_expressions import parse_period

_VERSION = re.compile(r"(?:(?P<process>.+):)?v?(?P<version>\d+)")


class ComparedVersion(Struct, frozen=True):
    """A version of a process; without a process, of those that are compared."""

    process_id: str | None
    version: int

    @property
    def name(self) -> str:
        """The version in words."""
        return f"{self.process_id} version {self.version}" if self.process_id else f"version {self.version}"


class ComparedPeriod(Struct, frozen=True):
    """A period; None for a side without a bound."""

    name: str
    begin: datetime | None
    end: datetime | None


def parse_base(engine: Engine, given: str, now: datetime) -> ComparedVersion | ComparedPeriod | str:
    """Return a version (``v3``, ``order:3``), a period (``7d..1d``), or else the id of an instance.

    Raises:
        NotFoundError: there is no such instance.
        UsageError: the period is invalid, or the beginning of an id is ambiguous.
    """
    if given and engine.instance_ids(given, 1) == [given]:
        return given
    if ".." in given:
        first, _, last = given.partition("..")
        if not first.strip() and not last.strip():
            raise UsageError(
                "--compare: the period is empty.", "Use a period such as 7d..1d or 2025-01-01..2025-01-08."
            )
        begin, end = parse_period(first if first.strip() else None, last if last.strip() else None, now)
        return ComparedPeriod(given.strip(), begin, end)
    if match := _VERSION.fullmatch(given):
        return ComparedVersion(match["process"], int(match["version"]))
    return resolve_instance(engine, given)
