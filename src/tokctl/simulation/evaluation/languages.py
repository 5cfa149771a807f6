"""The languages of expressions and scripts, and how to tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context
from typing import Any, ClassVar

from tokctl.simulation.evaluation.language import (
    C_SYMBOLS,
    JSON_LITERALS,
    NO_COMMENT,
    Language,
    calculate_power,
    calculate_times,
    kind_of,
    mixed_operands,
)
from tokctl.simulation.evaluation.limits import MAX_WORK, CannotEvaluate


class Juel(Language):
    """The expression language of Java engines: ``${…}`` and ``#{…}``."""

    name = "JUEL"
    operators = {  # noqa: RUF012 - a constant, as declared above
        **C_SYMBOLS,
        "or": "or",
        "and": "and",
        "eq": "==",
        "ne": "!=",
        "lt": "<",
        "le": "<=",
        "gt": ">",
        "ge": ">=",
        "div": "/",
        "mod": "%",
    }
    prefixes = {"-": "negative", "!": "not", "not": "not", "empty": "empty"}  # noqa: RUF012
    comment = NO_COMMENT
    max_int = 2**63

    def calculate(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator; ``+`` does not join strings."""
        if isinstance(left, str) or isinstance(right, str):
            raise mixed_operands(f"uses '{sign}' with", left, right)
        return super().calculate(sign, left, right)

    def text(self, value: Any) -> str:
        """Return a value as a part of a string; null is empty."""
        return "" if value is None else super().text(value)


class JavaScript(Language):
    """ECMAScript."""

    name = "JavaScript"
    operators = {**C_SYMBOLS, "===": "===", "!==": "!==", "**": "**"}  # noqa: RUF012
    max_int = 2**53
    declarations = frozenset({"var", "let", "const"})
    has_length = True

    def truth(self, value: Any) -> bool:
        """Return whether a value counts as true: lists and objects always do."""
        return isinstance(value, (list, dict)) or bool(value)

    def combine(self, word: str, left: Any, right: Callable[[], Any]) -> Any:
        """Return the operand that decides."""
        return left if self.truth(left) is (word == "or") else right()

    def equal(self, left: Any, right: Any) -> bool | None:
        """Compare for equality; lists and objects are equal only to themselves."""
        if isinstance(left, (list, dict)) and isinstance(right, (list, dict)):
            raise mixed_operands("compares", left, right)
        return super().equal(left, right)

    def identical(self, left: Any, right: Any) -> bool | None:
        """Compare with ``===``."""
        return False if kind_of(left) != kind_of(right) else self.equal(left, right)

    def calculate_numbers(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator; all numbers are floating-point."""
        number = float(left) ** float(right) if sign == "**" else super().calculate_numbers(sign, left, right)
        return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number

    def join(self, left: Any, right: Any) -> Any:
        """Return ``left + right``; one string makes the other operand a string."""
        return (
            self.text(left) + self.text(right)
            if "string" in {kind_of(left), kind_of(right)}
            else super().join(left, right)
        )

    def text(self, value: Any) -> str:
        """Return a value as a part of a string; 1.0 is 1."""
        return super().text(int(value) if isinstance(value, float) and value.is_integer() else value)


class Groovy(Language):
    """Groovy; arithmetic on decimals depends on the classes of the operands, which JSON does not have."""

    name = "Groovy"
    operators = {**C_SYMBOLS, "in": "in"}  # noqa: RUF012
    max_int = 2**31
    declarations = frozenset({"def"})

    def truth(self, value: Any) -> bool:
        """Return whether a value counts as true: null, 0 and what is empty does not."""
        return bool(value)

    def calculate_numbers(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator for two integers."""
        if not (isinstance(left, int) and isinstance(right, int)):
            raise CannotEvaluate(f"uses '{sign}' with decimals")
        if sign == "/" and right and left % right:
            raise CannotEvaluate("uses '/' with a result that is not an integer")
        return left // right if sign == "/" else super().calculate_numbers(sign, left, right)

    def join(self, left: Any, right: Any) -> Any:
        """Return ``left + right``; what is added to a string becomes one."""
        return left + self.text(right) if isinstance(left, str) else super().join(left, right)


class Python(Language):
    """Python."""

    name = "Python"
    operators = {  # noqa: RUF012
        **C_SYMBOLS,
        **{word: word for word in ("or", "and", "in", "is", "//", "**")},
    }
    prefixes = {**Language.prefixes, "not": "not"}  # noqa: RUF012
    literals: ClassVar[Mapping[str, Any]] = {"True": True, "False": False, "None": None}
    comment = r"\#[^\n]*"
    is_python = True

    def truth(self, value: Any) -> bool:
        """Return whether a value counts as true: None, 0 and what is empty does not."""
        return bool(value)

    def combine(self, word: str, left: Any, right: Callable[[], Any]) -> Any:
        """Return the operand that decides."""
        return left if self.truth(left) is (word == "or") else right()

    def equal(self, left: Any, right: Any) -> bool | None:
        """Compare for equality; values of different types differ."""
        return bool(left == right)

    def calculate(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator, of times too; ``*`` also repeats strings and lists."""
        if sign == "*" and isinstance(right, (str, list)):
            left, right = right, left
        if sign == "*" and isinstance(left, (str, list)) and kind_of(right) == "number" and isinstance(right, int):
            if len(left) * right > MAX_WORK:
                raise CannotEvaluate("has a string or a list that is too long")
            return left * right
        time = calculate_times(sign, left, right)
        return super().calculate(sign, left, right) if time is None else time

    def calculate_numbers(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator for two numbers."""
        if sign == "**":
            return calculate_power(left, right)
        if sign in {"//", "%"}:
            return left // right if sign == "//" else left % right
        return super().calculate_numbers(sign, left, right)

    def join(self, left: Any, right: Any) -> Any:
        """Return ``left + right``."""
        both_lists = isinstance(left, list) and isinstance(right, list)
        return left + right if both_lists else super().join(left, right)

    def text(self, value: Any) -> str:
        """Return ``str(value)``."""
        return str(value) if value is None or isinstance(value, (bool, int, float)) else super().text(value)

    def length(self, value: Any) -> int:
        """Return the length of a string, list or object."""
        return len(value)


class PlainText(Python):
    """Text without a language: Python, and the spellings of other languages as far as they do not contradict it."""

    name = "plain text"
    operators = {**Python.operators, "=": "==", "<>": "!=", "===": "===", "!==": "!=="}  # noqa: RUF012
    literals = {**Python.literals, **JSON_LITERALS, "nil": None}  # noqa: RUF012
    declarations = JavaScript.declarations
    has_length = True

    def equal(self, left: Any, right: Any) -> bool | None:
        """Compare for equality; languages disagree about values of different types."""
        return Language.equal(self, left, right)


class Feel(Language):
    """FEEL: decimal numbers of 34 digits, conditions that may be null, lists that start at 1."""

    name = "FEEL"
    operators = {  # noqa: RUF012
        **{word: word for word in ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "**")},
        "=": "==",
        "or": "or",
        "and": "and",
        "in": "in",
        "between": "between",
    }
    prefixes = {"-": "negative"}  # noqa: RUF012
    phrases = (
        *("string length", "upper case", "lower case", "starts with", "ends with", "list contains", "get or else"),
        *("is defined", "date and time"),
    )
    is_feel = True
    context = Context(prec=34, Emax=6144, Emin=-6143)

    def truth(self, value: Any) -> bool:
        """Return whether a condition is met: only if it is true, not if it is null."""
        return value is True

    def combine(self, word: str, left: Any, right: Callable[[], Any]) -> Any:
        """Return ``and`` or ``or`` of true, false and null; what is not a boolean counts as null."""
        decisive = word == "or"
        if left is decisive:
            return decisive
        other = right()
        if other is decisive:
            return decisive
        return not decisive if isinstance(left, bool) and isinstance(other, bool) else None

    def negate(self, value: Any) -> Any:
        """Return the opposite of a condition; that of null is null."""
        return not value if isinstance(value, bool) else None

    def equal(self, left: Any, right: Any) -> bool | None:
        """Compare for equality; null if the types differ."""
        if left is None or right is None or kind_of(left) == kind_of(right):
            return bool(self.exact(left) == self.exact(right))
        return None

    def compare(self, sign: str, left: Any, right: Any) -> bool | None:
        """Compare for order; null if the types differ."""
        if kind_of(left) != kind_of(right) or left is None:
            return None
        return super().compare(sign, self.exact(left), self.exact(right))

    def calculate(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator; null if an operand is null."""
        if left is None or right is None:
            return None
        time = calculate_times(sign, left, right)
        return super().calculate(sign, left, right) if time is None else time

    def calculate_numbers(self, sign: str, left: Any, right: Any) -> Any:
        """Return the value of an arithmetic operator, in decimals."""
        context, one, other = self.context, self.exact(left), self.exact(right)
        signs = {"+": context.add, "-": context.subtract, "*": context.multiply, "/": context.divide}
        if sign == "**" and (other != other.to_integral_value() or abs(other) > 1000):
            raise CannotEvaluate("uses '**' with an exponent that is too large or not an integer")
        return context.plus({**signs, "**": context.power}[sign](one, other))  # -0 is 0

    def number(self, text: str) -> Any:
        """Return the value of a number in the text."""
        try:
            return self.bounded(self.context.create_decimal(text))
        except ArithmeticError:
            raise CannotEvaluate("has a number that is too large") from None

    def exact(self, value: Any) -> Any:
        """Return a value with its numbers as decimals."""
        if isinstance(value, list):
            return [self.exact(item) for item in value]
        if isinstance(value, dict):
            return {key: self.exact(item) for key, item in value.items()}
        if kind_of(value) == "number":
            return self.context.create_decimal(repr(value) if isinstance(value, float) else value)
        return value

    def text(self, value: Any) -> str:
        """Return a value as a string."""
        if kind_of(value) == "number":
            number = self.exact(value)
            text = f"{number:f}"
            if text != f"{number.normalize(self.context):f}":
                raise CannotEvaluate("makes a string of a decimal that ends with 0")
            return text
        return super().text(value)

    def length(self, value: Any) -> int:
        """Return the length of a string, list or object."""
        return len(value)


_LANGUAGES = {
    "python": Python(),
    "juel": Juel(),
    "javascript": JavaScript(),
    "groovy": Groovy(),
    "feel": Feel(),
    "": PlainText(),
}
_ALIASES = {"ecmascript": "javascript", "js": "javascript", "python3": "python", "uel": "juel", "xpath": ""}
"""XPath is the default of the standard, which modelers write into files whose expressions are something else."""


def find_language(name: str | None, text: str) -> Language:
    """Return the language of a text: by its form if that is unmistakable, else as named; raises ``CannotEvaluate``."""
    if text.startswith("=") and not text.startswith("=="):
        return _LANGUAGES["feel"]
    if text.startswith(("${", "#{")) and text.endswith("}"):
        return _LANGUAGES["juel"]
    # A name may be a media type (text/javascript, application/x-groovy) or an address that contains the name.
    words = [word.removeprefix("x-") for word in (name or "").strip().lower().split("/") if word] or [""]
    word = next((known for part in words if (known := _ALIASES.get(part, part)) in _LANGUAGES), None)
    if word is None:
        raise CannotEvaluate(f"is in an unknown language {str(name)[:40]!a}")
    if not word and "${" in text:
        word = "juel"
    return _LANGUAGES[word]
