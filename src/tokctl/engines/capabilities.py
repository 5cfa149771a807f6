"""What a kind of engine can tell: one capability for each feature that operators ask for.

Each engine module declares its own as ``CAPABILITIES``. ``tokctl engines`` and docs/engines.md show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from msgspec import Struct

from tokctl.capabilities import NOT_TOLD, Capability


class EngineCapabilities(Struct, frozen=True, kw_only=True):
    """What a kind of engine can tell. ``title`` names the products; the features (default: no) are in ``FEATURES``."""

    title: str
    states: Capability = NOT_TOLD
    errors: Capability = NOT_TOLD
    stack_traces: Capability = NOT_TOLD
    retries: Capability = NOT_TOLD
    workers: Capability = NOT_TOLD
    jobs: Capability = NOT_TOLD
    timers: Capability = NOT_TOLD
    user_tasks: Capability = NOT_TOLD
    messages: Capability = NOT_TOLD
    variables: Capability = NOT_TOLD
    elements: Capability = NOT_TOLD
    models: Capability = NOT_TOLD
    parents: Capability = NOT_TOLD
    flows: Capability = NOT_TOLD
    cancellation: Capability = NOT_TOLD
    called_instances: Capability = NOT_TOLD
    past_state: Capability = NOT_TOLD
    server_filters: Capability = NOT_TOLD
    bounded_debug: Capability = NOT_TOLD
    changes: Capability = NOT_TOLD

    def __getitem__(self, feature: str) -> Capability:
        """Return the capability of one of ``FEATURES``."""
        found: Capability = getattr(self, feature)
        return found


FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "states": "States of tokens and instances",
        "errors": "Error messages of failed work",
        "stack_traces": "Stack traces",
        "retries": "Retries left and used",
        "workers": "Workers that hold a job",
        "jobs": "Jobs and their types",
        "timers": "Timers and when they are due",
        "user_tasks": "User tasks with assignee and due date",
        "messages": "Messages and signals that a token waits for",
        "variables": "Variables",
        "elements": "Names and types of elements",
        "models": "Process models",
        "parents": "Parents of tokens",
        "flows": "Sequence flows taken",
        "cancellation": "Cancelled or completed",
        "called_instances": "Called and calling instances",
        "past_state": "State at an earlier time (--at)",
        "server_filters": "Filters applied by the server",
        "bounded_debug": "debug of all instances without a request for each",
        "changes": "Unchanged data is not sent again (ETag)",
    }
)
"""Feature → what an operator asks for, in the order of the table."""


def load_capabilities(kind: str) -> EngineCapabilities:
    """Return what a kind of engine can tell. Raises KeyError: there is no such kind."""
    from tokctl.engines import ENGINES

    found: EngineCapabilities = import_module(ENGINES[kind]).CAPABILITIES
    return found
