"""A registry that implements the required methods only has general answers to the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry, UnsupportedChangeError


class MinimalRegistry(Registry):
    """The required methods over another registry."""

    def __init__(self, inner: Registry) -> None:
        self.inner = inner
        self.where = "the minimal registry"
        self.origin = inner.origin

    def capabilities(self):
        return self.inner.capabilities()

    def list(self):
        return self.inner.list()

    def get(self, token_id):
        return self.inner.get(token_id)

    def create(self, spec):
        return self.inner.create(spec)

    def update(self, token_id, changes):
        return self.inner.update(token_id, changes)

    def revoke(self, token_id, *, reason=""):
        self.inner.revoke(token_id, reason=reason)

    def verify(self, secret):
        return self.inner.verify(secret)


@pytest.fixture
def minimal(opened: Callable[..., Any], tmp_path) -> MinimalRegistry:
    return MinimalRegistry(opened(store=str(tmp_path / "local.db")))


def test_pages_and_names_are_answered_from_the_list(minimal: MinimalRegistry):
    for name in ("a", "b", "a"):
        minimal.create(ApiTokenSpec(name=name))
    for number in range(1, 4):
        tokens, total = minimal.inner.page(number, 2)
        assert minimal.page(number, 2) == ([*tokens], total)
    assert minimal.page(2, 2)[1] == 3
    assert minimal.find_by_name("a") == minimal.inner.find_by_name("a")
    assert len(minimal.find_by_name("a")) == 2
    assert minimal.find_by_name("A") == []


def test_there_is_no_audit(minimal: MinimalRegistry):
    for ask in (minimal.audit, minimal.audit_head):
        with pytest.raises(UnsupportedChangeError, match="the minimal registry has no audit log"):
            ask()
    minimal.close()


def test_a_required_method_cannot_be_left_out():
    class Incomplete(Registry):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()
