"""Which kind a server is, is detected from the first page of its list, and not before it matters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from support import faulty_server
from support.fake_xiver import FakeXiver
from support.serving import Served
from tokctl.api_tokens.registries import SERVER_KINDS, tokctl, xivercms
from tokctl.api_tokens.registries.protocol import RegistryCapabilities
from tokctl.api_tokens.registries.server_kind import ServerKind

Open = Callable[..., Any]


class OtherKind(ServerKind):
    capabilities = RegistryCapabilities(has_audit=False)
    reserved_ids = frozenset({"self"})

    def detect(self, page):
        return page.meta.get("server") == "other"


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third kind of server: one module and one line in the table."""
    module = ModuleType("other_kind")
    module.KIND = OtherKind()
    monkeypatch.setitem(sys.modules, "other_kind", module)
    kinds = {"other": "other_kind"} | SERVER_KINDS
    monkeypatch.setattr("tokctl.api_tokens.registries.SERVER_KINDS", kinds)


def test_servers_are_told_apart(opened: Open, served: Served, fake: FakeXiver):
    for server, credential, kind in (
        (served.url, served.secret, tokctl.KIND),
        (fake.url, fake.jwt, xivercms.KIND),
    ):
        registry = opened(server=server, credential=credential)
        for _ in range(2):
            assert registry.capabilities() is kind.capabilities
    assert [path for path, _ in served.asked] == ["/api/api-tokens?page=1&pageSize=1"]


def test_the_list_itself_tells_the_kind(opened: Open, fake: FakeXiver):
    fake.add("ci")
    registry = opened(server=fake.url, credential=fake.jwt)
    registry.page(1, 10)
    registry.capabilities()
    registry.find_by_name("ci")
    assert len(fake.requests) == 2


def test_an_added_kind_is_detected(other: None, opened: Open):
    answers = (
        faulty_server.good(b'{"data":[],"meta":{"server":"other"}}'),
        faulty_server.good(b'{"data":[],"meta":{"server":"other"}}'),
        faulty_server.good(b'{"data":[],"meta":{"server":"unheard of"}}'),
    )
    with faulty_server.serving(*answers) as server:
        assert opened(server=server.url, credential="xvc_own").capabilities() is OtherKind.capabilities
        assert opened(server=server.url, credential="xvc_own").capabilities() is OtherKind.capabilities
        assert opened(server=server.url, credential="xvc_own").capabilities() is xivercms.KIND.capabilities
