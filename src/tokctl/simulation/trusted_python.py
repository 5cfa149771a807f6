"""Runs Python of a model as Python, without any limit: only for models that the user trusts."""

from __future__ import annotations

from functools import lru_cache
from types import CodeType
from typing import Any

from SpiffWorkflow.bpmn.script_engine import TaskDataEnvironment

from tokctl.simulation.engine_specs import IncidentError
from tokctl.simulation.safe_evaluation import CannotEvaluate


@lru_cache(maxsize=1024)
def _compile(expression: str) -> CodeType:
    return compile(expression.strip(), "<expression>", "eval")


class TrustedPython:
    """Evaluates Python like SpiffWorkflow does."""

    def __init__(self) -> None:
        self.environment = TaskDataEnvironment()

    def knows(self, language: str | None) -> bool:
        """Tell whether text in this language may be Python."""
        return language is None or "python" in language.lower()

    def evaluate(self, expression: str, variables: dict[str, Any]) -> Any:
        """Return the value of an expression. Raises CannotEvaluate: it fails."""
        try:
            return eval(_compile(expression), dict(variables))  # noqa: S307 - the user trusts the model
        except Exception as error:
            raise CannotEvaluate(_describe(error)) from error

    def execute(self, script: str, data: dict[str, Any]) -> None:
        """Run a script over the data of a task. Raises IncidentError: it fails."""
        try:
            self.environment.execute(script, data, {})
        except Exception as error:
            raise IncidentError(f"its script fails: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, (NameError, SyntaxError)) else f"{type(error).__name__}: {error}"
