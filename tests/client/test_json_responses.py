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
