"""The time of a command: that of ``--at``, the local one, or the one of the server that is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property

from tokctl.errors import UsageError
from tokctl.model.durations import format_timedelta
from tokctl.model.time_expressions import parse_time_or_age

_NOTED = timedelta(seconds=10)
"""Differences are told in multiples of this: responses show the server's clock to a second at best."""


class CommandClock:
    """The time that ages are measured with.

    It is the local time until a response shows that the server's clock is notably different, and the server's from
    then on. ``read`` returns the local time, in the zone that times are shown in. ``at`` is the value of ``--at``.
    """

    def __init__(self, read: Callable[[], datetime], at: str | None) -> None:
        self._read = read
        self._at = at
        self._offset = timedelta()
        self.note = ""
        """A sentence on the difference of the clocks; '' if none is known."""

    @property
    def now(self) -> datetime:
        """The time of the shown state, read once.

        Raises:
            UsageError: ``--at`` is not a time, or is in the future.
        """
        return self._begin + self._offset

    def read(self) -> datetime:
        """Return the current time."""
        return self._read() + self._offset

    @cached_property
    def _begin(self) -> datetime:
        present = self._read()
        if self._at is None:
            return present
        moment = parse_time_or_age(self._at, present)
        if moment > present:
            raise UsageError(f"--at {self._at} is in the future.", "Give a time in the past.")
        return moment

    def adopt(self, offset: timedelta) -> None:
        """Measure ages with the clock of a server from now on, unless the time is that of ``--at``."""
        rounded = round(abs(offset) / _NOTED) * _NOTED
        apart = f"about {format_timedelta(rounded)} {'ahead of' if offset > timedelta() else 'behind'} the local one"
        self.note = f"The server's clock is {apart}."
        if self._at is None:
            self._offset = offset
            self.note = f"The server's clock is {apart}; ages are measured with the server's clock."
