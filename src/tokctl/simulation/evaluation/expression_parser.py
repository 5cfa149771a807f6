"""Parses expressions of all languages into one kind of tree.

The languages differ in spellings, which ``Language`` has, and hardly in grammar: operators have the same precedence in
all of them. Where they have not, as for ``a == b == c``, brackets are required.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokctl.simulation.evaluation.language import Language
from tokctl.simulation.evaluation.limits import MAX_DEPTH, CannotEvaluate
from tokctl.simulation.evaluation.syntax_tree import Node
from tokctl.simulation.evaluation.token_stream import TokenStream, checked_name
from tokctl.simulation.evaluation.tokens import Lexeme

_PRECEDENCE = {
    "or": 2,
    "and": 3,
    "in": 5,
    "is": 5,
    "between": 5,
    "+": 6,
    "-": 6,
    **dict.fromkeys(("==", "!=", "===", "!==", "<", "<=", ">", ">="), 5),
    **dict.fromkeys(("*", "/", "//", "%"), 7),
    "**": 9,
}
_TERNARY, _NOT, _COMPARISON, _SUM, _UNARY, _POWER = 1, 4, 5, 6, 8, 9
_COMPARISONS = frozenset(word for word, level in _PRECEDENCE.items() if level == _COMPARISON)
_ORDER = frozenset({"<", "<=", ">", ">="})
_TESTS = frozenset({"tuple", "range", "test"})
_CHAINED = _ORDER | {"==", "!="}


class ExpressionParser(TokenStream):
    """A parser by precedence."""

    def __init__(self, language: Language, tokens: Iterable[Lexeme], *, equals: bool = True) -> None:
        super().__init__(tokens)
        self.language = language
        self.operators = {word: sign for word, sign in language.operators.items() if equals or word != "="}
        """Infix operators; in a script ``=`` assigns."""
        self.depth = 0

    def expression(self, level: int = 0) -> Node:
        """Parse an expression whose operators bind more tightly than this level."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise CannotEvaluate("is nested too deeply")
        left = self.prefix(level)
        while True:
            parsed = self.infix(left, level)
            if parsed is None:
                break
            left = parsed
        self.depth -= 1
        return left

    def prefix(self, level: int) -> Node:
        """Parse an operand with the operators before it."""
        token = self.peek()
        sign = self.language.prefixes.get(token.text) if token.kind in {"name", "symbol"} else None
        if sign is not None:
            self.next()
            inner = _UNARY if self.language.is_python else _POWER
            if token.text == "not" and self.language.is_python:
                inner = _NOT
                if level > _NOT:
                    raise CannotEvaluate("has an unexpected 'not'")
            node = Node(sign, (self.expression(inner),))
            if self.at("**"):
                raise CannotEvaluate("uses '**' with a sign: write brackets")
            return node
        if token.text == "if" and token.kind == "name" and self.language.is_feel and level == 0:
            self.next()
            parts = [self.expression()]
            for word in ("then", "else"):
                self.expect(word)
                parts.append(self.expression())
            return Node("choice", tuple(parts))
        return self.postfix(self.operand())

    def infix(self, left: Node, level: int) -> Node | None:
        """Parse an operator behind an operand, and its other operands; None if none is next."""
        token = self.peek()
        if token.kind not in {"name", "symbol"}:
            return None
        if level < _TERNARY:
            choice = self.choice(left)
            if choice is not None:
                return choice
        negated = token.text == "not" and self.language.is_python
        sign = "in" if negated else self.operators.get(token.text)
        if sign is None or _PRECEDENCE[sign] <= level:
            return None
        self.next()
        if not self.language.is_python:
            self.skip_newlines()
        if sign in _COMPARISONS:
            return self.comparison(left, sign, negated=negated)
        if sign == "**":
            return self.power(left)
        right = self.expression(_PRECEDENCE[sign])
        return Node(sign if sign in {"and", "or"} else "arithmetic", (left, right), sign)

    def choice(self, left: Node) -> Node | None:
        """Parse ``? b : c`` or ``if b else c``."""
        if self.language.is_python and self.take("if"):
            condition = self.expression(_TERNARY)
            self.expect("else")
            return Node("choice", (condition, left, self.expression()))
        if not self.language.is_feel and self.take("?"):
            chosen = self.expression()
            self.expect(":")
            return Node("choice", (left, chosen, self.expression()))
        return None

    def comparison(self, left: Node, sign: str, *, negated: bool) -> Node:
        """Parse the rest of a comparison; Python allows ``a < b < c``."""
        if negated:
            self.expect("in")
        if sign == "between":
            low = self.expression(_SUM - 1)
            self.expect("and")
            high = self.expression(_SUM - 1)
            limits = Node("range", (low, high), (True, True))
            return Node("comparison", (left, limits), ("in",))
        children, signs = [left], []
        while True:
            if sign == "is":
                negated = self.take("not")
            children.append(self.expression(_COMPARISON))
            signs.append(f"not {sign}" if negated else sign)
            # Engines differ in whether "x in a and b" is "x in (a and b)".
            if self.language.is_feel and sign == "in" and children[-1].kind not in _TESTS and self.at("and", "or"):
                raise CannotEvaluate("uses 'in' before 'and' or 'or': write brackets")
            negated = self.at("not") and self.language.is_python
            sign = "in" if negated else self.operators.get(self.peek().text, "")
            if sign not in _COMPARISONS:
                return Node("comparison", tuple(children), tuple(signs))
            if not self.language.is_python or not {sign, signs[-1]} <= _CHAINED:
                raise CannotEvaluate("compares a comparison: write brackets")
            self.next()
            if negated:
                self.expect("in")

    def power(self, left: Node) -> Node:
        """Parse an exponent; languages disagree about a chain, and about a negative base."""
        right = self.expression(_POWER)
        if self.at("**"):
            raise CannotEvaluate("uses '**' twice: write brackets")
        return Node("arithmetic", (left, right), "**")

    def postfix(self, node: Node) -> Node:
        """Parse properties, indices and calls behind an operand."""
        while True:
            if self.take("."):
                node = Node("attribute", (node,), self.name())
            elif self.take("["):
                self.brackets += 1
                node = Node("index", (node, self.expression()))
                self.close("]")
            elif self.take("("):
                node = self.call(node)
            else:
                return node

    def call(self, function: Node) -> Node:
        """Parse the arguments of a call."""
        names: list[str | None] = []
        arguments: list[Node] = []
        self.brackets += 1
        while not self.at(")"):
            name = None
            following = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
            if self.language.is_python and self.peek().kind == "name" and following.text == "=":
                name = self.name()
                self.next()
            if name is None and any(names):
                raise CannotEvaluate("has an argument without a name after one with a name")
            names.append(name)
            arguments.append(self.expression())
            if not self.take(","):
                break
        self.close(")")
        return Node("call", (function, *arguments), tuple(names))

    def operand(self) -> Node:
        """Parse a literal, a name, or something in brackets."""
        token = self.peek()
        if token.kind == "name":
            literals = self.language.literals
            self.next()
            known = token.text in literals
            return (
                Node("literal", value=literals[token.text]) if known else Node("name", value=checked_name(token.text))
            )
        if token.kind in {"number", "string"}:
            self.next()
            is_number = token.kind == "number"
            return Node("literal", value=self.language.number(token.text) if is_number else self.string(token))
        if self.take("(", "["):
            return self.bracketed(token.text)
        if self.take("{"):
            return self.object()
        if self.language.is_feel and self.take("@"):
            return Node("call", (Node("name", value="@"), self.operand()), (None,))
        if self.language.is_feel and self.take(*_ORDER):
            return Node("test", (self.expression(_COMPARISON),), token.text)
        raise self.unexpected()

    def string(self, token: Lexeme) -> str:
        """Return the value of a string literal."""
        if self.language.name == "Groovy" and token.text[0] == '"' and "$" in token.text:
            raise CannotEvaluate("has a string with '$'")
        return str(token.value)

    def bracketed(self, opening: str) -> Node:
        """Parse a list, a range such as ``[1..5)``, or an expression in round brackets."""
        closing = "]" if opening == "[" else ")"
        found: list[Node] = []
        comma = False
        self.brackets += 1
        while not self.at(closing):
            found.append(self.expression())
            if self.language.is_feel and not comma and self.take(".."):
                found.append(self.expression())
                if not self.at("]", ")", "["):
                    raise self.unexpected()
                self.brackets -= 1
                return Node("range", tuple(found), (opening == "[", self.next().text == "]"))
            comma = self.take(",")
            if not comma:
                break
        self.close(closing)
        if opening == "[":
            return Node("list", tuple(found))
        if not found:
            raise CannotEvaluate("has empty brackets")
        return Node("tuple", tuple(found)) if comma or len(found) > 1 else found[0]

    def object(self) -> Node:
        """Parse an object: in Python its keys are strings, elsewhere names too."""
        keys: list[str] = []
        values: list[Node] = []
        self.brackets += 1
        while not self.at("}"):
            token = self.peek()
            if token.kind != "string" and (token.kind != "name" or self.language.is_python):
                raise self.unexpected()
            self.next()
            keys.append(checked_name(str(token.value) if token.kind == "string" else token.text))
            self.expect(":")
            values.append(self.expression())
            if not self.take(","):
                break
        self.close("}")
        return Node("object", tuple(values), tuple(keys))
