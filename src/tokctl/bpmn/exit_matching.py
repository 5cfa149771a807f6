"""Assigns the arrivals of tokens at elements to the visits that they can have come from, and tells what is certain.

An exit is a chance to leave a visit, used at most once: one for each flow of an activity or a parallel gateway, one in
all for an exclusive gateway. Each arrival claims one of some exits; claims come in order of time. Where several
assignments satisfy all claims, every exit that a claim has in any of them is possible for it: the exits on alternating
cycles, and on alternating paths that end at an unused exit (Berge, 1957).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tokctl.model.definitions import SequenceFlow


@dataclass(eq=False, slots=True)
class Exit:
    """A chance to leave a visit over one of some flows; ``doubtful`` if the visit may have had no such exit."""

    visit: int
    flows: tuple[SequenceFlow, ...]
    doubtful: bool = False
    group: _Group | None = None
    used_by: ExitClaim | None = None
    retracted: bool = False

    @property
    def open(self) -> bool:
        """Whether a claim that comes now can use the exit, possibly by passing another claim to another exit."""
        if self.retracted:
            return False
        return self.group is None or len(self.group.exits) > self.group.claims

    def retract(self) -> None:
        """Close the exit unless it is in use: the visit is not over after all."""
        self.retracted = self.group is None


@dataclass(eq=False, slots=True)
class ExitClaim:
    """The claim of an arrival, with the exits that were possible when it came, latest first."""

    visit: int
    exits: Sequence[Exit]
    exit: Exit | None = None
    doubtful: bool = False


@dataclass(eq=False, slots=True)
class _Group:
    """Exits and claims that depend on each other. A group with as many claims as exits is complete."""

    exits: list[Exit] = field(default_factory=list)
    claims: int = 0


def assign_exit(claim: ExitClaim) -> bool:
    """Assign one of its exits to a claim; False if none is left.

    Earlier claims are moved to other exits if need be.
    """
    if not _find_exit(claim, set()):
        return False
    groups = {id(one.group): one.group for one in claim.exits if one.group is not None}
    group = max(groups.values(), key=lambda one: len(one.exits), default=_Group())
    for other in groups.values():
        if other is not group:
            group.claims += other.claims
            _add_exits(group, other.exits)
    _add_exits(group, [one for one in claim.exits if one.group is None])
    group.claims += 1
    return True


def _add_exits(group: _Group, exits: Sequence[Exit]) -> None:
    group.exits += exits
    for one in exits:
        one.group = group


def _find_exit(claim: ExitClaim, tried: set[int]) -> bool:
    """Find an augmenting path from a claim to an unused exit, and assign along it."""
    pending = [(claim, iter(claim.exits))]
    path: list[Exit] = []
    while pending:
        here, exits = pending[-1]
        unused = next((one for one in here.exits if one.used_by is None), None)
        if unused is not None:
            for (one, _), target in zip(pending, [*path, unused], strict=True):
                one.exit, target.used_by = target, one
            return True
        step = next((one for one in exits if id(one) not in tried), None)
        if step is None or step.used_by is None:
            pending.pop()
            if path:
                path.pop()
            continue
        tried.add(id(step))
        path.append(step)
        pending.append((step.used_by, iter(step.used_by.exits)))
    return False


def find_possible_exits(claims: Iterable[ExitClaim]) -> dict[int, list[Exit]]:
    """Return the exits of each assigned claim in all assignments that cover all of them, by ``id(claim)``."""
    assigned = [claim for claim in claims if claim.exit is not None]
    contested = [claim for claim in assigned if len(claim.exits) > 1]
    moves: dict[int, list[int]] = {}  # from the exit of a claim to its other exits
    before: dict[int, list[int]] = defaultdict(list)
    unused: list[int] = []
    for claim in contested:
        here = id(claim.exit)
        moves[here] = [id(one) for one in claim.exits if one is not claim.exit]
        for one in claim.exits:
            before[id(one)].append(here)
            if one.used_by is None:
                unused.append(id(one))
    releasable = _reach(unused, before)
    component = _find_components(moves)
    possible: dict[int, list[Exit]] = {}
    for claim in assigned:
        mine = component.get(id(claim.exit))
        possible[id(claim)] = [
            one
            for one in claim.exits
            if one is claim.exit or id(one) in releasable or (mine is not None and component.get(id(one)) == mine)
        ]
    return possible


def _reach(start: Iterable[int], steps: dict[int, list[int]]) -> set[int]:
    reached = set(start)
    pending = list(reached)
    for here in pending:  # grows while it is read
        new = [one for one in steps.get(here, ()) if one not in reached]
        reached.update(new)
        pending += new
    return reached


def _find_components(steps: dict[int, list[int]]) -> dict[int, int]:
    """Return the strongly connected component of each node, by the number of one of its nodes (Kosaraju)."""
    finished: list[int] = []
    seen: set[int] = set()
    for root, first in steps.items():
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(first))]
        while stack:
            here, ahead = stack[-1]
            target = next((one for one in ahead if one not in seen), None)
            if target is None:
                finished.append(stack.pop()[0])
            else:
                seen.add(target)
                stack.append((target, iter(steps.get(target, ()))))
    back: dict[int, list[int]] = defaultdict(list)
    for here, targets in steps.items():
        for target in targets:
            back[target].append(here)
    component: dict[int, int] = {}
    for root in reversed(finished):
        if root in component:
            continue
        component[root] = root
        pending = [root]
        for here in pending:  # grows while it is read
            for one in back.get(here, ()):
                if one not in component:
                    component[one] = root
                    pending.append(one)
    return component
