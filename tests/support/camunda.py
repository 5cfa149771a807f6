"""Engines over a fake Camunda 7, at the time of the recordings."""

from __future__ import annotations

from datetime import UTC, datetime

from support.fake_camunda import FakeCamunda
from tokctl.client import Client, Connection
from tokctl.engines.camunda7.engine import Camunda7Engine
from tokctl.engines.projection import Projection

RECORDED_AT = datetime(2026, 11, 28, 16, 43, 10, tzinfo=UTC)
"""Just after the recordings."""


def open_camunda(
    url: str,
    *,
    root: str = "/engine-rest",
    reading: Projection = Projection.TOKENS,
    credential: str | None = None,
    now: datetime = RECORDED_AT,
) -> Camunda7Engine:
    connection = Connection(url=url + root, credential=lambda: credential)
    client = Client(connection, sleep=lambda _: None, warn=lambda _: None)
    return Camunda7Engine(client, url, reading, clock=lambda: now)


def named_tokens(engine: Camunda7Engine, instance_id: str) -> dict[str, list[str]]:
    """Return the states of an instance's tokens by element, in order."""
    states: dict[str, list[str]] = {}
    for token in engine.load_instance(instance_id).tokens:
        states.setdefault(token.element_id, []).append(token.state)
    return states


def parent_elements(engine: Camunda7Engine, instance_id: str) -> dict[str, list[str | None]]:
    """Return the elements of the parents of an instance's tokens by element, in order."""
    tokens = engine.load_instance(instance_id).tokens
    elements = {token.token_id: token.element_id for token in tokens}
    parents: dict[str, list[str | None]] = {}
    for token in tokens:
        parents.setdefault(token.element_id, []).append(elements.get(token.parent_token_id or ""))
    return parents


def open_fake(server: FakeCamunda) -> Camunda7Engine:
    return open_camunda(server.url, root=server.root, credential=server.user)
