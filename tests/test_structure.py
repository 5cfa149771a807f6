"""Rules of the source tree that no linter checks: public names only, unique class names, short definitions."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache

import pytest

from support.paths import ROOT

MAX_LINES = {ast.FunctionDef: 60, ast.AsyncFunctionDef: 60, ast.ClassDef: 250}


KINDS = (ast.Import, ast.ImportFrom, ast.Attribute, *MAX_LINES)


@cache
def nodes(folder: str) -> list[tuple[str, ast.AST]]:
    """Return (path, node) of the imports, attributes and definitions of all modules below a folder of the project."""
    return [
        (str(path.relative_to(ROOT)), node)
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, KINDS)
    ]


def private_imports(node: ast.AST) -> list[str]:
    """Return the private modules and names that a statement imports, ours or others'."""
    names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        names = [f"{node.module}.{name}" for name in names]
    return [name for name in names if any(map(is_private, name.split(".")))]


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def length(node: ast.AST) -> int:
    """The lines of a definition. A function's parameters do not count: a command has one for each option."""
    body = getattr(node, "body", [])
    first = body[1] if len(body) > 1 and isinstance(body[0], ast.Expr) else body[0]
    return (node.end_lineno or 0) - (first.lineno if isinstance(node, ast.FunctionDef) else node.lineno) + 1


@pytest.mark.parametrize(
    "source",
    ["import httpx._main", "from typer._click import Context", "from typer.core import _main", "import _socket"],
)
def test_private_imports_are_found(source):
    (statement,) = ast.parse(source).body
    assert private_imports(statement)


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "bench"])
def test_no_private_name_is_imported(folder):
    """Neither of another module of ours nor of a library."""
    assert [(path, name) for path, node in nodes(folder) for name in private_imports(node)] == []


@pytest.mark.parametrize("folder", ["src", "tools"])
def test_no_module_is_replaced(folder):
    replaced = [
        path
        for path, node in nodes(folder)
        if isinstance(node, ast.Attribute) and node.attr == "modules" and getattr(node.value, "id", "") == "sys"
    ]
    assert replaced == []


def test_class_names_are_unique():
    names = Counter(node.name for _, node in nodes("src") if isinstance(node, ast.ClassDef))
    assert [name for name, times in names.items() if times > 1] == []


def test_definitions_are_short():
    long = {
        (path, node.name): length(node)
        for path, node in nodes("src")
        if type(node) in MAX_LINES and length(node) > MAX_LINES[type(node)]
    }
    assert long == {}
