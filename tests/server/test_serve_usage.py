"""When API tokens were used last: what cannot be written at first is written later, and the newest counts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from running_server import make_secret

from tokctl.server.usage import Usage
from tokctl.store import open_store


def test_what_cannot_be_written_is_tried_again(tmp_path):
    path, told = tmp_path / "later.db", []

    def tell(event, **_):
        told.append(event)

    now = datetime.now(UTC).replace(microsecond=0)

    async def scenario():
        usage = Usage(str(path), tell, every=60)
        usage.note(1, now - timedelta(seconds=9))
        usage.note(2, now - timedelta(seconds=9))
        assert not await usage.write()  # there is no store yet
        usage.note(1, now)
        with open_store(str(path), write=True, create=True):
            pass
        make_secret(path, "first", "process")
        make_secret(path, "second", "process")
        assert await usage.write()
        usage.note(1, now - timedelta(seconds=5))  # of another worker, say: time does not go back
        await usage.finish()

    asyncio.run(scenario())
    with open_store(str(path)) as store:
        assert store.api_tokens.by_id(1).last_used_at == now
        assert store.api_tokens.by_id(2).last_used_at == now - timedelta(seconds=9)
    assert told == ["last use not written"]


def test_it_is_written_now_and_then(tmp_path):
    path = tmp_path / "now.db"
    with open_store(str(path), write=True, create=True):
        pass
    make_secret(path, "first", "process")
    make_secret(path, "second", "process")
    now = datetime.now(UTC)

    async def scenario():
        usage = Usage(str(path), lambda *_, **__: None, every=0.02)
        usage.start()
        for number in (1, 2):
            usage.note(number, now)
            await asyncio.sleep(0.3)
            with open_store(str(path)) as store:
                assert store.api_tokens.by_id(number).last_used_at == now
        await usage.finish()

    asyncio.run(scenario())
