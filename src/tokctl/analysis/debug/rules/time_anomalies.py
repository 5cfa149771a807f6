"""The rule TIME_ANOMALIES."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tokctl.analysis.debug.rules.base import LOW, Rule, RuleContext, RuleMatch, duration_threshold
from tokctl.model.durations import format_timedelta
from tokctl.model.times import LAST, format_time
from tokctl.model.visits import Visit


class TimeAnomalies(Rule):
    """A token ended or changed before it began, has a negative duration, or has times in the future."""

    name = "TIME_ANOMALIES"
    severity = LOW
    meaning = "Tokens with impossible times: an end before the start, or a time in the future."
    next = "tokctl tokens show {instance} {token}"
    thresholds = (duration_threshold("clock_skew", timedelta(minutes=1), "in the future by more than this"),)
    needs_finished = True

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self._ahead = timedelta()

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check all tokens, first by a quick condition, because nearly all of them are in order."""
        latest = context.before(-self.limits["clock_skew"])

        def describe(visit: Visit) -> str:
            return "; ".join(phrase for _, phrase in _find_anomalies(visit, latest))

        def get_kinds(visit: Visit) -> dict[str, Any]:
            return {"anomalies": [kind for kind, _ in _find_anomalies(visit, latest)]}

        for visit in _find_suspects(context.visits, latest):
            times = (visit.created_at, visit.updated_at, visit.completed_at, visit.cancelled_at)
            newest = max((time for time in times if time is not None and time != LAST), default=latest)
            if newest > latest:
                self._ahead = max(self._ahead, newest - context.now)
            yield RuleMatch(visit, describe, visit.created_at, float(visit.live), get_kinds)

    def notes(self) -> Iterable[str]:
        """Return how far times are in the future: usually clocks differ, and the tokens are in order."""
        if self._ahead:
            yield f"Times are up to {format_timedelta(self._ahead)} in the future. Check the clock of the source."


def _find_suspects(visits: Sequence[Visit], latest: datetime) -> list[Visit]:
    """Return the visits for which ``_find_anomalies`` yields an anomaly."""
    first = datetime.min.replace(tzinfo=UTC)
    return [
        visit
        for visit in visits
        if (earliest := visit.created_at or first) > latest
        or ((time := visit.updated_at) is not None and not earliest <= time <= latest)
        or ((time := visit.completed_at) is not None and not earliest <= time <= latest)
        or ((time := visit.cancelled_at) is not None and not earliest <= time <= latest)
        or ((took := visit.context.duration_ms) is not None and took < 0)
    ]


def _find_anomalies(visit: Visit, latest: datetime) -> Iterator[tuple[str, str]]:
    """Yield (kind, phrase) for each anomaly of a token's times."""
    created = visit.created_at
    for name in ("completed_at", "cancelled_at", "updated_at"):
        time = getattr(visit, name)
        if time is not None and created is not None and time < created:
            what = name.removesuffix("_at")
            yield f"{what.upper()}_BEFORE_CREATED", f"{what} before it was created"
    for name in ("created_at", "updated_at", "completed_at", "cancelled_at"):
        time = getattr(visit, name)
        if time is not None and time > latest:
            yield f"{name.removesuffix('_at').upper()}_IN_FUTURE", f"{name} is in the future: {format_time(time)}"
    if visit.context.duration_ms is not None and visit.context.duration_ms < 0:
        yield "NEGATIVE_DURATION", f"a duration of {visit.context.duration_ms:g} ms"
