"""``tokctl api-tokens secret``: what was saved comes out again, and nothing else."""

from __future__ import annotations

import pytest

from support.commandline import NOW
from support.keyrings import backends
from tokctl.api_tokens.secrets import is_tokctl_secret


@pytest.fixture
def named(tokctl, own):
    """Create API tokens whose secret is at some place, on the store of one's own; returns the secret."""

    def create(name: str, place: str) -> None:
        ran = tokctl("api-tokens", "create", name, "--save", place, "--store", own.path, "--allow-duplicate")
        assert ran.code == 0, ran.err

    return create


@pytest.mark.parametrize("key", ["1", "ci"])
@pytest.mark.parametrize("kind", ["file", "env-file"])
def test_it_stands_alone_on_stdout(tokctl, own, named, tmp_path, kind, key):
    named("ci", f"{kind}:{tmp_path}/kept")
    ran = tokctl("api-tokens", "secret", key, "--store", own.path)
    assert (ran.code, ran.err) == (0, "")
    assert is_tokctl_secret(ran.out.removesuffix("\n"))
    assert (tmp_path / "kept").read_text().removeprefix("TOKCTL_API_KEY=") == ran.out


def test_from_the_keyring(shell, own, tmp_path):
    env = own.environ | backends(tmp_path, "own_backends.Kept")
    created = shell("api-tokens", "create", "ci", env=env)
    assert created.code == 0, created.err
    ran = shell("api-tokens", "secret", "ci", env=env)
    assert (ran.code, ran.err) == (0, "")
    secret = ran.out.removesuffix("\n")
    assert is_tokctl_secret(secret)
    assert secret[8:] not in created.out + created.err
    assert shell("api-tokens", "verify", stdin=secret, env=env).code == 0


def test_of_several_with_one_name_the_newest(tokctl, own, named, tmp_path):
    named("ci", f"file:{tmp_path}/first")
    named("ci", f"file:{tmp_path}/second")
    for key, file in (("ci", "second"), ("2", "second"), ("1", "first")):
        assert tokctl("api-tokens", "secret", key, "--store", own.path).out == (tmp_path / file).read_text()


def test_where_it_is_not(tokctl, own, named, tmp_path):
    """It was shown, or handed to a program, or its file is gone, or somebody else created the API token."""
    assert tokctl("api-tokens", "create", "shown", "--show-secret", "--store", own.path).code == 0
    named("handed", "command:true")
    named("lost", f"file:{tmp_path}/lost")
    (tmp_path / "lost").unlink()
    named("open", f"file:{tmp_path}/open")
    (tmp_path / "open").chmod(0o644)
    own.add("anothers", expires_at=None, created_at=NOW)
    for number, name in enumerate(("shown", "handed", "lost", "open", "anothers"), 1):
        for key in (name, str(number)):
            ran = tokctl("api-tokens", "secret", key, "--store", own.path)
            assert (ran.code, ran.out) == (3, "")
            hint = "Create a new one with 'tokctl api-tokens rotate'."
            if name == "open":
                file = tmp_path / "open"
                hint = f"The file {file} contains a credential, but others can read or change it."
                hint += f" Run 'chmod 600 {file}'."
            assert ran.err == f"error: no saved secret of API token {number} found. {hint}\n"


@pytest.mark.parametrize("key", ["no-such", "77", ""])
def test_one_that_is_not_there(tokctl, own, key):
    ran = tokctl("api-tokens", "secret", key, "--store", own.path)
    assert ran.out == ""
    assert ran.code in {2, 3}
    assert ran.err.count("\n") == 1


def test_a_secret_in_place_of_a_name_is_not_repeated(tokctl, own):
    own.add("ci")
    ran = tokctl("api-tokens", "secret", own.secrets["ci"], "--store", own.path)
    assert (ran.code, ran.out) == (2, "")
    assert own.secrets["ci"][8:] not in ran.err


def test_the_secret_of_another_that_had_the_same_id_is_not_given(shell, own, tmp_path):
    """A store was made anew where one had been: its ids begin again, and the keyring does not know."""
    env = own.environ | backends(tmp_path, "own_backends.Kept")
    assert shell("api-tokens", "create", "ci", env=env).code == 0
    for file in own.path.parent.glob(f"{own.path.name}*"):
        file.unlink()
    assert shell("api-tokens", "create", "ci", "--save", f"file:{tmp_path}/new", env=env).code == 0
    assert shell("api-tokens", "secret", "1", env=env).out == (tmp_path / "new").read_text()
    (tmp_path / "new").unlink()
    assert shell("api-tokens", "secret", "1", env=env).code == 3
