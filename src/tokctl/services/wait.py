"""Waits until conditions on an instance are met, for ``tokctl tokens wait``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from tokctl.analysis.changes import EndDetector
from tokctl.analysis.wait_conditions import Condition, InstanceFacts, evaluate_condition
from tokctl.engines.ids import resolve_instance
from tokctl.engines.protocol import Engine
from tokctl.errors import AmbiguousIdError, NotFoundError, TokctlError
from tokctl.model.filters import TokenFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.services.polling import EnginePoller, notify_outage, poll_repeatedly

Outcome = Literal["held", "impossible", "timed_out"]


class WaitResult(Struct, frozen=True, kw_only=True):
    """The result of a wait: its outcome, its duration, and the last error, if an outage continues."""

    outcome: Outcome
    took: timedelta
    error: TokctlError | None = None


class InstanceWait:
    """The conditions of a wait, and the state of the instance at the last poll.

    ``instance`` is an id, a prefix of one or ``@latest`` (None: the only instance). With ``appear`` it does not have to
    exist yet. ``thresholds`` are those of the debug rules, as configured; they decide on ``finding=…``. ``verdicts``
    has one
    for each condition: True holds, False can no longer hold, None may still hold.
    """

    def __init__(
        self,
        instance: str | None,
        conditions: Sequence[Condition],
        *,
        clock: Callable[[], datetime],
        appear: bool = False,
        thresholds: Mapping[str, Any] | None = None,
    ) -> None:
        self.given = instance
        self.conditions = tuple(conditions)
        self.instance_id: str | None = None
        self.status: InstanceStatus | None = None
        self.verdicts: tuple[bool | None, ...] = (None,) * len(self.conditions)
        self._clock = clock
        self._thresholds = thresholds or {}
        self._appear = appear
        self._end_detector = EndDetector()

    @property
    def outcome(self) -> Outcome | None:
        """``held`` or ``impossible``; None as long as both are possible."""
        if all(self.verdicts):
            return "held"
        return "impossible" if False in self.verdicts else None

    def read(self, engine: Engine, changed: bool) -> None:
        """Evaluate the conditions if something may have changed; findings can also appear with time alone."""
        try:
            if self.instance_id is None:
                self.instance_id = resolve_instance(engine, self.given)
            if changed or self.status is None:
                self.status = engine.instance(self.instance_id)
        except AmbiguousIdError:
            raise
        except NotFoundError:
            if not self._appear:
                raise
            self.status = None
            return
        is_finished = self._end_detector.reached(self.status, changed=changed)
        if changed or is_finished or any(condition.kind == "finding" for condition in self.conditions):
            self.verdicts = self._judge(engine, self.instance_id, self.status, is_finished=is_finished)

    def _judge(
        self, engine: Engine, instance_id: str, status: InstanceStatus, *, is_finished: bool
    ) -> tuple[bool | None, ...]:
        def reached(pattern: str) -> bool:
            return engine.count_tokens(instance_id, TokenFilter(elements=(pattern,))) > 0

        def severity() -> str | None:
            from tokctl.services.debug import DebugQuery, run_debug

            query = DebugQuery(configured=self._thresholds)
            return run_debug(engine, instance_id, self._clock(), query).severity

        facts = InstanceFacts(
            status=status.status,
            total_tokens=status.total_tokens,
            live_tokens=status.live_tokens,
            is_finished=is_finished,
            reached=reached,
            severity=severity,
        )
        return tuple(evaluate_condition(condition, facts) for condition in self.conditions)


def wait_until(
    wait: InstanceWait,
    poller: EnginePoller,
    *,
    clock: Callable[[], datetime],
    timeout: timedelta | None = None,
    notify: Callable[[str], object] = lambda _: None,
    on_first_wait: Callable[[InstanceWait], object] = lambda _: None,
) -> WaitResult:
    """Poll until the conditions hold, can no longer hold, or the timeout has passed; an outage does not end it.

    Without a ``timeout`` there is no limit; zero polls once. ``notify`` receives a message when an outage begins
    and when it ends. ``on_first_wait`` is called once, before the first pause.
    """
    begin = clock()
    announced = False
    outcome: Outcome = "timed_out"
    for poll in poll_repeatedly(poller, wait.read, deadline=None if timeout is None else begin + timeout):
        notify_outage(poll, notify)
        if poll.succeeded and wait.outcome:
            outcome = wait.outcome
            break
        if not poll.is_last and not announced:
            announced = True
            on_first_wait(wait)
    return WaitResult(outcome=outcome, took=clock() - begin, error=poller.error)
