"""A new store is filled in another way than one that is in use, with the same result."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.builders import at, token, tokens
from support.examples import scaled
from support.strategies import make_tokens
from tokctl.store import open_store
from tokctl.store.exporting import ndjson
from tokctl.store.protocol import Store, WriteReport
from tokctl.store.sqlite.filling import FillingStore

names = st.sampled_from(["t0", "t1", "t2"])
batches = st.lists(st.lists(make_tokens(names, st.sampled_from(["i1", "i2"])), max_size=8), min_size=1, max_size=3)


def write(store: Store, several: list) -> tuple[list[WriteReport], list[bytes]]:
    """Write batches of tokens; return what is reported, and the export of the store."""
    reports = []
    for some in several:
        with store.write() as batch:
            batch.put_tokens(some)
        reports.append(batch.report)
    return reports, list(ndjson(store, store.all_instance_ids()))


@given(several=batches)
@example([[*tokens(120), *tokens(60), token("t5", created_at=at(5), updated_at=at(600))], tokens(70)])
@settings(max_examples=scaled(0.3))
def test_it_is_filled_like_any_other(several):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        with FillingStore(path) as filling, open_store(":memory:", write=True, create=True) as other:
            found, expected = write(filling, several), write(other, several)
            assert found == expected
            filling.save()
            with open_store(str(path), write=True) as reopened:
                assert not [*reopened.find_damage(), *reopened.find_problems()]
                assert write(reopened, several) == write(other, several)


def test_a_filled_store_has_a_log_and_a_failure_leaves_nothing(tmp_path):
    path = tmp_path / "new.db"
    with FillingStore(path) as filling:
        with filling.write(keep=False) as batch:
            batch.put_tokens(tokens(60))
        assert filling.info().tokens == 0
        write(filling, [tokens(60)])
        filling.save()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM token").fetchone() == (60,)
