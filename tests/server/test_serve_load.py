"""Many clients and large responses: no errors, bounded memory, no stalled clients."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time

import httpx
import pytest

from support.builders import instance
from support.running_server import ENDED, LARGE, SMALL, make_secret, make_store, multiply, path_of, serving
from tokctl.store import open_store

HUGE = 72_000
SECONDS = 30.0 if os.environ.get("CI") else 10.0
CLIENTS = 64


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A server over a store with an instance of very many tokens."""
    store = make_store(tmp_path_factory.mktemp("huge") / "huge.db")
    secret, _ = make_secret(store, "own", "*")
    multiply(store, "huge", HUGE)
    with serving(store, "--access-log", "off") as running:
        yield running, secret


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_huge_response_needs_bounded_memory_and_delays_no_others(huge, coding):
    served, secret = huge
    headers = {"X-API-Key": secret, "Accept-Encoding": coding}
    for _ in range(20):
        served.get(path_of("processes", SMALL, "tokens"), secret)
    before, most, waits, done = served.rss, [0.0], [], threading.Event()

    def watch():
        with httpx.Client(base_url=served.url, timeout=30, verify=False) as client:
            while not done.is_set():
                began = time.perf_counter()
                assert client.get(path_of("processes", SMALL, "tokens"), headers=headers).status_code == 200
                waits.append(time.perf_counter() - began)
                most[0] = max(most[0], served.rss)
                time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    size = count = 0
    with served.client.stream("GET", path_of("processes", "huge", "tokens"), headers=headers) as answer:
        assert answer.status_code == 200
        tail = b""
        for piece in answer.iter_bytes():
            size += len(piece)
            count += (tail[-11:] + piece).count(b'"token_id":')
            tail = piece if len(piece) > 200 else tail + piece
    done.set()
    watcher.join()
    summary, _ = json.JSONDecoder().raw_decode(tail[tail.rindex(b'"summary":') + 10 :].decode())
    assert summary["total_tokens"] == HUGE
    assert abs(count - HUGE) <= HUGE // 100  # a name may be split across two pieces
    assert size > 30e6
    assert most[0] - before < 20, (before, most)
    waits.sort()
    assert waits[len(waits) // 2] < 0.25
    assert len(waits) > 20


def test_many_clients_for_a_while(own):
    """Meanwhile another process writes, and the uses of API tokens are recorded."""
    store, secret = own
    paths = [
        path_of("processes", SMALL, "tokens"),
        path_of("processes", ENDED),
        path_of("processes", ENDED, "tokens"),
        f"{path_of('processes', LARGE, 'tokens')}?state=ACTIVE&limit=10",
        "/api/v1/processes?limit=5",
        path_of("processes", ENDED, "tokens", "trace"),
    ]
    with serving(store, "--access-log", "off") as served:
        first = served.get(paths[0], secret)
        wrong, counts, stop = [], [0] * CLIENTS, threading.Event()

        def ask(number):
            client = http.client.HTTPConnection(*served.address, timeout=30)
            try:
                while not stop.is_set():
                    client.request("GET", paths[(number + counts[number]) % len(paths)], headers={"X-API-Key": secret})
                    answer = client.getresponse()
                    body = answer.read()
                    if answer.status != 200 or json.loads(body)["success"] is not True:
                        wrong.append((answer.status, body))
                    counts[number] += 1
            except (http.client.HTTPException, OSError, ValueError) as error:
                wrong.append(repr(error))
            finally:
                client.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        before = 0.0
        with open_store(str(store), write=True) as opened:  # a concurrent writer
            for n in range(40):
                with opened.write() as batch:
                    batch.put(instance(f"new-{n}"))
                time.sleep(SECONDS / 40)
                if n == 20:  # every connection has read the store again
                    before = served.rss
        after = served.rss
        with open_store(str(store)) as opened:  # uses are written while it runs, and do not change ETags
            assert opened.api_tokens.by_id(1).last_used_at is not None
        again = served.get(paths[0], secret, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:3]
        assert min(counts) > 0
        assert sum(counts) > 200
        assert after - before < 15, (before, after)
        assert served.end() == 0
