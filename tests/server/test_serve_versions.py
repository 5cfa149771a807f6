"""ETag and 304, HEAD, compression; and that no response is ever stale."""

from __future__ import annotations

import gzip
import threading
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import at, instance, token, tokens
from support.examples import scaled
from support.running_server import API, ENDED, LARGE, SMALL, make_secret, make_store, path_of, serving
from tokctl.server.cache import CachedResponse, ResponseCache
from tokctl.server.content_negotiation import (
    MIN_COMPRESSED_BYTES,
    CompressedBody,
    accepts_gzip,
    compress_pieces,
    matches_etag,
)
from tokctl.store import open_store

TAGGED = [
    path_of("processes", SMALL, "tokens"),
    path_of("processes", LARGE, "tokens"),
    f"{path_of('processes', LARGE, 'tokens')}?state=ACTIVE&sort=-duration",
    path_of("processes", ENDED),
    path_of("processes", ENDED, "tokens", "trace"),
    f"{API}/processes?live=true",
    path_of("tokens", "l1"),
    f"{API}/tokens?token=l",
    f"{API}/bpmn/processes/p",
    f"{API}/bpmn/processes/p/durations",
]


@pytest.mark.parametrize("path", TAGGED)
def test_a_known_etag_gets_304(served, secrets, path):
    first = served.get(path, secrets["every"])
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"a", {tag}', "*", f'W/"b",{tag} , "c"'):
        for method in ("GET", "HEAD"):
            again = served.client.request(method, path, headers={"X-API-Key": secrets["every"], "If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), known
            for name in ("etag", "cache-control", "vary", "x-query-applied"):
                assert again.headers.get(name) == first.headers.get(name)
            assert "content-type" not in again.headers
            assert "content-length" not in again.headers
    for unknown in ('"a"', f"x{tag}", tag[:-2] + '"'):
        assert served.get(path, secrets["every"], headers={"If-None-Match": unknown}).status_code == 200
    assert served.get(path, headers={"If-None-Match": tag}).status_code == 401


def test_etags_differ_between_targets(served, secrets):
    tags = [served.get(path, secrets["every"]).headers["etag"] for path in TAGGED]
    assert len(set(tags)) == len(tags)


def test_responses_that_change_with_time_have_no_etag(own):
    store, secret = own
    with open_store(str(store), write=True) as opened, opened.write() as batch:
        batch.put(instance("live", status="ACTIVE", started_at=at(0)), [token("t", "live", state="ACTIVE")])
    with serving(store) as running:
        for end in ((), ("tokens", "trace")):
            answer = running.get(path_of("processes", "live", *end), secret, headers={"If-None-Match": "*"})
            assert answer.status_code == 200
            assert "etag" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        *TAGGED,
        "/health",
        "/openapi.json",
        "/metrics",
        path_of("processes", "nobody"),
        f"{API}/processes?limit=x",
        "/nothing",
    ],
)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_head_is_get_without_a_body(served, secrets, path, coding):
    headers = {"X-API-Key": secrets["every"], "Accept-Encoding": coding, "X-Request-ID": "the-same"}
    get = served.client.get(path, headers=headers)
    head = served.client.head(path, headers=headers)
    assert head.content == b""
    assert head.status_code == get.status_code
    ignored = {"date"} | ({"content-length"} if path in {"/health", "/metrics"} else set())
    ignored |= {"transfer-encoding", "content-length"} if "content-length" not in head.headers else set()
    assert {n: v for n, v in head.headers.items() if n not in ignored} == {
        n: v for n, v in get.headers.items() if n not in ignored
    }


@pytest.mark.parametrize("path", TAGGED)
def test_a_compressed_response_has_the_same_body(served, secrets, path):
    def ask(coding):
        with served.client.stream(
            "GET", path, headers={"X-API-Key": secrets["every"], "Accept-Encoding": coding, "X-Request-ID": "one"}
        ) as answer:
            return answer.headers, b"".join(answer.iter_raw())

    headers, plain = ask("identity")
    assert "content-encoding" not in headers
    for coding in ("gzip", "deflate, gzip;q=0.5", "*"):
        packed_headers, packed = ask(coding)
        assert packed_headers["vary"] == headers["vary"] == "Accept-Encoding"
        assert packed_headers["etag"] == headers["etag"]
        if len(plain) >= MIN_COMPRESSED_BYTES:
            assert packed_headers["content-encoding"] == "gzip"
            assert len(packed) < len(plain)
            assert gzip.decompress(packed) == plain
        else:
            assert packed == plain
    for coding in ("gzip;q=0", "gzip;q=0.0, *", "*;q=0", "br", "deflate", ""):
        assert ask(coding)[1] == plain


def test_every_write_is_visible_at_once(own):
    store, secret = own
    path = path_of("processes", SMALL, "tokens")
    with serving(store) as served:
        tags = set()
        for n in range(25):
            with open_store(str(store), write=True) as opened, opened.write() as batch:
                batch.put_tokens([token("t0", SMALL, variables={"n": n}, updated_at=at(100 + n))])
            answer = served.get(path, secret)
            assert {one["token_id"]: one for one in answer.json()["data"]["tokens"]}["t0"]["variables"] == {"n": n}
            tags.add(answer.headers["etag"])
            assert served.get(path, secret, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert len(tags) == 25
        before = served.get(path, secret).headers["etag"]
        with open_store(str(store), write=True) as opened, opened.write() as batch:
            batch.put_tokens([token("other", ENDED)])
        assert served.get(path, secret).headers["etag"] == before  # another instance was written


def test_a_request_sees_everything_written_before_it(own):
    """Requests share a refresh of the store, but never one from before they arrived."""
    store, secret = own
    path = path_of("processes", SMALL, "tokens")
    written, wrong, stop = [0], [], threading.Event()

    with serving(store) as served:
        import httpx

        def read():
            with httpx.Client(base_url=served.url, verify=False) as client:
                while not stop.is_set():
                    least = written[0]
                    tokens_ = client.get(path, headers={"X-API-Key": secret}).json()["data"]["tokens"]
                    seen = next(one["variables"].get("n", 0) for one in tokens_ if one["token_id"] == "t0")
                    if seen < least:
                        wrong.append((seen, least))

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        with open_store(str(store), write=True) as opened:
            for n in range(1, 200):
                with opened.write() as batch:
                    batch.put_tokens([token("t0", SMALL, variables={"n": n}, updated_at=at(100 + n))])
                written[0] = n
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_store_that_replaces_another(own, tmp_path):
    store, secret = own
    other = make_store(tmp_path / "other.db")
    with open_store(str(other), write=True) as opened, opened.write() as batch:
        batch.put(instance(SMALL), tokens(1, SMALL, element_id="another", updated_at=at(99)))
    with serving(store) as served:
        path = path_of("processes", SMALL, "tokens")
        before = served.get(path, secret)
        with open_store(str(other)) as opened:
            opened.backup(tmp_path / "copy.db")
        for end in ("-wal", "-shm"):
            store.with_name(store.name + end).unlink(missing_ok=True)
        (tmp_path / "copy.db").replace(store)
        assert served.get(path, secret).status_code == 401  # the API token belongs to the other store
        new, _ = make_secret(store, "new", "process")
        after = served.get(path, new, headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert "another" in after.text


def test_a_restored_file_with_other_content(tmp_path):
    """Same inode and same revision numbers as before, as after two restores."""
    path, aside = tmp_path / "live.db", tmp_path / "aside.db"

    def filled(name, element):
        file = tmp_path / name
        with open_store(str(file), write=True, create=True) as opened, opened.write() as batch:
            batch.put(instance("i", process_id="p"), tokens(1, "i", element_id=element))
        secret, _ = make_secret(file, "own", "*")
        with open_store(str(file)) as opened:
            opened.backup(tmp_path / f"{name}.copy")
        return tmp_path / f"{name}.copy", secret

    def put(file):
        path.rename(aside)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        file.rename(path)

    (one, first), (two, second), (three, third) = filled("a", "AAA"), filled("b", "BBB"), filled("c", "CCC")
    one.rename(path)
    with serving(path) as served:
        target = path_of("processes", "i", "tokens")
        assert "AAA" in served.get(target, first).text
        put(two)
        assert served.get(f"{API}/processes", second).status_code == 200
        aside.write_bytes(three.read_bytes())
        aside.rename(three)
        put(three)
        assert "CCC" in served.get(target, third).text


def test_a_store_that_disappears_and_comes_back(own, tmp_path):
    store, secret = own
    path = path_of("processes", SMALL, "tokens")
    with serving(store) as served:
        assert served.get(path, secret).status_code == 200
        store.rename(tmp_path / "away.db")
        for asked in (path, f"{API}/processes"):
            answer = served.get(asked, secret)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "STORE_UNAVAILABLE"
            assert int(answer.headers["retry-after"]) > 0
            assert str(store) not in answer.text
        health = served.get("/health")
        assert (health.status_code, health.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE")
        assert health.json()["success"] is False
        (tmp_path / "away.db").rename(store)
        assert served.get(path, secret).status_code == 200
        assert served.get("/health").status_code == 200


# --- the parts ---


@given(data=st.binary(max_size=5000), end=st.binary(max_size=300))
def test_a_compressed_body_with_an_end_of_its_own(data, end):
    assert gzip.decompress(CompressedBody(data).to_gzip(end)) == data + end


@given(pieces=st.lists(st.binary(max_size=300), max_size=8))
def test_compressed_pieces_can_each_be_read_as_they_come(pieces):
    unpack = zlib.decompressobj(wbits=31)
    found = b""
    for number, packed in enumerate(compress_pieces(iter(pieces)), 1):
        found += unpack.decompress(packed)
        assert found == b"".join(pieces[:number])
    assert unpack.eof


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"br, gzip", True),
        (b"gzip;q=0.001", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"*;q=0", False),
        (b"*, gzip;q=0", False),
        (b"*;q=0, gzip", True),
        (b"", False),
        (b"identity", False),
        (b"gzip;q=x", False),
        (b"notgzip", False),
    ],
)
def test_accept_encoding(accepted, wanted):
    assert accepts_gzip(accepted) is wanted


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (b'W/"a"', True),
        (b'"a"', True),
        (b"*", True),
        (b'"b", W/"a"', True),
        (b'"b"', False),
        (b"a", False),
        (b"", False),
    ],
)
def test_if_none_match(known, wanted):
    assert matches_etag(b'W/"a"', known) is wanted


@given(sizes=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3000)), max_size=60))
@settings(max_examples=scaled(0.6))
def test_the_cache_keeps_to_its_capacity(sizes):
    cache = ResponseCache(40_000)
    for name, size in sizes:
        key = b"%d" % name
        cache.put(key, CachedResponse(b"x" * size, []))
        kept = cache.get(key)
        assert kept is None or len(kept.body) == size + len(b'{"success":true,"data":')
        assert cache.used_bytes <= cache.capacity
    keys = {b"%d" % name for name, _ in sizes}
    assert cache.used_bytes == sum(kept.size + 2 * len(key) for key in keys if (kept := cache.get(key)) is not None)
