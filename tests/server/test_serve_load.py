"""Many clients, and large answers: no error, no growth of memory, nobody stalled."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest
from running_server import ENDED, LARGE, SMALL, many, path_of, serving

from builders import instance
from tokctl.store import open_store

HUGE = 120_000
SECONDS = 8
CLIENTS = 64


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A server over a store with an instance of very many tokens."""
    from running_server import make_secret, make_store

    store = make_store(tmp_path_factory.mktemp("huge") / "huge.db")
    secret, _ = make_secret(store, "own", "*")
    with open_store(str(store), write=True) as opened, opened.write() as batch:
        batch.put(instance("huge", process_id="p"), many("huge", HUGE))
    with serving(store, "--access-log", "off") as running:
        yield running, secret


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_huge_answer_costs_bounded_memory_and_stalls_nobody(huge, coding):
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
    assert abs(count - HUGE) <= HUGE // 100  # a name may lie across two pieces twice
    assert size > 40e6
    assert most[0] - before < 40, (before, most)
    waits.sort()
    assert waits[len(waits) // 2] < 0.25
    assert len(waits) > 20


def test_many_clients_for_a_while(own):
    store, secret = own
    paths = [path_of("processes", SMALL, "tokens"), path_of("processes", ENDED), path_of("processes", ENDED, "tokens"),
             f"{path_of('processes', LARGE, 'tokens')}?state=ACTIVE&limit=10", "/api/v1/processes?limit=5",
             path_of("processes", ENDED, "tokens", "trace")]  # fmt: skip
    with serving(store, "--access-log", "off") as served:
        wrong, counts, stop = [], [0] * CLIENTS, threading.Event()

        def ask(number):
            try:
                with httpx.Client(
                    base_url=served.url, timeout=30, verify=False, headers={"X-API-Key": secret}
                ) as client:
                    while not stop.is_set():
                        answer = client.get(paths[(number + counts[number]) % len(paths)])
                        if answer.status_code != 200 or answer.json()["success"] is not True:
                            wrong.append((answer.status_code, answer.text))
                        counts[number] += 1
            except (httpx.HTTPError, ValueError) as error:
                wrong.append(repr(error))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 2)
        before = served.rss
        with open_store(str(store), write=True) as opened:  # while somebody writes
            for n in range(20):
                with opened.write() as batch:
                    batch.put(instance(f"new-{n}"))
                time.sleep(SECONDS / 40)
        after = served.rss
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:3]
        assert min(counts) > 0
        assert sum(counts) > 200
        assert after - before < 15, (before, after)
        assert served.end() == 0
