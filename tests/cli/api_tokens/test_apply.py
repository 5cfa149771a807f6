"""``tokctl api-tokens apply``: API tokens become as they are declared, and a second run changes nothing."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

from support.commandline import NOW
from support.registry_kinds import fake, opened, served, strapi  # noqa: F401 - fixtures
from tokctl.api_tokens.custody.ledger import CREATED, Ledger
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, mask
from tokctl.model.api_tokens import ApiToken
from tokctl.store import open_store

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
TOKENS = """\
apiTokens:
  - name: ci
    description: nightly builds
    scopes: [process, token]
    allowedCidrs: [10.0.0.0/8]
    expires: 30d
    rotateBefore: 10d
    save: file:{folder}/ci
  - name: grafana
    expires: never
    save: env-file:{folder}/.env#GRAFANA
"""


@pytest.fixture
def declared(own, tokctl, tmp_path, monkeypatch):
    """A file, and a way to apply it: returns the result, and the actions by name."""
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)

    class Declared:
        file = tmp_path / "tokens.yaml"
        folder = tmp_path

        def write(self, text=TOKENS):
            self.file.write_text(text.format(folder=tmp_path), encoding="utf-8")

        def __call__(self, *words, code=0, now=NOW):
            ran = tokctl("api-tokens", "apply", "-f", self.file, "-o", "json", *words, now=now)
            assert ran.code == code, ran.err
            self.err = ran.err
            self.said = json.loads(ran.out)["apiTokens"] if ran.out else []
            return {one["name"]: one["action"] for one in self.said}

        def secret(self, file):
            return (tmp_path / file).read_text().strip().rpartition("=")[2].strip("'\"")

        def whose(self, file) -> ApiToken:
            key = load_pepper(own.environ).key
            with open_store(str(own.path)) as store:
                return store.api_tokens.find_by_digest(digest(key, self.secret(file)))

        def names(self):
            with open_store(str(own.path)) as store:
                return [token.name for token in store.api_tokens.list()]

    made = Declared()
    made.write()
    return made


def test_created_and_then_unchanged(declared, own, tokctl):
    own.add("first")
    assert declared("--dry-run", code=1) == {"ci": "create", "grafana": "create", "first": "undeclared"}
    assert declared.names() == ["first"]
    assert not (declared.folder / "ci").exists()
    assert declared() == {"ci": "create", "grafana": "create", "first": "undeclared"}
    ci, grafana = declared.whose("ci"), declared.whose(".env")
    assert (ci.name, ci.description, ci.scopes) == ("ci", "nightly builds", ("process", "token"))
    assert (ci.allowed_cidrs, ci.expires_at) == (("10.0.0.0/8",), NOW + 30 * DAY)
    assert (grafana.name, grafana.expires_at) == ("grafana", None)
    places = [f"file:{declared.folder}/ci", f"env-file:{declared.folder}/.env#GRAFANA"]
    assert [one["saved"] for one in declared.said[:2]] == places
    entries = len(own.audit())
    same = {"ci": "unchanged", "grafana": "unchanged", "first": "undeclared"}
    assert declared("--dry-run") == declared() == declared(now=NOW + 19 * DAY) == same
    assert len(own.audit()) == entries
    assert "Use --prune to revoke them." in tokctl("keys", "apply", "-f", declared.file).err


def test_a_store_that_does_not_exist_yet(declared, own, tokctl):
    own.path.unlink()
    ran = tokctl("api-tokens", "apply", "-f", declared.file, "--dry-run")
    assert (ran.code, "Dry run: nothing was changed. It would create 2." in ran.err) == (1, True)
    assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [["create", "ci"], ["create", "grafana"]]
    assert not own.path.exists()
    assert declared() == {"ci": "create", "grafana": "create"}
    ran = tokctl("api-tokens", "apply", "-f", declared.file, "--dry-run")
    assert (ran.code, "It would change nothing." in ran.err) == (0, True)


def test_drift_is_shown_with_its_values_and_corrected(declared, tokctl):
    declared()
    assert tokctl("keys", "update", "ci", "--scope", "process", "--expires", "never", "--allowed-cidr", "any").code == 0
    assert tokctl("keys", "disable", "grafana").code == 0
    assert declared("--dry-run", code=1) == {"ci": "update", "grafana": "update"}
    until = "2025-02-10T10:40:00.000Z"
    assert declared.said[0]["changes"] == {
        "scopes": [["process"], ["process", "token"]],
        "allowedCidrs": [[], ["10.0.0.0/8"]],
        "expiresAt": [None, until],
    }
    assert declared.said[1]["changes"] == {"disabled": [True, False]}
    before = declared.secret("ci")
    assert declared() == {"ci": "update", "grafana": "update"}
    assert declared("--dry-run") == {"ci": "unchanged", "grafana": "unchanged"}
    assert declared.secret("ci") == before
    table = tokctl("keys", "apply", "-f", declared.file, "--dry-run", width=150)
    assert [line.split()[:3] for line in table.out.splitlines()[1:]] == [
        ["unchanged", "ci", "1"],
        ["unchanged", "grafana", "2"],
    ]


def test_what_is_due_is_rotated_with_what_has_changed(declared):
    declared()
    first, old = declared.secret("ci"), declared.whose("ci")
    declared.write(TOKENS.replace("[process, token]", "[bpmn]"))
    later = NOW + 21 * DAY
    assert declared("--dry-run", code=1, now=later) == {"ci": "rotate", "grafana": "unchanged"}
    assert declared.said[0]["reason"] == "it expires in 9d"
    assert declared(now=later)["ci"] == "rotate"
    new = declared.whose("ci")
    assert declared.secret("ci") != first
    assert (new.id != old.id, new.scopes, new.expires_at) == (True, ("bpmn",), later + 30 * DAY)
    assert declared(now=later) == {"ci": "unchanged", "grafana": "unchanged"}
    assert declared(now=later + 2 * DAY) == {"ci": "unchanged", "grafana": "unchanged"}  # the old one has expired
    assert declared(now=later + 40 * DAY)["ci"] == "rotate"
    assert declared.said[0]["reason"] == "it has expired"
    assert declared(now=later + 40 * DAY)["ci"] == "unchanged"


def test_a_secret_goes_where_the_file_says(declared):
    declared()
    (declared.folder / "ci").unlink()
    declared.write(TOKENS.replace(".env#GRAFANA", ".env#OTHER"))
    assert declared() == {"ci": "rotate", "grafana": "rotate"}
    assert [one["reason"].partition(" in ")[0] for one in declared.said] == ["its secret is not"] * 2
    assert declared.whose("ci").name == "ci"
    assert "OTHER=" in (declared.folder / ".env").read_text()
    assert declared() == {"ci": "unchanged", "grafana": "unchanged"}


def test_another_secret_in_the_place_is_kept_and_the_rest_is_done(declared):
    (declared.folder / "ci").write_text("not ours\n")
    assert declared(code=2) == {"ci": "create", "grafana": "create"}
    assert "already exists" in declared.said[0]["error"]
    assert (declared.folder / "ci").read_text() == "not ours\n"
    assert declared.names() == ["grafana"]


def test_pruned_only_on_request_and_after_a_success(declared, own):
    own.add("first")
    own.add("second")
    assert declared("--prune", code=2) == {}
    assert "there is no terminal. Nothing was changed." in declared.err
    assert declared("--prune", "--dry-run", code=1)["first"] == "revoke"
    (declared.folder / "ci").write_text("not ours\n")
    assert declared("--prune", "--yes", code=2)["second"] == "undeclared"
    assert sorted(declared.names()) == ["first", "grafana", "second"]
    (declared.folder / "ci").unlink()
    assert declared("--prune", "--yes") == {
        "ci": "create",
        "grafana": "unchanged",
        "second": "revoke",
        "first": "revoke",
    }
    assert declared.names() == ["ci", "grafana"]
    assert own.audit()[-1].details["why"] == "it is not declared"


def test_a_lost_secret_is_replaced(declared, tokctl):
    declared()
    (entry,) = [one for one in Ledger().entries() if one.name == "ci"]
    (declared.folder / "ci").unlink()
    Ledger().put(
        entry.__class__(**{name: getattr(entry, name) for name in entry.__struct_fields__} | {"step": CREATED})
    )
    assert declared() == {"ci": "rotate", "grafana": "unchanged"}
    assert declared.said[0]["reason"] == "its secret is lost"
    assert declared.names() == ["ci", "grafana"]  # the lost one was revoked at once
    assert declared.whose("ci").name == "ci"
    assert declared() == {"ci": "unchanged", "grafana": "unchanged"}


def test_places_and_kinds_are_checked_first(declared, tokctl, fake, monkeypatch):  # noqa: F811
    declared.write(TOKENS.replace(".env#GRAFANA", "x").replace("file:{folder}/ci", "env-file:{folder}/x"))
    assert declared(code=7) == {}
    assert "tokens.yaml, line 11: the secret of 'ci' in line 2 is saved in" in declared.err
    declared.write(TOKENS.replace("file:", "nowhere:"))
    assert declared(code=7) == {}
    assert "tokens.yaml, line 8: " in declared.err
    declared.write(TOKENS.replace("[process, token]", "[process, tokn]"))
    assert declared(code=7) == {}
    assert "tokens.yaml, line 4: unknown scope 'tokn' (did you mean 'token'?)" in declared.err
    declared.write(TOKENS.replace("expires: never", "type: custom"))
    assert declared(code=7) == {}
    assert "tokens.yaml, line 10: unknown API token type 'custom'" in declared.err
    assert declared.names() == []
    declared.write()
    monkeypatch.setenv("TOKCTL_API_KEY", fake.jwt)
    before = len(fake.records)
    ran = tokctl("api-tokens", "apply", "-f", declared.file, "--server", fake.url)
    assert "line 4: " in ran.err
    assert "does not support scopes" in ran.err
    assert ran.err.count("\n") == 1
    assert len(fake.records) == before


def test_a_server_and_its_own_credential(declared, tokctl, served, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TOKCTL_API_KEY", served.secret)

    def run(*words):
        ran = tokctl("api-tokens", "apply", "-f", declared.file, "--server", served.url, "-o", "json", *words)
        return ran.code, {one["name"]: (one["action"], one["reason"]) for one in json.loads(ran.out)["apiTokens"]}

    text = TOKENS.replace("expires: 30d", "expires: 40000d").replace("rotateBefore: 10d", "rotateBefore: 1d")
    declared.write(text)
    own_one = ("undeclared", "it is the credential of this command")
    assert run("--prune", "--yes") == (
        0,
        {"ci": ("create", None), "grafana": ("create", None), "administrator": own_one},
    )
    assert run("--prune", "--yes", "--dry-run")[0] == 0
    assert mask(declared.secret("ci")) in tokctl("keys", "list", "--server", served.url).out


STRAPI_TOKENS = """\
apiTokens:
  - name: ci
    scopes: [plugin::upload.content-api.find]
    expires: 30d
    grace: 0
    save: file:{folder}/ci
  - {{name: cd, type: full-access, expires: never, grace: 0, save: file:{folder}/cd}}
"""


def test_strapi(declared, strapi, monkeypatch):  # noqa: F811
    """What a registry with other types, scopes and lifetimes can do is done, and what is not due is left alone."""
    monkeypatch.setenv("TOKCTL_API_KEY", strapi.jwt)

    def run(*words, code=0, after=timedelta()):
        return declared("--server", strapi.url, *words, code=code, now=strapi.clock() + after)

    def is_valid(secret):
        return secret in strapi.secrets.values()

    declared.write(STRAPI_TOKENS)
    assert run("--dry-run", code=1) == run() == {"ci": "create", "cd": "create"}
    made = {one["name"]: (one["type"], one["permissions"], one["lifespan"]) for one in strapi.records.values()}
    assert made == {
        "ci": ("custom", ["plugin::upload.content-api.find"], str(30 * DAY // timedelta(milliseconds=1))),
        "cd": ("full-access", [], None),
    }
    asked = len(strapi.asked("POST"))
    unchanged = {"ci": "unchanged", "cd": "unchanged"}
    assert run() == run(after=20 * DAY) == unchanged
    shutil.rmtree(declared.folder / "state")  # as on another machine, where the saved secret is tried
    assert run() == unchanged
    assert len(strapi.asked("POST")) == asked
    assert strapi.puts == []
    declared.write(STRAPI_TOKENS.replace("content-api.find", "content-api.findOne"))
    first = declared.secret("ci")
    (declared.folder / "cd").unlink()
    assert run() == {"ci": "update", "cd": "rotate"}
    assert [one["permissions"] for one in strapi.records.values()] == [["plugin::upload.content-api.findOne"], []]
    assert declared.secret("ci") == first
    assert is_valid(declared.secret("cd"))
    strapi.secrets["3"] = "0" * 64  # replaced elsewhere
    shutil.rmtree(declared.folder / "state")
    assert run(code=2) == {"ci": "rotate", "cd": "unchanged"}
    assert "already exists" in declared.said[0]["error"]
    (declared.folder / "ci").unlink()
    assert run() == {"ci": "rotate", "cd": "unchanged"}
    assert is_valid(declared.secret("ci"))
    assert run() == unchanged
    asked = len(strapi.asked("POST"))
    for after, reason in ((25 * DAY, "expires in 5d"), (31 * DAY, "has expired")):
        assert run(code=2, after=after) == {"ci": "rotate", "cd": "unchanged"}
        assert f"'ci': it {reason}" in declared.said[0]["error"]
        assert "does not extend it. Revoke it" in declared.said[0]["error"]
    assert len(strapi.asked("POST")) == asked


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("content-api.find]", "content-api.fnd]", "line 3: {} has no permission 'plugin::upload.content-api.fnd'"),
        ("content-api.find]", "content-api.find, process]", "line 3: {} has no permission 'process'"),
        ("type: full-access", "type: admin", "line 7: unknown API token type 'admin'"),
        ("type: full-access", "type: custom", "line 7: API tokens of type custom need scopes."),
        ("expires: 30d", "type: full-access", "line 4: API tokens of type full-access have no scopes."),
        ("expires: 30d", "expires: 31d", "line 4: API tokens of {} expire after 7, 30 or 90 days, or never."),
        ("expires: 30d", "allowedCidrs: [10.0.0.0/8]", "line 4: {} cannot limit API tokens to networks."),
        ("expires: 30d", "disabled: true", "line 4: {} cannot disable API tokens."),
        ("30d\n    grace: 0", "30d", "line 2: {} has no grace period: if 'ci' is rotated, its old secret is invalid"),
        ("type: full-access", "description: x", "line 7: {} cannot change the expiry of API token 3 'cd'."),
    ],
)
def test_what_strapi_cannot_do_is_refused_before_any_change(declared, strapi, monkeypatch, old, new, error):  # noqa: F811
    monkeypatch.setenv("TOKCTL_API_KEY", strapi.jwt)
    if "change the expiry" in error:
        strapi.add("cd", expiresAt=(strapi.clock() + DAY).isoformat())
    declared.write(STRAPI_TOKENS.replace(old, new))
    assert declared("--server", strapi.url, code=7, now=strapi.clock()) == {}
    assert f"tokens.yaml, {error.format(strapi.url)}" in declared.err
    assert declared.err.count("\n") == 1
    assert {one.method for one in strapi.requests} == {"GET"}


def test_what_a_server_cannot_remove_is_refused_before_any_change(declared, fake, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TOKCTL_API_KEY", fake.jwt)
    fake.add("cd", description="deployment")
    declared.write(
        "apiTokens:\n  - {{name: ci, save: file:{folder}/ci}}\n"
        "  - {{name: cd, expires: never, save: file:{folder}/cd}}\n"
    )
    assert declared("--server", fake.url, code=7, now=fake.clock()) == {}
    assert "tokens.yaml, line 3: " in declared.err
    assert "cannot remove the description of API token" in declared.err
    assert {one.method for one in fake.requests} == {"GET"}
