"""What is made from the program is what the program would make now, and complete; the shells complete it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from tokctl.cli.command_tree import root_command
from tokctl.cli.options import HIDDEN_IN_GROUPS

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/simulation/models/parallel.bpmn"


def commands(command=None, parent=None):
    command = command or root_command()
    context = typer.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    yield context, command
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from commands(command.get_command(context, name), context)


COMMANDS = [pytest.param(context, command, id=context.command_path) for context, command in commands()]


def tokctl(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tokctl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


# --- what is made ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, "-m", "tools.docs", "--into", folder], cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("part", ["man", "completions", "docs/screens"])
def test_files_are_up_to_date(made, part):
    kept, fresh = ({p.name: p.read_text() for p in (base / part).iterdir()} for base in (ROOT, made))
    assert kept.keys() == fresh.keys()
    makers = {re.findall("<!-- (.*) -->", text)[0] for text in (*kept.values(), *fresh.values()) if "<svg" in text}
    if len(makers) > 1:
        pytest.skip(f"the pictures were made with other versions: {makers}")
    assert [name for name in kept if kept[name] != fresh[name]] == [], "run 'make docs'"


def test_the_reference_of_documents_is_up_to_date(made):
    assert (ROOT / "docs/scripting.md").read_text() == (made / "docs/scripting.md").read_text(), "run 'make docs'"


def test_command_reference_is_up_to_date(made):
    assert (ROOT / "docs/commands.md").read_text() == (made / "docs/commands.md").read_text(), "run 'make docs'"


@pytest.mark.parametrize(("context", "command"), COMMANDS)
def test_man_page_has_every_option(context, command):
    page = (ROOT / "man" / f"{context.command_path.replace(' ', '-')}.1").read_text().replace("\\-", "-")
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"):
        assert f'\n.SH "{section}"\n' in page
    for parameter in command.get_params(context):
        is_option = parameter.param_type_name == "option"
        if getattr(parameter, "hidden", False):
            assert parameter.name in HIDDEN_IN_GROUPS  # the pages of the commands that take it tell of it
            continue
        names = parameter.opts + parameter.secondary_opts if is_option else re.findall("[A-Z]{2,}", parameter.metavar)
        for name in names:
            assert name in page, name
    assert not re.search(r"\[/?(bold|dim)\]|[^\x00-\x7f]", page)
    assert not re.search(r"\(\(|\)\)|\)[.,]? \((?!1\))", page), "doubled parentheses"


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not here")
@pytest.mark.parametrize("page", sorted((ROOT / "man").iterdir()), ids=lambda p: p.name)
def test_man_page_is_proper_roff(page):
    said = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    assert [line for line in said.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize(("context", "command"), COMMANDS)
def test_help_is_complete(context, command):
    said = tokctl(*context.command_path.split()[1:], "--help")
    assert (said.returncode, said.stderr) == (0, "")
    first = command.help.strip().split("\n")[0]
    assert re.search(r"\w.*[.:,\w]$", first)
    assert first.split()[0] in said.stdout
    if not hasattr(command, "list_commands"):
        assert re.findall(rf"\$ .*{context.command_path}", command.epilog), "no examples"


def test_pictures_need_nothing_from_the_net():
    for picture in (ROOT / "docs/screens").iterdir():
        assert set(re.findall(r"\w+://[^\"' ]+", picture.read_text())) == {"http://www.w3.org/2000/svg"}


# --- completion -----------------------------------------------------------------------------------

ODD = "ab:c d'e$(touch oops)\\f@g"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file, and a store with real instances and one of odd ids."""
    folder = tmp_path_factory.mktemp("completion")
    store = str(folder / "store.db")
    assert tokctl("simulate", str(MODEL), "-n", "3", "--store", store).returncode == 0
    odd = folder / "odd.ndjson"
    at = "2099-06-01T10:00:00Z"
    token = {
        "token_id": "od:d@token",
        "process_instance_id": ODD,
        "element_id": "e",
        "element_type": "userTask",
        "state": "ACTIVE",
        "created_at": at,
        "updated_at": at,
    }
    odd.write_text(json.dumps(token))
    said = tokctl("store", "import", str(odd), "--store", store)
    assert said.returncode == 0, said.stderr
    instances = tokctl("instances", "list", "-o", "id", "--store", store).stdout.splitlines()
    return folder, store, sorted(set(instances) - {ODD})


BASH_START = """
PS1='READY> '
bind 'set show-all-if-ambiguous on' -s 2>/dev/null
bind 'set completion-query-items 0'
bind 'set page-completions off'
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
show() { printf '<<%s>>\\n' "$READLINE_LINE"; }
bind -x '"\\C-g": show'
"""
ZSH_START = """
PS1='READY> '
fpath=(COMPLETIONS $fpath)
autoload -Uz compinit
compinit -u -D
setopt no_list_ambiguous no_list_beep no_beep
unset zle_bracketed_paste
LISTMAX=1000
show() { zle -I; print -r -- "<<$BUFFER>>" }
zle -N show
bindkey '^G' show
"""


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, place, shell):
        folder, store, _ = place
        self.shell = shell
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOKCTL_STORE": store,
            "HOME": str(folder),
            "ZDOTDIR": str(folder),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "300",
            "LINES": "200",
        }
        source = f"source '{ROOT}/completions/tokctl.bash'\n"
        (folder / ".bashrc").write_text(BASH_START + source)
        (folder / ".zshrc").write_text(ZSH_START.replace("COMPLETIONS", f"'{ROOT}/completions'"))
        command = {"bash": ["bash", "--noprofile", "-i"], "zsh": ["zsh", "-d", "-i"]}[shell]
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self.read("READY> ")

    def read(self, end):
        said = ""
        until = time.monotonic() + 20
        while end not in said:
            assert select.select([self.terminal], [], [], max(until - time.monotonic(), 0))[0], said
            said += os.read(self.terminal, 65536).decode(errors="replace")
        return said

    def complete(self, line):
        """Type a line and a TAB; returns the line then, and all that was shown."""
        os.write(self.terminal, f"{line}\t\a".encode())
        shown = self.read(">>")
        os.write(self.terminal, b"\x15\n")
        self.read("READY> ")
        return re.findall(r"<<(.*)>>", shown)[-1], shown

    def close(self):
        os.kill(self.process, signal.SIGKILL)  # asked to exit, an interactive shell may still refuse
        os.waitpid(self.process, 0)
        os.close(self.terminal)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def terminal(request, place):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not here")
    shell = Terminal(place, request.param)
    yield shell
    shell.close()


LINES = {
    "tokctl tok": "tokctl tokens ",
    "tokctl tokens tre": "tokctl tokens tree ",
    "tokctl tokens tree @": "tokctl tokens tree @latest ",
    "tokctl tokens list --sta": "tokctl tokens list --state ",
    "tokctl tokens list --state WAI": "tokctl tokens list --state WAITING ",
    "tokctl tokens list --state wai": "tokctl tokens list --state WAITING ",
    "tokctl tokens list --state=WAI": "tokctl tokens list --state=WAITING ",
    "tokctl tokens list -t par": "tokctl tokens list -t parallelGateway ",
    "tokctl -o nd": "tokctl -o ndjson ",
    "tokctl tokens list --sort dur": "tokctl tokens list --sort duration ",
    "tokctl --store odd.nd": "tokctl --store odd.ndjson ",
    "tokctl --store=odd.nd": "tokctl --store=odd.ndjson ",
    "tokctl store import odd": "tokctl store import odd.ndjson ",
    "tokctl tokens show @latest o": "tokctl tokens show @latest od:d@token ",
    "tokctl tokens show od": "tokctl tokens show od:d@token ",
    "tokctl tokens show od:": "tokctl tokens show od:d@token ",
    "tokctl tokens show od:d@t": "tokctl tokens show od:d@token ",
    "tokctl demo o": "tokctl demo o",
    "tokctl no such ": "tokctl no such ",
    "echo | tokctl ins": "echo | tokctl instances ",
}


@pytest.mark.parametrize(("typed", "line"), LINES.items(), ids=lambda value: value)
def test_tab_completes(terminal, typed, line):
    assert terminal.complete(typed)[0].rstrip() == line.rstrip()


def test_tab_completes_ids(terminal, place):
    for instance in place[2]:
        assert terminal.complete(f"tokctl instances show {instance[:-2]}")[0] == f"tokctl instances show {instance} "


def test_tab_offers(terminal, place):
    assert all(name in terminal.complete("tokctl ")[1] for name in root_command().tree.commands)
    states = terminal.complete("tokctl tokens list --state ")[1]
    assert all(state in states for state in ("ACTIVE", "WAITING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED"))
    ids = terminal.complete("tokctl tokens list srv1")[1]
    assert all(instance in ids for instance in place[2])
    of_debug, of_flow = (terminal.complete(f"tokctl {name} -o ")[1] for name in ("debug", "flow"))
    assert ("junit" in of_debug, "mermaid" in of_debug, "mermaid" in of_flow) == (True, False, True)


@pytest.mark.parametrize("typed", ["ab", "ab:", r"ab:c\ d", '"ab', "'ab"])
def test_odd_ids_are_typed_so_that_the_shell_reads_them(terminal, place, typed):
    line, _ = terminal.complete(f"tokctl instances show {typed}")
    if typed[0] in "\"'" and line.endswith(typed):
        return  # bash offers no such id within quotes
    line = line.replace("tokctl instances show", "printf %s")
    read = subprocess.run([terminal.shell, "-c", line], capture_output=True, text=True, check=True)
    assert read.stdout == ODD
    assert not (place[0] / "oops").exists()


def test_nothing_is_offered_and_nothing_said_without_a_store(place, tmp_path):
    asked = {"_TOKCTL_COMPLETE": "bash_complete", "TOKCTL_STORE": str(tmp_path / "none.db")}
    for end in ("a", "@latest ", "'", '"x', "\\"):
        said = tokctl(**asked, COMP_WORDS=f"tokctl tokens show {end}")
        assert (said.returncode, said.stdout.strip(), said.stderr) == (0, "", ""), end
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not here")
@pytest.mark.parametrize(("typed", "line"), LINES.items(), ids=lambda value: value)
def test_fish_offers(place, typed, line):
    offered = fish(place, typed)
    if typed.strip() == line.strip():
        assert offered == []
    else:
        assert [offer.split("\t")[0] for offer in offered] == [line.split()[-1]]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not here")
def test_fish_describes(place):
    assert "tokens\tList, show and watch the tokens of process instances." in fish(place, "tokctl ")
    assert set(place[2]) < set(fish(place, "tokctl tokens list "))
    assert ODD in fish(place, "tokctl tokens list a")


def fish(place, line):
    folder, store, _ = place
    said = subprocess.run(
        ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", ROOT / "completions/tokctl.fish", line],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOKCTL_STORE": store,
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        },
    )
    assert said.stderr == ""
    return said.stdout.splitlines()
