"""Who follows the events of a watch knows what the store holds."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import instance
from support.commandline import NOW
from support.examples import scaled
from support.strategies import few_names, make_tokens
from tokctl.documents.tokens import encode_token
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.services.polling import EnginePoller
from tokctl.services.watch import InstanceWatcher
from tokctl.store import open_store


@given(
    writes=st.lists(st.lists(make_tokens(few_names, st.sampled_from(["i1", "i2"])), max_size=4), min_size=1, max_size=6)
)
@settings(max_examples=scaled(0.25))
def test_following_the_events_gives_what_the_store_holds(store_kind, writes):
    path = store_kind.new_place()
    with open_store(path, write=True, create=True) as writer, writer.write() as batch:
        batch.put(instance("i1", status="ACTIVE"))
        batch.put(instance("i2", status="ACTIVE"))
    poller = EnginePoller(lambda: open_store(path), lambda: NOW, interval=1)
    watcher = InstanceWatcher(["i1", "i2"], InstanceFilter(), limit=9, clock=lambda: NOW)
    state: dict[tuple[str, str], dict] = {}
    with open_store(path, write=True) as writer:
        for tokens in [[], *writes]:
            with writer.write() as batch:
                batch.put_tokens(tokens)
            changed = bool(batch.report.added + batch.report.updated)
            events = [
                event for event in watcher.collect_events(poller.poll(watcher.read)) if event.event == "tokens_updated"
            ]
            assert changed or not events
            for document in [d for event in events for d in event.documents()]:
                follow(state, json.loads(msgspec.json.encode(document)))
            held = {
                (instance_id, one.token_id): json.loads(msgspec.json.encode(encode_token(one)))
                for instance_id in ("i1", "i2")
                for one in writer.tokens(instance_id, ALL_TOKENS, SortOrder("created"))
            }
            assert state == held
    poller.close()


def follow(state: dict[tuple[str, str], dict], document: dict) -> None:
    mine = document["instance_id"]
    for one in document["added"]:
        state[mine, one["token_id"]] = one
    for change in (*document["changed"], *document["finished"]):
        one = state[mine, change["token_id"]]
        for name in change["before"]:
            del one[name]
        one |= change["after"]
    for token_id in document["removed"]:
        del state[mine, token_id]
