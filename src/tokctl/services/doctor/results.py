"""Results of checks, and how a check runs: in its own thread with a time limit, so that none blocks the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tokctl.errors import TokctlError

T = TypeVar("T")
CHECK_TIMEOUT_SECONDS = 10.0
"""The maximum duration of a check, in seconds."""

State = Literal["ok", "warning", "problem"]


class CheckResult(Struct, frozen=True):
    """The result of a check, and what to do.

    ``facts`` are further members of its JSON document, ``check`` is its name, which ``run_check`` adds.
    """

    state: State
    found: str
    advice: str = ""
    facts: dict[str, Any] = {}
    check: str = ""


def ok(found: str, advice: str = "", **facts: Any) -> CheckResult:
    """Return that everything works."""
    return CheckResult("ok", found, advice, facts)


def note(found: str, advice: str = "", **facts: Any) -> CheckResult:
    """Return that it works, but not as well as it could, or that it is unknown whether it works."""
    return CheckResult("warning", found, advice, facts)


def problem(found: str, advice: str = "", **facts: Any) -> CheckResult:
    """Return that something does not work, or is unsafe."""
    return CheckResult("problem", found, advice, facts)


def run_check(name: str, check: Callable[[], CheckResult], limit: float = CHECK_TIMEOUT_SECONDS) -> CheckResult:
    """Run a check; an error in it, and a timeout, become a problem."""
    try:
        result = call_with_timeout(check, limit)
    except TimeoutError:
        result = problem(f"no result within {limit:g} s.")
    except TokctlError as error:
        result = problem(error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - a failed check must not hide the others
        result = problem(f"the check failed ({type(error).__name__}).", "This is a bug in tokctl. Please report it.")
    return replace(result, check=name)


def call_with_timeout(call: Callable[[], T], limit: float) -> T:
    """Return what a call returns, or raise what it raises.

    Raises:
        TimeoutError: it takes more than ``limit`` seconds; it is left running.
    """
    from queue import Empty, SimpleQueue
    from threading import Thread

    done: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        try:
            done.put((True, call()))
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            done.put((False, error))

    Thread(target=work, name="check", daemon=True).start()
    try:
        fine, value = done.get(timeout=limit)
    except Empty:
        raise TimeoutError from None
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]
