"""The JSON document of a flow, in parts. Tokens are numbers, see ``FlowAnalysis``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from math import isfinite
from typing import Any

from msgspec import UNSET

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.intervals import ParallelPeriod, TimeSpent
from tokctl.analysis.variable_changes import VariableChange
from tokctl.documents.base import build_document
from tokctl.documents.flow import (
    ChangedValue,
    CompletedStep,
    CriticalPath,
    CriticalStepDocument,
    FlowBottleneck,
    FlowToken,
    ParallelExecution,
    ParallelStretch,
    UnknownCounts,
    VariableChangeDocument,
)
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.states import ACTIVE
from tokctl.model.times import format_time, from_micros
from tokctl.model.visits import Visit


class FlowEncoder:
    """Makes the members of a flow's document (``documents.flow.FlowDocument``)."""

    def __init__(self, flow: FlowAnalysis) -> None:
        self.flow = flow

    def head(self, status: InstanceStatus) -> dict[str, Any]:
        """Return the members before the completed path."""
        flow = self.flow
        return {
            "instance_id": status.instance.instance_id,
            "process_id": status.instance.process_id,
            "generated_at": format_time(flow.now),
            "activeTokens": [self.token(n) for n in flow.live if flow.visits[n].state == ACTIVE],
        }

    def completed_step(self, n: int) -> CompletedStep:
        """Return a token of the completed path."""
        flow = self.flow
        visit = flow.visits[n]
        ms, derived = visit.context.duration_ms, False
        if ms is None or not isfinite(ms):
            took = visit.duration
            ms, derived = (took.ms, took.derived) if took else (None, False)
        return CompletedStep(  # no generic copy of fields, for speed
            element=visit.name,
            completed_at=format_time(visit.completed_at),
            token_id=visit.token_id,
            element_id=visit.element_id,
            element_type=visit.element_type,
            created_at=format_time(visit.created_at),
            duration=ms,
            duration_derived=derived,
            slack_ms=flow.slack[n] / 1000 if n not in flow.untimed else None,
            critical=n in flow.critical_nodes,
        )

    def token(self, n: int) -> FlowToken:
        """Return a token that has not completed."""
        flow, visit = self.flow, self.flow.visits[n]
        took = flow.took(n)
        ms = took.ms if took else None
        failed_at = visit.finished_at
        return build_document(
            FlowToken,
            visit,
            worker_id=visit.context.worker_id,
            timeout_at=format_time(visit.context.timeout_at),
            duration_ms=UNSET if visit.can_move else visit.duration and visit.duration.ms,
            age_ms=ms if visit.live else UNSET,
            failed_for_ms=(flow.now - failed_at) / timedelta(milliseconds=1)
            if visit.live and failed_at is not None
            else UNSET,
            slack_ms=self.slack_ms(n),
            critical=n in flow.critical_nodes,
        )

    def slack_ms(self, n: int) -> float | None:
        """Return how much later a token could have ended without delaying the instance; None if unknown."""
        slack = self.flow.slack_us(n)
        return None if slack is None else slack / 1000

    def tail(self, changes: Sequence[VariableChange] | None, summary: Summary) -> dict[str, Any]:
        """Return the members after the completed path; ``changes`` of variables if requested."""
        flow = self.flow
        live = set(flow.live)
        others = sorted(n for n in live if flow.visits[n].state != ACTIVE)
        done = set(flow.completed)
        found: dict[str, Any] = {
            "currentBottlenecks": [self._bottleneck(one) for one in flow.bottlenecks],
            "parallelExecution": self._parallel_execution(),
            "other_live_tokens": [self.token(n) for n in others],
            "ended_otherwise": [self.token(n) for n in range(len(flow.visits)) if n not in done and n not in live],
            "critical_path": self._critical_path(),
            "unknown": UnknownCounts(
                times=len(flow.untimed),
                begins=len(flow.unknown_begin),
                ends=len(flow.unknown_end - live),
                ends_before_begin=flow.ends_before_begin,
                impossible_links=flow.impossible_links,
            ),
        }
        if changes is not None:
            found["variable_changes"] = [_encode_change(change) for change in changes]
        return found | {"summary": summary}

    def _bottleneck(self, found: TimeSpent[str]) -> FlowBottleneck:
        visit = self.first_visits[found.key]
        critical_us = self.flow.critical_by_element.get(found.key, 0)
        return build_document(
            FlowBottleneck,
            found,
            element=visit.name,
            element_id=found.key,
            element_type=visit.element_type,
            live_tokens=self.live_counts[found.key],
            so_far_ms=found.so_far_ms or UNSET,
            percentage_of_total=round(found.percentage_of_total, 2),
            critical_ms=critical_us / 1000,
            percentage_of_elapsed=round(self.percentage_of_elapsed(critical_us), 2),
        )

    def _parallel_execution(self) -> ParallelExecution:
        peak = self.flow.peak
        return ParallelExecution(
            max_concurrent_tokens=peak.max_concurrent,
            begin=_format_micros(peak.begin),
            end=_format_micros(peak.end),
            live_tokens=len(self.flow.live),
            stretches=[self._stretch(period) for period in self.flow.parallel_periods],
        )

    def _stretch(self, period: ParallelPeriod) -> ParallelStretch:
        return ParallelStretch(
            begin=_format_micros(period.begin),
            end=_format_micros(period.end),
            duration_ms=(period.end - period.begin) / 1000,
            max_concurrent_tokens=period.max_concurrent,
            token_ids=[self.flow.visits[n].token_id for n in period.members],
        )

    def _critical_path(self) -> CriticalPath:
        flow = self.flow
        steps = []
        for step in flow.critical_steps:
            visit = flow.visits[step.node]
            steps.append(
                build_document(
                    CriticalStepDocument,
                    visit,
                    element=visit.name,
                    wait_ms=step.wait_us / 1000,
                    duration_ms=step.duration_us / 1000,
                    so_far=True if flow.visits[step.node].live else UNSET,
                )
            )
        return CriticalPath(
            until="now" if flow.live else "end",
            total_ms=sum(step.wait_us + step.duration_us for step in flow.critical_steps) / 1000,
            elapsed_ms=flow.elapsed_us / 1000,
            breaks_off=flow.path_break,
            steps=steps,
        )

    def percentage_of_elapsed(self, micros: float) -> float:
        """Return the share of a duration in the elapsed time, 0 to 100."""
        elapsed = self.flow.elapsed_us
        return 100 * micros / elapsed if elapsed > 0 else 0.0

    @cached_property
    def first_visits(self) -> dict[str, Visit]:
        """The first visit of each element."""
        return {visit.element_id: visit for visit in reversed(self.flow.visits)}

    @cached_property
    def live_counts(self) -> Counter[str]:
        """The number of live tokens at each element."""
        return Counter(self.flow.visits[n].element_id for n in self.flow.live)


def _encode_change(change: VariableChange) -> VariableChangeDocument:
    return build_document(
        VariableChangeDocument,
        change,
        at=_format_micros(change.at_us),
        from_token_ids=change.before,
        changed={name: ChangedValue(old=old, new=new) for name, (old, new) in change.changed.items()},
    )


def _format_micros(micros: int | None) -> str | None:
    return format_time(from_micros(micros))
