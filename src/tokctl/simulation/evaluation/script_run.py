"""Runs the trees of scripts."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tokctl.simulation.evaluation.evaluator import Evaluation, simplify
from tokctl.simulation.evaluation.language import Language, describe
from tokctl.simulation.evaluation.limits import CannotEvaluate
from tokctl.simulation.evaluation.name_lookup import SETTERS, VARIABLES
from tokctl.simulation.evaluation.syntax_tree import Node
from tokctl.simulation.evaluation.tokens import quote


class ScriptRun(Evaluation):
    """One run of a script. It works on copies of the variables."""

    def __init__(self, language: Language, variables: Mapping[str, Any]) -> None:
        super().__init__(language, variables, {})
        self._names: dict[str, Any] = {}
        """Variables that were read or set; one memory of copies keeps shared lists and objects shared."""
        self._copies: dict[int, Any] = {}
        self._locals: set[str] = set()
        self._assigned: set[str] = set()

    def run(self, node: Node) -> dict[str, Any]:
        """Run a script; returns the variables that it sets, as data that JSON has."""
        self._execute(node)
        found = {}
        for name, value in self._names.items():
            if name in self._locals:
                continue
            self.budget.weigh(value)
            # repr distinguishes 1, 1.0 and true, unlike ==
            if name in self._assigned or (
                isinstance(value, (list, dict)) and repr(value) != repr(self.variables[name])
            ):
                found[name] = simplify(value, times=False)
        return found

    def variable(self, name: str) -> Any:
        """Return a copy of a variable, or what the script has set."""
        if name not in self._names:
            self._names[name] = deepcopy(self.budget.weigh(self.variables[name]), self._copies)
        return self._names[name]

    def is_variable(self, name: str) -> bool:
        """Tell whether a variable is defined."""
        return name in self._names or name in self.variables

    def _execute(self, node: Node) -> None:
        self.budget.charge(1)
        if node.kind == "block":
            for child in node.children:
                self._execute(child)
        elif node.kind == "choose":
            condition, chosen, *other = node.children
            for branch in [chosen] if self.language.truth(self.value(condition)) else other:
                self._execute(branch)
        elif node.kind == "declare":
            if self.is_variable(node.value):
                raise CannotEvaluate(f"declares {quote(node.value)}, which is a variable already")
            self._locals.add(node.value)
            self._names[node.value] = self.value(node.children[0])
        elif node.kind == "delete":
            self._delete(node.children[0])
        elif node.kind == "assign":
            self._assign(node)
        else:
            self._run(node.children[0])

    def _assign(self, node: Node) -> None:
        target, source = node.children
        value = self.value(source)
        if node.value is not None:
            left = self.value(target)
            value = self.budget.weigh(self.language.calculate(node.value, left, value))
            if isinstance(left, list):  # Python changes it in place, for all names of the list
                left[:] = value
                value = left
        self.budget.weigh(value)
        if target.kind == "name" or (target.kind == "attribute" and self.path(target.children[0]) in VARIABLES):
            self._set(target.value, value)
        elif target.kind == "index" and self.path(target.children[0]) in VARIABLES:
            self._set(self.key(target.children[1]), value)
        else:
            self._set_item(target, value)

    def _set(self, name: str, value: Any) -> None:
        if name not in self._locals:
            self._assigned.add(name)
        self._names[name] = value

    def _set_item(self, target: Node, value: Any) -> None:
        """Set a property of an object or an existing item of a list."""
        if target.kind not in {"attribute", "index"}:
            raise CannotEvaluate("assigns to something that is not a variable")
        owner = self.value(target.children[0])
        key = target.value if target.kind == "attribute" else self.value(target.children[1])
        if isinstance(owner, dict) and isinstance(key, str) and "__" not in key:
            owner[key] = value
        elif isinstance(owner, list) and isinstance(key, int) and not isinstance(key, bool):
            self.item(owner, key)
            owner[key] = value
        else:
            raise CannotEvaluate(f"assigns to an item of {describe(owner)}")

    def _delete(self, target: Node) -> None:
        if target.kind == "name" and target.value in self._names and target.value not in self.variables:
            del self._names[target.value]
        elif target.kind == "index":
            owner, key = map(self.value, target.children)
            if not isinstance(owner, dict) or not isinstance(key, str) or key not in owner:
                raise CannotEvaluate("deletes an item that is not there")
            del owner[key]
        else:
            raise CannotEvaluate("deletes a variable that it has not set")

    def _run(self, node: Node) -> None:
        """Run an expression as a statement: a call that sets a variable, or one without an effect."""
        path = self.path(node.children[0]) if node.kind == "call" else None
        if path in SETTERS and len(node.children) == 3:
            value = self.budget.weigh(self.value(node.children[2]))
            name = self.key(node.children[1])
            if name in self._locals:
                raise CannotEvaluate("sets a variable that has the name of one of its own")
            self._set(name, value)
        elif path in {"next", "this.next"} and self.value(node) is not None:
            raise CannotEvaluate("passes a value to 'next'")
        else:
            self.value(node)
