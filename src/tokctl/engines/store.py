"""The local store as an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokctl.capabilities import Capability, Support
from tokctl.engines.capabilities import EngineCapabilities
from tokctl.engines.projection import Projection
from tokctl.store import open_store

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.engines.protocol import Engine


CAPABILITIES = EngineCapabilities(
    title="Local store",
    states=Capability(Support.YES),
    errors=Capability(Support.YES, "as recorded in the execution context"),
    stack_traces=Capability(Support.PARTLY, "if the source recorded one"),
    retries=Capability(Support.YES),
    workers=Capability(Support.YES),
    jobs=Capability(Support.YES, "key and type of the job of a token"),
    timers=Capability(Support.PARTLY, "if the source recorded the due time, or the model has a fixed duration"),
    user_tasks=Capability(Support.PARTLY, "if the source recorded them"),
    messages=Capability(Support.DERIVED, "names come from the BPMN XML"),
    variables=Capability(Support.YES, "the latest values, and changes between tokens"),
    elements=Capability(Support.YES),
    models=Capability(Support.YES),
    parents=Capability(Support.YES),
    flows=Capability(Support.YES, "marked if the source did not record them"),
    cancellation=Capability(Support.YES, "marked if the source did not record it"),
    called_instances=Capability(Support.PARTLY, "if the source recorded them"),
    past_state=Capability(Support.YES, "all but earlier values of variables"),
    server_filters=Capability(Support.YES, "in SQL"),
    bounded_debug=Capability(Support.YES, "needs no requests"),
    changes=Capability(Support.YES, "the version of the store"),
)


def open_engine(settings: Settings, reading: Projection) -> Engine:  # noqa: ARG001 - a store reads what it is asked for
    """Open the store to be read. Raises StoreError."""
    return open_store(settings.store_location)
