"""Redirects: followed within the server, otherwise told with the address to use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from support import faulty_server
from support.calling import SECRET
from tokctl.client import Client, OutcomeUnknownError
from tokctl.client.json_responses import decode_json
from tokctl.client.redirects import MAX_REDIRECTS
from tokctl.config import Settings
from tokctl.engines.detection import resolve_server
from tokctl.errors import InputError, NotAllowedError, TokctlError, UnreachableError, UsageError
from tokctl.server_address import parse_url

KEEPING = (307, 308)
CALLS = {
    "GET": lambda client: client.get(("x",), {"q": "1"}),
    "POST": lambda client: client.post(("x",), {"a": 1}),
    "PUT": lambda client: client.put(("x",), {"a": 1}),
    "DELETE": lambda client: client.delete(("x",)),
}


def redirecting(to: str, status: int = 302) -> faulty_server.Behaviour:
    """Redirect; ``{host}`` and ``{port}`` in the location are those of the server."""

    def answer(link: faulty_server.Link) -> bool:
        host = link.asked.headers["host"]
        location = to.replace("{host}", host).replace("{port}", host.rpartition(":")[2])
        return bool(faulty_server.redirect(location, status)(link))

    return answer


def refused(client: Client, method: str = "GET") -> TokctlError:
    with pytest.raises(TokctlError) as caught:
        CALLS[method](client)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *(("GET", status) for status in (301, 302, *KEEPING)),
        *((m, s) for m in ("POST", "PUT", "DELETE") for s in KEEPING),
    ],
)
@pytest.mark.parametrize(
    "location", ["/base/x/?q=1", "x/?q=1", "http://{host}/base/x/?q=1#part", "HTTP://me:pw@{host}/base/x/?q=1"]
)
def test_a_redirect_within_the_server_is_followed(calls, method, status, location):
    with faulty_server.serving(redirecting(location, status), faulty_server.good()) as server:
        answer = CALLS[method](calls(f"{server.url}/base"))
        assert answer.body == faulty_server.GOOD
        assert answer.url == f"{server.url}/base/x/"
        before, after = server.seen
        assert (after.method, after.target, after.body) == (method, "/base/x/?q=1", before.body)
        assert after.headers == before.headers
        assert after.headers["x-api-key"] == SECRET


def test_an_unusual_target_is_sent_in_ascii(calls):
    with faulty_server.serving(faulty_server.redirect("/\xe4 b%2Fc?x=\xe4\x01"), faulty_server.good()) as server:
        calls(server.url).get(("x",))
        assert server.targets[1].isascii()
        assert " " not in server.targets[1]
        assert "b%2Fc?x=" in server.targets[1]


def test_a_stream_is_followed(calls):
    with faulty_server.serving(faulty_server.redirect("/y"), faulty_server.good()) as server:
        with calls(server.url).stream(("x",)) as pieces:
            assert b"".join(pieces) == faulty_server.GOOD
        assert server.targets == ["/x", "/y"]


def test_an_error_names_the_last_location(calls):
    with faulty_server.serving(faulty_server.redirect("/login"), faulty_server.page()) as server:
        with pytest.raises(InputError) as caught:
            decode_json(calls(server.url).get(("x",)), dict)
        assert f"{server.url}/login: status 200, text/html" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 303), *((m, s) for m in ("POST", "PUT", "DELETE") for s in (301, 302, 303))]
)
def test_a_redirect_that_would_be_another_request_is_not_followed(calls, method, status):
    for to, hint in (("/v2/x", "Use --server {url}/v2"), ("/x/", "Check the server address, including its path.")):
        with faulty_server.serving(faulty_server.redirect(to, status)) as server:
            error = refused(calls(server.url), method)
            processed = status == 303 and method != "GET"  # perhaps
            assert isinstance(error, OutcomeUnknownError if processed else UsageError)
            assert f"redirects a {method} request to {server.url}{to} ({status})" in error.message
            assert error.hint == hint.format(url=server.url)
            assert len(server.seen) == 1


@pytest.mark.parametrize("path", ["/y", "/x"])
def test_a_loop(calls, path):
    def answer(link) -> bool:
        return faulty_server.redirect("/x?q=1" if link.asked.target == path else path)(link)

    with faulty_server.serving(answer) as server:
        error = refused(calls(server.url))
        assert isinstance(error, UnreachableError)
        assert "redirects in a loop" in error.message
        assert len(server.seen) <= 3
    assert calls.waits == []  # repeating does not help


def test_too_many_redirects(calls):
    def answer(link) -> bool:
        return faulty_server.redirect(link.asked.target.partition("?")[0] + "x")(link)

    with faulty_server.serving(answer) as server:
        assert f"more than {MAX_REDIRECTS} times" in refused(calls(server.url)).message
        assert len(server.seen) == MAX_REDIRECTS + 1
        assert server.connections <= MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("base", "location", "message", "hint"),
    [
        (
            "",
            "https://127.0.0.1:{port}/x?q=1",
            "redirects to https://127.0.0.1:{port}/x.",
            "Use --server https://127.0.0.1:{port}",
        ),
        (
            "/api",
            "https://127.0.0.1/api/x/",
            "redirects to https://127.0.0.1/api/x/.",
            "Use --server https://127.0.0.1/api",
        ),
        ("/api", "https://127.0.0.1/v2/x", "redirects to https://127.0.0.1/v2/x.", "Use --server https://127.0.0.1/v2"),
        ("", "http://127.0.0.1:1/x", "redirects to http://127.0.0.1:1/x.", "Use --server http://127.0.0.1:1"),
        (
            "",
            "https://sso.example/login",
            "Redirects to other servers are not followed",
            "set its address with --server.",
        ),
        ("", "//other.example/x", "to http://other.example/x. Redirects to other", "Use --server http://other.example"),
        (
            "",
            f"https://me:{SECRET}@other.example/x?{SECRET}",
            "to https://other.example/x.",
            "Use --server https://other",
        ),
    ],
)
def test_a_redirect_to_another_server_is_told_with_the_address_to_use(calls, base, location, message, hint):
    with faulty_server.serving(redirecting(location)) as server:
        for method in CALLS:
            error = refused(calls(server.url + base), method)
            assert isinstance(error, UsageError)
            assert message.format(port=server.port) in error.message
            assert hint.format(port=server.port) in error.hint
            assert error.message.startswith(f"{server.url}{base} redirects")


def test_a_redirect_out_of_tls_is_not_recommended(calls):
    import ssl

    import trustme

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with faulty_server.serving(faulty_server.redirect("http://127.0.0.1/x/"), tls=tls) as server:
        error = refused(calls(server.url, insecure=True))
    assert "which is not encrypted" in error.message
    assert "--server" not in error.hint


def test_a_redirect_does_not_tell_whether_a_password_is_right(calls):
    """Until it is accepted, a password is sent once at a time, so that a wrong one does not lock the user."""

    def answer(link) -> bool:
        link.wait(0.2)
        return faulty_server.good(b"", 401, WWW_Authenticate="Basic")(link)

    with faulty_server.serving(faulty_server.redirect("https://other.example/"), answer) as server:
        client = calls(server.url, credential=lambda: "me:hunter2", basic=True)
        assert isinstance(refused(client), UsageError)
        with ThreadPoolExecutor(2) as pool:
            for error in pool.map(refused, [client, client]):
                assert isinstance(error, NotAllowedError)
        assert len(server.seen) == 2


@pytest.mark.parametrize("path", ["", "/bpm/engine-rest", "/camunda/app/cockpit/default"])
def test_detection_tells_the_address_that_was_given_with_the_right_scheme(path):
    def answer(link) -> bool:
        return faulty_server.redirect(f"https://{link.asked.headers['host']}{link.asked.target}", 301)(link)

    with faulty_server.serving(answer) as server:
        with pytest.raises(UsageError) as caught:
            resolve_server(Settings(server=server.url + path, place="server"))
        secure = server.url.replace("http:", "https:")
        assert caught.value.hint == f"Use --server {secure}{path.removesuffix('/camunda/app/cockpit/default')}"


def test_detection_follows_redirects():
    engines = faulty_server.good(b'[{"name":"default"}]')

    def answer(link) -> bool:
        path = link.asked.target
        return engines(link) if path.endswith("/engine/") else faulty_server.redirect(f"{path}/", 308)(link)

    with faulty_server.serving(answer) as server:
        found = resolve_server(Settings(server=f"{server.url}/engine-rest", place="server"))
        assert (found.engine_kind, parse_url(found.server or "").path) == ("camunda7", "/engine-rest")
