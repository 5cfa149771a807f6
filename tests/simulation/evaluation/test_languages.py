"""Python expressions and scripts have the value that Python itself computes, or none."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.examples import scaled
from tokctl.simulation.safe_evaluation import CannotEvaluate, evaluate, run_script

VARIABLES: dict[str, Any] = {
    "a": 5,
    "b": 2.5,
    "s": "xY",
    "f": False,
    "z": None,
    "l": [1, 2, [3]],
    "d": {"k": 1, "m": {"n": "q"}},
}
LITERALS = ("0", "1", "3", "2.5", "'x'", "''", "None", "True", "[]", "[1]", "{}")
OPERANDS = st.sampled_from([*VARIABLES, *LITERALS, "-a", "d['k']", "l[0]", "l[-1]", "s[0]"])
ARITHMETIC = ("+", "-", "*", "/", "//", "%", "**")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not")
CALLS = ("len", "abs", "str", "int", "float", "bool", "round", "sum", "min", "max", "not", "-", "(", "[")


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    infix = st.tuples(inner, st.sampled_from([*ARITHMETIC, *COMPARISONS, "and", "or"]), inner).map(" ".join)
    calls = st.tuples(st.sampled_from(CALLS), inner).map(write_call)
    choices = st.tuples(inner, inner, inner).map(lambda parts: "{} if {} else {}".format(*parts))
    items = st.tuples(inner, inner).map(lambda parts: "{}[{}]".format(*parts))
    methods = st.tuples(inner, inner).map(lambda parts: "({}).strip().upper().startswith({})".format(*parts))
    return infix | infix | calls | choices | items | methods


def write_call(parts: tuple[str, str]) -> str:
    name, operand = parts
    if name == "[":
        return f"[{operand}, 1]"
    return f"({operand})" if name == "(" else f"{name}({operand})" if name.isalpha() else f"- {operand}"


EXPRESSIONS = st.recursive(OPERANDS, combine, max_leaves=6)
TARGETS = st.sampled_from(["a", "b", "x", "y", "l", "l[0]", "d['k']", "d['m']['n']", "x['k']"])
ASSIGNMENTS = st.tuples(TARGETS, st.sampled_from(["=", "+=", "-=", "*=", "//="]), EXPRESSIONS).map(" ".join)
LINES = ASSIGNMENTS | st.sampled_from(["x = l", "x = y = l", "x = d; y = x", "pass", "# c", "", "del x"])


def indent(block: str) -> str:
    return "\n".join(f"  {line}" for line in [*block.split("\n"), "pass"])


def branch(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    branches = st.tuples(EXPRESSIONS, inner, st.sampled_from(["elif 0", "elif a", "else"]), inner)
    return st.lists(
        inner | branches.map(lambda parts: f"if {parts[0]}:\n{indent(parts[1])}\n{parts[2]}:\n{indent(parts[3])}"),
        min_size=1,
        max_size=4,
    ).map("\n".join)


@given(EXPRESSIONS)
@settings(max_examples=scaled(2))
@example("1 + not a")
@example("-a ** 2 // -3 % 2")
@example("not a in l is not z")
@example("a if f else b if a else s")
def test_expressions(text):
    try:
        found = evaluate(text, VARIABLES, language="python")
    except CannotEvaluate:
        return
    value = eval(text, {}, deepcopy(VARIABLES))
    assert (repr(found), type(found)) == (repr(value), type(value))


@given(st.recursive(LINES, branch, max_leaves=6))
@settings(max_examples=scaled(2))
@example("x = l\nl += [4]\nl *= 2")
@example("x = d['m']\nx['n'] = 1\nd['k'] = d['m']")
@example("if f:\n  x = 1\nelif a:\n    x = 2\n    if z: y = 1\nelse:\n  x = 3\ny = 4")
def test_scripts(text):
    try:
        found = run_script(text, VARIABLES, language="python")
    except CannotEvaluate:
        return
    after = deepcopy(VARIABLES)
    exec(text, {}, after)
    assert repr({**VARIABLES, **found}) == repr({name: after[name] for name in {**VARIABLES, **found}})
    assert {**VARIABLES, **found}.keys() == after.keys()
