"""HTTP Basic authentication: how a user name and a password are sent, masked, and not sent again."""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode

import pytest

from support import faulty_server
from tokctl.client.credential import SharedCredential
from tokctl.errors import NotAllowedError, TokctlError

CHALLENGE = 'Basic realm="default"'
REJECTED = faulty_server.good(b"", 401, WWW_Authenticate=CHALLENGE)


def password_of(server) -> str:
    scheme, _, sent = server.seen[-1].headers["authorization"].partition(" ")
    assert scheme == "Basic"
    return b64decode(sent).decode()


@pytest.mark.parametrize("secret", ["demo:demo", "demo:a b", "jürgen:пароль ", "demo:a:b"])
def test_a_user_and_a_password_are_sent_as_basic(calls, secret):
    with faulty_server.serving(faulty_server.good()) as server:
        calls(server.url, credential=lambda: secret, basic=True).get(("x",))
        assert password_of(server) == secret
        assert "x-api-key" not in server.seen[0].headers


@pytest.mark.parametrize(("secret", "basic"), [("token", True), ("a:b", False)])
def test_others_are_sent_as_bearer(calls, secret, basic):
    with faulty_server.serving(faulty_server.good()) as server:
        calls(server.url, credential=lambda: secret, basic=basic).get(("x",))
        assert server.seen[0].headers["authorization"] == f"Bearer {secret}"


def test_a_control_character_is_refused(calls):
    with faulty_server.serving(faulty_server.good()) as server:
        with pytest.raises(NotAllowedError, match="not allowed in a header"):
            calls(server.url, credential=lambda: "demo:a\nb", basic=True).get(("x",))
        assert server.connections == 0


def test_a_rejected_password_is_sent_once(calls):
    with faulty_server.serving(REJECTED) as server:
        shared = SharedCredential(lambda: "demo:hunter2")
        for _ in range(2):  # the second client is one after an outage
            client = calls(server.url, credential=shared, basic=True)
            with pytest.raises(NotAllowedError, match="rejected the user name or the password") as caught:
                client.get(("x",))
            assert "hunter2" not in str(caught.value)
        assert len(server.seen) == 1
        assert client.get(("x",), with_credential=False, accept=(401,)).status == 401


def test_threads_wait_for_the_first_answer(calls):
    with faulty_server.serving(REJECTED) as server:
        client = calls(server.url, credential=lambda: "demo:wrong", basic=True)
        errors = []

        def ask() -> None:
            try:
                client.get(("x",))
            except TokctlError as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(server.seen), len(errors)) == (1, 8)


def test_a_401_that_is_no_error_counts_too(calls):
    with faulty_server.serving(REJECTED) as server:
        client = calls(server.url, credential=lambda: "demo:wrong", basic=True)
        assert client.get(("x",), accept=(401,)).status == 401
        with pytest.raises(NotAllowedError, match="not sent again"):
            client.get(("x",), accept=(401,))
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("credential", "basic", "message"),
    [
        (None, True, "requires a user name and a password"),
        (None, False, "requires a user name and a password"),
        ("token", True, "not of the form user:password"),
        ("demo:demo", True, "rejected the user name or the password"),
    ],
)
def test_an_empty_answer_is_explained(calls, credential, basic, message):
    with (
        faulty_server.serving(REJECTED) as server,
        pytest.raises(NotAllowedError, match=message) as caught,
    ):
        calls(server.url, credential=lambda: credential, basic=basic).get(("x",))
    assert "tokctl auth login --user NAME" in caught.value.hint


def test_a_server_that_says_it_back(calls):
    encoded = b64encode(b"demo:hunter2").decode()
    body = f"who is hunter2, demo:hunter2 or {encoded}?".encode()
    for answer in (
        faulty_server.good(body, 400, kind="text/plain"),
        faulty_server.redirect(f"https://example.org/{encoded}/hunter2"),
    ):
        with faulty_server.serving(answer) as server, pytest.raises(TokctlError) as caught:
            calls(server.url, credential=lambda: "demo:hunter2", basic=True).get(("x",))
        assert "hunter2" not in str(caught.value)
        assert encoded not in str(caught.value)
