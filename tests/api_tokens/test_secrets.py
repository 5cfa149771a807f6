"""Secrets, masks, digests, scopes, peppers."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import at
from tokctl.api_tokens.pepper import Pepper, load_pepper, pepper_file
from tokctl.api_tokens.secrets import BASE62_DIGITS, checksum, digest, generate, is_tokctl_secret, mask
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.model.api_tokens import EXPIRED, REVOKED, VALID, ApiToken
from tokctl.model.scopes import PERMISSIONS, validate_scopes


def test_a_secret_has_its_form_and_its_checksum():
    made = {generate() for _ in range(500)}
    assert len(made) == 500
    for secret in made:
        assert re.fullmatch(r"xvc_[0-9A-Za-z]{40}", secret)
        assert is_tokctl_secret(secret)
    assert {character for secret in made for character in secret[4:38]} == set(BASE62_DIGITS)


@given(st.text(st.characters(codec="utf-8")))
def test_the_checksum_is_the_crc_in_base62(text):
    number = 0
    for character in checksum(text):
        number = number * 62 + BASE62_DIGITS.index(character)
    assert number == zlib.crc32(text.encode())


@given(position=st.integers(4, 43), other=st.sampled_from(BASE62_DIGITS))
def test_a_character_that_is_wrong_is_noticed(position, other):
    secret = generate(lambda digits: digits[7])
    changed = secret[:position] + other + secret[position + 1 :]
    assert is_tokctl_secret(changed) == (changed == secret)


@pytest.mark.parametrize("text", ["", "xvc_", "xvc_" + "a" * 40, "xvc_" + "0" * 64, "{}0", " {}", "{}\n"])
def test_other_texts_are_none_of_ours(text):
    assert not is_tokctl_secret(text.format(generate()))


def test_a_mask_shows_eight_characters():
    assert mask("xvc_a1b2c3d4e5f6") == "xvc_a1b2..."


def test_a_digest_needs_the_pepper():
    secret = generate()
    assert digest(b"one", secret) == digest(b"one", secret)
    assert len({digest(b"one", secret), digest(b"two", secret), digest(b"one", secret + "x")}) == 3
    assert len(digest(b"one", "\udcff")) == 32  # bytes that are no text have a digest, too


def test_scopes_are_checked_and_put_in_order():
    assert validate_scopes(["token", " PROCESS ", "token"]) == ("process", "token")
    assert validate_scopes(PERMISSIONS) == PERMISSIONS
    with pytest.raises(UsageError, match="did you mean 'process'"):
        validate_scopes(["proces"])


def record(**fields) -> ApiToken:
    usual = {"id": 1, "name": "ci", "token": "xvc_a1b2...", "created_at": at(0), "updated_at": at(0)}
    return ApiToken(**usual | fields)


def test_what_a_token_allows_and_until_when():
    assert record(scopes=("process",)).allows("process")
    assert not record(scopes=("process",)).allows("token")
    assert record(scopes=("*",)).allows("token")
    assert record(expires_at=at(10)).state(at(9)) == VALID
    assert record(expires_at=at(10)).state(at(10)) == EXPIRED
    assert record(expires_at=at(10), revoked_at=at(5)).state(at(6)) == REVOKED
    assert '"lastUsedAt":null' in msgspec.json.encode(record()).decode()


# --- the pepper ---


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"TOKCTL_CONFIG": str(tmp_path / "etc" / "config.yaml")}


@pytest.mark.timeout(10)
def test_a_pipe_is_no_pepper_and_is_not_waited_for(environ):
    pepper_file(environ).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pepper_file(environ), 0o600)
    with pytest.raises(InputError, match="is not a file"):
        load_pepper(environ)


def test_a_pepper_is_made_once_and_only_for_us(environ):
    with pytest.raises(NotFoundError, match="api-tokens create"):
        load_pepper(environ)
    made = load_pepper(environ, create=True)
    assert load_pepper(environ) == load_pepper(environ, create=True) == made
    path = pepper_file(environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["pepper"]
    assert made.key.decode() not in repr(made)
    path.chmod(0o640)
    with pytest.raises(NotAllowedError, match="chmod 600"):
        load_pepper(environ)


def test_a_pepper_comes_from_the_environment_before_a_file(environ, tmp_path):
    file = tmp_path / "other"
    file.write_text("f" * 40 + "\n")
    file.chmod(0o600)
    by_file = load_pepper(environ | {"TOKCTL_PEPPER_FILE": str(file)})
    assert by_file.key == b"f" * 40
    named = load_pepper(environ | {"TOKCTL_PEPPER_FILE": str(file), "TOKCTL_PEPPER": "e" * 40})
    assert named == Pepper(named.id, b"e" * 40)
    assert named.id != by_file.id


def test_what_is_no_pepper(environ, tmp_path):
    with pytest.raises(InputError, match="too short: 5 characters") as caught:
        load_pepper(environ | {"TOKCTL_PEPPER": "short"})
    assert "short\n" not in str(caught.value)
    with pytest.raises(InputError, match="is not a file"):
        load_pepper(environ | {"TOKCTL_PEPPER_FILE": str(tmp_path)})
    with pytest.raises(InputError, match="cannot create"):
        load_pepper(environ | {"TOKCTL_PEPPER_FILE": "/proc/nowhere/pepper"}, create=True)
