"""The tree that texts of all languages are parsed into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tokctl.simulation.evaluation.limits import MAX_DEPTH, CannotEvaluate


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression or a script; ``kind`` names the method of the evaluator."""

    kind: str
    children: tuple[Node, ...] = ()
    value: Any = None
    depth: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        depth = 1 + max((child.depth for child in self.children), default=0)
        if depth > MAX_DEPTH:
            raise CannotEvaluate("is nested too deeply")
        object.__setattr__(self, "depth", depth)


def path_of(node: Node) -> str | None:
    """Return the dotted name that a node is: ``a.b.c``; None for other expressions."""
    names = []
    while node.kind == "attribute":
        names.append(node.value)
        node = node.children[0]
    return ".".join([node.value, *reversed(names)]) if node.kind == "name" else None
