"""Temporary."""

import ast

from tokctl.simulation.expressions import timer_to_python, to_python


class CannotEvaluateError(Exception): ...


def evaluate(expression, variables, *, language=None, functions=None):
    if language and language.lower() not in ("python", "juel", "feel"):
        raise CannotEvaluateError(f"{language} is not supported")
    try:
        return eval(to_python(expression), {"__builtins__": {"len": len}, **(functions or {})}, dict(variables))
    except Exception as e:
        raise CannotEvaluateError(str(e)) from None


def evaluate_timer(text, variables, *, functions=None):
    return evaluate(timer_to_python(text), variables, functions=functions)


def run_script(script, variables, *, language=None):
    if language and language.lower() != "python":
        raise CannotEvaluateError(f"{language} is not supported")
    d = dict(variables)
    try:
        exec(script, {"__builtins__": {"len": len}}, d)
    except Exception as e:
        raise CannotEvaluateError(str(e)) from None
    return {k: v for k, v in d.items() if k not in variables or variables[k] is not v}
