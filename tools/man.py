# ruff: noqa: INP001
"""The man pages: one for the program, and one for each of its commands and groups of commands."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from tools.reference import contexts, described

from tokctl import __version__, errors
from tokctl.cli.command_tree import root_command
from tokctl.cli.shell_completion import strip_markup

ENVIRONMENT = {
    "TOKCTL_STORE, TOKCTL_SERVER, TOKCTL_CONTEXT": "What to read, like --store, --server and --context.",
    "TOKCTL_OUTPUT": "Output format, like --output.",
    "TOKCTL_API_KEY": "The credential for the server.",
    "TOKCTL_CREDENTIAL": "Where the credential is: keyring, env:NAME, file:PATH or command:WORDS.",
    "TOKCTL_ENGINE_KIND, TOKCTL_CA_FILE, TOKCTL_INSECURE, TOKCTL_TIMEOUT": "Like --engine-kind, --ca-file, "
    "--insecure and --request-timeout.",
    "TOKCTL_CONNECT_TIMEOUT": "Timeout for connecting to a server.",
    "TOKCTL_REGISTRY_SERVER, TOKCTL_REGISTRY_KIND, TOKCTL_REGISTRY_CREDENTIAL": "Server of the API tokens, if it is "
    "another one, its kind, and where the credential for it is.",
    "TOKCTL_CONFIG": "The configuration file.",
    "TOKCTL_PEPPER_FILE, TOKCTL_PEPPER": "Key of the digests of API tokens: a file with it, or the key itself.",
    "TOKCTL_STATE_DIR": "Directory of the state files.",
    "TOKCTL_PAGER, PAGER": "The pager for output that is longer than the terminal (default: less). Empty for none.",
    "NO_COLOR": "Disables colours, unless --color is given.",
    "FORCE_COLOR": "Enables colours, unless --color or NO_COLOR is given.",
}
FILES = {
    "~/.config/tokctl/config.yaml": "Configuration file. 'tokctl config path' prints its path.",
    "~/.config/tokctl/pepper": "Key of the digests of API tokens.",
    "~/.local/share/tokctl/tokctl.db": "Default store.",
    "~/.local/share/tokctl/demo.db": "Store of 'tokctl demo'.",
    "~/.local/state/tokctl": "State files: operations with API tokens that are not complete, and kinds of servers.",
}
"""The default paths on Linux; XDG_CONFIG_HOME, XDG_DATA_HOME and XDG_STATE_HOME change them."""
OTHER_EXITS = {
    0: "Success.",
    1: "The command found problems.",
    70: "A bug in tokctl.",
    74: "The output cannot be written.",
    130: "Interrupted.",
    141: "The output was closed by its reader, such as 'head'.",
}
SIGNS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def pages(repository: Path) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of each page, dated by the newest release in the changelog."""
    changes = repository / "CHANGELOG.md"
    dates = re.findall(r"\d{4}-\d\d-\d\d", changes.read_text(encoding="utf-8")) if changes.exists() else []
    known = list(contexts(root_command()))
    for context in known:
        yield f"{context.command_path.replace(' ', '-')}.1", page(context, known, dates[0] if dates else "")


def page(context: click.Context, known: list[click.Context], date: str) -> str:
    """Return the page of a command among the known ones: man macros, in ASCII."""
    command, path = context.command, context.command_path
    name, family = roff(path.replace(" ", "-")), (context, context.parent)
    paragraphs = strip_markup(command.help).split("\n\n")
    examples = re.findall(r"^\s*(\$ .+)", strip_markup(command.epilog or ""), re.MULTILINE)
    inner = [other.command for other in known if other.parent is context]
    near = [c for c in known if c is not context and (c in (known[0], context.parent) or c.parent in family)]
    codes = re.findall(r"Error +(\d) +(.)(.+)", errors.__doc__)
    exits = {
        int(code): f"{first.upper()}{rest}." for code, first, rest in reversed(codes)
    }  # the first error of each code
    values: dict[str, list[tuple[str | None, str, str]]] = {"argument": [], "option": []}
    for parameter, term, text in described(context):
        row = getattr(parameter, "rich_help_panel", None), ", ".join(map(styled, term.split(", "))), text
        values[parameter.param_type_name].append(row)
    sections = {
        "NAME": [rf"{name} \- {roff(paragraphs[0].rstrip('.'))}"],
        "SYNOPSIS": [f"{roff(path, 'B')} {styled(' '.join(command.collect_usage_pieces(context)))}"],
        "DESCRIPTION": ["\n.PP\n".join(map(filled, paragraphs))],
        "ARGUMENTS": panels(values["argument"]),
        "COMMANDS": panels((one.rich_help_panel, roff(one.name, "B"), strip_markup(one.short_help)) for one in inner),
        "OPTIONS": panels(values["option"]),
        "EXAMPLES": [".EX", *map(roff, examples), ".EE"] if examples else [],
        "EXIT STATUS": panels(
            (None, roff(f"{code}", "B"), text) for code, text in sorted((exits | OTHER_EXITS).items())
        ),
        "ENVIRONMENT": panels(
            (None, ", ".join(roff(name, "B") for name in names.split(", ")), text)
            for names, text in ENVIRONMENT.items()
        ),
        "FILES": panels((None, roff(path, "I"), text) for path, text in FILES.items()),
        "SEE ALSO": [",\n".join(sorted(f".BR {roff(c.command_path.replace(' ', '-'))} (1)" for c in near))],
    }
    head = f'.TH {name.upper()} 1 "{date}" "tokctl {__version__}" "tokctl manual"\n.nh\n.ad l\n'
    body = ("\n".join([f'.SH "{title}"', *lines, ""]) for title, lines in sections.items() if lines)
    return f".\\\" Made by 'make docs' from the program.\n{head}{''.join(body)}"


def panels(rows: Iterable[tuple[str | None, str, str]]) -> list[str]:
    """Return the lines on terms and their meanings by panel, first those without one."""
    by_panel: dict[str | None, list[str]] = {None: []}
    for panel, term, text in rows:
        by_panel.setdefault(panel, [f'.SS "{panel}"']).append(f".TP\n{term}\n{filled(text)}")
    return [line for lines in by_panel.values() for line in lines]


def styled(usage: str) -> str:
    """Return a piece of a usage line: options in bold, other words in italics, brackets plain."""
    return re.sub(r"[^\s\[\]|]+", lambda word: roff(word[0], "B" if word[0].startswith("-") else "I"), usage)


def filled(text: str) -> str:
    """Return a paragraph, folded into lines."""
    return "\n".join(map(roff, textwrap.wrap(text, 90, break_long_words=False, break_on_hyphens=False)))


def roff(text: str, font: str = "") -> str:
    """Return a text escaped for roff, in ASCII."""
    done = "".join(SIGNS.get(c, c if c.isascii() else rf"\[u{ord(c):04X}]") for c in text)
    done = rf"\&{done}" if done.startswith(".") else done
    return rf"\f{font}{done}\fR" if font else done
