"""TIME_ANOMALIES."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tokctl.process.model import format_time
from tokctl.process.rules.base import LOW, Case, Hit, Rule, span
from tokctl.process.visit import Visit


class TimeAnomalies(Rule):
    """A token finished or changed before it began, took less than no time, or has times in the future."""

    name = "TIME_ANOMALIES"
    severity = LOW
    meaning = "The times of tokens cannot be right: an end before the beginning, or a time in the future."
    next = "tokctl tokens show {instance} {token}"
    thresholds = (span("clock_skew", timedelta(minutes=1), "in the future by more than this"),)
    reads_all = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at every token."""
        latest = case.now + self.limits["clock_skew"] if _addable(case, self.limits["clock_skew"]) else None
        for visit in case.visits:
            created, updated = visit.created_at, visit.updated_at
            completed, cancelled = visit.completed_at, visit.cancelled_at
            took = visit.context.duration_ms
            if (
                (took is None or took >= 0)
                and (latest is None or updated is None or updated <= latest)
                and (latest is None or completed is None or completed <= latest)
                and (latest is None or cancelled is None or cancelled <= latest)
                and (
                    created is None
                    or (
                        (latest is None or created <= latest)
                        and (updated is None or updated >= created)
                        and (completed is None or completed >= created)
                        and (cancelled is None or cancelled >= created)
                    )
                )
            ):
                continue
            kinds = [*_kinds(visit, latest)]
            if kinds:
                yield Hit(visit, "; ".join(says for _, says in kinds), visit.created_at, float(visit.live),
                          {"anomalies": [kind for kind, _ in kinds]})  # fmt: skip


def _addable(case: Case, skew: timedelta) -> bool:
    try:
        case.now + skew
    except OverflowError:
        return False
    return True


def _kinds(visit: Visit, latest: object) -> Iterator[tuple[str, str]]:
    """Yield (kind, sentence) for all that is wrong with a token's times."""
    created = visit.created_at
    for name in ("completed_at", "cancelled_at", "updated_at"):
        time = getattr(visit, name)
        if time is not None and created is not None and time < created:
            what = name.removesuffix("_at")
            yield f"{what.upper()}_BEFORE_CREATED", f"{what} before it was created"
    for name in ("created_at", "updated_at", "completed_at", "cancelled_at"):
        time = getattr(visit, name)
        if latest is not None and time is not None and time > latest:
            yield f"{name.removesuffix('_at').upper()}_IN_FUTURE", f"{name} is in the future: {format_time(time)}"
    if visit.context.duration_ms is not None and visit.context.duration_ms < 0:
        yield "NEGATIVE_DURATION", f"a duration of {visit.context.duration_ms:g} ms"
