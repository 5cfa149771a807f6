"""Addresses as operators paste them, and reverse proxies before the engines: other paths, compression, TLS."""

from __future__ import annotations

import re
import ssl

import pytest
import trustme

from live.live_engines import LiveEngine
from live.scenarios import MORE_ENGINES
from support.reverse_proxy import reverse_proxy

ADDRESSES = {
    "operaton": (
        *("", "/", "/engine-rest", "/engine-rest/", "/engine-rest/engine/default", "/engine-rest/engine/default/"),
        *("/api/v1", "/engine-rest/api/v1", "/engine-rest/process-instance", "/engine-rest/version"),
    ),
    "flowable": (
        *("", "/", "/process-api", "/process-api/", "/api/v1", "/process-api/api/v1"),
        *("/process-api/runtime/process-instances", "/process-api/management/engine"),
    ),
}
"""What may be pasted behind the host; the last ones from a browser or from a script."""
PROXIES = {
    "operaton": (
        ({"/bpm": ""}, ("/bpm", "/bpm/", "/bpm/engine-rest", "/bpm/engine-rest/engine/default", "/bpm/api/v1")),
        ({"/engine-rest": "/engine-rest"}, ("", "/engine-rest")),
        ({"/tools/bpm/rest": "/engine-rest"}, ("/tools/bpm", "/tools/bpm/rest")),
        ({"/workflow": "/engine-rest"}, ("/workflow", "/workflow/engine/default")),
    ),
    "flowable": (
        ({"/bpm": ""}, ("/bpm", "/bpm/", "/bpm/process-api", "/bpm/api/v1")),
        (
            {"/process-api": "/process-api", "/external-job-api": "/external-job-api"},
            ("", "/process-api"),
        ),
        (
            {
                "/flowable-rest/service": "/process-api",
                "/flowable-rest/external-job-api": "/external-job-api",
            },
            ("", "/flowable-rest", "/flowable-rest/service", "/flowable-rest/service/"),
        ),
        ({"/x/engine": "/process-api", "/x/external-job-api": "/external-job-api"}, ("/x/engine",)),
    ),
}
"""Engine → (paths of a proxy, what may be pasted behind its host)."""


def reads_all(live: LiveEngine, server: str, *options: str) -> None:
    """Assert that an address leads to the engine: to its instances, and to the job that a worker holds."""
    done = live.call("instances", "list", "-o", "id", "--limit", "0", "--server", server, *options)
    assert (done.code, done.err) == (0, ""), (server, done)
    assert set(done.out.split()) == set(live.instances), server
    shown = live.call("tokens", "list", live.cases["worker-locked"], "--server", server, *options)
    assert (shown.code, shown.err, "worker-1" in shown.out) == (0, "", True), (server, shown)


def test_addresses_of_the_engine(live):
    for path in ADDRESSES[live.name]:
        reads_all(live, live.url + path)


@pytest.mark.parametrize("number", range(4))
def test_addresses_of_a_proxy(live, number):
    mounts, pasted = PROXIES[live.name][number]
    with reverse_proxy(live.url, mounts) as proxy:
        for path in pasted:
            reads_all(live, proxy.url + path)


def test_the_next_command_leads_through_the_proxy(live):
    with reverse_proxy(live.url, {"/bpm": ""}) as proxy:
        done = live.call("debug", "--server", f"{proxy.url}/bpm")
        (words,) = re.findall(r"Next: tokctl (.+)", done.out)
        words = words.split()
        assert f"{proxy.url}/bpm" in words
        assert live.call(*words).code == 0


def test_a_proxy_that_leads_elsewhere(live):
    """What the proxy does not forward is no engine; the message names the address as it was given."""
    with reverse_proxy(live.url, {"/bpm": ""}) as proxy:
        done = live.call("instances", "list", "--server", proxy.url)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"error: {proxy.url} is not an engine that tokctl recognizes")
    assert "including its path" in done.err
    assert done.err.count("\n") == 1


def test_a_proxy_with_tls_and_compression(live, tmp_path):
    """With a certificate that only the operator's own authority vouches for."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with reverse_proxy(live.url, {"/bpm": ""}, compress=True, tls=context) as proxy:
        refused = live.call("instances", "list", "--server", f"{proxy.url}/bpm")
        assert (refused.code, refused.out, proxy.forwarded) == (5, "", [])
        assert "certificate" in refused.err
        reads_all(live, f"{proxy.url}/bpm", "--ca-file", str(tmp_path / "ca.pem"))
        assert all("gzip" in one.headers["Accept-Encoding"] for one in proxy.forwarded)


def test_several_engines_of_one_server(operatons):
    """Each has instances of its own; the server's address alone is that of the default engine."""
    root = operatons["default"].url
    seen = {}
    for name in ("default", *MORE_ENGINES):
        done = operatons[name].call(
            "instances", "list", "-o", "id", "--limit", "0", "--live", "--server", f"{root}/engine-rest/engine/{name}"
        )
        assert done.code == 0, done
        seen[name] = set(done.out.split())
        assert seen[name] == {one["id"] for one in operatons[name].driver.get("/process-instance")} or name == "cleaned"
    assert seen["default"].isdisjoint(seen["activity"])
    with reverse_proxy(root, {"/bpm": ""}) as proxy:
        engine = operatons["activity"]
        done = engine.call(
            "incidents", "list", "-o", "json", "--server", f"{proxy.url}/bpm/engine-rest/engine/activity"
        )
        assert done.code == 0
        assert done.out == engine.run("incidents", "list", "-o", "json").out


def test_an_engine_that_the_server_does_not_have(operaton):
    done = operaton.call("instances", "list", "--server", f"{operaton.url}/engine-rest/engine/nobody")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert "there is no engine 'nobody' on " in done.err
    assert "default" in done.err


def test_an_engine_behind_a_path_that_says_nothing(operaton):
    """The list of engines, by which the kind is recognized, is not below this path; so the kind has to be given."""
    with reverse_proxy(operaton.url, {"/one": "/engine-rest/engine/default"}) as proxy:
        assert operaton.call("instances", "list", "--server", f"{proxy.url}/one").code == 3
        reads_all(operaton, f"{proxy.url}/one", "--engine-kind", "camunda7")
