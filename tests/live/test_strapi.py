"""API tokens on the real Strapi: what the table of kinds says of it, seen through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from live.strapi_program import EMAIL, PASSWORD, Strapi, own_strapi
from support.commandline import shell  # noqa: F401 - a fixture
from support.keyrings import backends, entries
from tokctl.api_tokens.registries.capabilities import load_capabilities
from tokctl.capabilities import Support

UPLOADS = "plugin::upload.content-api.find"
RIGHTS = ("name", "type", "scopes")


@pytest.fixture(scope="session")
def strapi(tmp_path_factory) -> Iterator[Strapi]:
    """Strapi 5.54.0 with an administrator."""
    with own_strapi(tmp_path_factory.mktemp("strapi")) as one:
        yield one


@pytest.fixture(scope="session")
def session(strapi) -> str:
    """The JWT of an administrator: one for all tests, as there may be five logins within five minutes."""
    return log_in(strapi).json()["data"]["token"]


@pytest.fixture
def keys(strapi, session, tokctl, monkeypatch, tmp_path):
    """Run commands about API tokens on it in this process, with an administrator's session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKCTL_API_KEY", session)

    def run(*words, code=0, stdin=""):
        line = ("api-tokens", words[0], "--server", strapi.url, *words[1:])
        ran = tokctl(*line, stdin=stdin, now=datetime.now(UTC))
        assert ran.code == code, (words, ran)
        return ran

    return run


def log_in(strapi: Strapi, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
    return httpx.post(f"{strapi.url}/admin/login", json={"email": email, "password": password}, timeout=30)


def use(strapi: Strapi, secret: str, path: str = "/api/upload/files") -> int:
    return httpx.get(strapi.url + path, headers={"Authorization": f"Bearer {secret}"}, timeout=30).status_code


def test_login(strapi, shell, tmp_path):  # noqa: F811 - the fixture
    env = backends(tmp_path, "own_backends.Kept") | {"TOKCTL_STATE_DIR": str(tmp_path / "state")}
    words = ("auth", "login", "--server", f"{strapi.url}/admin", "--email", EMAIL, "--stdin")
    ran = shell(*words, stdin="wrong", env=env)
    assert (ran.code, "rejected the email address and password" in ran.err) == (4, True)
    ran = shell(*words, stdin=PASSWORD, env=env)
    assert (ran.code, ran.err) == (0, "")
    saved = entries(tmp_path)
    ran = shell("auth", "login", "--server", strapi.url, "--stdin", stdin="0" * 256, env=env)
    assert (ran.code, "only an administrator's session" in ran.err) == (4, True)
    assert entries(tmp_path) == saved
    ran = shell("auth", "status", "--server", strapi.url, "-o", "json", env=env)
    assert json.loads(ran.out)["servers"][0]["accepted"] is True
    other = "other@example.com"
    assert [log_in(strapi, other).status_code for _ in range(5)] == [400] * 5
    ran = shell(*(other if word == EMAIL else word for word in words), stdin=PASSWORD, env=env)
    assert (ran.code, "at most 5 within 5 minutes" in ran.err) == (4, True)
    ran = shell("doctor", "--server", strapi.url, "-o", "json", env=env)
    checks = {one["check"]: one for one in json.loads(ran.out)["checks"]}
    assert (checks["kind"]["kind"], checks["credential"]["accepted"], "permissions" in checks) == (
        "strapi",
        True,
        False,
    )


def test_from_creation_to_revocation(strapi, keys, tmp_path):
    keys("create", "ci", "--expires", "30d", "--save", "file:ci.key")
    first = (tmp_path / "ci.key").read_text().strip()
    shown = json.loads(keys("show", "ci", "-o", "json").out)
    lasts = datetime.fromisoformat(shown["expiresAt"]) - datetime.fromisoformat(shown["createdAt"])
    assert (shown["type"], lasts.days, shown["token"]) == ("read-only", 30, "")
    assert "accessKey" not in shown
    assert json.loads(keys("verify", "-o", "json", stdin=first).out)["state"] == "valid"
    ran = keys("rotate", "ci", code=2)
    assert "no grace period" in ran.err
    assert use(strapi, first) == 200
    ran = keys("rotate", "ci", "--grace", "0")
    second = (tmp_path / "ci.key").read_text().strip()
    assert first not in ran.out + ran.err
    assert second not in ran.out + ran.err
    assert (use(strapi, first), use(strapi, second)) == (401, 200)
    assert json.loads(keys("verify", "-o", "json", stdin=first, code=1).out)["state"] == "unknown"
    assert json.loads(keys("show", "ci", "-o", "json").out)["expiresAt"] == shown["expiresAt"]
    strapi.expire("ci")
    assert json.loads(keys("verify", "-o", "json", stdin=second, code=1).out)["state"] == "expired"
    assert "has expired" in keys("rotate", "ci", "--grace", "0", code=2).err
    keys("revoke", "ci", "--yes")
    keys("revoke", str(shown["id"]), "--yes", code=3)
    assert json.loads(keys("verify", "-o", "json", stdin=second, code=1).out)["state"] == "unknown"


def test_scopes_types_and_names(strapi, keys, tmp_path):
    keys("create", "files", "--scope", UPLOADS, "--expires", "never", "--save", "file:files.key")
    shown = json.loads(keys("show", "files", "-o", "json").out)
    assert [shown[name] for name in RIGHTS] == ["files", "custom", [UPLOADS]]
    secret = (tmp_path / "files.key").read_text().strip()
    assert (use(strapi, secret), use(strapi, secret, "/api/users")) == (200, 403)
    assert "has no permission" in keys("create", "no", "--scope", "plugin::no.such.one", code=2).err
    assert "The nearest: 30d or 90d" in keys("create", "no", "--expires", "45d", "--save", "file:no.key", code=2).err
    assert "The nearest: 7d" in keys("exec", "--", "true", code=2).err
    keys("create", "files", "--save", "file:again.key", code=2)
    keys("create", "files", "--allow-duplicate", "--save", "file:other.key", code=2)
    keys("update", "files", "--description", "x", "--type", "full-access")
    assert use(strapi, secret, "/api/users") == 200
    keys("update", "files", "--description", "")
    assert "cannot change the expiry" in keys("update", "files", "--expires", "7d", code=2).err
    assert json.loads(keys("show", "files", "-o", "json").out)["description"] == ""
    assert not (tmp_path / "other.key").exists()


def test_the_list(strapi, keys):
    keys("create", "a-later-one", "--save", "file:later.key")
    listed = json.loads(keys("list", "-o", "json").out)["data"]
    names = [one["name"] for one in listed]
    assert names[0] == "a-later-one"
    assert {"Read Only", "Full Access"} <= set(names)
    assert [one["createdAt"] for one in listed] == sorted((one["createdAt"] for one in listed), reverse=True)
    assert datetime.fromisoformat(listed[0]["createdAt"]) <= datetime.now(UTC)
    keys("list", "--page", "2", "--page-size", "1")


def test_a_session_that_has_ended(strapi, session, shell, tmp_path):  # noqa: F811 - the fixture
    """What a logout leaves, and what has no session at all."""
    env = {"TOKCTL_STATE_DIR": str(tmp_path / "state"), "TOKCTL_API_KEY": session[:-4] + "AAAA"}
    ran = shell("api-tokens", "list", "--server", strapi.url, env=env)
    assert (ran.code, "Log in again with 'tokctl auth login --email EMAIL'" in ran.err) == (4, True)
    ran = shell("api-tokens", "list", "--server", strapi.url, env=env | {"TOKCTL_API_KEY": ""})
    assert (ran.code, "as an administrator" in ran.err) == (4, True)


def test_no_record_of_the_list_has_what_the_table_denies(strapi, session):
    """The table says that Strapi tells neither the beginning of a secret nor who created an API token."""
    able = load_capabilities("strapi")
    answer = httpx.get(
        f"{strapi.url}/admin/api-tokens?page=1&pageSize=1",
        headers={"Authorization": f"Bearer {session}"},
        timeout=30,
    )
    records = answer.json()["data"]
    assert len(records) > 1
    assert able.pages.support is Support.NO
    for record in records:
        assert ("token" in record, "createdBy" in record, "accessKey" in record) == (False, False, False)
    assert not able.masks
    assert not able.creators
