"""Patterns as PostgreSQL's regular expressions."""

from __future__ import annotations

from fnmatch import fnmatchcase

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.strategies import texts
from tokctl.model.filters import matches_glob
from tokctl.store.postgresql.dialect import POSTGRESQL, translate_pattern

pieces = st.one_of(st.sampled_from([*"ab-[]!*?^\\.$|(){}", "[a-c]", "[!a]", "[z-a]", "[]]", "[!]-]", "[a-]"]), texts)


@pytest.fixture(scope="module")
def connection(postgresql):
    with psycopg.connect(postgresql.url(), autocommit=True) as opened:
        yield opened


@given(st.lists(pieces, max_size=5).map("".join), st.lists(st.one_of(st.sampled_from("ab-]c!^"), texts), max_size=4))
@example("[z-a]", ["a"])
@example("[!z-a]", ["\n"])
@example("[a-b-d]", ["-", "c"])
@settings(max_examples=scaled(3))
def test_they_match_what_python_matches(connection, pattern, several):
    for text in ["".join(several), *several, pattern]:
        query = 'SELECT %s::text COLLATE "C" ~ %s, %s::text COLLATE "C" ~ %s'
        found = connection.execute(query, [text, translate_pattern(pattern), text, POSTGRESQL.pattern(pattern)])
        assert found.fetchone() == (fnmatchcase(text, pattern), matches_glob(text, pattern)), (text, pattern)
