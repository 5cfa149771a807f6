"""An API token by what a user types."""

from __future__ import annotations

import pytest

from support.own_api_tokens import OwnStore
from tokctl import open_registry
from tokctl.errors import AmbiguousIdError, NotFoundError, UsageError
from tokctl.services.api_tokens.lookup import find_api_token


@pytest.fixture
def registry(keys: OwnStore):
    opened = open_registry(store=str(keys.path))
    yield opened
    opened.close()


def test_by_id_and_by_name(registry):
    assert find_api_token(registry, "2").name == "grafana"
    assert str(find_api_token(registry, "grafana").id) == "2"


def test_an_id_goes_before_a_name_that_is_the_same(keys, registry):
    keys.add("1")
    assert find_api_token(registry, "1").name == "idle"


def test_several_of_one_name(keys, registry):
    keys.add("grafana")
    with pytest.raises(AmbiguousIdError, match="several API tokens named 'grafana'"):
        find_api_token(registry, "grafana")


def test_none_and_the_nearest(registry):
    with pytest.raises(NotFoundError, match=r"API token 'grafanna' not found .*did you mean 'grafana'"):
        find_api_token(registry, "grafanna")


def test_a_secret_is_refused_and_not_repeated(keys, registry):
    with pytest.raises(UsageError, match="this is a secret") as caught:
        find_api_token(registry, keys.secrets["grafana"])
    assert keys.secrets["grafana"] not in str(caught.value)
