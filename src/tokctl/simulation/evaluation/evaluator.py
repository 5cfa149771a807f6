"""Evaluates the trees of expressions.

The tree is walked here, over plain data: nothing of a text is compiled or executed, and no attribute of a Python object
is read. A library such as simpleeval evaluates only Python and bounds neither the time nor all sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tokctl.simulation.evaluation.functions import FUNCTIONS, METHODS, NULL_FUNCTIONS, call
from tokctl.simulation.evaluation.language import describe, kind_of
from tokctl.simulation.evaluation.limits import CannotEvaluate
from tokctl.simulation.evaluation.name_lookup import GETTERS, NameLookup
from tokctl.simulation.evaluation.syntax_tree import Node
from tokctl.simulation.evaluation.tokens import quote


class Evaluation(NameLookup):
    """One evaluation of an expression over variables, which it does not change."""

    def value(self, node: Node) -> Any:
        """Return the value of a part of an expression; raises ``CannotEvaluate``."""
        self.budget.charge(1)
        method: Callable[[Node], Any] | None = getattr(self, f"_{node.kind}_value", None)
        if method is None:
            raise CannotEvaluate(f"uses a {node.kind} as a value")
        return method(node)

    def result(self, node: Node) -> Any:
        """Return the value of a whole expression, as data that JSON has, or a time."""
        value = self.value(node)
        if value is None and self.missing:
            raise CannotEvaluate(self.missing[0])
        return simplify(self.budget.weigh(value))

    # --- calls ---

    def _call_value(self, node: Node) -> Any:
        function, *arguments = node.children
        path = self.path(function)
        if path in GETTERS and len(arguments) == 1:
            return self.variable_named_by(arguments[0])
        if path == "execution.hasVariable" and len(arguments) == 1:
            return self.is_variable(self.key(arguments[0]))
        if path == "is defined" and len(arguments) == 1:
            return self._is_defined(arguments[0])
        known = FUNCTIONS[self.language.name]
        if path is not None and path in self.functions:
            return self._call_given(path, node)
        if path is not None and path in known:
            return self._apply(path, known[path], node)
        methods = METHODS[self.language.name]
        is_method = function.kind == "attribute" and any(name == function.value for _, name in methods)
        if not is_method and (path is not None or function.kind != "attribute"):
            raise CannotEvaluate(f"calls {quote(path or function.kind)}")
        return self._call_method(function, node)

    def _arguments(self, node: Node) -> tuple[list[Any], dict[str, Any]]:
        values = [self.budget.weigh(self.value(child)) for child in node.children[1:]]
        named = {name: value for name, value in zip(node.value, values, strict=True) if name}
        return values[: len(values) - len(named)], named

    def _call_given(self, name: str, node: Node) -> Any:
        given = self.functions[name]
        positional, named = self._arguments(node)
        value = call(self.language, name, lambda _, *args, **kwargs: given(*args, **kwargs), *positional, **named)
        return self.budget.weigh(self.plain(value, name))

    def _apply(self, name: str, function: Callable[..., Any], node: Node) -> Any:
        before = len(self.missing)
        positional, named = self._arguments(node)
        if self.language.is_feel:
            if name == "get or else":
                del self.missing[before:]
            elif name not in NULL_FUNCTIONS and None in positional:
                return None
        return self.budget.weigh(call(self.language, name, function, *positional, **named))

    def _is_defined(self, node: Node) -> bool:
        if node.kind not in {"name", "attribute"}:
            raise CannotEvaluate("asks whether something without a name is defined")
        before = len(self.missing)
        value = self.value(node)
        missing = len(self.missing) > before
        del self.missing[before:]
        if value is None and not missing:
            raise CannotEvaluate("asks whether null is defined")
        return not missing

    def _call_method(self, function: Node, node: Node) -> Any:
        owner, name = self.value(function.children[0]), function.value
        method = METHODS[self.language.name].get((type(owner), name))
        if method is None or any(node.value):
            raise CannotEvaluate(f"calls {quote(name)} of {describe(owner)}")
        arguments, _ = self._arguments(node)
        return self.budget.weigh(call(self.language, name, method, self.budget.weigh(owner), *arguments))

    # --- literals ---

    def _literal_value(self, node: Node) -> Any:
        return node.value

    def _list_value(self, node: Node) -> list[Any]:
        return self.budget.weigh([self.value(child) for child in node.children])  # type: ignore[no-any-return]

    def _object_value(self, node: Node) -> dict[str, Any]:
        values = dict(zip(node.value, map(self.value, node.children), strict=True))
        return self.budget.weigh(values)  # type: ignore[no-any-return]

    def _template_value(self, node: Node) -> str:
        return self.budget.weigh("".join(self.language.text(self.value(child)) for child in node.children))  # type: ignore[no-any-return]

    # --- operators ---

    def _not_value(self, node: Node) -> Any:
        return self.language.negate(self.value(node.children[0]))

    def _negative_value(self, node: Node) -> Any:
        value = self.value(node.children[0])
        if value is None and self.language.is_feel:
            return None
        if kind_of(value) != "number":
            raise CannotEvaluate(f"uses '-' with {describe(value)}")
        return self.language.calculate("*", -1, value)

    def _positive_value(self, node: Node) -> Any:
        value = self.value(node.children[0])
        if kind_of(value) != "number":
            raise CannotEvaluate(f"uses '+' with {describe(value)}")
        return value

    def _empty_value(self, node: Node) -> bool:
        value = self.value(node.children[0])
        return value is None or (isinstance(value, (str, list, dict)) and not value)

    def _choice_value(self, node: Node) -> Any:
        condition, chosen, other = node.children
        return self.value(chosen if self.language.truth(self.value(condition)) else other)

    def _and_value(self, node: Node) -> Any:
        left, right = node.children
        return self.language.combine(node.value, self.value(left), lambda: self.value(right))

    _or_value = _and_value

    def _arithmetic_value(self, node: Node) -> Any:
        left, right = (self._operand(child) for child in node.children)
        return self._operand_value(self.language.calculate(node.value, left, right))

    def _operand(self, node: Node) -> Any:
        return self._operand_value(self.value(node))

    def _operand_value(self, value: Any) -> Any:
        return self.budget.weigh(value) if isinstance(value, (str, list, dict)) else value

    def _comparison_value(self, node: Node) -> bool | None:
        left = self._operand(node.children[0])
        found: bool | None = True
        for sign, child in zip(node.value, node.children[1:], strict=True):
            if sign in {"in", "not in"}:
                found = self._is_in(left, child)
            else:
                right = self._operand(child)
                found = self._compare(sign.removeprefix("not "), left, right)
                left = right
            if sign.startswith("not "):
                found = not found
            if not found:
                break
        return found

    def _compare(self, sign: str, left: Any, right: Any) -> bool | None:
        if sign == "is":
            if right is not None and not isinstance(right, bool):
                raise CannotEvaluate(f"uses 'is' with {describe(right)}")
            return left is right
        if sign in {"===", "!=="}:
            same = self.language.identical(left, right)
            return same if sign == "===" else not same
        if sign in {"==", "!="}:
            same = self.language.equal(left, right)
            return same if sign == "==" or same is None else not same
        return self.language.compare(sign, left, right)

    def _is_in(self, value: Any, node: Node) -> bool:
        """Tell whether a value is in a list, a range or a string, or meets one of several tests."""
        if value is None and self.language.is_feel:
            self._decided(value, None)
        if node.kind == "tuple":
            return any(self._meets(value, child) for child in node.children)
        if node.kind in {"range", "test"}:
            return self._meets(value, node)
        within = self._operand(node)
        if isinstance(within, list):
            return any(self._decided(value, self.language.equal(item, value)) for item in within)
        if self.language.is_python and isinstance(within, str) and isinstance(value, str):
            return value in within
        if self.language.is_python and isinstance(within, dict) and not isinstance(value, (list, dict)):
            return value in within
        raise CannotEvaluate(f"looks for {describe(value)} in {describe(within)}")

    def _meets(self, value: Any, node: Node) -> bool:
        """Tell whether a value meets a test: a range, ``< 5``, or equality."""
        if node.kind == "test":
            return self._decided(value, self._compare(node.value, value, self._operand(node.children[0])))
        if node.kind == "range":
            signs = (">=" if node.value[0] else ">", "<=" if node.value[1] else "<")
            limits = zip(signs, map(self._operand, node.children), strict=True)
            tests = [self._decided(value, self._compare(sign, value, limit)) for sign, limit in limits]
            return all(tests)
        other = self._operand(node)
        if self.language.is_feel and isinstance(other, (bool, list)):
            raise CannotEvaluate(f"looks for {describe(value)} in {describe(other)}")  # FEEL takes it as a test
        return self._decided(value, self._compare("==", value, other))

    def _decided(self, value: Any, found: bool | None) -> bool:
        """Return the result of a test; raises ``CannotEvaluate`` if it is null: engines differ in what that means."""
        if found is None:
            undefined = value is None and self.missing
            raise CannotEvaluate(self.missing[0] if undefined else f"tests {describe(value)} against another type")
        return found


def simplify(value: Any, *, times: bool = True) -> Any:
    """Return a value without decimals, and without times if they are not allowed; its depth is bounded."""
    if isinstance(value, list):
        return [simplify(item, times=times) for item in value]
    if isinstance(value, dict):
        return {key: simplify(item, times=times) for key, item in value.items()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    if not times and not isinstance(value, (str, int, float)) and value is not None:
        raise CannotEvaluate(f"sets a variable to {describe(value)}, which JSON does not have")
    return value
