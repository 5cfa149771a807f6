"""The public Python API: the examples of docs/python.md print what stands there, and all names can be imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import tokctl
from support.builders import DOCUMENTED
from support.commandline import clean_environment
from support.own_api_tokens import PEPPER
from support.serving import Served
from tokctl.verbose_log import TRAFFIC

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Return the Python blocks of the documentation, each with the output that stands below it."""
    found: list[tuple[str, str]] = []
    for kind, text in BLOCK.findall((ROOT / "docs/python.md").read_text(encoding="utf-8")):
        if kind == "python":
            found.append((text, ""))
        else:
            assert kind == "text"
            found[-1] = (found[-1][0], text)
    return found


@pytest.fixture
def served(tmp_path):
    path = tmp_path / "served.db"
    engine = tokctl.open_engine(file=str(DOCUMENTED))
    with tokctl.open_store(str(path), write=True, create=True) as store:
        tokctl.snapshot(engine, store, ["@latest"])
    running = Served(path)
    yield running
    running.close()


def test_the_rate_of_requests_can_be_limited(served, monkeypatch):
    """Two requests go through at once, and the third one waits."""
    monkeypatch.setenv("ENGINE_KEY", served.secret)
    source = {"server": served.url, "credential": "env:ENGINE_KEY", "rate": " 20/s "}
    engine = tokctl.open_engine(kind="rest", **source)
    TRAFFIC.reset()
    for _ in range(3):
        engine.refresh()
        assert engine.instance_ids("", 1)
    engine.close()
    assert TRAFFIC.waited > 0
    TRAFFIC.reset()
    registry = tokctl.open_registry(**source)
    for _ in range(3):
        list(registry.list())
    assert TRAFFIC.waited > 0
    for open_source in (tokctl.open_engine, tokctl.open_registry):
        with pytest.raises(tokctl.UsageError, match="invalid rate 'often'"):
            open_source(store="nowhere.db", rate="often")


def test_the_examples_print_what_stands_below_them(served, tmp_path, monkeypatch):
    for name in ("TOKCTL_STORE", "TOKCTL_SERVER", "TOKCTL_CONTEXT", "TOKCTL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("ENGINE_KEY", served.secret)
    shutil.copy(DOCUMENTED, tmp_path / "tokens.json")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert len(examples()) >= 8
    for code, output in examples():
        printed = StringIO()
        with redirect_stdout(printed):
            exec(code.replace("https://engine.example:27555", served.url), namespace)
        assert (code, printed.getvalue()) == (code, output)


def test_every_public_name_can_be_imported_and_is_documented():
    for name in tokctl.__all__:
        assert getattr(tokctl, name) is not None
        if callable(value := getattr(tokctl, name)):
            assert value.__doc__, name
    assert set(tokctl.__all__) <= set(dir(tokctl))
    with pytest.raises(AttributeError, match="'tokctl' has no attribute 'nonesuch'"):
        _ = tokctl.nonesuch


@pytest.mark.slow
def test_what_is_imported_on_demand_is_what_type_checkers_see(tmp_path):
    """All that __all__ lists has a type of its own; a name that does not exist is an error."""
    file = tmp_path / "use.py"
    names = [name for name in tokctl.__all__ if name != "__version__"]
    lines = ["import tokctl", *(f"reveal_type(tokctl.{name})" for name in names), "tokctl.nonesuch"]
    file.write_text("\n".join(lines))
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment({"MYPYPATH": str(ROOT / "src")}),
        cwd=tmp_path,
    )
    notes = [line for line in ran.stdout.splitlines() if "Revealed type" in line]
    assert len(notes) == len(names), ran.stdout
    assert not [note for note in notes if note.endswith('"Any"')]
    assert [line for line in ran.stdout.splitlines() if ": error:" in line] == [
        f'use.py:{len(lines)}: error: Module has no attribute "nonesuch"  [attr-defined]'
    ]


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import tokctl; print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["tokctl", "tokctl.version"]
