"""The endpoints, each a module or a few of a kind; ``ENDPOINTS`` names them all."""

from __future__ import annotations

from tokctl.server.endpoints import api_tokens, audit, definitions, instances, introspection, service, tokens, trace
from tokctl.server.routes import Route

ENDPOINTS: tuple[Route, ...] = (
    instances.ONE,
    instances.LIST,
    tokens.OF_INSTANCE,
    trace.TRACE,
    tokens.ONE,
    tokens.BY_PREFIX,
    definitions.DEFINITION,
    definitions.DURATIONS,
    api_tokens.ALL,
    api_tokens.ONE,
    introspection.INTROSPECT,
    audit.AUDIT,
    service.HEALTH,
    service.OPENAPI,
    service.METRICS,
)
