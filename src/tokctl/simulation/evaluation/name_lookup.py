"""Names, properties and items in expressions: the data that an evaluation reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from tokctl.simulation.evaluation.language import Language, describe
from tokctl.simulation.evaluation.limits import PLAIN_TYPES, Budget, CannotEvaluate
from tokctl.simulation.evaluation.syntax_tree import Node, path_of
from tokctl.simulation.evaluation.tokens import quote

VARIABLES = frozenset(f"{prefix}environment.{name}" for prefix in ("", "this.") for name in ("variables", "output"))
"""Where bpmn-engine has the process variables."""
GETTERS = frozenset(f"{name}.getVariable" for name in ("execution", "kcontext"))
SETTERS = frozenset(f"{name}.setVariable" for name in ("execution", "kcontext"))
"""Methods that read and set a process variable, of Camunda's kind of engines and of jBPM."""


class NameLookup(ABC):
    """The part of an evaluation that reads variables and what is in them."""

    def __init__(
        self, language: Language, variables: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.language = language
        self.variables = variables
        self.functions = functions
        self.budget = Budget()
        self.missing: list[str] = []
        """Why a value is null in FEEL: names and properties that are not defined."""

    @abstractmethod
    def value(self, node: Node) -> Any:
        """Return the value of a part of an expression."""

    def variable(self, name: str) -> Any:
        """Return a variable; raises ``KeyError``."""
        return self.variables[name]

    def is_variable(self, name: str) -> bool:
        """Tell whether a variable is defined."""
        return name in self.variables

    def undefined(self, reason: str) -> None:
        """Return null in FEEL; raises ``CannotEvaluate`` elsewhere."""
        if not self.language.is_feel:
            raise CannotEvaluate(reason)
        self.missing.append(reason)

    def _name_value(self, node: Node) -> Any:
        return self.named(node.value)

    def named(self, name: str) -> Any:
        """Return the value of a variable."""
        if not self.is_variable(name):
            return self.undefined(f"{quote(name)} is not defined")
        return self.plain(self.variable(name), name)

    @staticmethod
    def plain(value: Any, name: str) -> Any:
        """Return a value; raises ``CannotEvaluate`` if it is not plain data."""
        if type(value) not in PLAIN_TYPES:
            raise CannotEvaluate(f"{quote(name)} is not plain data")
        return value

    def path(self, node: Node) -> str | None:
        """Return the dotted name that a node is, if its first part is not a variable."""
        path = path_of(node)
        return None if path is None or self.is_variable(path.partition(".")[0]) else path

    def _attribute_value(self, node: Node) -> Any:
        (owner,) = node.children
        if self.path(owner) in VARIABLES:
            return self.named(node.value)
        found = self.value(owner)
        if node.value == "length" and isinstance(found, (str, list)) and self.language.has_length:
            return self.language.length(found)
        return self.property(found, node.value, node.value)

    def property(self, owner: Any, key: str, shown: str | None) -> Any:
        """Return a property of an object; ``shown`` is its name if it is in the text, and not a value."""
        what = "a property" if shown is None else quote(shown)
        if self.language.is_feel and owner is None:
            return None
        if not isinstance(owner, dict):
            raise CannotEvaluate(f"reads {what} of {describe(owner)}")
        if key not in owner:
            return self.undefined(f"{what} is not defined")
        return owner[key]

    def _index_value(self, node: Node) -> Any:
        if self.path(node.children[0]) in VARIABLES:
            return self.variable_named_by(node.children[1])
        owner, key = map(self.value, node.children)
        if isinstance(key, str) and "__" not in key:
            shown = key if node.children[1].kind == "literal" else None
            return self.property(owner, key, shown)
        if self.language.is_feel and owner is None:
            return None
        if isinstance(key, Decimal) and key == key.to_integral_value():
            key = int(key)
        if isinstance(key, bool) or not isinstance(key, int) or not isinstance(owner, (list, str)):
            raise CannotEvaluate(f"reads an item of {describe(owner)} by {describe(key)}")
        return self.item(owner, key)

    def item(self, owner: Any, index: int) -> Any:
        """Return an item of a list or a character; FEEL counts from 1, and only it and Python count from the end."""
        if self.language.is_feel:
            if not isinstance(owner, list) or index == 0:
                raise CannotEvaluate("reads an item that no list has")
            index -= index > 0
            if not -len(owner) <= index < len(owner):
                return self.undefined("reads an item that a list does not have")
        elif index < 0 and not self.language.is_python:
            raise CannotEvaluate("reads an item at a negative index")
        try:
            return owner[index]
        except IndexError:
            raise CannotEvaluate("reads an item that a list does not have") from None

    def key(self, node: Node) -> str:
        """Return the value of an expression that names a variable."""
        key = self.value(node)
        if not isinstance(key, str) or "__" in key:
            raise CannotEvaluate(f"names a variable by {describe(key)}")
        return key

    def variable_named_by(self, node: Node) -> Any:
        """Return the variable whose name is the value of an expression."""
        name = self.key(node)
        if node.kind != "literal" and not self.is_variable(name):  # no value of a variable gets into a message
            return self.undefined("a variable is not defined")
        return self.named(name)
