"""Encodings and line ends: what tokctl writes is read back, however a shell has transformed it on the way."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import answer, instance, ndjson, pieces, token_json, tokens
from support.examples import scaled
from support.strategies import token_sets
from tokctl.errors import InputError
from tokctl.model.tokens import Token
from tokctl.readers.encodings import detect_encoding, to_utf8
from tokctl.readers.stream import RejectedRecord, read_records, read_visit_records

FORMS = {
    "ndjson": ndjson,
    "json": lambda several: answer(instance("i1"), several),
    "indented json": lambda several: answer(instance("i1"), several, indent=2),
    "list": lambda several: f"[{','.join(token_json(one) for one in several)}]".encode(),
    "json text sequence": lambda several: b"".join(b"\x1e" + line for line in ndjson(several).splitlines(True)),
    "indented json text sequence": lambda several: b"".join(
        b"\x1e" + json.dumps(json.loads(token_json(one)), indent=1).encode() + b"\n" for one in several
    ),
}
TRANSFORMATIONS = {
    "as it is": lambda text: text.encode(),
    "PowerShell 7, cmd": lambda text: text.replace("\n", "\r\n").encode(),
    "PowerShell 5": lambda text: codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le"),
    "PowerShell 5, Out-File -Encoding utf8": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "UTF-16, big endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16LE without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16BE without a mark": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-32BE without a mark": lambda text: text.encode("utf-32-be"),
    "UTF-32LE without a mark": lambda text: text.encode("utf-32-le"),
}


@given(
    token_sets(3).filter(bool),
    st.sampled_from(list(FORMS)),
    st.sampled_from(list(TRANSFORMATIONS)),
    st.sampled_from([1, 7, 1 << 20]),
)
@settings(max_examples=scaled(2))
def test_what_is_written_is_read_back_from_every_encoding(several, form, transformation, size):
    data = TRANSFORMATIONS[transformation](FORMS[form](several).decode())
    records = list(read_records(pieces(data, size), name="x"))
    assert not [str(one) for one in records if isinstance(one, RejectedRecord)]
    found = [json.loads(token_json(one)) for one in records if isinstance(one, Token)]
    assert found == [json.loads(token_json(one)) for one in several]


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_visits_are_read_from_every_encoding(transformation):
    data = TRANSFORMATIONS[transformation](ndjson(tokens(50, element_name="Оплата 😀")).decode())
    batches = [one for one in read_visit_records(pieces(data, 999), name="x") if isinstance(one, list | tuple)]
    assert [visit.element_name for batch in batches for visit in batch] == ["Оплата 😀"] * 50


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_a_whole_document_in_every_encoding(transformation):
    assert json.loads(to_utf8(TRANSFORMATIONS[transformation]('{"ключ":1}'))) == {"ключ": 1}


@pytest.mark.parametrize("beginning", [b"", b"{", b"[1", b"{}\n", b'{"\0', b"\xff", b"\0\0\0\0", b"\x01\0\x02\0"])
def test_anything_else_is_utf_8(beginning):
    assert detect_encoding(beginning) == ("utf-8", 0)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
def test_text_that_is_damaged_is_located_by_its_line(encoding):
    data = codecs.BOM_UTF8 if encoding == "utf-8" else "\ufeff".encode(encoding)
    data += '[\n{"a":"ਊ"},\n'.encode(encoding)  # U+0A0A has two bytes of a line break
    data += b"\xff" if encoding == "utf-8" else "\ud800".encode(encoding, "surrogatepass") + "xx".encode(encoding)
    name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
    with pytest.raises(InputError, match=f"^x: line 3: not {name} text"):
        list(read_records([data], name="x"))


def test_a_truncated_record_of_a_sequence_costs_only_itself():
    lines = [b"\x1e" + line for line in ndjson(tokens(3)).splitlines(True)]
    lines[1] = lines[1][:40] + b"\n"
    records = list(read_records([b"".join(lines)], name="x"))
    assert [one.token_id for one in records if isinstance(one, Token)] == ["t0", "t2"]
    assert [one.where for one in records if isinstance(one, RejectedRecord)] == ["line 2"]
