"""``tokctl auth`` and ``tokctl doctor`` at servers that have API tokens alone: XiverCMS and Strapi."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from support.fake_cms import EMAIL, PASSWORD, FakeCms, make_jwt
from support.fake_strapi import FakeStrapi
from support.fake_xiver import FakeXiver
from support.interruptions import Ended, Runs
from support.keyrings import backends, entries

pytestmark = pytest.mark.slow  # starts programs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    with closing(Runs(backends(tmp_path_factory.mktemp("runs"), "own_backends.Kept"))) as standing_by:
        yield standing_by


@pytest.fixture
def run(runs) -> Callable[..., Ended]:
    """Runs a command line, in a process that has everything imported."""
    return runs.run


ENDPOINTS = {
    "xivercms": {"/api/api-tokens?page=1&pageSize=1"},
    "strapi": {"/api/api-tokens?page=1&pageSize=1", "/admin/users/me"},
}
"""What is asked for by GET: to detect the kind, and to check a credential."""


@pytest.fixture(params=["xivercms", "strapi"])
def kind(request):
    return request.param


@pytest.fixture
def cms(kind):
    with FakeXiver() if kind == "xivercms" else FakeStrapi() as server:
        yield server


@pytest.fixture
def environ(tmp_path):
    return backends(tmp_path, "own_backends.Kept") | {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TOKCTL_STATE_DIR": str(tmp_path / "state"),
    }


def never_asked_for_processes(cms: FakeCms, kind: str) -> bool:
    """Whether only the endpoints of API tokens were asked, and ``/health``."""
    return set(cms.asked("GET")) <= ENDPOINTS[kind] | {"/health"}


@pytest.mark.parametrize("registry", [True, False])
def test_login_with_a_password(run, environ, cms, kind, tmp_path, registry):
    option = ["--registry"] if registry else []
    words = ["auth", "login", "--server", cms.url, "--email", EMAIL, "--stdin", *option]
    ran = run(*words, stdin="wrong hunter2\n", env=environ)
    assert (ran.code, "rejected the email address and password" in ran.err) == (4, True)
    assert entries(tmp_path) == {}
    ran = run(*words, stdin=PASSWORD + "\n", env=environ)
    assert (ran.code, ran.err) == (0, "")
    assert entries(tmp_path) == {f"tokctl {cms.url}": cms.jwt}
    ran = run("auth", "status", "--server", cms.url, "-o", "json", env=environ)
    assert (ran.code, json.loads(ran.out)["servers"][0]["accepted"]) == (0, True)
    assert never_asked_for_processes(cms, kind)
    assert "hunter2" not in ran.out + ran.err


def test_what_is_rejected_does_not_replace_what_works(run, environ, cms, kind, tmp_path):
    words = ["auth", "login", "--server", cms.url, "--stdin"]
    assert run(*words, stdin=cms.jwt, env=environ).code == 0
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    ended_token = cms.add("ended", expiresAt=past)
    ended_session = make_jwt({"userId": 1, "exp": datetime.now(UTC).timestamp() - 60})
    said = {
        ended_token: "API token expired" if kind == "xivercms" else "only an administrator's session",
        ended_session: "The session ended at",
        "0" * 64: "401",
    }
    for secret, reason in said.items():
        ran = run(*words, stdin=secret, env=environ)
        assert (ran.code, ran.out, ran.err.count("\n")) == (4, "", 1)
        assert reason in ran.err
        assert secret not in ran.err
    assert entries(tmp_path) == {f"tokctl {cms.url}": cms.jwt}
    assert never_asked_for_processes(cms, kind)


def test_an_api_token_on_stdin(run, environ, tmp_path):
    with FakeXiver() as cms:
        secret = cms.add("ci")
        assert run("auth", "login", "--server", cms.url, "--stdin", stdin=secret, env=environ).code == 0
        assert entries(tmp_path) == {f"tokctl {cms.url}": secret}


def test_a_credential_that_cannot_be_checked_does_not_replace_another(run, environ, cms, tmp_path):
    words = ["auth", "login", "--server", cms.url, "--stdin"]
    assert run(*words, stdin=cms.jwt, env=environ).code == 0
    real = cms.answer
    cms.answer = lambda *asked: (404, {"error": "gone"}) if asked[0] == "GET" else real(*asked)
    ran = run(*words, stdin="another-secret-000", env=environ)
    assert (ran.code, "was kept" in ran.err, "--no-verify" in ran.err) == (4, True, True)
    assert entries(tmp_path) == {f"tokctl {cms.url}": cms.jwt}
    assert run(*words, "--no-verify", stdin="another-secret-000", env=environ).code == 0
    assert entries(tmp_path) == {f"tokctl {cms.url}": "another-secret-000"}


def test_too_many_logins(run, environ, tmp_path):
    with FakeStrapi() as cms:
        cms.logins = 5
        words = ["auth", "login", "--server", cms.url, "--email", EMAIL, "--stdin"]
        ran = run(*words, stdin=PASSWORD, env=environ)
        assert (ran.code, "at most 5 within 5 minutes" in ran.err) == (4, True)
    assert entries(tmp_path) == {}


def test_a_context_with_an_engine_and_a_registry(run, environ, cms, kind, tmp_path):
    """``tokens`` go to the engine, ``keys`` to the CMS, each with its own credential."""
    cms.add("ci")
    with FakeXiver() as engine:  # only what it is asked for matters here
        file = tmp_path / "config" / "tokctl" / "config.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(
            f"current_context: prod\ncontexts:\n  prod:\n    server: {engine.url}\n    engine_kind: rest\n"
            f"    registry_server: {cms.url}\n    registry_kind: {kind}\n    registry_credential: env:CMS_KEY\n"
        )
        keys = {"TOKCTL_API_KEY": "the-key-of-the-engine", "CMS_KEY": cms.jwt}
        ran = run("keys", "list", "-o", "json", env=environ | keys)
        assert "ci" in [one["name"] for one in json.loads(ran.out)["data"]]
        assert engine.requests == []
        run("tokens", "list", env=environ | keys)
        assert {one.headers.get("authorization") for one in engine.requests} == {"Bearer the-key-of-the-engine"}
        assert {one.headers.get("authorization") for one in cms.requests} == {f"Bearer {cms.jwt}"}
        ran = run("auth", "status", "-o", "json", env=environ | keys)
        accepted = {one["server"]: one["accepted"] for one in json.loads(ran.out)["servers"]}
        assert accepted[cms.url] is True
        ran = run("doctor", "-o", "json", env=environ | keys)
        checks = {one["check"]: one for one in json.loads(ran.out)["checks"]}
        assert (checks["registry kind"]["kind"], checks["registry credential"]["accepted"]) == (kind, True)
        file.write_text(file.read_text().replace("    registry_credential: env:CMS_KEY\n", ""))
        run("keys", "list", env=environ | keys)
        assert not [one for one in cms.requests if "the-key-of-the-engine" in one.headers.get("authorization", "")]
        assert not [path for path in cms.asked("GET") if "processes" in path]


def test_the_doctor_of_a_server_without_processes(run, environ, cms, kind):
    def checks(secret):
        ran = run("doctor", "--server", cms.url, "-o", "json", env=environ | {"TOKCTL_API_KEY": secret})
        return {one["check"]: one for one in json.loads(ran.out)["checks"]}

    found = checks(cms.jwt)
    assert (found["kind"]["state"], found["kind"]["kind"]) == ("ok", kind)
    assert (found["credential"]["state"], found["credential"]["accepted"]) == ("ok", True)
    assert "permissions" not in found
    found = checks("0" * 64)
    assert (found["credential"]["state"], found["credential"]["accepted"]) == ("problem", False)
    found = checks("")
    assert (found["credential"]["state"], "tokctl auth login" in found["credential"]["advice"]) == ("problem", True)
    assert never_asked_for_processes(cms, kind)
