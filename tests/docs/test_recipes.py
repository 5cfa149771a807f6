"""The recipes for ``--save command:`` hand the secret to their program on stdin, and show it nowhere else."""

from __future__ import annotations

import os
import shlex

import pytest

from support.documentation import fences
from support.paths import ROOT
from tokctl.api_tokens.vaults import open_sink

SECRET = "xvc_hunter2hunter2"
STUB = """#!/bin/sh
# Stands for a program: records its arguments, its environment and its stdin, and fails where it is told to.
name=$(basename "$0")
echo "$*" >> "$STUBS/$name.argv"
env >> "$STUBS/env"
case " $* " in *" $FAILS "*) exit 1;; esac
if [ "$name $1" = "kubectl create" ]; then  # prints a manifest with what --from-file names
    for word; do case $word in --from-file=*) printf 'data: %s' "$(cat "${word##*=}")";; esac; done
else
    cat >> "$STUBS/$name.stdin"
fi
"""
RECIPES = [
    line
    for fence in fences(ROOT / "docs" / "api-tokens.md")
    for line in fence.text.splitlines()
    if line.startswith("--save command:")
]


def name_of(recipe: str) -> str:
    """The program that a recipe is for."""
    return next(name for name in ("kubectl", "glab", "gh", "vault", "op", "pass") if f"{name} " in recipe)


def test_there_is_one_for_each_program():
    assert [name_of(recipe) for recipe in RECIPES] == ["kubectl", "gh", "glab", "vault", "op", "pass"]


CASES = [
    (recipe, fails) for recipe in RECIPES for fails in ("nothing", "update", "edit") if fails in f"nothing {recipe}"
]


@pytest.mark.parametrize(("recipe", "fails"), CASES, ids=[f"{name_of(recipe)}-{fails}" for recipe, fails in CASES])
def test_the_secret_is_on_stdin_alone(recipe, fails, tmp_path, monkeypatch):
    name = name_of(recipe)
    for program in ("kubectl", "gh", "glab", "vault", "op", "pass"):
        (tmp_path / program).write_text(STUB)
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUBS", str(tmp_path))
    monkeypatch.setenv("FAILS", fails)
    option, place = shlex.split(recipe)  # as a shell does
    assert option == "--save"
    sink = open_sink(place, "")
    sink.probe()
    sink.write(SECRET)
    assert (tmp_path / f"{name}.stdin").read_text() == ("data: " if name == "kubectl" else "") + SECRET
    seen = "".join(file.read_text() for file in tmp_path.iterdir() if file.suffix == ".argv" or file.name == "env")
    assert "hunter2" not in seen
    calls = (tmp_path / f"{name}.argv").read_text().splitlines()
    assert len(calls) == (2 if name == "kubectl" or fails != "nothing" else 1)
