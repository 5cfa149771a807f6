"""The parts of a report about a single instance: elements with their tokens, time line, tree, and what is unknown."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from tokctl.analysis.tree.drawing import UNICODE, TreeLine
from tokctl.model.durations import format_milliseconds
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED
from tokctl.model.tokens import Certainty, ExecutionContext, Token, is_state_derived
from tokctl.render.text import CERTAINTY_SIGNS
from tokctl.render.waterfall import Axis
from tokctl.report.figures import Bar, Tick
from tokctl.report.problems import ProblemCards
from tokctl.report.story import StoryStep, summarize, tell_story
from tokctl.report.texts import show_duration, show_json, tell_omitted
from tokctl.services.report import InstanceReport
from tokctl.text import count, shorten

MAX_NESTING = 60
"""Lists within lists; browsers limit how deep elements are nested."""
_OPEN_BRANCHES, _NEXT_BRANCH, _CLOSE_BRANCHES = (
    "<ul><li><ol><li>",
    "</li></ol></li><li><ol><li>",
    "</li></ol></li></ul>",
)
MAX_ERROR = 10_000
"""Characters of an error message, and of a stack trace."""
_TICK_DISTANCE = 20
"""Percent of the width."""
_STATE_BARS = {COMPLETED: "bar-completed", CANCELLED: "bar-cancelled", FAILED: "bar-failed", ACTIVE: "bar-active"}


class PartLimits(Struct, frozen=True, kw_only=True):
    """What is shown at most: tokens of all elements and of one, bars of the time line, lines of the tree.

    Of the tokens of an element FAILED ones come first, then those that have not ended, then the latest. Of the bars,
    those of the critical path and of live tokens come first, then the longest, then the latest.
    """

    tokens: int = 2_000
    tokens_per_element: int = 100
    bars: int = 500
    tree: int = 2_000


DETAIL_LIMITS = PartLimits(tokens=200, tokens_per_element=20, bars=60, tree=100)
"""Those of an instance that is one of several."""


class HistoryEntry(NamedTuple):
    """Something that happened to a token, and the sign of its certainty."""

    sign: str
    time: datetime | None
    text: str


class TokenDetails(NamedTuple):
    """A token of an element."""

    token_id: str
    state: str
    created: datetime | None
    finished: datetime | None
    has_finished: bool
    is_live: bool
    took: str
    retries: str
    timeout: datetime | None
    worker: str
    waiting_for: str
    error: str
    variables: str
    history: list[HistoryEntry]


class ElementSection(NamedTuple):
    """An element with its tokens; ``target`` is its id within the page."""

    target: str
    element_id: str
    name: str
    type: str
    states: str
    has_failed: bool
    tokens: list[TokenDetails]
    omitted: str


class TimeRow(NamedTuple):
    """A token in the time line, with its bars."""

    target: str
    name: str
    state: str
    begin: datetime | None
    took: str
    critical: bool
    bars: list[Bar]


class TimeLine(NamedTuple):
    """The tokens by their begin, with the axis that they share, and notes."""

    rows: list[TimeRow]
    ticks: list[Tick]
    notes: list[str]


class TreeItem(NamedTuple):
    """A line of the tree, and the tags of lists before and after it."""

    before: str
    after: str
    target: str
    name: str
    state: str
    token_id: str
    notes: str


class InstanceParts:
    """Prepares the parts about an instance. ``targets`` has the id within the page of each element.

    ``prefix`` keeps the ids of several instances in one page apart.
    """

    def __init__(
        self, report: InstanceReport, now: datetime, prefix: str = "", limits: PartLimits | None = None
    ) -> None:
        self.report, self.flow, self.now, self.prefix = report, report.flow, now, prefix
        self.limits = limits or PartLimits()
        order = dict.fromkeys(self.flow.visits[n].element_id for n in self.flow.by_begin)
        self.targets = {element: f"{prefix}element-{number}" for number, element in enumerate(order, 1)}
        self.problems = ProblemCards(report, now, self.targets)

    @property
    def summary(self) -> list[str]:
        """What a reader needs to know first, as sentences."""
        return summarize(self.report, self.now)

    @property
    def story(self) -> list[StoryStep]:
        """What happened, step by step."""
        return tell_story(self.report)

    def elements(self) -> list[ElementSection]:
        """Return the elements in the order in which tokens reached them."""
        visits, limits = self.flow.visits, self.limits
        at: dict[str, list[int]] = {element: [] for element in self.targets}
        for n in reversed(self.flow.by_begin):
            at[visits[n].element_id].append(n)
        most = max(3, min(limits.tokens_per_element, limits.tokens // max(1, len(at))))
        sections = []
        for element, nodes in at.items():
            ranked = sorted(nodes, key=lambda n: (visits[n].state != FAILED, not visits[n].live))
            states = Counter(visits[n].state for n in nodes)
            rows = [self._token(self.report.tokens[n], n) for n in ranked[:most]]
            first = visits[nodes[-1]]
            sections.append(
                ElementSection(
                    target=self.targets[element],
                    element_id=element,
                    name=first.name,
                    type=first.element_type or "type unknown",
                    states=", ".join(f"{number:,} {state}" for state, number in states.items()),
                    has_failed=FAILED in states,
                    tokens=rows,
                    omitted=tell_omitted(rows, len(nodes), "token"),
                )
            )
        return sections

    def _token(self, token: Token, n: int) -> TokenDetails:
        context = token.context
        history = [
            HistoryEntry(
                CERTAINTY_SIGNS[hop.certainty],
                hop.timestamp,
                f"from {hop.from_element or '?'} via {hop.via_flow or '?'}",
            )
            for hop in token.hops
        ]
        history += [HistoryEntry("", change.at, change.state) for change in context.state_history or ()]
        return TokenDetails(
            token_id=token.token_id,
            state=token.state + "~" * is_state_derived(token, context),
            created=token.created_at,
            finished=token.finished_at,
            has_finished=not token.can_move,
            is_live=token.live,
            took=show_duration(self.flow.took(n), live=token.live),
            retries=_describe_retries(context),
            timeout=context.timeout_at,
            worker=context.worker_id or "",
            waiting_for=", ".join(context.waits_for or filter(None, (context.waiting_for,))) if token.live else "",
            error="\n\n".join(shorten(text, MAX_ERROR) for text in (token.error, context.stack_trace) if text),
            variables=show_json(token.variables),
            history=history,
        )

    def time_line(self) -> TimeLine:
        """Return the tokens by their begin."""
        flow = self.flow
        timed = [n for n in flow.by_begin if n not in flow.untimed]
        if not timed:
            return TimeLine([], [], ["No times are known."] if flow.visits else [])
        axis = Axis([time for n in timed for time in (flow.begins[n], flow.ends[n])], 100)
        shown = self._choose_bars(timed)
        notes = [tell_omitted(shown, len(timed), "token")]
        if len(shown) < len(timed):
            notes.append("Those of the critical path and live ones come first, then the longest.")
        if axis.omitted:
            notes.append(f"The striped stretches, {format_milliseconds(axis.omitted / 1000)} in all, are cut short.")
        if flow.untimed:
            notes.append(f"{count(len(flow.untimed), 'token')} without any time not shown.")
        ticks = [
            Tick(round(at, 2), format_milliseconds(offset / 1000) if offset else "0")
            for at, offset in axis.ticks(_TICK_DISTANCE)
        ]
        return TimeLine([self._time_row(n, axis) for n in shown], ticks, [note for note in notes if note])

    def _choose_bars(self, timed: list[int]) -> list[int]:
        """Return the tokens to show, by their begin."""
        flow, most = self.flow, self.limits.bars
        if len(timed) <= most:
            return timed
        ranked = sorted(
            timed,
            key=lambda n: (
                flow.visits[n].state != FAILED,
                n not in flow.critical_nodes and not flow.visits[n].live,
                flow.begins[n] - flow.ends[n],
                -flow.begins[n],
            ),
        )
        chosen = set(ranked[:most])
        return [n for n in timed if n in chosen]

    def _time_row(self, n: int, axis: Axis) -> TimeRow:
        flow, visit = self.flow, self.flow.visits[n]
        left, right = axis.at(flow.begins[n]), axis.at(flow.ends[n])
        width = max(right - left, 0.7)
        left = round(min(left, 100 - width), 3)
        bars = [Bar(left, round(width, 3), _STATE_BARS.get(visit.state, "bar-waiting"))]
        if n in flow.critical_nodes:
            bars.append(Bar(left, round(width, 3), "bar-critical"))
        bars += [
            Bar(round(piece.left, 3), round(piece.right - piece.left, 3), "bar-omitted")
            for piece in axis.segments
            if piece.omitted and flow.begins[n] <= piece.begin and piece.end <= flow.ends[n]
        ]
        unknown = n in flow.unknown_begin or (n in flow.unknown_end and not visit.live)
        return TimeRow(
            target=self.targets[visit.element_id],
            name=visit.name,
            state=visit.state,
            begin=visit.created_at,
            took="?" if unknown else show_duration(flow.took(n), live=visit.live),
            critical=n in flow.critical_nodes,
            bars=bars,
        )

    @property
    def has_more_tree(self) -> bool:
        """Whether lines of the tree are not shown."""
        return self.report.has_more_tree or len(self.report.tree) > self.limits.tree

    def tree(self) -> list[TreeItem]:
        """Return the lines of the tree as nested lists: an ordered one for each sequence, in one of the branches."""
        items, level = [], -1
        for line in self.report.tree[: self.limits.tree]:
            at = min(line.level, MAX_NESTING)
            starts_branch = line.prefix.endswith((UNICODE.branch, UNICODE.last_branch))
            if at > level:
                before = _OPEN_BRANCHES
            else:
                before = (level - at) * _CLOSE_BRANCHES + (_NEXT_BRANCH if starts_branch else "</li><li>")
            items.append(
                TreeItem(
                    before=before,
                    after="",
                    target=self.targets[line.token.element_id],
                    name=line.token.name,
                    state=line.token.state,
                    token_id=line.token.token_id,
                    notes=_describe_line(line),
                )
            )
            level = at
        if items:
            items[-1] = items[-1]._replace(after=(level + 1) * _CLOSE_BRANCHES)
        return items

    def unknown(self) -> list[str]:
        """Return sentences about what is derived or unknown."""
        flow, report = self.flow, self.report
        hops = Counter(hop.certainty for visit in flow.visits for hop in visit.hops)
        derived = sum(is_state_derived(token, token.context) for token in report.tokens)
        ends = len(flow.unknown_end.difference(flow.live))
        known = [
            (
                hops[Certainty.RECONSTRUCTED],
                "step",
                "not recorded; follows from the times and the model (≈)",
            ),
            (hops[Certainty.AMBIGUOUS], "step", "unknown, because several ways are possible (?)"),
            (derived, "state", "derived (~)"),
            (len(flow.unknown_begin), "begin", "unknown"),
            (ends, "end", "unknown"),
            (flow.ends_before_begin, "token", "ended before the begin, so clocks differ"),
            (flow.impossible_links, "link", "between tokens impossible, and not used"),
        ]
        told = [f"{count(number, thing)}: {what}." for number, thing, what in known if number]
        if report.status.status_derived:
            told.append("The status of the instance is derived from its tokens (~).")
        if flow.path_break is not None:
            told.append(f"The critical path begins with {flow.path_break.token_id}: {flow.path_break.reason}.")
        told += [
            f"Contradictions in the links of tokens: {number:,} {kind}."
            for kind, number in report.contradictions.items()
        ]
        return told


def _describe_retries(context: ExecutionContext) -> str:
    used, left = context.retries_used or 0, context.retries_left
    parts = [f"{used:,} used"] if used else []
    if left is not None and (used or not left):
        parts.append(f"{left:,} left")
    return ", ".join(parts)


def _describe_line(line: TreeLine) -> str:
    parts = [count(line.count, "equal token")] if line.count > 1 else []
    if line.loop is not None and line.loop.passes > 1:
        parts.append(f"step {line.loop.step + 1} of {line.loop.steps} in a loop of {line.loop.passes:,} passes")
    if line.joins:
        parts.append(f"joined from {', '.join(line.joins)}")
    return "; ".join([*parts, *line.anomalies])
