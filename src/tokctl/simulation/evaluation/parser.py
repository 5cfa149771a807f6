"""Parses expressions, templates and scripts of all languages into one kind of tree."""

from __future__ import annotations

from functools import lru_cache
from textwrap import dedent

from tokctl.simulation.evaluation.expression_parser import ExpressionParser
from tokctl.simulation.evaluation.language import Language
from tokctl.simulation.evaluation.languages import find_language
from tokctl.simulation.evaluation.limits import MAX_DEPTH, MAX_TEXT, CannotEvaluate
from tokctl.simulation.evaluation.syntax_tree import Node
from tokctl.simulation.evaluation.token_stream import CONSTRUCTS
from tokctl.simulation.evaluation.tokens import quote, split_tokens

_AUGMENTED = ("+=", "-=", "*=", "/=", "//=", "%=", "**=")


class _ScriptParser(ExpressionParser):
    """A parser of statements: lines and indented blocks in Python, otherwise ``;`` and braces."""

    def statements(self, column: int, *, in_braces: bool = False) -> Node:
        """Parse statements, as far as they are indented by this column or as the braces reach."""
        found: list[Node] = []
        while True:
            while self.at(";") or self.peek().kind == "newline":
                token = self.next()
                if token.kind == "newline" and self.language.is_python and self.peek().kind != "newline":
                    if self.peek().kind != "end" and token.value < column:
                        self.position -= 1
                        return Node("block", tuple(found))
                    if self.peek().kind != "end" and token.value > column:
                        raise CannotEvaluate("has a line with an unexpected indentation")
            if self.peek().kind == "end" or (in_braces and self.at("}")):
                return Node("block", tuple(found))
            found.append(self.statement(column))
            if not self.at(";", "}") and self.peek().kind not in {"newline", "end"} and found[-1].kind != "choose":
                raise self.unexpected()

    def statement(self, column: int) -> Node:
        """Parse one statement."""
        token = self.peek()
        if token.kind == "name":
            if self.take(*self.language.declarations):
                return self.declaration()
            if token.text in CONSTRUCTS:
                raise CannotEvaluate(f"uses {quote(token.text)}")
            if self.take("if"):
                return self.choose(column)
            if self.language.is_python and self.take("pass"):
                return Node("block")
            if self.language.is_python and self.take("del"):
                return Node("delete", (self.postfix(self.operand()),))
        target = self.expression()
        if self.take("="):
            self.skip_newlines()
            return Node("assign", (target, self.expression()))
        if self.at(*_AUGMENTED):
            sign = self.next().text[:-1]
            if sign not in self.language.operators:
                raise CannotEvaluate(f"uses '{sign}='")
            return Node("assign", (target, self.expression()), sign)
        return Node("run", (target,))

    def declaration(self) -> Node:
        """Parse the rest of ``var x = e``."""
        name = self.name()
        self.expect("=")
        return Node("declare", (self.expression(),), name)

    def choose(self, column: int) -> Node:
        """Parse the rest of an ``if`` statement."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise CannotEvaluate("is nested too deeply")
        parts = [self.expression(), self.block(column)]
        start = self.position
        self.skip_newlines()
        if self.language.is_python and self.position > start and self.tokens[self.position - 1].value != column:
            self.position = start
        if self.language.is_python and self.take("elif"):
            parts.append(self.choose(column))
        elif self.take("else"):
            if not self.language.is_python and self.take("if"):
                parts.append(self.choose(column))
            else:
                parts.append(self.block(column))
        else:
            self.position = start
        self.depth -= 1
        return Node("choose", tuple(parts))

    def block(self, column: int) -> Node:
        """Parse the statements of a branch."""
        if not self.language.is_python:
            self.skip_newlines()
            if not self.take("{"):
                found = self.statement(column)
                self.take(";")
                return found
            found = self.statements(0, in_braces=True)
            self.expect("}")
            return found
        self.expect(":")
        token = self.peek()
        if token.kind != "newline":
            return self.line(column)
        while self.peek().kind == "newline":
            token = self.next()
        if token.value <= column or self.peek().kind == "end":
            raise CannotEvaluate("has a block without statements")
        return self.statements(token.value)

    def line(self, column: int) -> Node:
        """Parse the statements on one line."""
        found = [self.statement(column)]
        while self.take(";") and self.peek().kind not in {"newline", "end"}:
            found.append(self.statement(column))
        return Node("block", tuple(found))


@lru_cache(maxsize=256)
def parse_expression(text: str, language_name: str | None) -> tuple[Language, Node]:
    """Return the language and the tree of an expression; raises ``CannotEvaluate``."""
    text = _bounded(text)
    language = find_language(language_name, text)
    if language.name == "JUEL":
        return language, _parse_template(text, language)
    start = 1 if language.is_feel and text.startswith("=") else 0
    parser = ExpressionParser(language, split_tokens(text, language.tokens, start))
    parser.brackets = 1
    return language, _whole(parser)


@lru_cache(maxsize=256)
def parse_script(text: str, language_name: str | None) -> tuple[Language, Node]:
    """Return the language and the tree of a script; raises ``CannotEvaluate``."""
    text = _bounded(text)
    language = find_language(language_name, text)
    if language.name == "JUEL":
        node = _parse_template(text, language)
        if node.kind in {"template", "literal"}:
            raise CannotEvaluate("is not a script")
        return language, Node("run", (node,))
    if language.is_feel:
        raise CannotEvaluate("is in FEEL, which has no scripts")
    parser = _ScriptParser(language, split_tokens(text, language.tokens), equals=False)
    block = parser.statements(0)
    if parser.peek().kind != "end":
        raise parser.unexpected()
    return language, block


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise CannotEvaluate("is too long")
    return dedent(text).strip()


def _whole(parser: ExpressionParser) -> Node:
    node = parser.expression()
    parser.take(";")
    if parser.peek().kind != "end":
        raise parser.unexpected()
    return node


def _parse_template(text: str, language: Language) -> Node:
    """Parse text with expressions in it: ``${a}`` is a value, ``order-${a}`` a string."""
    parts: list[Node] = []
    start = 0
    while start < len(text):
        found = [place for place in (text.find("${", start), text.find("#{", start)) if place >= 0]
        begin = min(found, default=len(text))
        if begin > start:
            parts.append(Node("literal", value=text[start:begin]))
        if not found:
            break
        tokens = list(split_tokens(text, language.tokens, begin + 2, until_brace=True))
        parser = ExpressionParser(language, tokens)
        parser.brackets = 1
        parts.append(_whole(parser))
        start = tokens[-1].end
    return parts[0] if len(parts) == 1 else Node("template", tuple(parts))
