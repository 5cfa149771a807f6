"""A running engine as the tests see it: its raw answers, and what tokctl reads of it."""

from __future__ import annotations

from functools import cached_property

from live.driving import DRIVERS
from live.raw_answers import ANSWERS, RawInstance

KINDS = {"operaton": "camunda7", "flowable": "flowable"}
"""The engine kind that reads each of the engines."""


class LiveEngine:
    """A running engine and the ids of the instances of all cases."""

    def __init__(self, name: str, url: str, cases: dict[str, str]) -> None:
        self.name = name
        self.kind = KINDS[name]
        self.url = url
        self.cases = cases
        self.driver = DRIVERS[name](url)
        self.raw = ANSWERS[name](self.driver)

    @cached_property
    def instances(self) -> dict[str, RawInstance]:
        """All instances, as the engine tells of them."""
        return self.raw.instances()
