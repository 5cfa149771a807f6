"""Streams of records: every form of input, cut into any pieces, whole or broken."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from support.builders import FIXTURES, answer, at, instance, ndjson, pieces, raw, token, token_json, tokens
from support.examples import scaled
from support.strategies import make_instances, names, token_sets
from tokctl.errors import InputError, NotFoundError
from tokctl.input_files import input_name, input_size, read_chunks
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.readers import stream as reader
from tokctl.readers import text_window
from tokctl.readers.json_faults import TRUNCATED, line_and_column
from tokctl.readers.stream import RejectedRecord, read_records

ATOMD = FIXTURES / "atomd"
WINDOWS = [64, 4 << 20]
"""A window that everything outgrows, and the real one."""


def read(data, *, size=None, window=None, instance_id=None):
    """Read bytes as a list of records, cut into pieces of a size, with a window of a size."""
    data = data.encode() if isinstance(data, str) else data
    with pytest.MonkeyPatch.context() as patch:
        if window is not None:
            patch.setattr(reader, "MAX_VALUE_CHARACTERS", window)
        parts = [data] if size is None else pieces(data, size)
        return list(read_records(parts, name="input", instance_id=instance_id))


def of(kind, records):
    return [record for record in records if isinstance(record, kind)]


def only_tokens(records):
    rejects = of(RejectedRecord, records)
    assert not rejects, [str(reject) for reject in rejects]
    return of(Token, records)


def merged(records):
    """What a store would make of records: the last of each token, instances with what was ever said."""
    told = {}
    for record in of(Instance, records):
        old = told.get(record.instance_id, {})
        new = {
            name: value
            for name in Instance.__struct_fields__
            if (value := getattr(record, name)) not in (None, raw(None), {})
        }
        told[record.instance_id] = old | new
    return told, of(Token, records), of(RejectedRecord, records), of(Definition, records)


# --- forms of input ---


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [1, 7, 100, None])
def test_the_documented_example(documented, size, window):
    data = json.loads(documented)
    forms = [
        documented,
        json.dumps(data),
        json.dumps(data) + "\n",
        json.dumps(data["data"]),
        json.dumps(data, indent=8).replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + documented,
    ]
    for form in forms:
        records = read(form, size=size, window=window)
        found = only_tokens(records)
        assert [one.token_id for one in found] == [one["token_id"] for one in data["data"]["tokens"]]
        assert {(one.instance_id, one.process_id) for one in found} == {("srv1-aB3dEf9hK2mN5pQ8uV", "order-processing")}
        assert {record.instance_id for record in of(Instance, records)} == {"srv1-aB3dEf9hK2mN5pQ8uV"}
        assert [json.loads(bytes(one.variables)) for one in found] == [
            one["variables"] for one in data["data"]["tokens"]
        ]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [1, 50, None])
def test_lists_and_lines(size, window):
    several = tokens(4, element_name="Имя\n")
    texts = [token_json(one) for one in several]
    forms = {
        "list": f"[{','.join(texts)}]",
        "list over lines": "[\n  " + ",\n  ".join(texts) + "\n]\n",
        "ndjson": "\n".join(texts) + "\n",
        "ndjson without the last line break": "\n".join(texts),
        "ndjson with empty lines": "\n\n" + "\n\n  \n".join(texts) + "\n\n",
        "ndjson by Windows": "\r\n".join(texts) + "\r\n",
        "one after another": "".join(texts),
        "pretty, one after another": "\n".join(json.dumps(json.loads(text), indent=2) for text in texts),
        "answers a line": "\n".join('{"success":true,"data":{"tokens":[' + text + "]}}" for text in texts),
        "answers on one line": "".join('{"success":true,"data":[' + text + "]}" for text in texts),
    }
    for form, text in forms.items():
        assert only_tokens(read(text, size=size, window=window)) == several, form


@pytest.mark.parametrize("window", WINDOWS)
def test_an_empty_list_holds_no_tokens(window):
    for text in ("[]", '{"success":true,"data":[]}', '{"instance_id":"i","tokens":[]}', '{"data":{"tokens":[]}}\n'):
        assert not of((Token, RejectedRecord), read(text, window=window))


@pytest.mark.parametrize("window", WINDOWS)
def test_instances_and_definitions(window):
    text = (
        '{"process_id":"p","version":2,"elements":{"a":{"id":"a","type":"task"}},"flows":{}}\n'
        '{"instance_id":"i","process_id":"p","version":2,"status":"ACTIVE","started_at":"2025-01-11T12:00:00Z","x":1}\n'
    )
    definition, one = read(text, window=window)
    assert isinstance(definition, Definition)
    assert definition.elements["a"].type == "task"
    assert one == instance("i", process_id="p", version=2, status="ACTIVE", started_at=at(0), extra={"x": raw(1)})


@pytest.mark.parametrize("window", WINDOWS)
def test_a_definition_within_an_answer(window):
    text = '{"instance_id":"i","process_id":"p","definition":{"process_id":"p","elements":{}},"tokens":[]}'
    definition, one = read(text, window=window)
    assert definition == Definition(process_id="p")
    assert (one.instance_id, one.extra) == ("i", {})


def test_the_process_of_tokens_is_told_once():
    text = ndjson([token("a", process_id="p"), token("b", process_id="p"), token("c", "i2", process_id="p")])
    assert [record.instance_id for record in of(Instance, read(text))] == ["i1", "i2"]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_document_says_nothing_about_the_next_one(window):
    bare = '{"token_id":"b","element_id":"e","state":"ACTIVE"}'
    for text in (
        '{"instance_id":"first","process_id":"p","tokens":[]}\n{"tokens":[' + bare + "]}",
        '{"instance_id":"first",\n"process_id":"p","tokens":[]} {"tokens":[' + bare + "]}" + bare,
    ):
        for reject in of(RejectedRecord, read(text, window=window)):
            assert (reject.field, reject.text) == ("instance_id", bare)
        found = only_tokens(read(text, window=window, instance_id="given"))
        assert {(one.instance_id, one.process_id) for one in found} == {("given", None)}


# --- what a running atomd answers ---


def test_tokens_by_atomd():
    found = only_tokens(read((ATOMD / "p0_typed.json").read_bytes()))
    assert [one.element_id for one in found] == ["end", "split", "join"]
    assert {one.instance_id for one in found} == {"srv1-6iQSX7z5IzZTZDEnO1"}
    assert {one.state for one in found} == {"COMPLETED"}
    assert found[0].parent_token_id == found[1].token_id
    assert found[0].created_at.microsecond == 599571  # of 599570885 ns
    assert found[0].extra == {"is_active": raw(False)}
    assert (found[0].child_tokens, found[0].element_type) == (None, None)

    live = only_tokens(read((ATOMD / "p1_tokens.json").read_bytes()))
    assert {(one.element_id, one.state, one.instance_id) for one in live} == {
        ("ship", "WAITING", "srv1-gbf2HaqHNivynfHHuZ"),
        ("pay", "WAITING", "srv1-gbf2HaqHNivynfHHuZ"),
    }
    assert {one.created_at.isoformat() for one in live} == {"2026-11-21T17:10:37+00:00"}

    (one,) = only_tokens(read((ATOMD / "token.json").read_bytes()))
    assert (one.token_id, one.element_id) == ("srv1-OTSHhae5xPGco8RInC", "pay")
    assert one.extra["waiting_for"] == raw("job:srv1-q6J4fhgRdb2dZ9fhqd")

    assert len(only_tokens(read((ATOMD / "p2_trace.json").read_bytes()))) == 3
    assert read((ATOMD / "p0_tokens.json").read_bytes()) == []


@pytest.mark.parametrize("window", WINDOWS)
def test_a_list_of_instances_by_atomd(window):
    records = read((ATOMD / "processes_typed.json").read_bytes(), window=window)
    assert [(r.instance_id, r.process_id, r.status) for r in records] == [
        ("srv1-6iQSX7z5IzZTZDEnO1", "order-proc", "COMPLETED"),
        ("srv1-gbf2HaqHNivynfHHuZ", "order-proc", "ACTIVE"),
        ("srv1-" + records[2].instance_id[5:], "order-proc", "ACTIVE"),
    ]


@pytest.mark.parametrize("name", ["p0.json", "processes.json"])
def test_instances_by_atomd(name):
    records = read((ATOMD / name).read_bytes())
    assert {type(record) for record in records} == {Instance}
    first = records[0]
    assert (first.instance_id, first.process_id, first.status) == (
        "srv1-6iQSX7z5IzZTZDEnO1",
        "order-proc",
        "COMPLETED",
    )
    assert first.started_at.isoformat() == "2026-11-21T17:10:37+00:00"
    assert first.extra["state"] == raw("COMPLETED")


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ((ATOMD / "missing.json").read_text(), "NOT_FOUND process instance not found: srv1-aaaaaaaaaaaaaaaaaa"),
        ('{"success":false,"error":{"code":"FORBIDDEN","message":"no","details":{}},"request_id":"r"}', "FORBIDDEN no"),
        ('{"success": false, "error": "out of order"}', "out of order"),
        ('{"success": false, "error": null}', "no details"),
        ('{"success": false,\n "error": {"code": null, "message": 7}}', "7"),
    ],
)
def test_an_error_answer_is_told_as_such(text, said, window):
    with pytest.raises(InputError) as caught:
        read(text, window=window)
    assert caught.value.exit_code == 7
    assert said in str(caught.value)
    assert "the response is an error" in str(caught.value)


# --- pieces and windows ---

documents = st.builds(
    lambda about, several, envelope, indent: answer(about, several, envelope=envelope, indent=indent),
    make_instances(st.just("i1")),
    token_sets(3),
    st.booleans(),
    st.sampled_from([0, 2]),
)
bad_lines = st.sampled_from([b'{"token_id":"x"}', b"{", b"nonsense", b'{"token_id":"x","state":NaN}', b"[1]", b"7"])
inputs = st.one_of(
    documents,
    st.lists(documents, max_size=3).map(b"\n".join).filter(bool),
    token_sets(4).map(ndjson).filter(bool),
    st.lists(st.one_of(token_sets(1).map(ndjson), bad_lines.map(lambda line: line + b"\n")), min_size=1).map(b"".join),
)


def outcome(data, **how):
    try:
        return read(data, **how)
    except InputError as error:
        return str(error)


@given(inputs, st.integers(1, 40), st.sampled_from([32, 64, 500, 4 << 20]))
@settings(max_examples=scaled(1.5))
@example(b'[{"token_id":"t","n":1.5,"m":1e5}]', 1, 1)
def test_the_result_does_not_depend_on_the_pieces(data, size, window):
    assert outcome(data, size=size, window=window) == outcome(data, window=window)


@given(make_instances(st.just("i1")), token_sets(4), st.sampled_from([0, 2]), st.sampled_from([16, 64, 300]))
@settings(max_examples=scaled(1.5))
def test_a_long_document_reads_like_a_short_one(about, several, indent, window):
    data = answer(about, several, indent=indent)
    assert merged(read(data, window=window)) == merged(read(data))
    if not indent:
        belonging = [msgspec.structs.replace(one, process_id=about.process_id) for one in several]
        assert only_tokens(read(data)) == belonging


LINES = [
    token_json(token("a", "i1", process_id="p")),
    token_json(token("b", "i2", process_id="q", created_at=at(1), child_tokens=("c",))),
    '{"token_id": "c", "element_id": "e", "state": "ACTIVE"}',
    '{"token_id": "d", "instance_id": "i", "element_id": "e", "state": "x", "created_at": "2025-01-11T10:00:00+01:00"}',
    '{"token_id": "e", "instance_id": "i3", "element_id": "e", "state": "ACTIVE", "zone": 7}',
    '{"token_id": "f", "instance_id": "i3", "element_id": "e", "state": "ACTIVE", "(undocumented)": {"x": 1}}',
    '{"token_id": "", "instance_id": "i3", "element_id": "e", "state": "ACTIVE"}',
    '{"instance_id": "i4", "process_id": "p", "status": "ACTIVE"}',
    '{"token_id": ',
    "",
]


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from([0, 1, 1000]), st.sampled_from(["", "\n"]))
@settings(max_examples=scaled(1))
def test_lines_are_read_alike_together_and_one_by_one(lines, single, end):
    data = "\n".join([LINES[0], *lines]) + end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_SINGLE_READS_AFTER_FAILURE", single)
        patch.setattr(reader, "BATCH_CHARACTERS", 250)
        together = read(data, size=50, instance_id="i0")
        patch.setattr(reader, "_decode_tokens", lambda *_: None)
        assert together == read(data, size=50, instance_id="i0")


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from([30, 250, 1 << 20]))
@settings(max_examples=scaled(0.5))
@example([LINES[1], "", LINES[1], LINES[8], LINES[7], LINES[6]], 1 << 20)
def test_a_rejected_line_is_named_by_its_number(lines, batch):
    lines = [LINES[0], *lines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BATCH_CHARACTERS", batch)
        rejected = [one.where for one in read("\n".join(lines)) if isinstance(one, RejectedRecord)]
    bad = {LINES[2], LINES[6], LINES[8]}  # the third has no instance
    assert rejected == [f"line {number}" for number, line in enumerate(lines, 1) if line in bad]


def test_a_number_that_is_cut_in_two():
    data = b'{"instance_id":"i","a":12.25,"b":1e5,"c":-3E-2,"tokens":[]}'
    for cut in range(len(data)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "MAX_VALUE_CHARACTERS", 16)
            (one,) = read_records([data[:cut], data[cut:]], name="input")
        assert {name: bytes(value) for name, value in one.extra.items()} == {"a": b"12.25", "b": b"1e5", "c": b"-3E-2"}


def test_an_empty_piece_is_not_the_end():
    data = ndjson(tokens(2))
    parts = [b"", data[:30], b"", b"", data[30:], b""]
    assert only_tokens(list(read_records(parts, name="input"))) == tokens(2)


@pytest.mark.parametrize("window", [100, 1000])
def test_one_token_longer_than_the_window_is_kept(window):
    huge = token("huge", variables={"blob": "x" * 5000}, extra={"data": raw({"a": 1})})
    for text in (
        token_json(huge),
        token_json(huge) + "\n",
        ndjson([token("a"), huge, token("b")]),
        f"[{token_json(token('a'))},{token_json(huge)}]",
        '{"success":true,"data":{"tokens":[' + token_json(huge) + "]}}",
    ):
        found = only_tokens(read(text, size=64, window=window))
        assert huge in found


def test_a_definition_longer_than_the_window_is_kept():
    text = '{"process_id":"p","elements":{},"xml":"' + "x" * 500 + '"}\n'
    for form in (text, text + ndjson([token()]).decode()):
        assert read(form, size=64, window=100)[0] == Definition(process_id="p", xml="x" * 500)


def test_json_over_several_lines_fits_on_one_when_it_is_kept():
    text = '{\n"instance_id": "i",\n"variables": {\n"a": 1},\n"x": [\n1],\n"tokens": [{"token_id":"t",\n'
    text += '"element_id":"e",\n"state":"ACTIVE",\n"variables": {\n"b": 2}}]}'
    for window in WINDOWS:
        about, one = read(text, window=window)
        for kept in (about.variables, about.extra["x"], one.variables):
            assert b"\n" not in bytes(kept)


def test_an_instance_named_behind_a_long_list_is_refused():
    text = '{"tokens":[' + ",".join(token_json(one, alone=False) for one in tokens(3)) + '],"instance_id":"i1"}'
    assert only_tokens(read(text)) == tokens(3)
    for size in (None, 10):
        with pytest.raises(InputError, match="instance_id comes after the tokens"):
            read(text + "  ", window=64, size=size, instance_id="file")


# --- broken input ---


@pytest.mark.parametrize("text", ["", "   \n \t\n", "\ufeff"])
def test_an_empty_input(text):
    with pytest.raises(InputError, match="empty"):
        read(text)


@pytest.mark.parametrize("window", WINDOWS)
def test_an_input_that_breaks_off(documented, window):
    whole = documented.strip()
    for end in range(1, len(whole), 41):
        for size in (None, 64):
            with pytest.raises(InputError, match=r"line \d+, column \d+: unexpected end of input"):
                read(whole[:end], size=size, window=window)


def test_a_line_that_breaks_off_is_a_reject():
    records = read(ndjson(tokens(2))[:-20])
    assert of(Token, records) == tokens(1)
    (reject,) = of(RejectedRecord, records)
    assert reject.where == "line 2"
    assert reject.reason.startswith(TRUNCATED)


@pytest.mark.parametrize("size", [None, 5])
def test_text_that_is_not_utf_8(size):
    data = b'[\n{"token_id":\n"\xff"}]'
    with pytest.raises(InputError, match=r"^input: line 3: not UTF-8 text"):
        read(data, size=size)
    with pytest.raises(InputError, match="not UTF-8"):
        read("[«".encode()[:-1])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [None, 11])
def test_malformed_json_in_the_middle(size, window):
    good = [token_json(one) for one in tokens(3)]
    text = "[\n" + good[0] + ",\n" + good[1] + " oops\n" + good[2] + "]"
    with pytest.raises(InputError) as caught:
        read(text, size=size, window=window)
    column = len(good[1]) + 2
    assert f"line 3, column {column}: " in str(caught.value)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "text",
    [
        "[1,]",
        '{"a":1,}',
        '{"a" 1}',
        "{1:2}",
        "{[1]:2}",
        '["a" "b"]',
        "nonsense",
        "{'a': 1}",
        "]",
        "<html>",
        "[" * 100_000,
        '{"tokens":' * 3000,
        '{"a":{"b":' * 3000,
        "[" * 400 + "NaN" + "]" * 400,
    ],
)
def test_what_is_no_json(text, window):
    with pytest.raises(InputError, match=r"line 1, column \d+: "):
        read(text, window=window)
    padded = '{"pad":"' + "x" * 100 + '",' + text[1:] if text[0] == "{" else text
    with pytest.raises(InputError, match=r"line 1, column \d+: "):
        read(padded, size=13, window=window)


# --- rejects ---


@pytest.mark.parametrize("window", WINDOWS)
def test_a_reject_says_where_which_field_and_why(window):
    bad = '{"token_id":"b","element_id":"e","state":"ACTIVE","created_at":"soon"}'
    good = token_json(token("a"), alone=False)
    for text, where in (
        (f"[{good},{bad}]", "[1]"),
        ('{"success":true,"data":[' + good + "," + bad + "]}", "data[1]"),
        ('{"success":true,"data":{"tokens":[' + good + "," + bad + "]}}", "data.tokens[1]"),
        ('{\n"tokens":[' + good + "," + bad + "]}", "tokens[1]"),
        ("[]\n[" + good + "," + bad + "]", "document 2[1]"),
        ("[]\n" + '{"tokens":[' + good + "," + bad + "]}", "document 2.tokens[1]"),
        (good + "\n\n" + bad + "\n", "line 3" if window > len(good) else "document 2"),
        (bad, "document 1"),
        (good + bad, "document 2"),
    ):
        for size in (None, 17):
            records = read(text, size=size, window=window, instance_id="i1")
            (reject,) = of(RejectedRecord, records)
            assert (reject.where, reject.field, reject.text) == (where, "created_at", bad)
            assert str(reject) == f"{where}: created_at: 'soon' is not an RFC 3339 time"
            assert [one.token_id for one in of(Token, records)] == ["a"] * (bad != text)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("junk", ['"text"', "7", "null", "true", "{}", '{"hello":1}'])
def test_what_is_no_token_is_refused_and_kept(junk, window):
    good = token_json(token("a"))
    for text in (f"[{good},{junk}]", f"{good}\n{junk}\n", f"{good}{junk}"):
        records = read(text, window=window)
        assert of(Token, records) == [token("a")]
        assert [reject.text for reject in of(RejectedRecord, records)] == [junk]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("NaN", "NaN is not JSON: write null"),
        ("-Infinity", "-Infinity is not JSON: write null"),
        ('"\\ud800"', "half a surrogate pair"),
        ('{"\\udfff": 1}', "half a surrogate pair"),
    ],
)
def test_what_only_python_writes_costs_one_token(bad, words, window):
    wild = '{"token_id":"x","element_id":"e","state":"ACTIVE","instance_id":"i1","variables":{"v":' + bad + "}}"
    for text in (
        '{"success":true,"data":{"instance_id":"i1","tokens":[' + token_json(token("a")) + "," + wild + "]}}",
        "[\n" + wild + ",\n" + token_json(token("a")) + "]",
        wild + "\n" + token_json(token("a")) + "\n",
    ):
        records = read(text, window=window)
        assert of(Token, records) == [token("a")]
        (reject,) = of(RejectedRecord, records)
        assert reject.reason.startswith(words)
        assert reject.field == "variables.v"
        start = text.index(bad) + max(bad.find("\\"), 0)
        line, column = line_and_column(text, start)
        assert f"column {column})" in reject.reason
        assert f"line {line}" in f"{reject.where} {reject.reason}"


@pytest.mark.parametrize(
    "first",
    [
        '{"token_id":"b","inst',
        '{"a":01}',
        '{"a":"\\q"}',
        "{bad}",
        '{"a":1}}',
        '{"a":1} {',
        "a line of a log",
        '{"v":' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
)
@pytest.mark.parametrize("size", [7, None])
def test_a_first_line_that_is_broken_is_a_reject_like_any_other(first, size):
    lines = [token_json(token("a")), token_json(token("b"))]
    records = read("\n".join([first, *lines, ""]), size=size)
    assert of(Token, records) == [token("a"), token("b")]
    (reject,) = of(RejectedRecord, records)
    assert (reject.where, reject.text) == ("line 1", first)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("before", ["{", '{"instance_id":"i1",', '{"pad":{"a":[1,'])
def test_a_document_whose_second_line_is_an_object_is_no_list_of_lines(before, window):
    after = {"{": "", '{"instance_id":"i1",': "", '{"pad":{"a":[1,': "\n{}\n]},"}[before]
    text = f'{before}{after}"tokens":[\n{token_json(token("a"))}\n]}}\n'
    assert of(Token, read(text, window=window)) == [token("a")]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_refused_instance_does_not_give_its_tokens_to_another(window):
    text = (
        '{"instance_id":"i","version":"one","pad":"' + "x" * 80 + '","tokens":[' + token_json(token("a"), alone=False)
    )
    records = read(text + "]}", window=window, instance_id="other")
    assert of(Token, records) == []
    assert [reject.field for reject in of(RejectedRecord, records)] == ["version", "instance_id"]


@given(st.lists(st.tuples(names, st.booleans()), max_size=6))
@settings(max_examples=scaled(0.3))
def test_nothing_is_lost(items):
    """Every item of a list is either a token or a reject."""
    texts = [token_json(token(name)) if good else json.dumps({"token_id": name}) for name, good in items]
    for window in WINDOWS:
        records = read(f"[{','.join(texts)}]", window=window)
        kept = [token_json(r) if isinstance(r, Token) else r.text for r in records]
        assert list(map(json.loads, kept)) == list(map(json.loads, texts))


# --- files and pipes ---


def test_files_compressed_or_not(tmp_path):
    data = ndjson(tokens(50))
    plain, zipped, joined, padded = (tmp_path / name for name in ("a", "b.gz", "c", "d"))
    plain.write_bytes(data)
    zipped.write_bytes(gzip.compress(data))
    joined.write_bytes(gzip.compress(data[:1000]) + gzip.compress(b"") + gzip.compress(data[1000:]))
    padded.write_bytes(gzip.compress(data) + b"\0" * 1000)
    for path in (plain, zipped, joined, padded):
        told = []
        assert b"".join(read_chunks(str(path), told.append)) == data
        assert sum(told) == path.stat().st_size == input_size(str(path))
    assert only_tokens(list(read_records(read_chunks(str(zipped)), name="b"))) == tokens(50)


@pytest.mark.parametrize("first", [1, 2, 10, 11, 18])
def test_gzip_through_a_slow_pipe(first):
    """The header comes alone, and unpacks to nothing."""
    data = gzip.compress(ndjson(tokens(3)), mtime=0)
    script = "import sys; from tokctl.input_files import read_chunks; from tokctl.readers.stream import read_records\n"
    script += "print(len(list(read_records(read_chunks('-'), name='stdin'))))"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    os.write(child.stdin.fileno(), data[:first])
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.4)
    out, _ = child.communicate(data[first:])
    assert out.strip() == b"3"


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "x.gz"
    data = gzip.compress(ndjson(tokens(50)))
    path.write_bytes(data[:-100])
    with pytest.raises(InputError, match="truncated"):
        list(read_chunks(str(path)))
    path.write_bytes(data[:60] + bytes(40) + data[100:])
    with pytest.raises(InputError, match="damaged gzip data"):
        list(read_chunks(str(path)))
    path.write_bytes(data + b"more")
    with pytest.raises(InputError, match="damaged gzip data"):
        list(read_chunks(str(path)))
    with pytest.raises(InputError, match="cannot read"):
        list(read_chunks(str(tmp_path)))
    with pytest.raises(NotFoundError, match="does not exist"):
        list(read_chunks(str(tmp_path / "none")))
    assert input_name("-") == "standard input"
    assert input_size("-") is None


def test_a_bomb_unpacks_piece_by_piece(tmp_path):
    path = tmp_path / "bomb.gz"
    packer = zlib.compressobj(9, wbits=31)
    path.write_bytes(b"".join([packer.compress(b" " * (1 << 20)) for _ in range(64)] + [packer.flush()]))
    assert max(map(len, read_chunks(str(path)))) <= 1 << 18


# --- size ---

MEASURE = textwrap.dedent("""
    import sys
    from tokctl.readers import stream as reader

    def peak():
        for line in open("/proc/self/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024

    def document():
        head, item, tail = sys.argv[1:4]
        yield head.encode()
        for start in range(0, 100_000, 500):
            yield ",".join(item.replace("@", str(n)) for n in range(start, start + 500)).encode()
            yield b"," if start < 99_500 else b""
        yield tail.encode()

    before = peak()
    read = size = 0
    def counted():
        global size
        for chunk in document():
            size += len(chunk)
            yield chunk
    for record in reader.read_records(counted(), name="big"):
        read += isinstance(record, reader.Token)
    print(read, size >> 20, peak() - before)
""")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("before", ["", '{"instance_id":"small"}\n'], ids=["alone", "a line of many"])
def test_a_huge_document_on_one_line_is_read_in_little_memory(before):
    item = token_json(token("t@", variables={"note": "x" * 200}, created_at=at(0)), alone=False)
    head = before + '{"success":true,"data":{"instance_id":"i","tokens":['
    run = subprocess.run([sys.executable, "-c", MEASURE, head, item, "]}}\n"], capture_output=True, check=True)
    read_tokens, mebibytes, grown = map(int, run.stdout.split())
    assert read_tokens == 100_000
    assert mebibytes > 40
    assert grown < 36


# --- values without an end ---


@pytest.mark.parametrize("begin", ['"', "x"])
def test_a_long_line_that_is_no_json_is_skipped_in_linear_time(begin):
    good = '{"token_id":"%d","element_id":"e","state":"ACTIVE","instance_id":"i"}'
    size = 24 << 20
    lines = f"{good % 1}\n{begin}{'x' * size}\n{good % 2}\n".encode()
    started = time.perf_counter()
    records = list(read_records((lines[n : n + 65536] for n in range(0, len(lines), 65536)), name="x"))
    assert time.perf_counter() - started < 5  # it took more than half a minute
    assert [type(one) for one in records] == [Token, RejectedRecord, Token]
    assert records[1].where == "line 2"
    assert len(records[1].text) <= 1000


def test_a_value_may_not_be_longer_than_a_limit(monkeypatch):
    monkeypatch.setattr(text_window, "MAX_MEMBER_CHARACTERS", 5 << 20)
    for size, fine in ((4 << 20, True), (6 << 20, False)):
        token = f'[{{"token_id":"t","element_id":"e","instance_id":"i","variables":{{"x":"{"y" * size}"}}}}]'.encode()
        if fine:
            assert len(list(read_records([token], name="x"))) == 1
        else:
            with pytest.raises(InputError, match="a value is longer than 5,242,880 characters"):
                list(read_records([token], name="x"))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "1" * 400, "1" * 5000, "0.1" + "0" * 400 + "1"])
def test_a_number_of_any_size_is_kept_as_it_is(number, window):
    one = token("a", variables=Raw(f'{{"x":{number}}}'.encode()))
    text = token_json(one, alone=False)
    for form in (text + "\n", f"[{text}]", f"\x1e{text}\n", f'{{"tokens":[{text}]}}'):
        (found,) = only_tokens(read(form, window=window, instance_id="i1"))
        assert bytes(found.variables) == f'{{"x":{number}}}'.encode()
