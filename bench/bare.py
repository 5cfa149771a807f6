"""The peer of ``tokctl serve``: Starlette answers the same documents, encoded by msgspec, to everybody."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Data(Struct):
    """The documented answer; what is the user's JSON stays as it came, so that the bytes are the same."""

    instance_id: str
    process_id: str
    tokens: list[dict[str, Raw]]
    summary: dict[str, Any]


class Envelope(Struct):
    """What stands around it."""

    success: bool
    data: Data
    request_id: str


DOCUMENTS = {
    name: msgspec.json.decode(Path(path).read_bytes(), type=Envelope)
    for name, path in json.loads(os.environ["DOCUMENTS"]).items()
}


async def answer(request: Request) -> Response:
    """Encode the answer of an instance."""
    document = DOCUMENTS[request.path_params["instance"]]
    return Response(msgspec.json.encode(document), media_type="application/json")


app = Starlette(routes=[Route("/api/v1/processes/{instance}/tokens", answer)])
