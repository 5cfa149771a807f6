"""What the languages of expressions and scripts have in common: spellings, and the values of operators.

An operator whose value depends on what a language does with an unsuitable operand, or on data types that JSON does not
have, cannot be evaluated.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from tokctl.simulation.evaluation.limits import MAX_BITS, TIMES, CannotEvaluate
from tokctl.simulation.evaluation.tokens import token_pattern

_SAME_EVERYWHERE = ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%")
C_SYMBOLS = {**{word: word for word in _SAME_EVERYWHERE}, "&&": "and", "||": "or"}
JSON_LITERALS = {"true": True, "false": False, "null": None}
_C_COMMENT = r"//[^\n]*|/\*(?s:.*?)(?:\*/|\Z)"
NO_COMMENT = "(?!)"
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def kind_of(value: Any) -> str:
    """Return the kind of a value: null, boolean, number, string, list, object, or the class of a time."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float, Decimal)):
        return "number"
    names = {type(None): "null", str: "string", list: "list", dict: "object"}
    return names.get(type(value), type(value).__name__)


def describe(value: Any) -> str:
    """Return the kind of a value with its article."""
    kind = kind_of(value)
    return kind if kind == "null" else f"{'an' if kind == 'object' else 'a'} {kind}"


def mixed_operands(verb: str, left: Any, right: Any) -> CannotEvaluate:
    """Return the exception for an operator with operands of these kinds."""
    return CannotEvaluate(f"{verb} {describe(left)} and {describe(right)}")


class Language:
    """A language; this one refuses everything that languages disagree about."""

    name: ClassVar[str]
    operators: ClassVar[Mapping[str, str]] = C_SYMBOLS
    """Spellings of infix operators, and what they mean."""
    prefixes: ClassVar[Mapping[str, str]] = {"-": "negative", "+": "positive", "!": "not"}
    """Spellings of operators before an operand."""
    literals: ClassVar[Mapping[str, Any]] = JSON_LITERALS
    comment: ClassVar[str] = _C_COMMENT
    phrases: ClassVar[tuple[str, ...]] = ()
    """Names of functions that contain spaces."""
    max_int: ClassVar[int] = 2**MAX_BITS
    is_feel: ClassVar[bool] = False
    """An undefined name is null, and so is an operation on null; lists start at 1; there are ranges."""
    has_length: ClassVar[bool] = False
    """Strings and lists have a property ``length``."""
    is_python: ClassVar[bool] = False
    """Statements are lines and indented blocks; ``a if b else c``, named arguments, and chains of comparisons."""
    declarations: ClassVar[frozenset[str]] = frozenset()
    """Words that declare a variable of the script itself, which is not a process variable."""

    def __init__(self) -> None:
        self.tokens = token_pattern(self.comment, self.phrases)

    def truth(self, value: Any) -> bool:
        """Return whether a condition with this value is met."""
        if isinstance(value, bool):
            return value
        raise CannotEvaluate(f"uses {describe(value)} as a condition")

    def combine(self, word: str, left: Any, right: Callable[[], Any]) -> Any:
        """Return ``and`` or ``or``; the right operand is computed only if it matters."""
        return self.truth(left if self.truth(left) is (word == "or") else right())

    def negate(self, value: Any) -> Any:
        """Return the opposite of a condition."""
        return not self.truth(value)

    def equal(self, left: Any, right: Any) -> bool | None:
        """Compare for equality."""
        if left is None or right is None:
            return left is right
        if kind_of(left) != kind_of(right):
            raise mixed_operands("compares", left, right)
        return bool(left == right)

    def identical(self, left: Any, right: Any) -> bool | None:
        """Compare as ``===`` does."""
        return self.equal(left, right)

    def compare(self, sign: str, left: Any, right: Any) -> bool | None:
        """Compare for order."""
        kind = kind_of(left)
        if kind != kind_of(right) or not (kind in {"number", "string"} or isinstance(left, TIMES)):
            raise mixed_operands("compares", left, right)
        try:
            return _COMPARISONS[sign](left, right)
        except TypeError:  # times with and without a zone
            raise CannotEvaluate("compares a time that has a zone and one that has none") from None

    def calculate(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator."""
        if kind_of(left) == kind_of(right) == "number":
            try:
                return self.bounded(self.calculate_numbers(sign, left, right))
            except ArithmeticError:
                raise CannotEvaluate("divides by zero, or has a number that is too large") from None
        if sign == "+":
            return self.join(left, right)
        raise mixed_operands(f"uses '{sign}' with", left, right)

    def calculate_numbers(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator for two numbers; may raise ``ArithmeticError``."""
        if sign in {"/", "%"} and right == 0:
            raise ZeroDivisionError
        if sign == "%":  # the result has the sign of the dividend in C, Java and JavaScript, unlike Python
            exact = isinstance(left, int) and isinstance(right, int)
            return int(math.copysign(abs(left) % abs(right), left)) if exact else math.fmod(left, right)
        plain = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
        if sign not in plain:
            raise CannotEvaluate(f"uses '{sign}'")
        return plain[sign](left, right)

    def join(self, left: Any, right: Any) -> Any:
        """Return ``left + right`` if they are not two numbers."""
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        raise mixed_operands("adds", left, right)

    def bounded(self, number: Any) -> Any:
        """Return a number; raises ``CannotEvaluate`` if the language has no such number."""
        if isinstance(number, int):
            if abs(number) >= self.max_int:
                raise CannotEvaluate("has a number that is too large")
        elif isinstance(number, complex) or not math.isfinite(number):
            raise CannotEvaluate("has a number that is too large")
        return number

    def number(self, text: str) -> Any:
        """Return the value of a number in the text."""
        if text.isdigit():
            if len(text) > 1 and text[0] == "0":
                raise CannotEvaluate("has a number that starts with 0")
            if len(text) > MAX_BITS // 3:
                raise CannotEvaluate("has a number that is too large")
            return self.bounded(int(text))
        return self.bounded(float(text))

    def text(self, value: Any) -> str:
        """Return a value as a part of a string."""
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, int) or (isinstance(value, float) and 1e-3 <= abs(value) < 1e7):
            return str(value)
        raise CannotEvaluate(f"makes a string of {describe(value)}")

    def length(self, value: Any) -> int:
        """Return the length of a string, list or object; strings are counted as in Java and JavaScript."""
        return len(value.encode("utf-16-le", "surrogatepass")) // 2 if isinstance(value, str) else len(value)


def calculate_power(base: Any, exponent: Any) -> Any:
    """Return a power in Python; raises ``CannotEvaluate`` for large integers."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * MAX_BITS:
        raise CannotEvaluate("has a number that is too large")
    return base**exponent


def calculate_times(sign: str, left: Any, right: Any) -> datetime | date | timedelta | None:
    """Return the sum or difference of times; None if the operands are not times that can be combined."""
    duration = isinstance(right, timedelta)
    if sign == "+" and isinstance(left, timedelta) and isinstance(right, TIMES):
        left, right, duration = right, left, True
    if not isinstance(left, TIMES) or not isinstance(right, TIMES) or sign not in {"+", "-"}:
        return None
    if type(left) is date or type(right) is date or not (duration or (sign == "-" and type(left) is type(right))):
        return None
    try:
        return left + right if sign == "+" else left - right  # type: ignore[operator]
    except (TypeError, OverflowError):
        raise CannotEvaluate("combines times that do not fit") from None
