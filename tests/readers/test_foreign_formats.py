"""Inputs that are something else than JSON are called by their names."""

from __future__ import annotations

import io
import sqlite3
import zipfile

import pytest

from support.paths import MODELS
from tokctl.errors import InputError
from tokctl.readers.foreign_formats import detect_foreign_format
from tokctl.readers.stream import read_records


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("a.json", "[]")
    return stream.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE x (y)")
    return connection.serialize()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>504</html>", "this is an HTML page, not JSON: '504'"),
        (b"\n<!DOCTYPE HTML>\n<title>\n Sign in &amp; go</title>", "this is an HTML page, not JSON: 'Sign in & go'"),
        (b"<!-- x --><body><script>var a = 1</script>Bad\ngateway", "this is an HTML page, not JSON: 'Bad gateway'"),
        ("<html>Пока</html>".encode("utf-16"), "this is an HTML page, not JSON: 'Пока'"),
        (b'<?xml version="1.0"?><a/>', "this is XML, not JSON"),
        (b"<error/>", "this is XML, not JSON"),
        (next(MODELS.glob("*.bpmn")).read_bytes(), "this is a BPMN model, not JSON"),
        (archive(), "this is a ZIP archive, not JSON"),
        (database(), "this is an SQLite database, not JSON"),
        (b"\x01\x02\x03" * 20, "this is binary data, not JSON"),
        (b"", "the input is empty"),
        (b"\xff\xfe", "the input is empty"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_an_input_is_instead(data, words, size):
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    with pytest.raises(InputError) as caught:
        list(read_records(chunks, name="x"))
    assert words in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a":"<html>"}', "[1]", "", "a line of a log", '"<html>"', "token_id: a", "1 < 2"])
def test_what_may_be_json_or_is_of_no_known_kind(text):
    assert detect_foreign_format(text) is None
