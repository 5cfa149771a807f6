"""Incidents that belong to no process instance: a timer that failed to start one, or another job of the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tokctl.text import count, one_line

MAX_DESCRIBED = 3
"""Maximum number of kinds of incidents that are described in full."""


class FailedStart(NamedTuple):
    """A failed job of no instance. ``definition_id`` is ``PROCESS:VERSION:…``; None for jobs of the engine itself."""

    definition_id: str | None
    element_id: str | None
    message: str | None
    is_start: bool
    """Whether the job was to start an instance."""


def describe_failed_starts(failures: Iterable[FailedStart]) -> list[str]:
    """Return sentences on failed jobs of no instance, equal ones together."""
    kinds = Counter(failures).most_common()
    sentences = []
    for failure, times in kinds[:MAX_DESCRIBED]:
        process = (failure.definition_id or "").partition(":")[0]
        of_process = f" of '{process}'" if process else ""
        where = f" at '{failure.element_id}'" if failure.element_id else ""
        often = f" {times:,} times" if times > 1 else ""
        why = one_line(failure.message or "").removesuffix(".") or "no error message was recorded"
        what = "The start of an instance" if failure.is_start else "A job without an instance"
        sentences.append(f"{what}{of_process} failed{where}{often}: {why}.")
    if rest := sum(times for _, times in kinds[MAX_DESCRIBED:]):
        sentences.append(f"{count(rest, 'more job')} without an instance failed.")
    return sentences
