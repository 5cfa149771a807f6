"""The values of expressions, scripts and timers in all languages."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokctl.simulation.safe_evaluation import (
    CannotEvaluate,
    evaluate,
    evaluate_condition,
    evaluate_timer,
    run_script,
)

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
FUNCTIONS = {"now": lambda: NOW, "today": lambda: date(2025, 3, 1)}
VARIABLES: dict[str, Any] = {
    "amount": 100,
    "price": 0.1,
    "n": 3,
    "name": "Ann",
    "method": "a && b = c",
    "ok": True,
    "none": None,
    "empty_list": [],
    "order": {"items": [10, 20, 30], "note": "x", "customer": {"name": "Bob", "vip": False}, "two words": 2},
    "since": datetime(2025, 1, 1, tzinfo=UTC),
}
FEEL = "https://www.omg.org/spec/DMN/20191111/FEEL/"

VALUES: dict[str | None, list[tuple[str, Any]]] = {
    None: [
        ("amount > 50", True),
        ("amount = 100 and ok", True),
        ("amount = 100 && !ok", False),
        ("amount != 100 || ok", True),
        ("amount <> 100", False),
        ("amount === 100", True),
        ("not(amount >= 100)", False),
        ("not amount == 5", True),
        ("ok == true and none is None and none == null and nil == none", True),
        ("none is not None", False),
        ("{'a': 1}['a'] == 1", True),
        ("order.customer.name == 'Bob'", True),
        ("order['customer'].vip", False),
        ("order.items[0] + order.items[-1]", 40),
        ("name in ['Ann', 'Bob'] and n not in (1, 2)", True),
        ("1 < n <= 3", True),
        ("'a' if n > 5 else 'b'", "b"),
        ("n > 5 ? 'a' : 'b'", "b"),
        ("-2 ** 2", -4),
        ("7 // 2 + 7 % 4 * 2", 9),
        ("-7 % 3", 2),
        ("name + ' ' + \"B\"", "Ann B"),
        ("len(name) + size(order.items) + name.length", 9),
        ("contains(name, 'nn') and name.startsWith('A') and name.endswith('n')", True),
        ("name.upper() + name.toLowerCase()", "ANNann"),
        ("round(2.5) + max(1, n) + min([4, 5]) + abs(-1) + sum(order.items)", 70),
        ("int('5') + float('0.5')", 5.5),
        ("str(n) + str(ok)", "3True"),
        ("amount\n  > 50", True),
        ("now() > since", True),
        ("now() - since", timedelta(days=59, hours=12)),
        ("environment.variables.amount + environment.output['n']", 103),
        ("order-${n}", "order-3"),
        ("name == 'a\\n\\u0041'", False),
        ("[1, 'a', {'b': none}]", [1, "a", {"b": None}]),
        ("none or n", 3),
        ("empty_list or 5", 5),
        ("5 == none", False),
    ],
    "python": [
        ("amount > 50 and not none", True),
        ("True and None is None", True),
        ("'1' == 1", False),
        ("n / 2", 1.5),
        ("'ab' * 2", "abab"),
        ("[1] + [2] * 2", [1, 2, 2]),
        ("order.get('note') + order.get('other', 'y')", "xy"),
        ("'note' in order and 'n' in name", True),
        ("timedelta(minutes=5) + timedelta(hours=1)", timedelta(minutes=65)),
        ("7 # a comment", 7),
        ("0.1 + 0.2 == 0.3", False),
    ],
    "juel": [
        ("${amount > 50}", True),
        ("#{amount > 50 && !ok}", False),
        ("${amount gt 50 and n le 3 or n eq 4}", True),
        ("${not ok == false}", True),
        ("${n ne 3 ? 'a' : 'b'}", "b"),
        ("${empty none && empty empty_list && empty '' && not empty name}", True),
        ("${n div 2}", 1.5),
        ("${-7 mod 3}", -1),
        ("${method == 'a && b = c'}", True),
        ("${order.items[1] == 20}", True),
        ("${order['customer']['name'].equals('Bob')}", True),
        ("${name.equalsIgnoreCase('ANN') && name.contains('n') && name.length() == 3}", True),
        ("${order.items.size() == 3 && order.items.contains(20) && !order.items.isEmpty()}", True),
        ("${order.containsKey('note')}", True),
        ("${execution.getVariable('n') == 3 && !execution.hasVariable('other')}", True),
        ("${S(order).prop('customer').prop('name').stringValue() == 'Bob'}", True),
        ("${environment.variables.ok}", True),
        ("${environment.variables.name.toUpperCase()}", "ANN"),
        ("${none == 0}", False),
        ("${name}-${n}${none}", "Ann-3"),
        ("${'}'}{", "}{"),
        ("${now()}", NOW),
        ("no expression", "no expression"),
    ],
    FEEL: [
        ("= amount = 100", True),
        ("amount != 100", False),
        ("= ok = true and none = null", True),
        ("= method = 'a && b = c'", True),
        ("= price + 0.2 = 0.3", True),
        ("= 10 / 4", 2.5),
        ("= 2 ** 3", 8),
        ("= order.items[1]", 10),
        ("= order.items[-1]", 30),
        ("= n in [1..3]", True),
        ("= n in [1..3)", False),
        ("= n in (3..9]", False),
        ("= n in (1..4)", True),
        ("= n in (1, 2)", False),
        ("= n in (< 2, > 2)", True),
        ("= n in < 2", False),
        ("= n in (3, 4) and ok", True),
        ("= n in order.items", False),
        ("= n in [1, 3]", True),
        ("= n between 1 and 3 and ok", True),
        ("= not(ok)", False),
        ('= if n > 2 then "a" else "b"', "a"),
        ("= if none then 1 else 2", 2),
        ("= none > 5", None),
        ("= none = null", True),
        ('= n = "3"', None),
        ('= n < "3"', None),
        ("= n != null", True),
        ("= none + 1", None),
        ("= none and false", False),
        ("= none or true", True),
        ("= none and true", None),
        ("= not(none)", None),
        ("= order.nothing = null", True),
        ("= other = null or other.deep = 1", True),
        ("= other > 5 or ok", True),
        ("= get or else(other, 5)", 5),
        ("= get or else(none, 6) + get or else(n, 7)", 9),
        ("= is defined(other) or is defined(order.nothing)", False),
        ("= is defined(n)", True),
        ("= string length(name) + count(order.items)", 6),
        ('= contains(name, "nn") and starts with(name, "A") and ends with(name, "n")', True),
        ("= upper case(name) + lower case(name)", "ANNann"),
        ("= list contains(order.items, 20)", True),
        ("= sum(order.items) + max(1, 2) + min([3, 4]) + abs(-1)", 66),
        ("= floor(1.5) + ceiling(1.5)", 3),
        ("= modulo(-7, 3)", 2),
        ("= substring(name, 2) + substring(name, -1, 1)", "nnn"),
        ("= string(1.5) + string(n)", "1.53"),
        ('= {a: 1, "b": [2]}.b[1]', 2),
        ('= now() + duration("P1D") > now()', True),
        ('= date and time("2025-03-01T12:00:00Z") = now()', True),
        ('= date("2025-03-01") = today()', True),
        ("= 1 // a comment", 1),
        ("= 1 /* a\ncomment */ + 1", 2),
        ("= -n", -3),
    ],
    "JavaScript": [
        ("amount > 50 && !(n === 4)", True),
        ("'1' === 1", False),
        ("n !== 3 || name == 'Ann'", True),
        ("5 / 2", 2.5),
        ("4 / 2", 2),
        ("-7 % 3", -1),
        ("2 ** 3", 8),
        ("name + 1 + true + null + 1.0 + 1.5", "Ann1truenull11.5"),
        ("1 + 2 + name", "3Ann"),
        ("empty_list ? 1 : 2", 1),
        ("none || 'x'", "x"),
        ("name && n", 3),
        ("name.length + order.items.length", 6),
        ("name.includes('nn') && order.items.includes(20)", True),
        ("Math.max(1, n) + Math.floor(1.5) + Math.round(2.5) + Math.round(-2.5)", 5),
        ("this.environment.variables.amount === 100;", True),
        ("next(null, environment.variables.amount > 50);", True),
        ("execution.getVariable('amount') > 50", True),
        ("{a: 1, 'b': 2}", {"a": 1, "b": 2}),
    ],
    "application/x-groovy": [
        ("amount > 50 && name == 'Ann'", True),
        ("!empty_list && name", True),
        ("name + 1 + true", "Ann1true"),
        ("7 % 4 + 8 / 2", 7),
        ("n in [1, 3]", True),
        ('name.toUpperCase() == "ANN"', True),
        ("execution.getVariable('n') ? 'a' : 'b'", "a"),
    ],
    "http://www.w3.org/1999/XPath": [("${n == 3}", True), ("n == 3", True)],
}


@pytest.mark.parametrize(
    ("language", "text", "value"),
    [(language, *case) for language, cases in VALUES.items() for case in cases],
)
def test_values_of_expressions(language, text, value):
    found = evaluate(text, VARIABLES, language=language, functions=FUNCTIONS)
    assert (found, type(found)) == (value, type(value))


REASONS: dict[str | None, list[tuple[str, str]]] = {
    None: [
        ("other > 5", "'other' is not defined"),
        ("order.other", "'other' is not defined"),
        ("environment.variables.other", "'other' is not defined"),
        ("open('x')", "calls 'open'"),
        ("order.customer.check(n)", "calls 'check' of an object"),
        ("lambda: 1", "uses 'lambda'"),
        ("[x for x in order]", "uses 'for'"),
        ("n ==", "ends too early"),
        ("n n", "has an unexpected 'n'"),
        ("", "ends too early"),
        ("n == '3'", "compares a number and a string"),
        ("name > 3", "compares a string and a number"),
        ("name + n", "adds a string and a number"),
        ("1 / 0", "divides by zero, or has a number that is too large"),
        ("a" * 30_000, "is too long"),
        ("(" * 500, "is nested too deeply"),
        ("x.__class__", "uses the name '__class__'"),
        ("order[name]", "a property is not defined"),
        ("execution.getVariable(name)", "a variable is not defined"),
        ("${execution.processInstanceId}", "'execution' is not defined"),
        ("f(x=1, 2)", "has an argument without a name after one with a name"),
    ],
    "juel": [
        ("${bean.check(n)}", "calls 'bean.check'"),
        ("${other.equals('x')}", "'other' is not defined"),
        ("${order.items.check(n)}", "calls 'check' of a list"),
        ("${none > 3}", "compares null and a number"),
        ("${name + 1}", "uses '+' with a string and a number"),
        ("${n == 3", "has no '}' at its end"),
        ("${1 == 1 == true}", "compares a comparison: write brackets"),
        ("${9223372036854775807 + 1}", "has a number that is too large"),
    ],
    FEEL: [
        ("= other > 5", "'other' is not defined"),
        ("= order.nothing", "'nothing' is not defined"),
        ("= order.items[9]", "reads an item that a list does not have"),
        ("= is defined(none)", "asks whether null is defined"),
        ("= string(1.50)", "makes a string of a decimal that ends with 0"),
        ("= n in order.items and ok", "uses 'in' before 'and' or 'or': write brackets"),
        ("= n in (ok, 2)", "looks for a number in a boolean"),
        ("= n in [none..5]", "tests a number against another type"),
        ("= other in [1..5]", "'other' is not defined"),
        ('= date("20250101")', "calls 'date' with unsuitable values"),
        ("= is defined(n + 1)", "asks whether something without a name is defined"),
        ("= -2 ** 2", "uses '**' with a sign: write brackets"),
        ("= n % 2", "has an unexpected '%'"),
    ],
    "JavaScript": [
        ("'1' == 1", "compares a string and a number"),
        ("9007199254740991 + 1", "has a number that is too large"),
        ("+name", "uses '+' with a string"),
        ("x = 1", "has an unexpected '='"),
    ],
    "groovy": [("1 / 3", "uses '/' with a result that is not an integer"), ("price + 1", "uses '+' with decimals")],
    "cobol": [("1", "is in an unknown language 'cobol'")],
}


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [(language, *case) for language, cases in REASONS.items() for case in cases],
)
def test_reasons_against_expressions(language, text, reason):
    with pytest.raises(CannotEvaluate) as caught:
        evaluate(text, VARIABLES, language=language, functions=FUNCTIONS)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("language", "text", "met"),
    [
        ("python", "empty_list", False),
        ("javascript", "empty_list", True),
        ("groovy", "empty_list", False),
        ("javascript", "''", False),
        (None, "n", True),
        (None, "${ok}", True),
        (None, "${n}", None),
        (None, "= none", None),
        (None, "= n > 2", True),
        (None, "order-${n}", None),
    ],
)
def test_conditions(language, text, met):
    if met is None:
        with pytest.raises(CannotEvaluate, match="as a condition"):
            evaluate_condition(text, VARIABLES, language=language)
    else:
        assert evaluate_condition(text, VARIABLES, language=language) is met


SCRIPTS: dict[str | None, list[tuple[str, dict[str, Any]]]] = {
    None: [
        ("total = amount * 2", {"total": 200}),
        ("\n    a = 1\n    b = a + n  # a comment\n\n    # another\n    a += b\n", {"a": 5, "b": 4}),
        ("a = 1; b = 2;", {"a": 1, "b": 2}),
        ("a = [n,\n  2]\nb = (n\n + 1)", {"a": [3, 2], "b": 4}),
        (
            "if n > 5:\n  a = 1\nelif n > 2:\n  a = 2\n  if ok:\n    b = 3\nelse:\n  a = 3\nc = 4",
            {"a": 2, "b": 3, "c": 4},
        ),
        ("if n > 5: a = 1; b = 2\nelse: a = 3\n", {"a": 3}),
        ("if ok:\n    if n > 5:\n        a = 1\n    else:\n        a = 2\nelse:\n    a = 3", {"a": 2}),
        ("if ok:\n    if n > 5:\n        a = 1\nelse:\n    a = 2", {}),
        ("if not ok:\n    if n > 5:\n        a = 1\nelse:\n    a = 2", {"a": 2}),
        ("pass", {}),
        ("# nothing", {}),
        ("", {}),
        ("n", {}),
        ("print('total', n)", {}),
        ("a = 1\ndel a", {}),
        ("n = n", {"n": 3}),
        ("environment.variables.a = n; environment.output['b'] = 2; next()", {"a": 3, "b": 2}),
        ("execution.setVariable('a', n + 1)", {"a": 4}),
        ("kcontext.setVariable('a', kcontext.getVariable('n')); System.out.println(a)", {"a": 3}),
        ("var a = 2; execution.setVariable('b', a * a);", {"b": 4}),
        ("${execution.setVariable('a', n)}", {"a": 3}),
    ],
    "python": [
        ("order['note'] = 'y'", {"order": {**VARIABLES["order"], "note": "y"}}),
        ("order.note = 'y'", {"order": {**VARIABLES["order"], "note": "y"}}),
        ("order['items'][0] += 1", {"order": {**VARIABLES["order"], "items": [11, 20, 30]}}),
        ("order['note'] = order['note']", {}),
        ("a = order['items']\na += [40]\nb = len(order['items'])", None),
        ("a = {}\nb = a\nb['x'] = 1", {"a": {"x": 1}, "b": {"x": 1}}),
        ("del order['note']", {"order": {key: VARIABLES["order"][key] for key in ("items", "customer", "two words")}}),
        ("a = order['customer']['vip']\norder['customer']['vip'] = 0", None),
    ],
    "javascript": [
        ("var a = 1;\nlet b = 2\nconst c = a + b;\nexecution.setVariable('d', c)", {"d": 3}),
        ("if (n > 5) {\n  a = 1;\n} else if (n > 2) { a = 2; b = 3 }\nelse { a = 4 }\nc = 5", {"a": 2, "b": 3, "c": 5}),
        ("if (n > 5) a = 1; else a = 2;", {"a": 2}),
        ("// nothing\n/* more\n*/ next();", {}),
        ("this.environment.variables.a = { b: [1,\n 2] };", {"a": {"b": [1, 2]}}),
        ("a = name +\n  1", {"a": "Ann1"}),
        ("console.log(name)", {}),
        ("n -= 1; n *= 4", {"n": 8}),
    ],
    "groovy": [
        ('def a = 1\nexecution.setVariable("b", a + n)', {"b": 4}),
        ("println('x'); if (ok) { a = 2 }", {"a": 2}),
    ],
}


@pytest.mark.parametrize(
    ("language", "text", "values"),
    [(language, *case) for language, cases in SCRIPTS.items() for case in cases],
)
def test_variables_that_scripts_set(language, text, values):
    before = deepcopy(VARIABLES)
    found = run_script(text, VARIABLES, language=language)
    if values is None:  # as Python itself
        expected = deepcopy(VARIABLES)
        exec(text, {}, expected)
        values = {name: value for name, value in expected.items() if repr(value) != repr(VARIABLES.get(name))}
    assert repr(found) == repr({name: values[name] for name in found})
    assert found.keys() == values.keys()
    assert before == VARIABLES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = 1\nwhile ok: pass", "uses 'while'"),
        ("a = 1\nb = other", "'other' is not defined"),
        ("import os", "uses 'import'"),
        ("a, b = 1, 2", "has an unexpected ','"),
        ("a = now", "'now' is not defined"),
        ("a = since", "sets a variable to a datetime, which JSON does not have"),
        ("del n", "deletes a variable that it has not set"),
        ("order['a'] = order", "is nested too deeply"),
        ("next(null, 5)", "passes a value to 'next'"),
        ("order['note'] = 1; open('x')", "calls 'open'"),
        ("= 5", "is in FEEL, which has no scripts"),
        ("${n}-${n}", "is not a script"),
        ("var n = 1", "declares 'n', which is a variable already"),
        ("if ok:\na = 1", "has a block without statements"),
    ],
)
def test_a_script_that_fails_sets_nothing(text, reason):
    before = deepcopy(VARIABLES)
    with pytest.raises(CannotEvaluate) as caught:
        run_script(text, VARIABLES)
    assert str(caught.value) == reason
    assert before == VARIABLES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PT5M", "PT5M"),
        ("R3/PT10M", "R3/PT10M"),
        ("R/2025-01-01T00:00:00Z/PT1H", "R/2025-01-01T00:00:00Z/PT1H"),
        ('"PT5M"', "PT5M"),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        (" 2025-01-01 ", "2025-01-01"),
        ("P1Y2M", "P1Y2M"),
        ("P3W", "P3W"),
        ("PERIOD", "PT1H"),
        ("= wait", "PT2H"),
        ("${wait}", "PT2H"),
        ("R${n}/PT${n}M", "R3/PT3M"),
        ('= duration("PT5M")', timedelta(minutes=5)),
        ('= duration("P1DT0.5S")', timedelta(days=1, milliseconds=500)),
        ('= duration("P1M")', "P1M"),
        ('= @"PT5M"', timedelta(minutes=5)),
        ('= now() + duration("PT1H")', NOW + timedelta(hours=1)),
        ("= today()", "2025-03-01"),
        ("timedelta(minutes=5)", timedelta(minutes=5)),
        ("now() + timedelta(days=1)", NOW + timedelta(days=1)),
        ("datetime(2025, 1, 1)", datetime(2025, 1, 1)),  # noqa: DTZ001
        ("n", None),
        ("P", None),
        ("PT", None),
        ("R3", None),
        ("'soon'", None),
        ("0 0/5 * * * ?", None),
        ('= duration("soon")', None),
        ('= now() + duration("P1M")', None),
        ("", None),
    ],
)
def test_values_of_timers(text, value):
    variables = {"PERIOD": "PT1H", "wait": "PT2H", "n": 3}
    if value is None:
        with pytest.raises(CannotEvaluate):
            evaluate_timer(text, variables, FUNCTIONS)
    else:
        assert evaluate_timer(text, variables, FUNCTIONS) == value


def test_a_cron_schedule_is_recognised():
    with pytest.raises(CannotEvaluate, match="is a cron schedule"):
        evaluate_timer("0 0/5 9-17 ? * MON-FRI", {})


@given(st.text(alphabet="nabc01.,()[]{}<>=!&|+-*/%?:;@\"'$# \nifelsornt") | st.text(), st.sampled_from([*VALUES]))
@example("0\r\x80", None)
@example("${", "juel")
def test_any_text_has_a_value_or_a_reason(text, language):
    for function in (evaluate, run_script):
        with suppress(CannotEvaluate):
            function(text, VARIABLES, language=language)


# --- expressions of numbers have the same value in every language ---

_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "and": lambda left, right: left and right,
    "or": lambda left, right: left or right,
}
_SPELLINGS: dict[str | None, dict[str, str]] = {
    "python": {},
    None: {"==": "=", "and": "&&"},
    "juel": {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne", "and": "&&", "not": "!"},
    "feel": {"==": "="},
    "javascript": {"==": "===", "!=": "!==", "and": "&&", "or": "||", "not": "!"},
    "groovy": {"and": "&&", "or": "||", "not": "!"},
}
Tree = Any
"""A number, or [sign, left, right], or ["not", condition]."""
NUMBERS = st.recursive(
    st.integers(0, 9), lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner).map(list), max_leaves=6
)
CONDITIONS = st.recursive(
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS, NUMBERS).map(list),
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), inner, inner).map(list) | inner.map(lambda one: ["not", one])
    ),
    max_leaves=4,
)


def write(tree: Tree, words: dict[str, str], *, brackets: bool) -> str:
    """Return the text of a tree; without brackets where the precedence of operators makes them unnecessary."""
    if isinstance(tree, int):
        return str(tree)
    sign, *parts = tree
    if sign == "not":
        return f"{words.get(sign, sign)}({write(parts[0], words, brackets=brackets)})"
    levels = [["or"], ["and"], ["<", "<=", ">", ">=", "==", "!="], ["+", "-"], ["*"]]
    level = {word: number for number, group in enumerate(levels) for word in group}
    texts = []
    for place, part in enumerate(parts):
        text = write(part, words, brackets=brackets)
        inner = level.get(part[0], 9) if isinstance(part, list) else 9
        needed = inner < level[sign] or (inner == level[sign] and place == 1)
        texts.append(f"({text})" if isinstance(part, list) and (brackets or needed) else text)
    return f" {words.get(sign, sign)} ".join(texts)


def compute(tree: Tree) -> Any:
    """Return the value of a tree."""
    if isinstance(tree, int):
        return tree
    if tree[0] == "not":
        return not compute(tree[1])
    return _SIGNS[tree[0]](compute(tree[1]), compute(tree[2]))


@given(NUMBERS | CONDITIONS, st.sampled_from([*_SPELLINGS]), st.booleans())
def test_every_language_computes_the_same(tree, language, brackets):
    text = write(tree, _SPELLINGS[language], brackets=brackets)
    wrapped = f"${{{text}}}" if language == "juel" else text
    found, value = evaluate(wrapped, {}, language=language), compute(tree)
    assert (found, type(found)) == (value, type(value))


@given(st.integers(-(10**6), 10**6), st.integers(-50, 50).filter(bool), st.sampled_from([*_SPELLINGS]))
def test_remainders_and_quotients(left, right, language):
    variables = {"a": left, "b": right}
    texts = {"feel": "modulo(a, b)", "juel": "${a mod b}"}
    remainder = evaluate(texts.get(language, "a % b"), variables, language=language)
    floored = language in {"python", None, "feel"}
    assert remainder == (left % right if floored else left - right * int(Decimal(left) / Decimal(right)))
    try:
        quotient = evaluate("${a / b}" if language == "juel" else "a / b", variables, language=language)
    except CannotEvaluate:
        assert language == "groovy"
    else:
        assert quotient == pytest.approx(left / right, rel=1e-15)
