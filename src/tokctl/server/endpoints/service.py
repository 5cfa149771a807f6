"""The server itself: health, OpenAPI document, metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

from tokctl.documents.errors import ChecksDocument, HealthDocument
from tokctl.errors import StoreError
from tokctl.model.times import format_time
from tokctl.server.endpoint import DocumentResponse, Endpoint, Query, RawResponse, Response
from tokctl.server.services import Services
from tokctl.store.protocol import Store, StoreLevels


async def _get_health(services: Services, _query: Query) -> Response:
    await services.live_store.refresh(perf_counter())
    document = HealthDocument(
        status="healthy",
        service="tokctl",
        checks=ChecksDocument(server="ok", store="ok"),
        timestamp=format_time(datetime.now(UTC)) or "",
    )
    return DocumentResponse(document, in_envelope=True)


async def _get_openapi(services: Services, _query: Query) -> Response:
    return RawResponse(services.openapi, b"application/json")


async def _get_metrics(services: Services, _query: Query) -> Response:
    """Return the metrics of the server, and those of the store if it can be read."""
    try:
        levels = await services.readers.read(_read_levels)
    except StoreError:
        levels = None
    return RawResponse(services.metrics.render(levels), b"text/plain; version=0.0.4; charset=utf-8")


def _read_levels(store: Store) -> StoreLevels:
    return store.levels(datetime.now(UTC))


HEALTH = Endpoint(
    path="/health",
    name="getHealth",
    text="Check that the server runs and can read its store. The status is 503 if it cannot.",
    schema="Health",
    errors=(503,),
    handler=_get_health,
)

OPENAPI = Endpoint(
    path="/openapi.json", name="getOpenApi", text="Get this document.", schema="OpenApi", handler=_get_openapi
)

METRICS = Endpoint(
    path="/metrics",
    name="getMetrics",
    text="Get metrics in the Prometheus text format.",
    schema="",
    permissions=("metrics",),
    handler=_get_metrics,
)
