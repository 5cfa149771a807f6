"""What is imported when: start-up time is what every TAB and every line of a script pays."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.builders import DOCUMENTED
from support.commandline import clean_environment

pytestmark = pytest.mark.slow  # starts programs, or waits for them

NEVER = (
    "httpx",
    "keyring",
    "yaml",
    "psycopg",
    "starlette",
    "uvicorn",
    "SpiffWorkflow",
    "lxml",
    "rich",
    "jmespath",
    "platformdirs",
    "asyncio",
    "ssl",
    "email",
    "pydantic",
    "hypothesis",
    "xml",
    "zoneinfo",
    "concurrent",
    "multiprocessing",
)


def imported(code: str, *words: object) -> set[str]:
    """Run code in a process of its own; returns the names of the modules that it has imported in the end."""
    report = "sys.stderr.write('\\n' + ' '.join(sys.modules))"
    begin = "import os, sys; os._exit = sys.exit"  # so that the end is reached
    done = subprocess.run(
        [sys.executable, "-c", f"{begin}\ntry:\n    {code}\nfinally:\n    {report}", *map(str, words)],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert "Traceback" not in done.stderr.rpartition("\n")[0]
    return set(done.stderr.rpartition("\n")[2].split())


def command(*words: object) -> set[str]:
    return imported("from tokctl.__main__ import main; main()", *words)


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_reporter_sees_what_is_imported():
    assert {"json", "json.decoder"} <= imported("import json")


def test_importing_the_command_line_imports_nothing_it_does_not_need():
    assert not packages(imported("import tokctl.__main__")) & {*NEVER, "typer", "msgspec"}
    modules = imported("import tokctl.cli.command_tree; tokctl.cli.command_tree.root_command()")
    assert not packages(modules) & set(NEVER)
    assert "sqlite3" not in modules
    assert not [name for name in modules if name.startswith(("tokctl.store", "tokctl.recorder", "tokctl.engines"))]


def test_the_version_imports_next_to_nothing():
    assert not packages(command("--version")) & {*NEVER, "typer", "msgspec", "sqlite3", "inspect"}


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "id"])
def test_a_list_for_programs(known, form):
    modules = command("tokens", "list", "pay", "-o", form, "--store", known)
    assert "sqlite3" in modules  # it did run
    assert not packages(modules) & set(NEVER)


@pytest.mark.parametrize(
    "words",
    [
        ["tokens", "list"],
        ["tokens", "tree"],
        ["tokens", "history"],
        ["instances", "list"],
        ["instances", "show"],
        ["tokens", "show", "a4"],
    ],
    ids=" ".join,
)
def test_a_table_takes_of_rich_only_the_widths_of_characters(known, words):
    given = [] if words == ["instances", "list"] or "a4" in words else ["ord-1001"]
    modules = command(*words, *given, "--store", known)
    assert "tokctl.render.formats.table" in modules
    assert not packages(modules) & (set(NEVER) - {"rich"})
    assert not {"rich.console", "rich.table", "rich.text", "rich.style", "rich.markup", "rich.segment"} & modules


def test_a_file_needs_no_database():
    modules = command("tokens", "list", "--file", DOCUMENTED, "-o", "json")
    assert "tokctl.engines.file" in modules
    assert "sqlite3" not in packages(modules)


def test_what_is_asked_for_is_imported(known):
    assert "yaml" in command("tokens", "list", "pay", "-o", "yaml", "--store", known)
    assert "jmespath" in command("tokens", "list", "pay", "-o", "json", "--query", "tokens", "--store", known)
    assert "rich.console" in command("--help")


@pytest.mark.parametrize("words", [["tokens", "list", "bogus"], ["tokens", "list", "--bogus"]], ids=" ".join)
def test_an_error_needs_no_rich(known, words):
    assert "rich" not in packages(command(*words, "--store", known))


def test_completion_of_an_id(own_store, monkeypatch):
    monkeypatch.setenv("_TOKCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"tokctl --store {own_store} tokens list o")
    modules = command()
    assert "sqlite3" in modules
    assert not packages(modules) & (set(NEVER) - {"platformdirs"})
