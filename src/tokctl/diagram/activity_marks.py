"""Draws what happened on a model: badges with a sign for each state, counts, and a legend of what is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.icons import STATES, UNKNOWN_STATE
from tokctl.diagram.interchange import Point
from tokctl.diagram.labels import draw_lines, escape_text, number, text_width
from tokctl.model.durations import format_milliseconds
from tokctl.model.states import ACTIVE, FAILED, SUSPENDED, WAITING
from tokctl.text import count, one_line

HEAT_STEPS = 5
_STATE_ORDER = (FAILED, SUSPENDED, WAITING, ACTIVE)
_HEIGHT, _COUNT_HEIGHT = 18, 16
_BADGE_GAP = 2


class Heat(StrEnum):
    """What the colour of an element stands for."""

    TIME = "time"
    VISITS = "visits"


class ElementMarks(Struct, frozen=True, kw_only=True):
    """The marks of one drawn element. ``heat`` is a step from 1 to HEAT_STEPS, 0 for none."""

    visits: int = 0
    spent_ms: float = 0.0
    live: tuple[tuple[str, int], ...] = ()
    heat: int = 0
    critical: bool = False
    known: bool = True

    def classes(self, *, tinted: bool = True) -> str:
        """Return the classes of the style sheet; a shape with other elements in it is not ``tinted``."""
        if not self.known:
            return ""
        reached = self.visits > 0
        tint = (f" heat-{self.heat}" if self.heat else " visited" * reached) * tinted
        state = f" live state-{_state_class(self.live[0][0])}" if self.live else " critical" * self.critical
        return (tint + state) if reached or self.live else " unreached"


class MarkedModel:
    """The marks of the elements and flows of a model, from its activity.

    ``drawn`` are the elements with a shape. The tokens of an element without one, as in a collapsed sub-process, count
    at the nearest element around it that has one. ``several``: counts are shown even if they are 1.
    """

    def __init__(
        self,
        activity: ModelActivity,
        elements: Mapping[str, DiagramElement],
        drawn: Iterable[str],
        heat: Heat | None = None,
    ) -> None:
        self.activity, self.elements, self.heat = activity, elements, heat
        self.several = activity.instances > 1
        shown = set(drawn)
        own = activity.graph.elements.keys()
        self.hidden = {key: place for key in own if key not in shown and (place := self._find_place(key, shown))}
        visits, live = dict(activity.visits), {key: dict(states) for key, states in activity.live.items()}
        for key, place in self.hidden.items():
            visits[place] = visits.get(place, 0) or min(activity.visits[key], 1)
            states = live.setdefault(place, {})
            for state, tokens in activity.live.get(key, {}).items():
                states[state] = states.get(state, 0) + tokens
        spent = dict(activity.spent_ms)
        for key, place in self.hidden.items():
            spent[place] = spent.get(place, 0.0) + activity.spent_ms.get(key, 0.0)
        values: Mapping[str, float] = spent if heat is Heat.TIME else visits if heat is Heat.VISITS else {}
        top = max((values.get(key, 0.0) for key in own), default=0.0)
        self.marks = {
            key: ElementMarks(
                visits=visits.get(key, 0),
                spent_ms=spent.get(key, 0.0),
                live=tuple(sorted(live.get(key, {}).items(), key=_rank_state)),
                heat=_heat_step(values.get(key, 0.0), top),
                critical=key in activity.critical_elements,
            )
            for key in own
        }

    def _find_place(self, key: str, shown: set[str]) -> str | None:
        """Return the nearest element around one that is drawn."""
        around = self.activity.graph.elements[key].parent
        for _ in range(len(self.activity.graph.elements)):
            if around is None or around in shown or around not in self.activity.graph.elements:
                break
            around = self.activity.graph.elements[around].parent
        return around if around in shown else None

    def of(self, key: str) -> ElementMarks:
        """Return the marks of an element; none if the process does not have it."""
        return self.marks.get(key, ElementMarks(known=False))

    def flow_classes(self, key: str) -> str:
        """Return the classes of a sequence flow."""
        if key not in self.activity.graph.flows:
            return ""
        if key in self.activity.critical_flows:
            return " taken critical"
        if self.activity.flows[key]:
            return " taken"
        return "" if key in self.activity.uncertain else " unreached"

    def flow_count(self, key: str) -> str:
        """Return the number of tokens that took a flow, if it is worth showing."""
        tokens, derived = self.activity.flows[key], key in self.activity.reconstructed
        unsure = key in self.activity.uncertain
        if tokens > 1 or (tokens and (self.several or derived or unsure)):
            return f"{'≈' * derived}{'≥' * unsure}×{tokens:,}"
        return "?" * unsure

    def element_count(self, key: str) -> str:
        """Return the number of visits of an element, and with heat by time the time, if they are worth showing."""
        marks = self.of(key)
        shown = [f"×{marks.visits:,}"] * (marks.visits > 1 or (self.several and marks.visits > 0))
        if self.heat is Heat.TIME and marks.spent_ms:
            shown.append(format_milliseconds(marks.spent_ms))
        return " · ".join(shown)

    def describe(self, key: str) -> str:
        """Return what happened at an element, as a sentence for its tooltip."""
        marks = self.of(key)
        if not marks.known:
            return ""
        parts = [count(marks.visits, "visit")] if marks.visits else ["not reached"]
        parts += [f"{tokens:,} {state}" for state, tokens in marks.live]
        if marks.spent_ms:
            parts.append(f"{format_milliseconds(marks.spent_ms)} spent")
        return ", ".join(parts)


def draw_badges(marks: ElementMarks, right_corner: Point) -> tuple[str, float]:
    """Return the badges of the live tokens of an element, the most severe at the right, and the x where they begin."""
    drawn, right = "", right_corner.x + 8
    for state, tokens in marks.live:
        badge, width = draw_state(state, f"{tokens:,}", right, right_corner.y - _HEIGHT / 2)
        drawn += badge
        right -= width + _BADGE_GAP
    return drawn, right


def draw_state(state: str, text: str, right: float, top: float) -> tuple[str, float]:
    """Return the badge of a state, and its width in pixels."""
    width = round(24 + text_width(text, 11) * 1.1)
    left, sign = round(right - width), STATES.get(state, UNKNOWN_STATE)
    return (
        f'<g class="badge state-{_state_class(state)}">'
        f'<rect class="solid" x="{left}" y="{number(top)}" width="{width}" height="{_HEIGHT}" rx="9"/>'
        f'<path class="sign" transform="translate({left + 5} {number(top + 3)})" d="{sign}"/>'
        f'<text class="count start" x="{left + 19}" y="{number(top + 13)}">{_span(text)}</text></g>'
    ), width


def draw_count(text: str, at: Point, *, before: float | None = None) -> str:
    """Return a count in a frame around a point; with ``before`` to its right, or above it to end before that x."""
    width = round(text_width(text, 11) * 1.05 + 10)
    left = round(at.x - (width / 2 if before is None else 0))
    top = round(at.y - _COUNT_HEIGHT / 2)
    if before is not None and left + width > before:
        top -= _HEIGHT
    return (
        f'<rect class="pill" x="{left}" y="{top}" width="{width}" height="{_COUNT_HEIGHT}" rx="8"/>'
        f'<text class="count" x="{number(left + width / 2)}" y="{top + 12}">{_span(text)}</text>'
    )


def draw_legend(marked: MarkedModel, x: float, top: float) -> tuple[str, float]:
    """Return the explanation of the marks that are used, and its width."""
    activity, drawn = marked.activity, ""
    states = {state for marks in marked.marks.values() for state, _ in marks.live}
    for state in sorted(states, key=lambda one: _rank_state((one, 0))):
        name = one_line(state, 30)
        badge, width = draw_state(state, name, x + 24 + round(text_width(name, 11) * 1.1), top)
        drawn += badge
        x += width + 12
    samples = [
        ("taken", "flow taken", bool(activity.flows)),
        ("taken critical", "critical path", bool(activity.critical_flows)),
        ("unreached", "not reached", any(not marks.visits for marks in marked.marks.values())),
    ]
    for kind, text, used in samples:
        if used:
            drawn += f'<g class="{kind}"><path class="line" d="M{x} {top + 9}H{x + 24}"/></g>'
            drawn += draw_lines([text], x + 30, top + 3, size=11, anchor="start")
            x += 42 + round(text_width(text, 11))
    if marked.heat is not None:
        for step in range(1, HEAT_STEPS + 1):
            drawn += f'<g class="heat-{step}"><rect class="shape" x="{x}" y="{top + 3}" width="14" height="12"/></g>'
            x += 14
        text = "time spent" if marked.heat is Heat.TIME else "visits"
        drawn += draw_lines([f"{text}, little to much"], x + 6, top + 3, size=11, anchor="start")
        x += 18 + round(text_width(f"{text}, little to much", 11))
    return drawn, x


def _span(text: str) -> str:
    return f"<tspan>{escape_text(one_line(text))}</tspan>"


def _state_class(state: str) -> str:
    return state if state in STATES else "other"


def _rank_state(item: tuple[str, int]) -> tuple[int, str]:
    state = item[0]
    return (_STATE_ORDER.index(state) if state in _STATE_ORDER else len(_STATE_ORDER), state)


def _heat_step(value: float, top: float) -> int:
    """Return the step of a value on a scale of square roots, on which small values differ, too."""
    return min(HEAT_STEPS, 1 + math.floor(HEAT_STEPS * math.sqrt(value / top))) if value > 0 and top > 0 else 0
