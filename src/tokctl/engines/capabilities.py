"""What a kind of engine can tell: one capability for each feature that operators ask for.

Each engine module declares its own as ``CAPABILITIES``. ``tokctl engines`` and docs/engines.md show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from tokctl.capabilities import NOT_TOLD, Capability, Feature
from tokctl.client.connection import CredentialProbe


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


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        "states": Feature("States", "States of tokens and instances"),
        "errors": Feature("Error messages", "Error messages of failed work"),
        "stack_traces": Feature("Stack traces"),
        "retries": Feature("Retries left and used"),
        "workers": Feature("Workers of jobs", "Workers that hold a job"),
        "jobs": Feature("Jobs and their types"),
        "timers": Feature("Timers", "Timers and when they are due"),
        "user_tasks": Feature("User tasks", "User tasks with assignee and due date"),
        "messages": Feature("Messages and signals", "Messages and signals that a token waits for"),
        "variables": Feature("Variables"),
        "elements": Feature("Names of elements", "Names and types of elements"),
        "models": Feature("Process models"),
        "parents": Feature("Parents of tokens"),
        "flows": Feature("Sequence flows taken"),
        "cancellation": Feature("Cancelled or completed"),
        "called_instances": Feature("Called instances", "Called and calling instances"),
        "past_state": Feature("Earlier states (--at)", "State at an earlier time (--at)"),
        "server_filters": Feature("Filters by the server", "Filters applied by the server"),
        "bounded_debug": Feature("Bounded debug", "debug of all instances without a request for each"),
        "changes": Feature("Changes only (ETag)", "Unchanged data is not sent again (ETag)"),
    }
)
"""The features by name, in the order of the table."""


class ReadingProbes(NamedTuple):
    """GET requests that count what a credential may read, by what they count, in the singular.

    ``hides``: the server leaves out what the user may not read, instead of refusing the request.
    """

    probes: Mapping[str, CredentialProbe]
    hides: bool = False


def load_capabilities(kind: str) -> EngineCapabilities:
    """Return what a kind of engine can tell. Raises KeyError: there is no such kind."""
    from tokctl.engines import ENGINES

    found: EngineCapabilities = import_module(ENGINES[kind]).CAPABILITIES
    return found
