"""Definitions on disk: what was put is found, nothing else, and what cannot be used is ignored."""

from __future__ import annotations

import os

import pytest

from tokctl.engines import definition_cache
from tokctl.engines.definition_cache import CachedDefinition, DefinitionCache


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "definitions"


def test_what_was_put_is_found(folder):
    cache = DefinitionCache("http://a", folder)
    assert cache.get("k1") is None
    cache.put("k1", "order", 2, "<xml/>")
    assert DefinitionCache("http://a", folder).get("k1") == CachedDefinition("http://a", "k1", "order", 2, "<xml/>")
    assert cache.get("k2") is None
    assert DefinitionCache("http://b", folder).get("k1") is None
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"server": "http://b"}', b"\xff"])
def test_a_corrupt_file_is_ignored(folder, data):
    cache = DefinitionCache("http://a", folder)
    cache.put("k1", "order", 1, "<xml/>")
    (file,) = folder.iterdir()
    file.write_bytes(data)
    assert cache.get("k1") is None
    cache.put("k1", "order", 1, "<new/>")
    assert cache.get("k1").xml == "<new/>"


def test_a_folder_that_cannot_be_written_is_ignored(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = DefinitionCache("http://a", tmp_path / "file")
    cache.put("k1", "order", 1, "<xml/>")
    assert cache.get("k1") is None


def test_the_least_recently_used_are_removed(folder, monkeypatch):
    monkeypatch.setattr(definition_cache, "MAX_BYTES", 2500)
    cache = DefinitionCache("http://a", folder)
    for number, key in enumerate(("old", "used")):
        cache.put(key, "order", 1, "x" * 1000)
        os.utime(cache._file(key), (number, number))
    os.utime(cache._file("old"), (5, 5))  # used later than the other
    cache.put("new", "order", 1, "x" * 1000)
    assert [key for key in ("old", "used", "new") if cache.get(key)] == ["old", "new"]
    cache.put("huge", "order", 1, "x" * 3000)
    assert cache.get("huge") is None
