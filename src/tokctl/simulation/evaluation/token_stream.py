"""A position in the tokens of a text, for a parser."""

from __future__ import annotations

from collections.abc import Iterable

from tokctl.simulation.evaluation.limits import CannotEvaluate
from tokctl.simulation.evaluation.tokens import Lexeme, quote

CONSTRUCTS = frozenset(
    {
        *("lambda", "for", "while", "do", "def", "class", "import", "from"),
        *("with", "try", "async", "await", "yield", "return", "raise", "throw"),
        *("assert", "global", "nonlocal", "exec", "new", "function", "typeof", "instanceof"),
        *("delete", "switch", "case", "break", "continue"),
    }
)
"""Words of statements and expressions that are not evaluated, for the reason."""


class TokenStream:
    """The tokens of a text, which a parser takes one by one."""

    def __init__(self, tokens: Iterable[Lexeme]) -> None:
        self.tokens = list(tokens)
        self.position = 0
        self.brackets = 0
        """Open brackets: inside them a new line is a space."""

    def peek(self) -> Lexeme:
        """Return the next token."""
        while self.brackets and self.tokens[self.position].kind == "newline":
            self.position += 1
        return self.tokens[self.position]

    def next(self) -> Lexeme:
        """Return the next token, and advance."""
        token = self.peek()
        if token.kind != "end":
            self.position += 1
        return token

    def at(self, *words: str) -> bool:
        """Tell whether the next token is one of these words or symbols."""
        token = self.peek()
        return token.kind in {"name", "symbol"} and token.text in words

    def take(self, *words: str) -> bool:
        """Advance over the next token if it is one of these words."""
        found = self.at(*words)
        if found:
            self.position += 1
        return found

    def expect(self, word: str) -> None:
        """Advance over this word; raises ``CannotEvaluate`` if something else is next."""
        if not self.take(word):
            raise self.unexpected()

    def unexpected(self) -> CannotEvaluate:
        """Return the exception for the next token."""
        token = self.peek()
        for word in (token.text, self.tokens[max(self.position - 1, 0)].text):
            if word in CONSTRUCTS:
                return CannotEvaluate(f"uses {quote(word)}")
        if token.kind == "end" and not token.text:
            return CannotEvaluate("ends too early")
        return CannotEvaluate(f"has an unexpected {quote(token.text)}")

    def skip_newlines(self) -> None:
        """Advance to the next token that is not a newline."""
        while self.tokens[self.position].kind == "newline":
            self.position += 1

    def close(self, bracket: str) -> None:
        """Advance over the bracket that ends what ``brackets`` counts."""
        self.expect(bracket)
        self.brackets -= 1

    def name(self) -> str:
        """Advance over a name, and return it."""
        if self.peek().kind != "name":
            raise self.unexpected()
        return checked_name(self.next().text)


def checked_name(name: str) -> str:
    """Return a name or key; raises ``CannotEvaluate`` for those of Python's internals."""
    if "__" in name:
        raise CannotEvaluate(f"uses the name {quote(name)}")
    return name
