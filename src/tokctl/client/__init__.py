"""The HTTP client: sends requests to one server, and raises every failure as one of ``tokctl.errors``.

It handles HTTP and the JSON of error responses, but no endpoints: engines and registries do that. httpx is imported by
the first request.
"""

from __future__ import annotations

from tokctl.client.connection import ClientResponse, Connection
from tokctl.client.json_responses import decode_json
from tokctl.client.retries import OutcomeUnknownError
from tokctl.client.session import Client
from tokctl.server_address import check_url

__all__ = ["Client", "ClientResponse", "Connection", "OutcomeUnknownError", "check_url", "decode_json"]
