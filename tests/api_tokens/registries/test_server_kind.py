"""Which kind a server is, is detected by one or two requests without a credential, and remembered by its address."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from support import faulty_server
from support.fake_strapi import FakeStrapi
from support.fake_xiver import FakeXiver
from support.serving import Served
from tokctl.api_tokens.registries import strapi as strapi_kind
from tokctl.api_tokens.registries import tokctl, xivercms
from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.api_tokens.registries.detection import find_registry, load_kind
from tokctl.api_tokens.registries.server_kind import ServerKind, json_object
from tokctl.client import Connection
from tokctl.config.remembered_servers import REGISTRY_SERVERS, RememberedServer
from tokctl.errors import TokctlError, UnreachableError, UsageError
from tokctl.kinds import SERVER_REGISTRIES

Open = Callable[..., Any]
PROBE = "/api/api-tokens?page=1&pageSize=1"


class OtherKind(ServerKind):
    name = "other"
    capabilities = RegistryCapabilities(title="Other")

    def recognizes(self, answer):
        return json_object(answer).get("server") == "other"


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more kind of server: one module and one line in the table."""
    module = ModuleType("other_kind")
    module.KIND = OtherKind()
    monkeypatch.setitem(sys.modules, "other_kind", module)
    monkeypatch.setitem(SERVER_REGISTRIES, "other", "other_kind")


def find(url: str, kind: str | None = None, **more: Any):
    return find_registry(Connection(url=url, credential=pytest.fail), kind, warn=pytest.fail, **more)


def test_servers_are_told_apart(opened: Open, served: Served, fake: FakeXiver, strapi: FakeStrapi):
    for server, credential, kind in (
        (served.url, served.secret, tokctl.KIND),
        (fake.url, fake.jwt, xivercms.KIND),
        (strapi.url, strapi.jwt, strapi_kind.KIND),
    ):
        for _ in range(2):
            assert opened(server=server, credential=credential).capabilities() is kind.capabilities
    assert [path for path, _ in served.asked] == [PROBE]
    for cms in (fake, strapi):
        assert [(one.path, one.headers.get("authorization")) for one in cms.requests] == [(PROBE, None)]


def test_a_kind_that_is_set_asks_nothing_and_overrides(opened: Open, fake: FakeXiver):
    find(fake.url)
    registry = opened(server=fake.url, registry_kind="strapi", credential=fake.jwt)
    assert registry.capabilities() is strapi_kind.KIND.capabilities
    assert len(fake.requests) == 1
    with pytest.raises(UsageError, match=r"unknown registry kind 'strappi'.*strapi"):
        find(fake.url, "strappi")


def test_strapi_that_does_not_say_its_name(strapi: FakeStrapi):
    strapi.headers = ()
    assert find(strapi.url).kind == "strapi"
    assert len(strapi.requests) == 1


def test_strapi_whose_content_api_is_closed(strapi: FakeStrapi):
    """A proxy answers what begins with /api; the admin API tells what it is."""
    closed = faulty_server.good(b"not here", 404)
    refused = faulty_server.good(
        b'{"data":null,"error":{"status":401,"name":"UnauthorizedError","message":"Missing or invalid credentials"}}',
        401,
    )
    with faulty_server.serving(closed, refused) as server:
        assert find(server.url).kind == "strapi"


@pytest.mark.parametrize("path", ["/api/api-tokens/", "/api-tokens/", "/api/v1/processes", "/api/api-tokens/7"])
def test_an_address_within_a_cms(opened: Open, fake: FakeXiver, path: str):
    registry = opened(server=fake.url + path)
    registry.list()
    assert registry.where == fake.url


@pytest.mark.parametrize(
    "path", ["/admin", "/admin/", "/admin/auth/login", "/admin/api-tokens", "/admin/settings/api-tokens", "/api"]
)
def test_an_address_within_strapi(opened: Open, strapi: FakeStrapi, path: str):
    strapi.add("ci")
    for _ in range(2):
        registry = opened(server=strapi.url + path, credential=strapi.jwt)
        assert [one.name for one in registry.list()] == ["ci"]
        assert registry.where == strapi.url
    assert REGISTRY_SERVERS.load((strapi.url + path).rstrip("/")).url == strapi.url


def test_what_no_kind_recognizes_is_not_remembered():
    with faulty_server.serving(faulty_server.good(b"<html>hello</html>")) as server:
        assert find(server.url) == ("xivercms", server.url, False)
        assert REGISTRY_SERVERS.load(server.url) is None
    with pytest.raises(UnreachableError):
        find(f"http://127.0.0.1:{faulty_server.unused_port()}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"timestamp":"2026-11-29T09:00:00Z","status":401,"error":"Unauthorized","path":"/api/api-tokens"}',
        b'{"error":{"code":"UNAUTHORIZED","message":"no"},"request_id":"r"}',
        b'{"error":"invalid_token","error_description":"The access token expired"}',
        b"",
        b"[]",
    ],
    ids=["Spring", "engine", "OAuth", "empty", "list"],
)
def test_other_servers_are_not_taken_for_a_cms(body: bytes):
    with faulty_server.serving(faulty_server.good(body, 401)) as server:
        assert not find(server.url).certain


def test_a_server_that_is_of_another_kind_now(opened: Open, served: Served, fake: FakeXiver, strapi: FakeStrapi):
    """The first command says so, and the second one detects the kind again."""
    for server, credential in ((served.url, served.secret), (fake.url, fake.jwt), (strapi.url, strapi.jwt)):
        right = find(server, fresh=True)
        for wrong in SERVER_REGISTRIES.keys() - {right.kind}:
            REGISTRY_SERVERS.remember(server, RememberedServer(wrong))
            with pytest.raises(TokctlError) as caught:
                [*opened(server=server, credential=credential).list()]
            assert "Run the command again" in caught.value.hint, (right.kind, wrong)
            assert find(server) == right
            with pytest.raises(TokctlError) as caught:
                [*opened(server=server, registry_kind=wrong, credential=credential).list()]
            assert "Run the command again" in caught.value.hint or "kind" in caught.value.hint


def test_an_added_kind_is_detected(other: None):
    with faulty_server.serving(faulty_server.good(b'{"server":"other"}')) as server:
        assert find(server.url).server_kind.capabilities is OtherKind.capabilities


@pytest.mark.parametrize("name", SERVER_REGISTRIES)
def test_a_kind_has_the_name_that_it_is_listed_by(name: str):
    assert load_kind(name).name == name
