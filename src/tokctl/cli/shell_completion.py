r"""The answers to the shells' completion scripts (``completion_scripts``), the same for each shell.

A script sets ``_TOKCTL_COMPLETE=SHELL_complete``, Click's instruction, and ``COMP_WORDS`` to the line up to the
cursor. It gets whole words, one on a line, each with its help behind a tab if it has one; a line with only
``\tfiles`` says that a file name belongs there.
"""

from __future__ import annotations

import os
import re

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, shell_complete, split_arg_string

SHELLS = ("bash", "zsh", "fish")
INSTRUCTION = "_TOKCTL_COMPLETE"
_CURSOR_MARK = "\0"
_FILES = "\tfiles"


def answer(root: click.Command, obj: object, instruction: str) -> int:
    """Write the completions of the line to stdout; return the exit code, 1 for an unknown instruction."""
    for shell in SHELLS:
        add_completion_class(Completion, shell)
    return shell_complete(root, {"obj": obj}, "tokctl", INSTRUCTION, instruction)


def strip_markup(text: str) -> str:
    r"""Return a text without Rich's markup: ``[bold]`` is removed, ``\[`` becomes a bracket."""
    return re.sub(r"\\\[|\[/?[a-z#@/][^\[\]]*\]|\[/\]", lambda match: "[" if match[0] == "\\[" else "", text)


class Completion(ShellComplete):
    """Completes the last word of a line."""

    name = "tokctl"
    source_template = ""  # the scripts come with the package

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, and that word as far as it is typed."""
        *words, last = split_arg_string(os.environ.get("COMP_WORDS", "tokctl ") + _CURSOR_MARK)
        return words[1:], last.removesuffix(_CURSOR_MARK)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return whole words; names in upper case complete words in lower case, too."""
        option = re.sub(r"^(--[\w-]+=)?.*", r"\1", incomplete, flags=re.DOTALL)
        word = incomplete.removeprefix(option)
        items = super().get_completions(args, incomplete) or super().get_completions(args, option + word.upper())
        return [CompletionItem(f"{option}{item.value}", type=item.type, help=item.help) for item in items]

    def format_completion(self, item: CompletionItem) -> str:
        """Return one line: the word, and its help."""
        if item.type == "file":
            return _FILES
        return f"{item.value}\t{' '.join(strip_markup(item.help).split())}" if item.help else item.value

    def complete(self) -> str:
        """Return all lines, without words that would break a line."""
        items = self.get_completions(*self.get_completion_args())
        return "\n".join(self.format_completion(item) for item in items if item.value.isprintable())
