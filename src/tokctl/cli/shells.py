"""The answers to the shells' completion scripts, the same for each shell.

A script sets ``_TOKCTL_COMPLETE=complete_SHELL`` and, in ``_TYPER_COMPLETE_ARGS``, the line up to the
cursor. It gets whole words, one on a line, each with its help behind a tab if it has one; a lone
``FILES`` says that a file's name belongs there.
"""

from __future__ import annotations

import os
import re
from typing import Any

from typer._click.shell_completion import (
    CompletionItem,
    ShellComplete,
    _resolve_context,
    _resolve_incomplete,
    add_completion_class,
    split_arg_string,
)
from typer.core import TyperGroup

SHELLS = ("bash", "zsh", "fish")
FILES = "\tfiles"
_CURSOR = "\0"


def register() -> None:
    """Let Typer answer the shells."""
    for shell in SHELLS:
        add_completion_class(Offers, shell)


def plain(text: str) -> str:
    r"""A text without Rich's markup: ``[bold]`` goes, what is dim is put in brackets, ``\[`` is a bracket."""
    text = re.sub(r"\[dim\](.*?)\[/dim\]", r"(\1)", text)
    return re.sub(r"\\\[|\[/?[a-z#@/][^\[\]]*\]|\[/\]", lambda match: "[" if match[0] == "\\[" else "", text)


def takes_file(parameter: Any) -> bool:
    """Whether the value of an option or argument is the name of a file."""
    return bool(re.search(r"FILE|PATH|MODEL", getattr(parameter, "metavar", None) or ""))


class Offers(ShellComplete):
    """Offers words for the end of the line."""

    name = "any"
    source_template = ""

    def source_vars(self) -> dict[str, Any]:
        """Nothing: the scripts come with the package."""
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that word as far as it is typed."""
        *words, last = split_arg_string(os.environ.get("_TYPER_COMPLETE_ARGS", "tokctl ") + _CURSOR)
        return words[1:], last.removesuffix(_CURSOR)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Offer what the command, option or argument at the cursor can be."""
        option = re.sub(r"^(--[\w-]+=)?.*", r"\1", incomplete, flags=re.DOTALL)
        context = _resolve_context(self.cli, self.ctx_args, self.prog_name, args)
        place, word = _resolve_incomplete(context, args, incomplete)
        items = place.shell_complete(context, word) or place.shell_complete(context, word.upper())
        if not items and takes_file(place):
            return [CompletionItem("", help="files")]
        return [CompletionItem(f"{option}{item.value}", help=_help(context, place, item)) for item in items]

    def format_completion(self, item: CompletionItem) -> str:
        """One line: the word, and its help."""
        return f"{item.value}\t{item.help}" if item.help else str(item.value)

    def complete(self) -> str:
        """All lines. A word that no line can hold is not offered."""
        items = self.get_completions(*self.get_completion_args())
        return "\n".join(self.format_completion(item) for item in items if str(item.value).isprintable())


def _help(context: Any, place: Any, item: CompletionItem) -> str:
    command = place.get_command(context, item.value) if isinstance(place, TyperGroup) else None
    text = command.get_short_help_str(200) if command is not None else item.help or ""
    return " ".join(plain(text).split())
