"""Sends spans in the JSON of OTLP to a collector: for ``tokctl export --endpoint``."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from tokctl.client import Client, decode_json
from tokctl.config import Settings
from tokctl.server_address import parse_url

TRACES_PATH = ("v1", "traces")
"""The path of a collector for traces, for an endpoint without a path."""
_OF_SERVER = ("ca_file", "insecure", "timeout", "connect_timeout", "rate")
_DEFAULTS = Settings()


class _PartialSuccess(Struct, rename="camel"):
    rejected_spans: int | str = 0  # ProtoJSON writes 64-bit integers as text
    error_message: str = ""


class _ExportResponse(Struct, rename="camel"):
    partial_success: _PartialSuccess | UnsetType = UNSET


class Delivery(Struct, frozen=True):
    """How many spans a collector has rejected, and what it told about them and others."""

    rejected: int
    messages: tuple[str, ...]


def open_collector(endpoint: str, settings: Settings, credential: str | None) -> Client:
    """Return a client of a collector.

    A credential is sent only if its place is given. Of the settings for connections, those of a context are for its own
    server. Raises UsageError: the URL is invalid.
    """
    from tokctl.api_tokens.vaults.credentials import build_connection

    foreign = [name for name in _OF_SERVER if settings.origins.get(name, "").startswith("context ")]
    own = replace(settings, **{name: getattr(_DEFAULTS, name) for name in foreign})
    connection = build_connection(endpoint, own, credential)
    if credential is None:
        connection = replace(connection, credential=lambda: None)
    return Client(connection)


def send_spans(client: Client, bodies: Iterable[str]) -> Delivery:
    """Send each body in a request, repeated after transient failures: the ids of the spans stay the same.

    Raises:
        TokctlError: a request failed; what was sent before stays.
        InputError: a response is not that of a collector.
    """
    segments = () if parse_url(client.connection.url).path else TRACES_PATH
    rejected = 0
    messages: dict[str, None] = {}
    for body in bodies:
        response = client.post(segments, Raw(body.encode()), repeatable=True)
        if not response.body.strip():
            continue
        partial = decode_json(response, _ExportResponse).partial_success
        if isinstance(partial, _PartialSuccess):
            rejected += int(partial.rejected_spans)
            if partial.error_message:
                messages.setdefault(response.mask_secrets(partial.error_message))
    return Delivery(rejected, (*messages,))
