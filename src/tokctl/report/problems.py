"""What is wrong with an instance: its tokens with problems, and what its live tokens wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tokctl.analysis.debug.runner import TroubledToken
from tokctl.analysis.explain.explanation import VERDICTS, Explanation
from tokctl.model.visits import Visit
from tokctl.report.texts import show_age, show_json, tell_omitted
from tokctl.services.report import InstanceReport


class ProblemCard(NamedTuple):
    """A token with problems, or one that waits: what is known about it, the worst first.

    ``also`` has the other rules that found it, each with what it found.
    """

    target: str
    name: str
    state: str
    token_id: str
    severity: str
    rule: str
    title: str
    since: datetime | None
    age: str
    sentences: Sequence[str]
    is_unsure: bool
    also: Sequence[tuple[str, str]]
    variables: str


class ProblemCards:
    """The ``cards`` of tokens with problems, those of the ``others`` that wait, and sentences about what is left out.

    ``targets`` has the id within the page of each element.
    """

    def __init__(self, report: InstanceReport, now: datetime, targets: Mapping[str, str]) -> None:
        self._now, self._targets = now, targets
        self._variables = {token.token_id: token.variables for token in report.tokens}
        trouble = report.trouble
        found = trouble.tokens if trouble else ()
        reasons = {one.token.token_id: one for one in report.explanations}
        self.cards = [self._problem(one, reasons.pop(one.match.visit.token_id, None)) for one in found]
        self.others = [self._card(why.token, VERDICTS[why.verdict], why) for why in reasons.values()]
        self.omitted = [
            tell_omitted(found, trouble.total if trouble else 0, "token with problems"),
            tell_omitted(report.explanations, len(report.flow.live), "live token"),
        ]

    def _problem(self, found: TroubledToken, why: Explanation | None) -> ProblemCard:
        card = self._card(found.match.visit, found.match.text, why, found.match.since)
        also = [(rule, other.text) for rule, other in found.also.items()]
        return card._replace(severity=found.severity, rule=found.finding, also=also)

    def _card(self, visit: Visit, title: str, why: Explanation | None, since: datetime | None = None) -> ProblemCard:
        since = since or (why.since if why else None)
        return ProblemCard(
            target=self._targets[visit.element_id],
            name=visit.name,
            state=visit.state,
            token_id=visit.token_id,
            severity="",
            rule="",
            title=title,
            since=since,
            age=show_age(since, self._now),
            sentences=why.sentences if why else (),
            is_unsure=why is not None and why.can_continue is None,
            also=(),
            variables=show_json(self._variables[visit.token_id]),
        )
