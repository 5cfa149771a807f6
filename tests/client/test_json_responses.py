"""JSON of an answer: of the shape that is asked for, or an error that says where it is not."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest
from msgspec import Struct

from support.commandline import clean_environment
from tokctl.client import ClientResponse, decode_json
from tokctl.errors import InputError

URL = "https://h/api/v1/processes"


class Item(Struct):
    token_id: str
    state: str = "ACTIVE"
    retries: int | None = None
    at: datetime | None = None


class Data(Struct):
    tokens: list[Item]


class Envelope(Struct):
    data: Data


def test_what_is_right():
    answer = ClientResponse(200, b'{"success":true,"data":{"tokens":[{"token_id":"a"}]}}', {}, url=URL)
    assert decode_json(answer, Envelope).data.tokens[0].token_id == "a"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ('{"token_id":"a","state":7}', "$.data.tokens[1].state: expected text, got an integer."),
        ('{"token_id":"a","retries":"x"}', "$.data.tokens[1].retries: expected an integer or null, got text."),
        ('{"token_id":"a","at":"noon"}', "$.data.tokens[1].at: invalid RFC3339 encoded datetime."),
        ("{}", "$.data.tokens[1]: object missing required field 'token_id'."),
        ("[]", "$.data.tokens[1]: expected an object, got an array."),
    ],
)
def test_what_is_wrong_where(token, words):
    answer = ClientResponse(200, f'{{"data":{{"tokens":[{{"token_id":"a"}},{token}]}}}}'.encode(), {}, url=URL)
    with pytest.raises(InputError) as caught:
        decode_json(answer, Envelope)
    assert str(caught.value) == f"{URL}: {words}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_response_in_another_encoding(encoding):
    answer = ClientResponse(200, '{"data":{"tokens":[{"token_id":"Ж"}]}}'.encode(encoding), {}, url=URL)
    assert decode_json(answer, Envelope).data.tokens[0].token_id == "Ж"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (
            b'{"data":\n{"a":NaN}}',
            "application/json",
            "not JSON: line 2, column 6: data.a: NaN is not JSON: write null",
        ),
        (b'{"data":{},}', "application/json", "not JSON: line 1, column 12: data: remove the comma before '}'"),
        (b'{"data":{', "application/json", "not JSON: line 1, column 10: data: unexpected end of input"),
        (b"{}{}", "application/json", "not JSON: line 1, column 3: a second JSON value starts here"),
        (b"<html><title>Log in</title>", "text/html", "this is an HTML page, not JSON: 'Log in'"),
        (b"<html>s3cret", "text/html", "this is an HTML page, not JSON: '***'"),
        (b"<a/>", "text/xml", "this is XML, not JSON"),
        (b"PK\x03\x04x", "application/zip", "this is a ZIP archive, not JSON"),
        (b'{"\xff":1}', "application/json", "not JSON: byte 3 is not UTF-8 text"),
        (b"sorry, s3cret", "text/plain", "not JSON: it starts with 'sorry, ***'"),
    ],
)
def test_what_is_no_json_has_status_type_place_and_reason(body, kind, words):
    answer = ClientResponse(203, body, {"content-type": kind}, 0, URL, lambda text: text.replace("s3cret", "***"))
    with pytest.raises(InputError) as caught:
        decode_json(answer, dict)
    assert caught.value.message.startswith(f"{URL}: status 203, {kind}: {words}")
    assert ("Check the server address" in (caught.value.hint or "")) == ("json" not in kind)


def test_nothing_heavy_is_imported_before_the_first_request():
    code = (
        "import sys; from tokctl.client import Client, Connection; Client(Connection('https://h'));"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert not {"httpx", "httpcore", "ssl", "socket", "email", "http", "zlib", "rich"} & set(done.stdout.split())


def test_the_first_request_imports_no_more_than_it_needs():
    code = (
        "import sys; from tokctl.client import Client, Connection\n"
        "try: Client(Connection('http://127.0.0.1:1', retries=0)).get(('x',))\n"
        "except Exception as error: print(type(error).__name__, file=sys.stderr)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stderr == "TransientError\n"
    assert {"httpx", "httpcore"} <= set(done.stdout.split())
    assert not {"trio", "yaml", "keyring", "asyncio"} & set(done.stdout.split())
