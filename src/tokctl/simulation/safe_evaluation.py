"""Evaluates expressions, runs scripts and reads timers of BPMN models without executing them as code.

Python, JUEL, FEEL, JavaScript and Groovy are understood as far as they compute with plain data: no loops, definitions
or regular expressions, and only calls of known functions. Time and memory are bounded. A value is what the language
itself would return; where that is unknown or depends on the engine, ``CannotEvaluate`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from tokctl.simulation.evaluation.evaluator import Evaluation
from tokctl.simulation.evaluation.functions import ISO_DURATION, parse_duration
from tokctl.simulation.evaluation.language import describe
from tokctl.simulation.evaluation.limits import CannotEvaluate
from tokctl.simulation.evaluation.parser import parse_expression, parse_script
from tokctl.simulation.evaluation.script_run import ScriptRun

__all__ = ["CannotEvaluate", "evaluate", "evaluate_condition", "evaluate_timer", "run_script"]

_CRON = re.compile(r"(?:[\dA-Z*?/,#-]+ +){4,6}[\dA-Z*?/,#-]+")
Functions = Mapping[str, Callable[..., Any]]

_ISO_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[-+]\d\d:?\d\d)?)?", re.ASCII | re.IGNORECASE
)


def evaluate(
    expression: str,
    variables: Mapping[str, Any],
    *,
    language: str | None = None,
    functions: Functions | None = None,
) -> Any:
    """Return the value of an expression over variables, which hold plain data.

    ``language`` is what the model says: a name, a media type or an address; without one the form decides, and plain
    text is Python with the spellings of other languages. ``functions`` are further functions that it may call, by
    name: ``now`` and ``today`` are not defined otherwise. The value is JSON data, or a time if functions return times.
    Raises ``CannotEvaluate``.
    """
    try:
        parsed, node = parse_expression(expression, language)
        return Evaluation(parsed, variables, functions or {}).result(node)
    except RecursionError:
        raise CannotEvaluate("is nested too deeply") from None


def evaluate_condition(
    expression: str,
    variables: Mapping[str, Any],
    *,
    language: str | None = None,
    functions: Functions | None = None,
) -> bool:
    """Return whether a condition is met: what counts as true depends on the language. Raises ``CannotEvaluate``."""
    value = evaluate(expression, variables, language=language, functions=functions)
    parsed, _ = parse_expression(expression, language)
    if parsed.is_feel and not isinstance(value, bool):
        raise CannotEvaluate(f"uses {describe(value)} as a condition")
    return parsed.truth(value)


def run_script(script: str, variables: Mapping[str, Any], *, language: str | None = None) -> dict[str, Any]:
    """Run a script over variables, and return those that it sets or changes; ``variables`` stay unchanged.

    What ``var``, ``let``, ``const`` and ``def`` declare are not process variables. Raises ``CannotEvaluate``.
    """
    try:
        parsed, node = parse_script(script, language)
        return ScriptRun(parsed, variables).run(node)
    except RecursionError:
        raise CannotEvaluate("is nested too deeply") from None


def evaluate_timer(
    text: str,
    variables: Mapping[str, Any],
    functions: Functions | None = None,
    *,
    language: str | None = None,
) -> str | datetime | timedelta:
    """Return the value of a timer: ISO 8601 text (a date, a duration, a cycle such as ``R3/PT10M``) or a time.

    Raises ``CannotEvaluate``.
    """
    text = text.strip()
    if _is_iso(text):
        return text
    if _CRON.fullmatch(text):
        raise CannotEvaluate("is a cron schedule")
    value = evaluate(text, variables, language=language, functions={"duration": _read_duration, **(functions or {})})
    if isinstance(value, str) and _is_iso(value.strip()):
        return value.strip()
    if isinstance(value, (datetime, timedelta)):
        return value
    if isinstance(value, date):
        return value.isoformat()
    raise CannotEvaluate("is not a date, a duration or a cycle")


def _is_iso(text: str) -> bool:
    """Tell whether a text is an ISO 8601 date, duration or cycle."""
    repeats, *rest = text.split("/")
    parts = rest if re.fullmatch(r"R\d*", repeats, re.ASCII) and rest else [text]
    return len(parts) <= 2 and all(ISO_DURATION.fullmatch(part) or _ISO_TIME.fullmatch(part) for part in parts)


def _read_duration(text: str) -> timedelta | str:
    """Return a duration; one of months or years as text, since its length varies."""
    if not ISO_DURATION.fullmatch(text):
        raise ValueError(text)
    try:
        return parse_duration(text)
    except ValueError:
        return text
