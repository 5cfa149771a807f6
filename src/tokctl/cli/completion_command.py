"""``tokctl completion``, and ``tokctl --install-completion``."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath
from shlex import quote
from typing import Annotated

import click

from tokctl.cli import options as opt
from tokctl.cli.app import CONFIG_PANEL, App, command
from tokctl.cli.completion_scripts import SCRIPTS
from tokctl.cli.shell_completion import SHELLS
from tokctl.errors import StoreError, UsageError
from tokctl.text import suggest

FILES = dict(zip(SHELLS, SCRIPTS, strict=True))
"""Shell → file name of its completion script."""


def completion(
    app: App,  # noqa: ARG001 - every command has one
    shell: Annotated[
        str,
        opt.argument(
            "SHELL",
            "bash, zsh or fish.",
            complete=lambda incomplete: [shell for shell in SHELLS if shell.startswith(incomplete)],
        ),
    ],
) -> None:
    """Print the completion script for a shell.

    'tokctl --install-completion' installs it for your shell.
    """
    sys.stdout.write(SCRIPTS[FILES[_check_shell(shell)]])


def _check_shell(name: str) -> str:
    if name not in SHELLS:
        raise UsageError(f"unknown shell '{name}'{suggest(name, SHELLS)}.", f"Valid: {', '.join(SHELLS)}.")
    return name


def install_completion(ctx: click.Context) -> None:
    """Install the completion script for the shell in SHELL, and exit. Raises UsageError; StoreError: it fails."""
    shell = PurePath(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UsageError(
            f"cannot install the completion: SHELL is '{shell}', not {', '.join(SHELLS)}.",
            "Print the script with 'tokctl completion bash' and load it yourself.",
        )
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "tokctl/completions"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    folder = config / "fish/completions" if shell == "fish" else data
    file = folder / FILES[shell]
    startup_file, line = {
        "bash": (home / ".bashrc", f"source {quote(str(file))}"),
        "zsh": (
            Path(os.environ.get("ZDOTDIR") or home) / ".zshrc",
            f"fpath+=({quote(str(folder))}); autoload -Uz compinit && compinit",
        ),
        "fish": (None, ""),
    }[shell]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(SCRIPTS[FILES[shell]], encoding="utf-8")
        click.echo(f"Installed the completion for {shell} in {file}.")
        if startup_file is not None and _append_line(startup_file, line):
            click.echo(f"Added to {startup_file}: {line}")
    except OSError as error:
        raise StoreError(f"cannot write {error.filename}: {error.strerror}.", "Check its permissions.") from None
    click.echo("Start a new shell to use it.")
    ctx.exit()


def _append_line(file: Path, line: str) -> bool:
    """Append a line to a shell's start-up file; False if it is there already."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in text.splitlines():
        return False
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
    return True


app = command(
    completion,
    panel=CONFIG_PANEL,
    configured=False,
    examples=("source <(tokctl completion bash)", "tokctl completion fish > ~/.config/fish/completions/tokctl.fish"),
)
