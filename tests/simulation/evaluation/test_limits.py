"""Hostile expressions and scripts are refused, quickly, and without any effect."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import yaml

from support.paths import ROOT

TEXTS = ROOT / "tests" / "simulation" / "hostile" / "texts.yaml"
HARMLESS = {"builtins.id"}
"""Events of the interpreter that have no effect: copies of data remember what they have copied."""
DOUBLING = "\n".join(["x = [1]", *["x = [x, x]"] * 40])
BOMBS = {
    "round brackets": "(" * 10_000 + ")" * 10_000,
    "round brackets around 1": "(" * 9_000 + "1" + ")" * 9_000,
    "square brackets": "[" * 9_000 + "]" * 9_000,
    "braces": '{"a":' * 3_000 + "1" + "}" * 3_000,
    "unclosed brackets": "(" * 20_000,
    "indices": "order" + "[0]" * 6_000,
    "properties": "order" + ".a" * 9_000,
    "calls": "now" + "()" * 9_000,
    "nested calls": "len(" * 4_000 + "name" + ")" * 4_000,
    "signs": "- " * 9_000 + "1",
    "not": "not " * 4_000 + "1",
    "!": "!" * 19_000 + "1",
    "sum": "+".join(["1"] * 9_000),
    "or": " or ".join(["0"] * 4_000),
    "ternaries": "1 if 1 else " * 1_500 + "1",
    "questions": "1 ? 2 : " * 2_000 + "1",
    "comparisons": "1==" * 6_000 + "secret",
    "powers": "**".join(["2"] * 6_000),
    "digits": "9" * 19_000,
    "exponent": "1e" + "9" * 19_000,
    "decimals": "= " + "9" * 9_000 + "." + "9" * 9_000 + "!",
    "long name": "a" * 19_000,
    "long call": "a" * 19_000 + "()",
    "10 MB": "1" * 10_000_000,
    "spaces": " " * 100_000 + "1",
    "lines": "\n" * 19_000 + "secret",
    "product": "*".join(["9999999999"] * 1_000),
    "repetition": '"a"' + "*1000" * 90,
    "strings": "+".join(['"' + "a" * 200 + '"*2000'] * 80),
    "templates": "${" * 9_000,
    "many templates": "${1}" * 4_900 + "${secret}",
    "nested ifs": "\n".join(" " * level + "if 1:" for level in range(190)) + "\n" + " " * 190 + "x = 1",
    "elifs": "if 0: x = 1\n" + "elif 0: x = 1\n" * 1_000,
    "doubling a list": DOUBLING,
    "doubling a string": "\n".join(["x = 'a'", *["x = x + x"] * 60]),
    "doubling in place": "\n".join(["x = [1]", *["x += x"] * 60]),
    "doubling an object": "\n".join(["x = {}", *["y = {}\ny['a'] = x\ny['b'] = x\nx = y"] * 60]),
    "squaring": "\n".join(["x = 9", *["x = x * x"] * 60]),
    "squaring a float": "\n".join(["x = 9.5", *["x = x * x"] * 60]),
    "nesting a list": "\n".join(["x = [1]", *["x = [x]"] * 1_000]),
    "comparing two doubled lists": f"{DOUBLING[:150]}\n{DOUBLING[:150].replace('x', 'y')}\nz = [x == y] * 1000000000",
    "doubled comparisons": "x = 'a' * 400000\n" + "y = x == x + ''\n" * 500,
    "comments": "# x\n" * 4_000 + "secret",
    "quotes": "'" * 19_999,
    "escapes": '"' + "\\u0041" * 3_000,
    "indentation": "x = 1\n" + "".join(" " * (level % 50) + "\n" for level in range(700)) + " x = 2",
}


JAVASCRIPT_BOMBS = {
    "unclosed comments": "/*" * 9_000,
    "comments": "/**/" * 4_000 + "secret",
    "blocks": "if (1) {" * 2_000 + "}" * 2_000,
    "else": "if (0) x = 1; else " * 1_000 + "x = 2",
    "strings": "x = ''\n" + "x += x + 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' + 1\n" * 200,
}


def run(texts: list[tuple[str | None, str]]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "support.hostile_evaluation"],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT / "tests",
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def check(texts: list[tuple[str | None, str]]) -> None:
    found = run(texts)
    assert found["growth"] < 100
    for (language, text), outcomes in zip(texts, found["outcomes"], strict=True):
        what = (language, text[:100])
        for way, outcome in outcomes.items():
            assert set(outcome["events"]) <= HARMLESS, (what, way, outcome)
            assert outcome["seconds"] < 1, (what, way, outcome)
            assert "reason" in outcome, (what, way, outcome)
            assert 0 < len(outcome["reason"]) < 120, (what, way, outcome)
            assert outcome["reason"].isprintable(), (what, way, outcome)


def test_hostile_texts_are_refused():
    texts = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    check([(language, text) for language, of_language in texts.items() for text in of_language])


def test_texts_that_use_up_time_and_memory_are_refused():
    check([(None, text) for text in BOMBS.values()] + [("javascript", text) for text in JAVASCRIPT_BOMBS.values()])


def test_the_check_sees_what_code_does():
    code = "from support.hostile_evaluation import attempt, listen; listen();"
    code += "print(attempt(lambda: open('/dev/null').close())['events'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT / "tests"
    )
    assert "open" in done.stdout
