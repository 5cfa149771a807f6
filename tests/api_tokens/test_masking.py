"""Masking of secrets in a stream."""

from __future__ import annotations

import re
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.api_tokens.masking import MAX_JWT_HEADER_LENGTH, mask_secrets
from tokctl.api_tokens.secrets import BASE62_DIGITS, generate

JWT = b"eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOjF9.c2lnbmF0dXJl_-s"
_SECRETS = [generate(lambda digits, n=n: digits[n]).encode() for n in (0, 11, 36)] + [b"xvc_" + b"0a" * 32, JWT]
_WORDS = st.sampled_from(
    [
        *_SECRETS,
        b"x",
        b"xv",
        b"xvc_",
        b"xvc_a1b2...",
        b"e",
        b"ey",
        b"eyJ",
        b".eyJ",
        b".",
        b"_",
        b"-",
        b"\n",
        b"\0",
        b"\xff",
        b" key=",
        b"0123456789abcde",
        BASE62_DIGITS.encode(),
    ]
) | st.binary(max_size=6)
TEXTS = st.lists(_WORDS, max_size=10).map(b"".join)
_ENCODINGS = st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"])
MIXED = st.lists(
    st.tuples(_WORDS, _ENCODINGS).map(lambda pair: _encode(*pair)) | st.sampled_from([b"\xff\xfe", b"\xfe\xff", b"\0"]),
    max_size=10,
).map(b"".join)
"""What a stream of several programs can hold: words of several encodings in any order."""


def _encode(word: bytes, encoding: str) -> bytes:
    return word.decode("latin-1").encode(encoding) if encoding != "utf-8" else word


def mask_all(*pieces: bytes) -> bytes:
    return b"".join(mask_secrets(pieces))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"key=xvc_a1b2c3d4e5f6g7h8;", b"key=xvc_a1b2...;"),
        (b"key=xvc_a1b2c3d4e5f6g7h;", b"key=xvc_a1b2c3d4e5f6g7h;"),  # 15: nobody's secret is so short
        (b"xvc_a1b2...", b"xvc_a1b2..."),
        (b"\xff\0xvc_" + b"Z" * 64 + b"\0\xfe", b"\xff\0xvc_ZZZZ...\0\xfe"),
        (b"xvc_" + b"a" * 40 + b"xvc_" + b"b" * 40 + b"!", b"xvc_aaaa...!"),  # the second one has no end of the first
        (b"xvc_xvc_" + b"c" * 40, b"xvc_xvc_cccc..."),
        (b"my_xvc_" + b"d" * 40 + b" XVC_" + b"d" * 40, b"my_xvc_dddd... XVC_" + b"d" * 40),
        (b"Bearer " + JWT + b", " + JWT[:20] + b"\n", b"Bearer eyJhbGci..., " + JWT[:20] + b"\n"),
        (b"/path.eyJ/eyJ.eyJ", b"/path.eyJ/eyJ.eyJ"),
        (b"%20" + JWT[:-24] + b"?" + JWT, b"%20eyJhbGci...?eyJhbGci..."),
    ],
)
def test_what_is_masked(text, expected):
    assert mask_all(text) == expected
    assert mask_all(*(text[n : n + 1] for n in range(len(text)))) == expected


@given(text=TEXTS, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_the_pieces_do_not_matter_and_no_secret_survives(text, cuts):
    whole = mask_all(text)
    ends = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert mask_all(*pieces) == whole
    assert not [secret for secret in _SECRETS if secret in whole]
    assert not re.search(rb"xvc_[0-9A-Za-z]{16}", whole)
    assert mask_all(whole) == whole


@given(text=MIXED, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_no_secret_survives_in_a_stream_of_several_encodings(text, cuts):
    whole = mask_all(text)
    ends = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert mask_all(*pieces) == whole
    assert not [one for one in _SECRETS for how in ("utf-8", "utf-16-le", "utf-16-be") if _encode(one, how) in whole]
    assert not re.search(rb"x\0v\0c\0_(?:\0[0-9A-Za-z]){16}", whole)
    assert mask_all(whole) == whole


@given(text=st.text(max_size=60), secret=st.sampled_from(_SECRETS), encoding=_ENCODINGS, mark=st.booleans())
def test_the_output_has_the_encoding_of_the_input(text, secret, encoding, mark):
    given = ("\ufeff" if mark else "") + f"{text} {secret.decode()} {text}"
    masked = mask_all(given.encode(encoding))
    assert masked.decode(encoding) == mask_all(given.encode()).decode()
    assert secret.decode()[:8] + "... " in masked.decode(encoding)


@given(text=TEXTS)
def test_a_text_without_secrets_passes_unchanged(text):
    clean = re.sub(rb"xvc_|eyJ", b"", text)
    clean = re.sub(rb"xvc_|eyJ", b"~", clean)
    assert mask_all(clean) == clean


def test_a_piece_is_passed_on_at_once():
    pieces = [
        b"a line\n",
        b"no end of a line",
        b" ... xv",
        b"c",
        b"_01234",
        b"56789abcde",
        b"f",
        b"ghi \n",
        b"xvc_01234",
    ]
    assert list(mask_secrets(iter(pieces))) == [
        b"a line\n",
        b"no end of a line",
        b" ... xv",
        b"c",
        b"_0123",
        b"...",
        b" \n",
        b"xvc_0123",
        b"4",
    ]
    assert list(mask_secrets(iter([b"the name", b" eyJhbGciOi", b"J9. \n"]))) == [
        b"the name",
        b" eyJhbGci",
        b"OiJ9. \n",
    ]


def test_a_header_has_a_length():
    header = b"eyJ" + b"a" * (MAX_JWT_HEADER_LENGTH - 3)
    for cut in (1, 2, MAX_JWT_HEADER_LENGTH // 2, MAX_JWT_HEADER_LENGTH + 2):
        text = header + b".eyJ0"
        assert mask_all(text[:cut], text[cut:]) == header[:8] + b"..."
        text = b"a" + header[:3] + b"a" + header[3:] + b".eyJ0 "
        assert mask_all(text[:cut], text[cut:]) == text


def test_a_secret_of_any_length_takes_no_memory():
    def endless():
        yield b"xvc_"
        for _ in range(2_000):
            yield piece
        yield b" end " + JWT
        for _ in range(2_000):
            yield piece

    piece = b"a" * (1 << 14)
    tracemalloc.start()
    try:
        assert b"".join(mask_secrets(endless())) == b"xvc_aaaa... end eyJhbGci..."
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("word", [b"eyJ", b".eyJ", b"xvc_", b"eyJabcdef.eyJ", b"x", b"."])
def test_nothing_takes_long(word):
    pieces = [word * ((1 << 17) // len(word))] * 8
    began = time.process_time()
    for _ in mask_secrets(pieces):
        pass
    assert time.process_time() - began < 5  # a second look at each byte's past would be an hour
