"""The endpoints, by subject; ``ENDPOINTS`` lists them all."""

from __future__ import annotations

from tokctl.server.endpoint import Endpoint
from tokctl.server.endpoints import api_tokens, audit, definitions, instances, introspection, service, tokens, trace

ENDPOINTS: tuple[Endpoint, ...] = (
    tokens.OF_INSTANCE,
    instances.ONE,
    instances.LIST,
    trace.TRACE,
    tokens.ONE,
    tokens.OF_ALL,
    definitions.DEFINITION,
    definitions.DURATIONS,
    api_tokens.LIST,
    api_tokens.CREATE,
    introspection.INTROSPECT,
    audit.AUDIT,
    api_tokens.GET,
    api_tokens.UPDATE,
    api_tokens.REVOKE,
    service.HEALTH,
    service.OPENAPI,
    service.METRICS,
)
"""Paths are matched in this order: the most frequent ones come first, and fixed segments come before ids, because
``audit`` is not the id of an API token."""
