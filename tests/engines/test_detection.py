"""Which kind of server an address leads to, where its API is, and how many requests it takes to know."""

from __future__ import annotations

import pytest

from support.guarded_server import CAMUNDA, FLOWABLE, PACKAGED_FLOWABLE, serving
from tokctl.client import Connection
from tokctl.config import Settings
from tokctl.config.remembered_servers import ENGINE_SERVERS, RememberedServer
from tokctl.engines import open_engine
from tokctl.engines.detection import Candidate, DetectedServer, detect_server, list_candidates, resolve_server
from tokctl.errors import NotAllowedError, NotFoundError
from tokctl.model.filters import InstanceFilter
from tokctl.server_address import parse_url

SERVERS = {"camunda7": CAMUNDA, "flowable": FLOWABLE, "packaged flowable": PACKAGED_FLOWABLE}
HEALTH = {"/health": {"success": True, "data": {"service": "tokctl", "checks": {"server": "ok"}}}}


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("TOKCTL_API_KEY", raising=False)


def settings(url: str, **more) -> Settings:
    return Settings(server=url, place="server", timeout=5.0, **more)


def kinds(url: str, kind: str | None = None) -> list[tuple[str, str]]:
    return [tuple(one) for one in list_candidates(parse_url(url), kind)]


# --- the order of candidates --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("http://h", ("atomd", "")),
        ("http://h:27555", ("atomd", "")),
        ("http://h:8080", ("camunda7", "/engine-rest")),
        ("http://h/api/v1", ("atomd", "")),
        ("http://h:8080/api/v1/", ("atomd", "")),
        ("http://h/engine-rest", ("camunda7", "/engine-rest")),
        ("http://h:8080/engine-rest/", ("camunda7", "/engine-rest")),
        ("http://h/bpm/engine-rest", ("camunda7", "/bpm/engine-rest")),
        ("http://h/engine-rest/engine/second", ("camunda7", "/engine-rest/engine/second")),
        ("http://h/bpm/engine-rest/engine", ("camunda7", "/bpm/engine-rest")),
        ("http://h/engine-rest/process-instance/1", ("camunda7", "/engine-rest")),
        ("http://h/engine-rest/engine/second/process-instance/1", ("camunda7", "/engine-rest/engine/second")),
        ("http://h/process-api/repository/deployments", ("flowable", "/process-api")),
        ("http://h/flowable-rest/service/runtime/process-instances", ("flowable", "/flowable-rest/service")),
        ("http://h:8080/bpm/api/v1/processes/typed", ("atomd", "/bpm")),
        ("http://h/process-api", ("flowable", "/process-api")),
        ("http://h/flowable-rest/service", ("flowable", "/flowable-rest/service")),
    ],
)
def test_the_likeliest_comes_first(url, first):
    assert kinds(url)[0] == first


def test_part_of_a_root_is_completed():
    assert ("flowable", "/flowable-rest/service") in kinds("http://h/flowable-rest")


def test_any_path_may_have_the_root_below_it():
    found = kinds("http://h/any")
    assert {("camunda7", "/any"), ("camunda7", "/any/engine-rest"), ("flowable", "/any/process-api")} <= set(found)
    assert len(found) == len(set(found))


def test_a_path_that_says_what_it_is_needs_few_requests():
    assert kinds("http://h/engine-rest") == [
        ("camunda7", "/engine-rest"),
        ("atomd", "/engine-rest"),
        ("rest", "/engine-rest"),
    ]


def test_a_socket_has_no_path():
    assert {root for _, root in kinds("unix:///run/x.sock")} == {""}


# --- real requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pasted", "root", "requests"),
    [
        ("camunda7", "", "/engine-rest", 2),
        ("camunda7", "/engine-rest", "/engine-rest", 1),
        ("camunda7", "/engine-rest/", "/engine-rest", 1),
        ("camunda7", "/engine-rest/engine/second", "/engine-rest/engine/second", 1),
        ("camunda7", "/api/v1", "/engine-rest", 2),
        ("camunda7", "/engine-rest/api/v1", "/engine-rest", 2),
        ("camunda7", "/engine-rest/process-instance/", "/engine-rest", 1),
        ("camunda7", "/engine-rest/engine/second/process-instance", "/engine-rest/engine/second", 1),
        ("camunda7", "/camunda/app/cockpit/default", "/engine-rest", 2),
        ("camunda7", "/operaton/app/tasklist/default/", "/engine-rest", 2),
        ("camunda7", "/app/welcome/default", "/engine-rest", 2),
        ("camunda7", "/camunda-welcome/index.html", "/engine-rest", 2),
        ("camunda7", "/swaggerui", "/engine-rest", 2),
        ("flowable", "", "/process-api", 3),
        ("flowable", "/process-api", "/process-api", 1),
        ("packaged flowable", "/flowable-rest/service", "/flowable-rest/service", 1),
        ("packaged flowable", "", "/flowable-rest/service", 5),
        ("packaged flowable", "/flowable-rest/service/runtime/process-instances", "/flowable-rest/service", 1),
        ("packaged flowable", "/flowable-rest/docs/", "/flowable-rest/service", 3),
    ],
)
@pytest.mark.parametrize("missing", [404, 500])
def test_kind_and_root_are_found_once(name, pasted, root, requests, missing):
    with serving(SERVERS[name], missing=missing) as server:
        for _ in range(2):
            found = resolve_server(settings(server.url + pasted))
            assert (found.engine_kind, found.server) == (name.split()[-1], server.url + root)
        assert len(server.asked) == requests
        assert {one.authorization for one in server.asked} == {None}


def test_the_engine_gets_the_root():
    with serving(CAMUNDA) as server:
        engine = open_engine(settings(server.url))
        assert (engine.kind, engine.client.connection.url) == ("camunda7", f"{server.url}/engine-rest")
        assert engine.client.connection.basic


@pytest.mark.parametrize(
    "pasted",
    ["", "/", "/api/v1", "/api/v1/", "/api/v1/processes/x/tokens", "/openapi.json", "/docs", "/api/api-tokens/"],
)
def test_the_documented_api_with_and_without_its_prefix(pasted):
    with serving(HEALTH) as server:
        found = resolve_server(settings(server.url + pasted))
        assert (found.engine_kind, found.server) == ("rest", server.url)
        assert server.paths == ["/health"]


def test_an_unknown_server_is_remembered_as_rest():
    with serving({}) as server:
        assert resolve_server(settings(server.url)).engine_kind == "rest"
        assert len(server.asked) <= 6
        assert ENGINE_SERVERS.load(server.url) == RememberedServer("rest")


def test_a_server_that_is_busy_is_not_remembered():
    with serving({}, missing=503) as server:
        assert resolve_server(settings(server.url)).engine_kind == "rest"
        assert not ENGINE_SERVERS.file.exists()


# --- an explicit kind -----------------------------------------------------------------------------------


def test_the_root_of_an_explicit_kind_is_looked_for():
    with serving(PACKAGED_FLOWABLE) as server:
        found = resolve_server(settings(server.url, engine_kind="flowable"))
        assert (found.engine_kind, found.server) == ("flowable", f"{server.url}/flowable-rest/service")
        assert len(server.asked) == 2
        assert resolve_server(settings(server.url)).engine_kind == "flowable"  # known from now on
        assert len(server.asked) == 2


def test_the_first_root_is_the_default():
    with serving({}) as server:
        found = resolve_server(settings(server.url, engine_kind="camunda7"))
        assert found.server == f"{server.url}/engine-rest"
        assert not ENGINE_SERVERS.file.exists()


@pytest.mark.parametrize(
    ("kind", "pasted"), [("camunda7", "/engine-rest"), ("flowable", "/process-api"), ("rest", ""), ("atomd", "/api/v1")]
)
def test_a_complete_address_needs_no_request(kind, pasted):
    with serving({}) as server:
        found = resolve_server(settings(server.url + pasted, engine_kind=kind))
        assert found.server == server.url + pasted.removesuffix("/api/v1")
        assert server.asked == []


def test_an_explicit_kind_overrides_what_is_remembered():
    ENGINE_SERVERS.remember("http://h", RememberedServer("atomd"))
    assert resolve_server(settings("http://h", engine_kind="rest")).engine_kind == "rest"
    assert ENGINE_SERVERS.load("http://h") == RememberedServer("atomd")


# --- passwords ------------------------------------------------------------------------------------------


def with_password(monkeypatch, url: str, secret: str, **more) -> Settings:
    monkeypatch.setenv("ENGINE_LOGIN", secret)
    return settings(url, credential="env:ENGINE_LOGIN", **more)


@pytest.mark.parametrize("pasted", ["", "/process-api"])
def test_a_server_that_guards_everything(monkeypatch, pasted):
    with serving(FLOWABLE, password="rest-admin:te st") as server:
        found = resolve_server(with_password(monkeypatch, server.url + pasted, "rest-admin:te st"))
        assert (found.engine_kind, found.server) == ("flowable", f"{server.url}/process-api")
        assert [one.authorization for one in server.asked].count(None) == 1


def test_a_public_probe_gets_no_password(monkeypatch):
    with serving(CAMUNDA, password="demo:demo", public=("/engine-rest/engine",)) as server:
        resolve_server(with_password(monkeypatch, f"{server.url}/engine-rest", "demo:demo"))
        assert [one.authorization for one in server.asked] == [None]


def test_a_wrong_password_is_sent_once(monkeypatch):
    with serving(FLOWABLE, password="rest-admin:test") as server:
        used = with_password(monkeypatch, server.url, "rest-admin:wrong")
        for _ in range(2):  # the second is what a command does after an outage
            with pytest.raises(NotAllowedError, match="rejected the user name or the password"):
                open_engine(used)
        assert sum(one.authorization is not None for one in server.asked) == 1
        assert not ENGINE_SERVERS.file.exists()


@pytest.mark.parametrize("secret", [None, "a-token"])
def test_without_a_password(monkeypatch, secret):
    with serving(FLOWABLE, password="rest-admin:test") as server:
        used = settings(server.url) if secret is None else with_password(monkeypatch, server.url, secret)
        with pytest.raises(NotAllowedError, match="requires a user name and a password") as caught:
            resolve_server(used)
        assert "auth login --user" in caught.value.hint
        assert {one.authorization for one in server.asked} == {None}
        assert not ENGINE_SERVERS.file.exists()


# --- the memory -----------------------------------------------------------------------------------------


def test_the_old_format_is_read():
    ENGINE_SERVERS.file.parent.mkdir(parents=True)
    ENGINE_SERVERS.file.write_text(
        '{"http://a/api/v1": "atomd", "http://b": {"kind": "camunda7", "url": "http://b/engine-rest"}}'
    )
    assert resolve_server(settings("http://a/api/v1")).server == "http://a"
    assert resolve_server(settings("http://b")).server == "http://b/engine-rest"


def test_detection_needs_no_memory(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "file"))
    with serving(CAMUNDA) as server:
        assert resolve_server(settings(server.url)).engine_kind == "camunda7"
        detected = detect_server(Connection(server.url), parse_url(server.url))
        assert detected == DetectedServer("camunda7", f"{server.url}/engine-rest", certain=True, recognized=True)


def test_candidates_are_named():
    assert list_candidates(parse_url("http://h/process-api"))[0] == Candidate("flowable", "/process-api")


def test_a_server_that_is_no_engine_is_forgotten():
    with serving({}) as server:
        engine = open_engine(settings(server.url))
        assert ENGINE_SERVERS.load(server.url) is not None
        with pytest.raises(NotFoundError, match="not an engine"):
            list(engine.scan_instances(InstanceFilter()))
        assert ENGINE_SERVERS.load(server.url) is None


def test_a_server_whose_probe_fails_is_not_remembered():
    with serving({}, missing=500) as server:
        assert resolve_server(settings(server.url)).engine_kind == "rest"
        assert ENGINE_SERVERS.load(server.url) is None
