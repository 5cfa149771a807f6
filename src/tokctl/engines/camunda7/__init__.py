"""Camunda 7 and its forks Operaton and CIB seven, which have the same REST API.

``engine`` answers queries, ``instances`` finds instances, ``reader`` fetches rows (``documents``) with ``api``,
``work`` and ``tokens`` turn them into tokens, ``models`` has the process models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokctl.capabilities import Capability, Support
from tokctl.client.connection import CredentialProbe
from tokctl.engines.capabilities import EngineCapabilities, ReadingProbes

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.engines.camunda7.engine import Camunda7Engine
    from tokctl.engines.projection import Projection

PROBE = ("engine",)
"""Answered without a credential, even by a server that requires one for everything else."""
ROOTS = ("/engine-rest", "", "/rest")
"""Where the API usually is."""
CREDENTIAL_PROBE = CredentialProbe(("version",))
READING_PROBES = ReadingProbes(
    {
        "process model": CredentialProbe(("process-definition", "count")),
        "instance": CredentialProbe(("history", "process-instance", "count")),
        "job": CredentialProbe(("job", "count")),
        "incident": CredentialProbe(("incident", "count")),
    },
    hides=True,
)
CAPABILITIES = EngineCapabilities(
    title="Camunda 7, Operaton, CIB seven",
    states=Capability(Support.YES, "FAILED is an open incident"),
    errors=Capability(Support.YES),
    stack_traces=Capability(Support.YES, "for a single token"),
    retries=Capability(Support.YES, "used ones at history level full, for a single instance"),
    workers=Capability(Support.YES, "of external tasks"),
    jobs=Capability(Support.YES, "asynchronous continuations, timers and external tasks"),
    timers=Capability(Support.YES),
    user_tasks=Capability(Support.YES),
    messages=Capability(Support.YES),
    variables=Capability(Support.YES, "the latest values, from history level audit on"),
    elements=Capability(Support.YES, "from the BPMN XML"),
    models=Capability(Support.YES),
    parents=Capability(Support.DERIVED, "from the scopes, the model and the times"),
    flows=Capability(Support.DERIVED, "from the model and the times"),
    cancellation=Capability(Support.YES),
    called_instances=Capability(Support.YES, "both ways"),
    past_state=Capability(Support.PARTLY, "earlier incidents and suspensions are not known"),
    server_filters=Capability(Support.PARTLY, "of instances; the rest is applied by tokctl"),
    bounded_debug=Capability(Support.YES),
    changes=Capability(Support.NO),
)


def open_engine(settings: Settings, reading: Projection) -> Camunda7Engine:
    """Return an engine of the server that the settings name; it connects when it is first used."""
    from tokctl.engines.camunda7.engine import Camunda7Engine
    from tokctl.engines.connect import create_client

    return Camunda7Engine(create_client(settings), settings.server or "", reading)


def recognizes(document: Any) -> bool:
    """Tell whether a response to ``/engine`` is a list of engines by name."""
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(one, dict) and one.keys() == {"name"} and isinstance(one["name"], str) for one in document)
    )
