"""The endpoints, each a module or a few of a kind; ``ENDPOINTS`` names them all."""

from __future__ import annotations

from tokctl.server.endpoints import definitions, instances, service, tokens, trace
from tokctl.server.routes import Endpoint, Service

ENDPOINTS: tuple[Endpoint | Service, ...] = (
    instances.ONE,
    instances.LIST,
    tokens.OF_INSTANCE,
    trace.TRACE,
    tokens.ONE,
    tokens.BY_PREFIX,
    definitions.DEFINITION,
    definitions.DURATIONS,
    service.HEALTH,
    service.OPENAPI,
    service.METRICS,
)
