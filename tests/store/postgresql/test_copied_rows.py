"""Rows that are sent by COPY arrive as they were."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.builders import tokens
from support.examples import scaled
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.store import open_store

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.text('\\"\n\r\t\b\f\x01\x7fnu0[],. null', max_size=12),
    st.sampled_from(["null", "", "\\N", "\\.", "[1]\n[2]", '{"a": "b\\nc"}']),
)
ROWS = st.tuples(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.none() | TEXTS,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    TEXTS,
)


def test_rows_are_copied(postgresql):
    with open_store(postgresql.new_schema(), write=True, create=True) as store:
        database = store.database
        database.execute("CREATE TABLE copied (a BIGINT, b TEXT, c DOUBLE PRECISION, d BOOLEAN, e TEXT)")

        @given(st.lists(ROWS, max_size=5))
        @settings(max_examples=scaled(1))
        @example([(number, "\\\\n\n", None, True, '"\\u0041"\x1f') for number in range(300)])
        def check(rows):
            database.execute("TRUNCATE copied")
            database.copy("copied", "abcde", rows)
            found = database.fetch("SELECT * FROM copied")
            assert sorted(found, key=repr) == sorted(rows, key=repr)

        check()


@pytest.mark.parametrize("setting", ["standard_conforming_strings=off", "DateStyle=German"])
def test_tokens_are_written_whatever_the_settings_of_the_server(postgresql, setting):
    url = postgresql.new_schema()
    with open_store(url, write=True, create=True):
        pass
    with open_store(f"{url}%20-c{setting.replace('=', '%3D')}", write=True) as store, store.write() as batch:
        batch.put_tokens(tokens(9, "i1", element_name="a\\'b"))
    with open_store(url) as store:
        assert {one.element_name for one in store.tokens("i1", ALL_TOKENS, SortOrder("created"))} == {"a\\'b"}
