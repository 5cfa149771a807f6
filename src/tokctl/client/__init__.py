"""The HTTP client: asks a server, and turns every way in which that can fail into one of ``errors``.

It knows HTTP and the envelope around errors, but no endpoint; those are the engines' and registries'.
What it stands on, httpx, is imported by the first request and not before.
"""

from __future__ import annotations

from tokctl.client.address import check_url
from tokctl.client.answers import json_of
from tokctl.client.connection import Answer, Connection
from tokctl.client.patience import UnansweredError
from tokctl.client.session import Client

__all__ = ["Answer", "Client", "Connection", "UnansweredError", "check_url", "json_of"]
