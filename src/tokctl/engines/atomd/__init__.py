"""atomd, the server of AtomBPMN atom-engine.

``engine`` answers queries, with ``api``; ``documents`` reads instances, tokens, jobs and timers, ``visits`` splits the
tokens, which move, into visits, and ``definitions`` has the process models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokctl.capabilities import Capability, Support
from tokctl.client.connection import CredentialProbe
from tokctl.engines.capabilities import EngineCapabilities

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.engines.atomd.engine import AtomdEngine
    from tokctl.engines.projection import Projection

PROBE = ("health",)
"""The path below the root of the request that recognizes the kind."""
ROOTS = ("",)
"""Usual roots of the API below the origin of a server."""
CREDENTIAL_PROBE = CredentialProbe(("api", "v1", "processes", "typed"), {"limit": "1"})
CAPABILITIES = EngineCapabilities(
    title="AtomBPMN atom-engine",
    states=Capability(Support.YES, "service tasks are WAITING, never ACTIVE"),
    errors=Capability(Support.YES, "of jobs"),
    stack_traces=Capability(Support.NO),
    retries=Capability(Support.PARTLY, "retries left; used ones are not recorded"),
    workers=Capability(Support.YES),
    jobs=Capability(Support.YES, "the engine always sends all of them"),
    timers=Capability(Support.YES, "at catch events"),
    user_tasks=Capability(Support.PARTLY, "only that a process waits at its first one"),
    messages=Capability(Support.YES, "the name, from the model"),
    variables=Capability(Support.YES, "the latest values"),
    elements=Capability(Support.DERIVED, "from the process model"),
    models=Capability(Support.YES),
    parents=Capability(Support.PARTLY, "where the model has one way from the visit before"),
    flows=Capability(Support.PARTLY, "to elements with jobs and between them; 'snapshot --watch' records more"),
    cancellation=Capability(Support.YES),
    called_instances=Capability(Support.PARTLY, "the called instance, while the token waits for it"),
    past_state=Capability(Support.PARTLY, "since the last arrival of each token, and while it waited for a job"),
    server_filters=Capability(Support.PARTLY, "the status; tokctl applies the others"),
    bounded_debug=Capability(Support.PARTLY, "tokens that wait for jobs, and a few of the others"),
    changes=Capability(Support.NO),
)


def open_engine(settings: Settings, reading: Projection) -> AtomdEngine:
    """Return an engine of the server that the settings name; it connects when it is first used."""
    from tokctl.engines.atomd.engine import AtomdEngine
    from tokctl.engines.connect import create_client

    return AtomdEngine(create_client(settings), settings.server or "", reading)


def recognizes(health: Any) -> bool:
    """Tell whether a response to ``/health`` is from atomd: it has a request id, but no service name."""
    data = _member(health, "data")
    named = _member(health, "meta").get("request_id") == "health"
    return named and "server" in _member(data, "checks") and data.get("service") is None


def _member(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}
