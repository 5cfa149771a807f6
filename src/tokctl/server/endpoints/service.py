"""What the server says of itself: whether it is well, what it understands, what it has done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from tokctl.process.model import format_time
from tokctl.server.routes import Service

if TYPE_CHECKING:
    from tokctl.server.app import Application


def _health(app: Application, _headers: Mapping[bytes, bytes], request_id: str) -> bytes:
    app.present.look()
    data = {
        "status": "healthy",
        "service": "tokctl",
        "checks": {"server": "ok", "store": "ok"},
        "timestamp": format_time(datetime.now(UTC)),
    }
    return msgspec.json.encode({"success": True, "data": data, "request_id": request_id})


HEALTH = Service(
    path="/health",
    name="getHealth",
    text="Whether the server runs, and its store can be read. 503 where it cannot.",
    schema="Health",
    faults=(503,),
    body=_health,
)

OPENAPI = Service(
    path="/openapi.json",
    name="getOpenApi",
    text="This document.",
    schema="OpenApi",
    body=lambda app, _headers, _request_id: app.openapi,
)

METRICS = Service(
    path="/metrics",
    name="getMetrics",
    text="Figures in the Prometheus text format.",
    schema="",
    permissions=("metrics",),
    content_type=b"text/plain; version=0.0.4; charset=utf-8",
    body=lambda app, _headers, _request_id: app.metrics.text(),
)
