"""Secrets in what is encoded, compressed and archived, within the limits; hostile archives."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import time
import tracemalloc
import zipfile
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokctl.api_tokens import content
from tokctl.api_tokens.content import MAX_DEPTH, ContentSearch
from tokctl.api_tokens.secrets import generate

OURS = generate(random.Random(1).choice)
OTHER = generate(random.Random(2).choice)
STRANGER = generate(random.Random(3).choice)[:36]  # the shortest that is found
AROUND = [("", ""), ("key: ", "\n"), ("a\nuser:", ""), ("\n" * 40 + "{'x': '", "'}\n" + "word " * 40)]


def search(data: bytes, *, cuts=(), as_file=False):
    """What is found as (secret, member, line, column, encodings), and what is not searched."""
    ends = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    skipped = []
    file = (lambda: io.BytesIO(data)) if as_file else None
    hits = ContentSearch().search(pieces, lambda member, why: skipped.append((member, why)), file)
    return [(hit.secret, hit.member, hit.line, hit.column, hit.encodings) for hit in hits], skipped


def tar(data: bytes, name="etc/app.yaml", **options) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", **options) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def zipped(data: bytes, name="etc/app.yaml", method=zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr(name, data)
    return target.getvalue()


def escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(sign):04x}" for sign in text).encode()


BINARY = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "tar": tar,
    "zip": zipped,
    "stored": lambda data: zipped(data, method=zipfile.ZIP_STORED),
    "base64": base64.b64encode,
    "lines": base64.encodebytes,
    "urlsafe": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "percent": lambda data: "".join(f"%{code:02X}" for code in data).encode(),
    "query": lambda data: quote_from_bytes(data, safe="").encode(),
}
TEXT = {
    "escapes": lambda data: escaped(data.decode()),
    "json": lambda data: json.dumps({"data": data.decode()}).replace("/", "\\/").encode(),
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "utf-16-le": lambda data: data.decode().encode("utf-16-le"),
    "utf-16-be": lambda data: data.decode().encode("utf-16-be"),
}
WORDS = {"base64", "lines", "urlsafe", "percent", "query", "escapes", "json"}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    names=st.lists(st.sampled_from([*BINARY, *TEXT]), min_size=1, max_size=MAX_DEPTH),
    secret=st.sampled_from([OURS, STRANGER]),
    around=st.sampled_from(AROUND),
    cuts=st.lists(st.integers(0, 3000), max_size=3),
    as_file=st.booleans(),
)
def test_a_secret_in_any_composition_of_encodings_is_found(names, secret, around, cuts, as_file):
    data = (around[0] + secret + around[1]).encode()
    used = []
    for name in names:
        if len(data) > 100_000 or (name in TEXT and (not data.isascii() or b"\0" in data)):
            continue
        data = {**BINARY, **TEXT}[name](data)
        used.append(name)
        if name in WORDS:
            data = around[0].encode() + data + around[1].encode()
    found, skipped = search(data, cuts=cuts, as_file=as_file)
    assert secret in [one[0] for one in found], used
    assert not skipped


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a\n  key: "%b"' % base64.b64encode(b"user:" + OURS.encode()), (None, 2, 9, ("base64",))),
        (b"+" + base64.b64encode(b"user:" + OURS.encode()), (None, 1, 1, ("base64",))),
        (b"a\n t: " + escaped(OURS), (None, 2, 5, ("json",))),
        (b"/?q=1&t=xvc%5f" + OURS[4:].encode(), (None, 1, 9, ("percent",))),
        (gzip.compress(b"\n\n " + OURS.encode()), (None, 3, 2, ("gzip",))),
        (gzip.compress(tar(b"\n " + OURS.encode())), ("etc/app.yaml", 2, 2, ("gzip", "tar"))),
        (zipped(tar(OURS.encode(), "/a/b"), "in.tar"), ("in.tar!/a/b", 1, 1, ("zip", "tar"))),
        (b"#!/usr/bin/python\n" + zipped(OURS.encode()), ("etc/app.yaml", 1, 1, ("zip",))),
        (
            b"a\nb " + base64.b64encode(gzip.compress(tar(b"\n" + OURS.encode()))),
            ("2:3!/etc/app.yaml", 2, 1, ("base64", "gzip", "tar")),
        ),
        (("\n ы" + OURS).encode("utf-16"), (None, 2, 3, ("utf-16",))),
        (tar(OURS.encode(), "x" * 300, format=tarfile.PAX_FORMAT), ("x" * 300, 1, 1, ("tar",))),
        (tar(OURS.encode(), "y" * 300, format=tarfile.GNU_FORMAT), ("y" * 300, 1, 1, ("tar",))),
        (tar(OURS.encode(), "d/" * 60 + "z", format=tarfile.USTAR_FORMAT), ("d/" * 60 + "z", 1, 1, ("tar",))),
    ],
)
def test_places(data, expected):
    assert search(data) == ([(OURS, *expected)], [])
    assert search(data, as_file=True, cuts=range(0, 2000, 7)) == ([(OURS, *expected)], [])


def test_a_secret_beside_an_archived_one_is_found_once():
    archive = tar(OURS.encode()) + OTHER.encode()  # after the end: nothing unpacks it
    found, skipped = search(archive)
    assert [(one[0], one[1]) for one in found] == [(OURS, "etc/app.yaml"), (OTHER, None)]
    assert skipped == [(None, "data follows the end of the tar archive")]
    found, _ = search(f"{OURS}%22 {OURS}%22 {base64.b64encode(OURS.encode()).decode()}".encode())
    assert [one[0] for one in found] == [OURS] * 3


def nest(levels: int) -> bytes:
    data = OURS.encode()
    for _ in range(levels):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    ("data", "skipped"),
    [
        (nest(MAX_DEPTH + 1), [(None, f"nested more than {MAX_DEPTH} deep")]),
        (b"\x28\xb5\x2f\xfd" + bytes(60), [(None, "zstd is not opened")]),
        (zipped(b"7z\xbc\xaf\x27\x1c" + bytes(60), "b/x.7z"), [("b/x.7z", "7z is not opened")]),
        (gzip.compress(b"a" * 1000)[:-9], [(None, "the gzip data is incomplete")]),
        (tar(b"a" * 1000)[:1000], [(name, "the tar archive is incomplete") for name in ("etc/app.yaml", None)]),
        (zipped(b"a" * 1000)[:60], [(None, "damaged zip archive (File is not a zip file)")]),
        (zipped(b"a" * 1000, method=zipfile.ZIP_LZMA), [("etc/app.yaml", "compression method 14 is not supported")]),
        (base64.b64encode(gzip.compress(random.Random(5).randbytes(99))[:-9]), [(None, "the gzip data is incomplete")]),
    ],
)
def test_what_is_not_searched_is_told(data, skipped):
    assert search(data) == ([], skipped)
    assert search(data, as_file=True) == ([], skipped)


def test_an_encrypted_file_in_an_archive_is_told():
    data = bytearray(zipped(b"nothing", "a"))
    for at in (6, data.index(b"PK\x01\x02") + 8):  # the flags in both headers
        data[at] |= 1
    assert search(bytes(data)) == ([], [("a", "it is encrypted")])


def test_damage_hides_no_other_file():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("first", b"a" * 500)
        archive.writestr("second", base64.b64encode(OURS.encode()))
    data = target.getvalue().replace(b"a" * 500, b"a" * 499 + b"b")
    found, skipped = search(data)
    assert [one[:2] for one in found] == [(OURS, "second")]
    assert skipped == [("first", "damaged (Bad CRC-32 for file 'first')")]


# --- limits ---------------------------------------------------------------------------------------


def bomb(kind: str) -> bytes:
    zeros = bytes(1 << 20)
    if kind == "gzip":
        compressor = __import__("zlib").compressobj(9, wbits=31)
        return b"".join(compressor.compress(zeros) for _ in range(64)) + compressor.flush()
    if kind == "zip":  # all entries are the same bytes
        data = zipped(bytes(1 << 24), "a")
        begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
        entry = data[begin:end]
        count = 2000
        return (
            data[:begin]
            + entry * count
            + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, begin, 0)
        )
    if kind == "tar":  # many small files
        return gzip.compress(tar(b"")[:512] * 60_000)
    if kind == "members":
        return gzip.compress(b"") * 60_000
    return gzip.compress(gzip.compress(gzip.compress(bytes(1 << 26)) * 50) * 50)


@pytest.mark.parametrize("kind", ["gzip", "zip", "tar", "members", "nested"])
def test_a_bomb_takes_neither_memory_nor_time(kind, monkeypatch):
    monkeypatch.setattr(content, "MAX_DECODED_BYTES", 1 << 22)
    monkeypatch.setattr(content, "MAX_DECODED_RATIO", 4)
    data = bomb(kind)
    began = time.process_time()
    tracemalloc.start()
    try:
        found, skipped = search(data + OURS.encode(), cuts=range(0, len(data), 1 << 17), as_file=True)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 10
    assert [one[0] for one in found] == [OURS]  # what follows is searched, although nothing more is decoded
    assert "it decodes to more than" in skipped[0][1]


def test_all_files_together_are_limited(monkeypatch):
    monkeypatch.setattr(content, "MAX_DECODED_BYTES_IN_ALL", 1 << 22)
    monkeypatch.setattr(content, "MAX_DECODED_RATIO", 0)
    data, skipped, search_all = gzip.compress(bytes(1 << 20)), [], ContentSearch()
    for number in range(6):
        assert not [*search_all.search([data], lambda *told, n=number: skipped.append((n, *told)))]
    assert [number for number, *_ in skipped] == [3, 4, 5]
    assert "all files decode to more than" in skipped[0][2]


def encode_again_and_again() -> bytes:
    data = b"A" * 48
    for _ in range(MAX_DEPTH + 2):
        data = base64.b64encode(data * 3)[: 1 << 19]
    return data


@pytest.mark.parametrize(
    "data",
    [
        encode_again_and_again(),
        tar(b"x", "d" * 60_000, format=tarfile.PAX_FORMAT).replace(b"path=", b"12345"),
        tar(b"", pax_headers={"1" * 60_000: "1" * 60_000}, format=tarfile.PAX_FORMAT),
        tar(b"x")[:124] + b"\xff" * 12 + tar(b"x")[136:],  # a negative size
        gzip.compress(b"x")[:3] + b"\x08" + gzip.compress(b"x")[4:10] + b"n" * (1 << 20),  # a name without end
        b"PK\x03\x04" + random.Random(3).randbytes(1 << 16) + b"PK\x05\x06" + b"\xff" * 18,
        b"BZh91AY&SY" + random.Random(3).randbytes(1 << 16),
        b"\xfd7zXZ\0" + random.Random(3).randbytes(1 << 16),
        random.Random(4).randbytes(257) + b"ustar\0" + random.Random(3).randbytes(1 << 16),
        b"%41" * 100_000,
        b"\\u0041" * 100_000,
        b"A" * 3_000_000,
        b"A" * 60 + b"\n" * 100_000,
        (b"A" * 60 + b"\n") * 50_000,
        b"x\0" * 500_000,
    ],
)
def test_hostile_data_takes_no_time(data):
    began = time.process_time()
    search(data + b"\n" + OURS.encode(), as_file=True, cuts=range(0, len(data), 1 << 17))
    assert time.process_time() - began < 5


@settings(deadline=None)
@given(data=st.data(), kind=st.sampled_from(["gzip", "bzip2", "xz", "tar", "zip"]))
def test_damaged_archives_raise_nothing(data, kind):
    packed = bytearray(BINARY[kind](OURS.encode() * 3))
    for at in data.draw(st.lists(st.integers(0, len(packed) - 1), min_size=1, max_size=4)):
        packed[at] = data.draw(st.integers(0, 255))
    whole = bytes(packed[: data.draw(st.integers(len(packed) // 2, len(packed)))])
    assert search(whole) == search(whole, as_file=True)
