"""Finding secrets in bytes."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.api_tokens.detection import (
    CERTAIN,
    FORM_CERTAINTY,
    LIKELY,
    OTHER,
    POSSIBLE,
    TOKCTL,
    WRONG_CHECKSUM,
    XIVERCMS,
    find_secrets,
)
from tokctl.api_tokens.secrets import generate

OURS = generate(Random(1).choice)  # the same in every run, for it stands in names of tests
STRANGER = "xvc_" + "0a" * 32
LINE = b"an ordinary line of a log, with nothing in it\n"


def found(*pieces: bytes) -> list[tuple[str, str]]:
    return [(one.secret, one.form) for one in find_secrets(pieces)]


def test_how_certain_each_form_is():
    assert FORM_CERTAINTY == {TOKCTL: CERTAIN, XIVERCMS: LIKELY, WRONG_CHECKSUM: POSSIBLE, OTHER: POSSIBLE}


@pytest.mark.parametrize(
    ("text", "secret", "form"),
    [
        ("key: {ours}\n", OURS, TOKCTL),
        ("my{ours}my", OURS, TOKCTL),  # as in a binary file, where another field may follow at once
        ("{ours}" + "z" * 300, OURS, TOKCTL),
        ("xvc_{hex}", STRANGER, XIVERCMS),
        ("xvc_{hex}zz", STRANGER, XIVERCMS),
        (
            "xvc_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0",
            "xvc_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0",
            WRONG_CHECKSUM,
        ),
        ("'xvc_{thirty_two}'", "xvc_" + "A" * 32, OTHER),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-16"])
def test_forms(text, secret, form, encoding):
    written = text.format(ours=OURS, hex="0a" * 32, thirty_two="A" * 32).encode(encoding)
    assert found(written) == [(secret, form)]
    assert found(b"\0\0" + written) == [(secret, form)]


@pytest.mark.parametrize("text", [b"", b"xvc_", b"xvc_a1b2...", b"xvc_" + b"a" * 31, OURS[1:].encode(), b"xvc_" * 40])
def test_what_is_none(text):
    assert not found(text)


def test_one_after_the_other():
    other = generate()
    assert found(f"{OURS}{other}{OURS}".encode()) == [(OURS, TOKCTL), (other, TOKCTL), (OURS, TOKCTL)]
    assert found((OURS + other).encode("utf-16-le"), other.encode()) == [
        (OURS, TOKCTL),
        (other, TOKCTL),
        (other, TOKCTL),
    ]


def test_lines_and_columns_count_from_one_and_in_characters():
    text = f"первая\nключ: {OURS} и {OURS}\n\n{OURS}".encode()
    places = [(one.offset, one.line, one.column) for one in find_secrets([text])]
    assert [place[1:] for place in places] == [(2, 7), (2, 54), (4, 1)]
    assert all(text[offset:].startswith(OURS.encode()) for offset, *_ in places)
    (one,) = find_secrets([f"a\nключ {OURS}".encode("utf-16-le")])
    assert one.line == 2


@given(
    parts=st.lists(
        st.sampled_from(
            [
                LINE * 350,
                LINE * 20,
                b"x" * 300,
                "ы\n".encode() * 200,
                OURS.encode(),
                OURS.encode("utf-16-be"),
                b"\n",
                b"xvc_",
                b"\0",
            ]
        ),
        max_size=14,
    ),
    cuts=st.lists(st.integers(0, 60_000), max_size=6),
)
def test_the_pieces_do_not_matter(parts, cuts):
    text = b"".join(parts)
    ends = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    several = list(find_secrets(pieces))
    assert several == list(find_secrets([text]))
    narrow = [one for one in several if text[one.offset : one.offset + len(OURS)] == OURS.encode()]
    assert len(narrow) == text.count(OURS.encode())
    for one in narrow:
        before = text[: one.offset]
        assert one.line == 1 + before.count(b"\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_cut_anywhere_in_a_secret(encoding):
    written = (OURS + STRANGER).encode(encoding)
    text = LINE * 500 + written + LINE * 500
    begin = len(LINE * 500)
    expected = list(find_secrets([text]))
    assert [one.form for one in expected] == [TOKCTL, XIVERCMS]
    for cut in range(begin - 5, begin + len(written) + 600, 7):  # some bytes of what is held are looked at later
        assert list(find_secrets([text[:cut], text[cut:]])) == expected


def test_a_long_stream_takes_no_memory():
    def endless():
        for _ in range(500):
            yield LINE * 1000
        yield b"x" * 999_999 + OURS.encode()
        for _ in range(20):
            yield b"xvc_" + b"a" * 1_000_000

    tracemalloc.start()
    try:
        first, *_ = find_secrets(endless())
        assert (first.secret, first.line, first.column) == (OURS, 500_001, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_no_secret_is_in_what_is_written_of_one():
    (one,) = find_secrets([OURS.encode()])
    assert OURS[8:] not in repr(one)
    assert OURS[:8] in repr(one)
