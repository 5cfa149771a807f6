"""Compressed data that arrives in chunks of any size: several members, padding between them, data that is damaged."""

from __future__ import annotations

import gzip
import sys
import zlib

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import InputError
from tokctl.input_files import MAX_PIECE_BYTES, decompress, decompress_zstd, read_chunks


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(0, 20), st.integers(1, 200))
def test_members_may_have_padding_between_and_behind_them(members, padding, size):
    data = b"".join(gzip.compress(member) + bytes(padding) for member in members)
    assert b"".join(decompress(chunks(data, size))) == b"".join(members)


@given(st.integers(1, 500))
def test_pieces_have_a_limit(size):
    data = bytes(3 * MAX_PIECE_BYTES + 1)
    pieces = list(decompress(chunks(gzip.compress(data), size)))
    assert sum(map(len, pieces)) == len(data)
    assert max(map(len, pieces)) <= MAX_PIECE_BYTES


def test_no_data_is_no_error():
    assert list(decompress([])) == []


@given(st.binary(min_size=1, max_size=100), st.data())
def test_data_that_is_cut_short(body, data):
    sent = gzip.compress(body)
    end = data.draw(st.integers(1, len(sent) - 1))
    with pytest.raises(EOFError):
        list(decompress([sent[:end]]))


@pytest.mark.parametrize(
    "sent",
    [b"plain", b"\0" * 20, gzip.compress(b"x", mtime=0)[:-8] + b"12345678", gzip.compress(b"x", mtime=0) + b"y"],
    ids=["plain", "zeros", "wrong checksum", "something behind"],
)
def test_damaged_data(sent):
    with pytest.raises((zlib.error, EOFError)):
        list(decompress([sent]))


# --- zstd ---


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 200))
def test_zstd_frames_may_follow_each_other(frames, size):
    data = b"".join(map(zstd.compress, frames))
    assert b"".join(decompress_zstd(chunks(data, size), "x")) == b"".join(frames)


def test_zstd_pieces_have_a_limit(tmp_path):
    body = bytes(8 * MAX_PIECE_BYTES + 1)
    path = tmp_path / "x.zst"
    path.write_bytes(zstd.compress(body))
    pieces = list(read_chunks(str(path)))
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MAX_PIECE_BYTES


@given(st.binary(min_size=1, max_size=100), st.data())
def test_zstd_data_that_is_cut_short(body, data):
    sent = zstd.compress(body)
    with pytest.raises(EOFError):
        list(decompress_zstd([sent[: data.draw(st.integers(1, len(sent) - 1))]], "x"))


def test_damaged_zstd_data(tmp_path):
    path = tmp_path / "x.zst"
    sent = zstd.compress(bytes(range(256)) * 100)
    for data, words in ((sent + b"more", "damaged zstd data"), (sent[:-1], "truncated")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=words):
            list(read_chunks(str(path)))
