"""``tokctl api-tokens create``."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from commandline import NOW
from tokctl.access.secret import digest, is_ours, mask
from tokctl.pepper import load_pepper
from tokctl.store import open_store


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_CONFIG", str(tmp_path / "etc" / "config.yaml"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_text("{}")


def test_the_secret_is_printed_alone_and_its_digest_is_kept(tokctl, store_path):
    ran = tokctl("api-tokens", "create", "ci", "--scope", "token,process", "--show-secret", "--store", store_path)
    secret = ran.out.strip()
    assert ran.code == 0
    assert is_ours(secret)
    assert secret not in ran.err
    assert "90" not in ran.out.replace(secret, "")
    assert "read-only, for process, token; it expires at 2025-04-11 10:40 UTC" in ran.err
    with open_store(str(store_path)) as store:
        (made,) = store.api_tokens.list()
        assert (made.name, made.token, made.scopes) == ("ci", mask(secret), ("process", "token"))
        assert made.expires_at == NOW + timedelta(days=90)
        assert store.api_tokens.by_digest(digest(load_pepper(os.environ).key, secret)) == made
    assert secret[8:].encode() not in store_path.read_bytes()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--expires", "never"], None),
        (["--expires", "2h"], NOW + timedelta(hours=2)),
        (["--expires", "2026-01-01"], datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_when_it_expires(tokctl, store_path, words, expected):
    assert tokctl("api-tokens", "create", "ci", "--show-secret", "--store", store_path, *words).code == 0
    with open_store(str(store_path)) as store:
        assert [one.expires_at for one in store.api_tokens.list()] == [expected]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ci"], "--show-secret"),
        ([" ", "--show-secret"], "has no name"),
        (["ci", "--show-secret", "--type", "full-acces"], "did you mean 'full-access'"),
        (["ci", "--show-secret", "--scope", "tokens"], "did you mean 'token'"),
        (["ci", "--show-secret", "--expires", "2020-01-01"], "is past"),
        (["ci", "--show-secret", "--expires", "soon"], "neither a time nor a span"),
        (["ci", "--show-secret", "--expires", "99999999w"], "calendar"),
    ],
)
def test_what_cannot_be_creates_nothing(tokctl, store_path, words, said):
    ran = tokctl("api-tokens", "create", "--store", store_path, *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not store_path.exists()
