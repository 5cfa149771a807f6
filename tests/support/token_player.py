"""Plays recorded tokens by the semantics of BPMN 2.0 (ISO/IEC 19510, chapter 13) and says where they disagree.

It shares no code with tokctl: ``bpmn_reading`` reads the models, ``token_runs`` places the tokens in runs, and the
rules are here and in ``token_exits``, ``token_joins`` and ``token_ends``. A record agrees if it is one complete legal
run: each token was allowed to come, each completed element has the successors that its type requires, joins consumed
what they had to, activities have complete runs in them, and what was cancelled was cancelled by something. Conditions
are not evaluated: any choice that the type of the element allows is legal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from support.bpmn_reading import FLOW_NODES, OTHER_FLOW_NODES, Scope, read_global_tasks, read_processes
from support.token_compensation import is_compensating, wrong_compensations
from support.token_ends import THROWN, find_ends, is_interrupted, may_cause
from support.token_exits import wrong_exits
from support.token_joins import check_join
from support.token_runs import NEVER, Placement, Run, Visit


@dataclass(slots=True)
class Report:
    """What disagrees with the standard, and what was not checked, in words."""

    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def play(
    models: Iterable[bytes],
    tokens: Sequence[Any],
    *,
    process: str | None = None,
    status: str | None = None,
    approximated: Collection[str] = (),
) -> Report:
    """Check the tokens of one instance against its models.

    Args:
        models: the BPMN files, with the processes that are called.
        tokens: objects with ``token_id``, ``element_id``, ``element_type``, ``state``, ``created_at``, ``updated_at``,
            ``completed_at``, ``cancelled_at``, ``parent_token_id`` and ``hops`` (``from_element``, ``via_flow``).
        process: the process of the instance; None is that of its first token.
        status: the state of the instance.
        approximated: ids of elements that were not run in full: what is in them and how often they ran is open.
    """
    models = list(models)
    player = _Player(read_processes(models), read_global_tasks(models), frozenset(approximated))
    player.play(tokens, process, status)
    return Report(list(dict.fromkeys(player.problems)), list(dict.fromkeys(player.unchecked)))


class _Player:
    def __init__(self, processes: dict[str, Scope], global_tasks: set[str], approximated: frozenset[str]) -> None:
        self.processes = processes
        self.global_tasks = global_tasks
        self.approximated = approximated
        self.problems: list[str] = []
        self.unchecked: list[str] = []

    def play(self, tokens: Sequence[Any], process: str | None, status: str | None) -> None:
        placement = Placement(self.processes, tokens, process)
        self.problems += placement.problems
        if not placement.runs:
            self.problems.append("there is no token")
            return
        runs = sorted(placement.runs, key=_depth)
        for run in runs:
            run.ends = find_ends(run, cancelled=status == "CANCELLED")
        for run in runs:
            if run.owner is None or not run.owner.repeats:
                self.check_start(run)
            merged: set[Visit] = set()
            for node in {visit.node: None for visit in run.visits}:
                merged |= check_join(run, node, self.problems, self.unchecked)
            for visit in run.visits:
                self.check_visit(visit, is_merged=visit in merged)
        self.problems += wrong_compensations(
            [v for run in runs for v in run.visits if v.node.id not in self.approximated]
        )
        self.check_status(runs[0], [visit for run in runs for visit in run.visits], status)

    def check_status(self, top: Run, visits: list[Visit], status: str | None) -> None:
        live = [visit for visit in visits if visit.live]
        if status in {"COMPLETED", "CANCELLED"}:
            self.problems += [f"the instance is {status}, but {visit} is {visit.token.state}" for visit in live]
        elif status is not None and not live and not top.ends:
            self.problems.append(f"the instance is {status}, but all of its tokens have ended")

    # --- the start of a process or sub-process ---------------------------------------------------------------------

    def check_start(self, run: Run) -> None:
        place = f"process '{run.scope.id}'" if run.owner is None else str(run.owner)
        if run.owner is not None and run.owner.node.type == "adHocSubProcess":
            self.unchecked.append(f"which activities of an ad-hoc sub-process run, in {place}")
            return
        allowed = run.scope.start_nodes()
        started = Counter(visit.node for visit in run.visits if visit.came == "start")
        self.problems += [
            f"{place} starts at {n.type} '{n.id}', which is no start" for n in started if n not in allowed
        ]
        alternatives = [node for node in allowed if node.type == "startEvent" or node.instantiates]
        if alternatives:
            times = sum(started.values())
            if times != 1:
                self.problems.append(f"{place} has {times} tokens at its start events, not one")
            return
        for node in allowed:
            if started[node] != 1:
                self.problems.append(f"{place} has {started[node]} tokens at its start '{node.id}', not one")

    # --- a single token ----------------------------------------------------------------------------------------------

    def check_visit(self, visit: Visit, *, is_merged: bool) -> None:
        if visit.node.type in OTHER_FLOW_NODES or visit.node.type not in FLOW_NODES:
            self.unchecked.append(f"{visit}: its type")
        if visit.node.needs != 1:
            self.unchecked.append(f"{visit}: its startQuantity")
        self.check_entry(visit)
        self.check_exit(visit, is_merged=is_merged)
        self.check_inside(visit)
        self.check_withdrawal(visit)
        if visit.node.triggered:
            self.check_trigger(visit)
        if visit.came == "boundary":
            self.check_boundary(visit)

    def check_entry(self, visit: Visit) -> None:
        parent = visit.parent
        if visit.ended < visit.created:
            self.problems.append(f"{visit} ended before it came")
        if parent is None:
            return
        if visit.came in {"flow", "link"}:
            if not parent.completed and not parent.node.cyclic:
                self.problems.append(f"{visit} came from {parent}, which is {parent.token.state}")
            elif visit.created < (parent.created if parent.node.cyclic else parent.ended):
                self.problems.append(f"{visit} came before {parent} was completed")
        elif visit.came != "compensation" and not parent.created <= visit.created <= parent.ended:
            self.problems.append(f"{visit} came while {parent} was not active")

    def check_exit(self, visit: Visit, *, is_merged: bool) -> None:
        taken = Counter(child.flow for child in visit.children if child.flow is not None)
        if is_merged or visit.came in {"repeat", "compensation"} or visit.node.triggered:
            for flow in taken:
                self.problems.append(f"{visit} has a token on flow {flow}, but no token leaves it")
            return
        withdrawn = visit.ended >= visit.run.killed_at(visit) or is_compensating(visit)
        if not visit.completed and not (visit.node.cyclic and taken):
            return
        if visit.node.type == "intermediateThrowEvent" and visit.node.link is not None:
            links = sum(child.came == "link" for child in visit.children)
            if links != 1 and not withdrawn and visit.node.id not in self.approximated:
                self.problems.append(f"{visit} has {links} tokens at the other side of its link, not one")
            return
        rounds = max(taken.values(), default=1) if visit.node.cyclic else visit.node.leaves
        if not (withdrawn and not taken):
            self.problems += [f"{visit}: {text}" for text in wrong_exits(visit.node, taken, rounds)]

    def check_inside(self, visit: Visit) -> None:
        """Check that an activity has a complete run in it, or all of its repetitions."""
        if visit.repeats:
            self.check_repetitions(visit)
        needed = self._run_needed(visit)
        if visit.inner is None:
            if needed and (visit.completed or visit.token.state in {"ACTIVE", "WAITING"}):
                self.problems.append(f"{visit} is {visit.token.state}, but {needed}")
            return
        left = [one for one in visit.inner.visits if one.live and not (visit.live and one.waits_to_be_triggered)]
        if not visit.live:
            self.problems += [f"{visit} has ended, but {one} in it is {one.token.state}" for one in left]
            late = [one for one in visit.inner.visits if visit.ended < one.ended != NEVER]
            self.problems += [f"{visit} had ended before {one} in it" for one in late]
        elif not left and visit.token.state != "FAILED" and not visit.waits_to_be_triggered:
            self.problems.append(f"{visit} is {visit.token.state}, but everything in it has ended")

    def _run_needed(self, visit: Visit) -> str:
        """Return what is missing if there is no token in an activity; nothing if it may have none."""
        node = visit.node
        if visit.repeats or node.id in self.approximated or visit.waits_to_be_triggered:
            return ""
        if node.type == "callActivity":
            called = self.processes.get(node.called or "")
            if node.called in self.global_tasks:
                return ""
            if called is None:
                return (
                    f"the process '{node.called}' that it calls is not in the files"
                    if node.called
                    else "it calls no process"
                )
            return "the process that it calls has no token" if called.start_nodes() else ""
        if node.inner is None or node.type == "adHocSubProcess" or not node.inner.start_nodes():
            return ""
        return "there is no token in it"

    def check_repetitions(self, body: Visit) -> None:
        loop = body.node.loop
        assert loop is not None
        times = sorted((one.created, one.ended) for one in body.children if one.came == "repeat")
        open_number = body.node.id in self.approximated or (
            not loop.parallel and (not body.completed or loop.ends_early)
        )
        expected = len(times) if loop.cardinality is None else loop.cardinality
        if len(times) > expected or (len(times) < expected and not open_number):
            self.problems.append(f"{body} ran {len(times)} times, not {expected}")
        if loop.maximum is not None and len(times) > loop.maximum and body.node.id not in self.approximated:
            self.problems.append(f"{body} ran {len(times)} times, more than {loop.maximum}")
        if not times:
            if not loop.may_be_none and not open_number:
                self.problems.append(f"{body} did not run at all")
            return
        if not loop.parallel:
            for (_, ended), (created, _) in pairwise(times):
                if ended != created:
                    self.problems.append(f"{body} did not run once after the other")
        if times[0][0] != body.created or (body.completed and max(ended for _, ended in times) != body.ended):
            self.problems.append(f"{body} did not begin or end with its repetitions")
        if body.live and not loop.parallel and sum(ended == NEVER for _, ended in times) > 1:
            self.problems.append(f"{body} runs more than once at a time")

    # --- what is withdrawn, and boundary events ----------------------------------------------------------------------

    def check_withdrawal(self, visit: Visit) -> None:
        """Check that a token is cancelled when its run ends or it is interrupted, and only then."""
        killed = visit.run.killed_at(visit)
        if visit.live and killed != NEVER:
            self.problems.append(f"{visit} is {visit.token.state}, but what it is in was ended")
        if killed < (visit.created if visit.live else visit.ended):
            self.problems.append(f"{visit} ended or came after what it is in was ended")
        if visit.cancelled and killed > visit.ended and not is_interrupted(visit):
            self.problems.append(f"{visit} was cancelled by nothing")

    def check_trigger(self, event: Visit) -> None:
        """Check that an event sub-process was triggered while something else was active beside it."""
        starts = [] if event.inner is None else [one for one in event.inner.visits if one.came == "start"]
        others = [one for one in event.run.visits if one is not event and not one.waits_to_be_triggered]
        for start in starts:
            if start.completed and not any(one.created <= start.ended <= one.ended for one in others):
                self.problems.append(f"{event} was triggered after everything beside it had ended")
            if start.completed and start.node.events and start.node.events <= THROWN:
                inside = [one for other in others if other.inner is not None for one in _within(other.inner)]
                if not any(may_cause(one, start) for one in (*others, *inside)):
                    self.problems.append(f"{event} caught what nothing beside it threw")

    def check_boundary(self, visit: Visit) -> None:
        host, node = visit.parent, visit.node
        assert host is not None
        twins = [one for one in host.children if one.node is node and one is not visit]
        if any(visit.created <= one.created < visit.ended for one in twins):
            self.problems.append(f"{visit} waits twice at a time")
        if "compensate" in node.events or (not visit.completed and not visit.children):
            return
        if node.interrupting and (not host.cancelled or host.ended < visit.created):
            self.problems.append(f"{visit} interrupts {host}, which is {host.token.state}")
        same = [one for one in host.children if one.came == "boundary" and one.node.interrupting and one.completed]
        if node.interrupting and len(same) > 1 and same[0] is visit:
            self.problems.append(f"{host} was interrupted {len(same)} times")
        same = [one for one in host.children if one.node is node]
        if (
            len(same) > 1
            and same[0] is visit
            and not node.interrupting
            and node.events == {"timer"}
            and not node.cyclic
        ):
            self.problems.append(f"{visit} fired {len(same)} times, but its timer does not repeat")
        if host.inner is not None and node.events and node.events <= THROWN and node.id not in self.approximated:
            causes = [one for one in _within(host.inner) if may_cause(one, visit)]
            if not causes:
                self.problems.append(f"{visit} caught what nothing in {host} threw")


def _depth(run: Run) -> int:
    depth = 0
    while run.owner is not None:
        depth, run = depth + 1, run.owner.run
    return depth


def _within(run: Run) -> Iterable[Visit]:
    for visit in run.visits:
        yield visit
        if visit.inner is not None:
            yield from _within(visit.inner)
