"""The last use of API tokens: failed writes are retried, and the newest use counts."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime, timedelta

from support.running_server import make_secret
from tokctl.server.usage import UsageRecorder
from tokctl.store import open_store


def made(path, name):
    """Create an API token in a store, and the store if there is none."""
    with open_store(str(path), write=True, create=True) as store:
        number = make_secret(path, name, "process")[1]
        return store.api_tokens.by_id(number)


def test_a_failed_write_is_retried(tmp_path):
    path, told = tmp_path / "later.db", []

    def tell(event, **_):
        told.append(event)

    now = datetime.now(UTC).replace(microsecond=0)

    async def scenario():
        usage = UsageRecorder(str(path), tell, interval=60)
        first, second = made(path, "first"), made(path, "second")
        path.rename(tmp_path / "away.db")
        usage.record_use(first, now - timedelta(seconds=9))
        usage.record_use(second, now - timedelta(seconds=9))
        assert not await usage.write()  # there is no store
        usage.record_use(first, now)
        (tmp_path / "away.db").rename(path)
        assert await usage.write()
        # From another worker, say: the last use does not go back.
        usage.record_use(first, now - timedelta(seconds=5))
        await usage.finish()

    asyncio.run(scenario())
    with open_store(str(path)) as store:
        assert store.api_tokens.by_id(1).last_used_at == now
        assert store.api_tokens.by_id(2).last_used_at == now - timedelta(seconds=9)
    assert told == ["last use not recorded"]


def test_uses_are_written_at_intervals(tmp_path):
    path = tmp_path / "now.db"
    tokens = [made(path, "first"), made(path, "second")]
    now = datetime.now(UTC)

    async def scenario():
        usage = UsageRecorder(str(path), lambda *_, **__: None, interval=0.02)
        usage.start()
        for token in tokens:
            usage.record_use(token, now)
            await asyncio.sleep(0.3)
            with open_store(str(path)) as store:
                assert store.api_tokens.by_id(token.id).last_used_at == now
        await usage.finish()

    asyncio.run(scenario())


def test_a_use_is_not_written_to_another_store(tmp_path):
    path, other = tmp_path / "one.db", tmp_path / "other.db"
    usage, now = UsageRecorder(str(path), lambda *_, **__: None), datetime.now(UTC)
    usage.record_use(made(path, "mine"), now)
    made(other, "another's, with the same id")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    with open_store(str(other)) as store:
        store.backup(tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    assert asyncio.run(usage.write())
    with open_store(str(path)) as store:
        assert [token.last_used_at for token in store.api_tokens.list()] == [None]


def test_a_slow_writer_delays_shutdown_by_a_few_seconds_only(tmp_path):
    path, told = tmp_path / "busy.db", []
    token, now = made(path, "first"), datetime.now(UTC)
    writer = sqlite3.connect(path, isolation_level=None)

    async def scenario(release):
        usage = UsageRecorder(str(path), lambda event, **_: told.append(event), interval=0.01)
        usage.start()
        usage.record_use(token, now)
        await asyncio.sleep(0.2)  # a write is under way, and shutdown interrupts it
        if release:
            asyncio.get_running_loop().call_later(1, writer.execute, "ROLLBACK")
        began = time.monotonic()
        await usage.finish()
        return time.monotonic() - began

    writer.execute("BEGIN IMMEDIATE")
    assert asyncio.run(scenario(False)) < 8
    assert told[-1] == "last use lost"
    assert asyncio.run(scenario(True)) < 5
    with open_store(str(path)) as store:
        assert store.api_tokens.by_id(token.id).last_used_at == now
    writer.close()
