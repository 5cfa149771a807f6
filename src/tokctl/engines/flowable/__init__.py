"""Flowable 7, over its REST API (kind ``flowable``): how it is recognized, and what it can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokctl.capabilities import Capability, Support
from tokctl.client.connection import CredentialProbe
from tokctl.engines.capabilities import EngineCapabilities, ReadingProbes
from tokctl.engines.connect import create_client
from tokctl.engines.flowable.engine import FlowableEngine
from tokctl.engines.projection import Projection

if TYPE_CHECKING:
    from tokctl.config import Settings

__all__ = [
    "CAPABILITIES",
    "CREDENTIAL_PROBE",
    "PROBE",
    "READING_PROBES",
    "ROOTS",
    "FlowableEngine",
    "open_engine",
    "recognizes",
]

PROBE = ("management", "engine")
"""The path below the root of the request that recognizes the kind. It needs a credential where there is any."""
ROOTS = ("/process-api", "/flowable-rest/service")
"""Usual roots of the API of processes: that of the Spring Boot starter, and that of the packaged application."""
_NO_ROWS = {"size": "0"}
CREDENTIAL_PROBE = CredentialProbe(("history", "historic-process-instances"), _NO_ROWS)
READING_PROBES = ReadingProbes(
    {
        "process model": CredentialProbe(("repository", "process-definitions"), _NO_ROWS),
        "instance": CREDENTIAL_PROBE,
        "job": CredentialProbe(("management", "jobs"), _NO_ROWS),
        "incident": CredentialProbe(("management", "deadletter-jobs"), _NO_ROWS),
    }
)
CAPABILITIES = EngineCapabilities(
    title="Flowable",
    states=Capability(Support.DERIVED, "from jobs, executions and the sequence flows taken"),
    errors=Capability(Support.YES, "of jobs that failed"),
    stack_traces=Capability(Support.YES, "of dead letters, in 'tokens show'"),
    retries=Capability(Support.PARTLY, "retries left; used ones are not recorded"),
    workers=Capability(Support.YES, "while they hold a job"),
    jobs=Capability(Support.YES, "topics from the model"),
    timers=Capability(Support.YES),
    user_tasks=Capability(Support.YES),
    messages=Capability(Support.YES),
    variables=Capability(Support.PARTLY, 'not the values of serialized objects, which are shown as {"unknown": TYPE}'),
    elements=Capability(Support.YES),
    models=Capability(Support.YES),
    parents=Capability(Support.DERIVED, "from the sequence flows taken"),
    flows=Capability(Support.YES),
    cancellation=Capability(Support.DERIVED, "recorded for user tasks only"),
    called_instances=Capability(Support.YES),
    past_state=Capability(Support.PARTLY, "begin and end of each visit"),
    server_filters=Capability(
        Support.PARTLY, "ended or not, one process and version, business key, start; tokctl applies the others"
    ),
    bounded_debug=Capability(Support.YES),
    changes=Capability(Support.NO),
)


def open_engine(settings: Settings, reading: Projection) -> FlowableEngine:
    """Return an engine of the server that the settings name; it connects when it is first used."""
    return FlowableEngine(create_client(settings), settings.server or "", reading)


def recognizes(document: Any) -> bool:
    """Tell whether a response to ``PROBE`` is from Flowable."""
    return isinstance(document, dict) and isinstance(document.get("version"), str) and "resourceUrl" in document
