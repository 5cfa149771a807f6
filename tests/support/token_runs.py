"""The tokens of one recorded instance, each placed into the run of the process or sub-process that it is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from support.bpmn_reading import Flow, Node, Scope

COMPLETED, CANCELLED = "COMPLETED", "CANCELLED"
FINAL = frozenset({COMPLETED, CANCELLED})
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Visit:
    """A token with its place: the run that it is in, and how it came there."""

    token: Any
    node: Node
    run: Run
    came: str
    """``start``, ``flow``, ``boundary``, ``link``, ``compensation``, ``event`` (an event sub-process) or ``repeat``."""
    parent: Visit | None = None
    flow: Flow | None = None
    children: list[Visit] = field(default_factory=list)
    inner: Run | None = None
    created: datetime = field(init=False)
    ended: datetime = field(init=False)
    """When it was completed or cancelled; the end of time for a live one."""

    def __post_init__(self) -> None:
        token = self.token
        self.created = token.created_at
        self.ended = NEVER if self.live else token.completed_at or token.cancelled_at or token.updated_at

    def __str__(self) -> str:
        return f"{self.node.type} '{self.node.id}'"

    @property
    def completed(self) -> bool:
        """Whether it has been completed."""
        return bool(self.token.state == COMPLETED)

    @property
    def cancelled(self) -> bool:
        """Whether it has been cancelled."""
        return bool(self.token.state == CANCELLED)

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.token.state not in FINAL

    @property
    def repeats(self) -> bool:
        """Whether it stands for all repetitions of its activity."""
        return self.node.loop is not None and self.came != "repeat"

    @property
    def waits_to_be_triggered(self) -> bool:
        """Whether it is an event sub-process, or its start event, that was not triggered."""
        if self.node.triggered:
            return not any(one.came == "start" and one.completed for one in self.children)
        owner = self.run.owner
        return self.came == "start" and owner is not None and owner.node.triggered and not self.completed


@dataclass(slots=True, eq=False)
class Run:
    """One run of a process, sub-process or repeated activity: ``owner`` is its activity, None at the top."""

    scope: Scope
    owner: Visit | None = None
    visits: list[Visit] = field(default_factory=list)
    ends: list[tuple[datetime, Visit | None]] = field(default_factory=list)
    """When all tokens in it were withdrawn, and the event sub-process that did it, which is the only one to remain."""

    def killed_at(self, visit: Visit) -> datetime:
        """Return from when on a visit in this run is withdrawn: by an end, an error or an interruption."""
        if visit.came == "compensation":  # it runs because of the end
            return NEVER
        return min((time for time, cause in self.ends if cause is not visit), default=NEVER)

    def at(self, node: Node) -> list[Visit]:
        """Return the visits of a node."""
        return [visit for visit in self.visits if visit.node is node]


class Placement:
    """Places the tokens of an instance; what cannot be placed is a problem."""

    def __init__(self, processes: dict[str, Scope], tokens: Sequence[Any], process: str | None) -> None:
        self.processes = processes
        self.tokens = {token.token_id: token for token in tokens}
        self.process = process
        self.problems: list[str] = []
        self.runs: list[Run] = []
        self.visits: dict[str, Visit | None] = {}
        self._top: Run | None = None
        if len(self.tokens) != len(tokens):
            self.problems.append("two tokens have the same id")
        for token in tokens:
            self._place(token)

    def _place(self, token: Any) -> Visit | None:
        """Place a token after those that it came from."""
        chain, above = [token], self.tokens.get(token.parent_token_id)
        seen = {token.token_id}
        while above is not None and above.token_id not in self.visits:
            if above.token_id in seen:
                self.problems.append(f"{_name(token)} came from itself")
                self.visits[token.token_id] = None
                return None
            seen.add(above.token_id)
            chain.append(above)
            above = self.tokens.get(above.parent_token_id)
        for one in reversed(chain):
            if one.token_id not in self.visits:
                visit = self.visits[one.token_id] = self._place_one(one)
                if visit is not None:
                    visit.run.visits.append(visit)
                    if visit.parent is not None:
                        visit.parent.children.append(visit)
        return self.visits[token.token_id]

    def _place_one(self, token: Any) -> Visit | None:
        if token.parent_token_id is None:
            return self._place_at_top(token)
        if token.parent_token_id not in self.tokens:
            self.problems.append(f"{_name(token)} came from a token that is not there")
            return None
        parent = self.visits[token.parent_token_id]
        if parent is None:
            return None
        for found in (self._place_by_hop(token, parent), *self._place_inside(token, parent)):
            if found is not None:
                if found.node.type != token.element_type:
                    self.problems.append(f"{found} is recorded as {token.element_type}")
                return found
        self.problems.append(f"{_name(token)} cannot come after or in {parent}{_describe_hop(token)}")
        return None

    def _place_at_top(self, token: Any) -> Visit | None:
        if self.process is None:
            holders = [name for name, scope in self.processes.items() if token.element_id in scope.nodes]
            self.process = holders[0] if holders else None
        scope = self.processes.get(self.process or "")
        node = None if scope is None else scope.nodes.get(token.element_id)
        if scope is None or node is None or token.hops:
            self.problems.append(f"{_name(token)} came from nowhere")
            return None
        return Visit(token, node, self._run(scope, None), "event" if node.triggered else "start")

    def _place_by_hop(self, token: Any, parent: Visit) -> Visit | None:
        """Place a token that came from another one of the same run."""
        run, node = parent.run, parent.run.scope.nodes.get(token.element_id)
        if node is None:
            return self._place_handler(token, parent)
        if not token.hops:
            return Visit(token, node, run, "compensation", parent) if node.compensates and _may_throw(parent) else None
        if len(token.hops) > 1 or token.hops[0].from_element != parent.node.id:
            return None
        via = token.hops[0].via_flow
        if node.compensates and via is None:
            return Visit(token, node, run, "compensation", parent)
        if node.attached_to == parent.node.id:
            return Visit(token, node, run, "boundary", parent)
        if node.link is not None and node.link == parent.node.link:
            return Visit(token, node, run, "link", parent)
        between = [flow for flow in parent.node.outgoing if flow.target == node.id]
        named = [flow for flow in between if flow.id == via and via is not None]
        unnamed = [flow for flow in between if flow.id is None]
        used = [child.flow for child in parent.children]
        flows = named or sorted(unnamed, key=used.count)
        return Visit(token, node, run, "flow", parent, flows[0]) if flows else None

    def _place_handler(self, token: Any, parent: Visit) -> Visit | None:
        """Place a compensation handler of an activity in what is compensated."""
        if not _may_throw(parent) or any(hop.via_flow is not None for hop in token.hops):
            return None
        for run in compensated_runs(parent):
            node = run.scope.find_handler(token.element_id)
            if node is not None:
                return Visit(token, node, run, "compensation", parent)
        return None

    def _place_inside(self, token: Any, parent: Visit) -> Iterable[Visit | None]:
        """Place a token in the activity that contains it."""
        if token.hops:
            return
        if parent.repeats:
            if token.element_id == parent.node.id:
                yield Visit(token, parent.node, self._run(parent.run.scope, parent), "repeat", parent)
            return
        inner = [parent.node.inner] if parent.node.inner is not None else []
        if parent.node.type == "callActivity":
            called = parent.node.called
            inner = [self.processes[called]] if called in self.processes else list(self.processes.values())
        for scope in inner:
            node = scope.nodes.get(token.element_id)
            if node is not None:
                yield Visit(token, node, self._run(scope, parent), "event" if node.triggered else "start", parent)

    def _run(self, scope: Scope, owner: Visit | None) -> Run:
        run = self._top if owner is None else owner.inner
        if run is None:
            run = Run(scope, owner)
            self.runs.append(run)
            if owner is None:
                self._top = run
            else:
                owner.inner = run
        return run


def compensated_runs(throw: Visit) -> list[Run]:
    """Return what an event compensates: the run that it is in, and from an event sub-process also those around it."""
    runs = [throw.run]
    while (owner := runs[-1].owner) is not None and owner.node.triggered:
        runs.append(owner.run)
    return runs


def _may_throw(visit: Visit) -> bool:
    """Tell whether compensation can come from a visit without a hop."""
    return "compensate" in visit.node.events or "cancel" in visit.node.events or visit.node.type != "subProcess"


def _name(token: Any) -> str:
    return f"{token.element_type} '{token.element_id}'"


def _describe_hop(token: Any) -> str:
    return "".join(f", from '{hop.from_element}' by flow '{hop.via_flow}'" for hop in token.hops)
