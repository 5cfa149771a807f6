"""Files of every kind that people import, and what a command says about those that cannot be."""

from __future__ import annotations

import codecs
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from support.commandline import clean_environment
from support.paths import FIXTURES, MODELS

CASES = FIXTURES / "import"
LAST = "9999-12-31T23:59:59.999999Z"
MILLENNIA = re.compile(r"\d{4}y\b")
COMMANDS = (
    ("tokens", "list", "pi"),
    ("tokens", "show", "a"),
    ("tokens", "history", "a"),
    ("explain", "a"),
    ("flow", "pi"),
    ("debug",),
    ("perf",),
    ("instances", "list"),
    ("instances", "show", "pi"),
)
TRANSFORMATIONS = {
    "PowerShell 5": lambda text: codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le"),
    "PowerShell 7": lambda text: text.replace("\n", "\r\n").encode(),
}


def read_tokens(tokctl, file, *more, stdin=b""):
    ran = tokctl("tokens", "list", "-A", "--file", file, "-o", "json", *more, stdin=stdin)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)["tokens"]


def test_what_powershell_writes(tokctl, store_path):
    for file, stdin in ((CASES / "utf16le.ndjson", b""), ("-", (CASES / "utf16le.ndjson").read_bytes())):
        assert [one["token_id"] for one in read_tokens(tokctl, file, stdin=stdin)] == ["t0", "t1", "t2"]
    assert tokctl("store", "import", CASES / "utf16le.ndjson", "--store", store_path).code == 0


@pytest.mark.parametrize(
    ("file", "message", "hint"),
    [
        (CASES / "html.json", "line 1, column 1: this is an HTML page, not JSON: '504'", ""),
        (CASES / "trailing-comma.json", "line 1, column 698: remove the comma before ']'", ""),
        (next(MODELS.glob("*.bpmn")), "line 1, column 1: this is a BPMN model, not JSON", "tokctl simulate"),
    ],
)
def test_what_is_no_json_is_called_by_its_name(tokctl, store_path, file, message, hint):
    for command in (("store", "import", file, "--store", store_path), ("tokens", "list", "-A", "--file", file)):
        ran = tokctl(*command)
        assert ran.code == 7
        assert ran.err.startswith(f"error: {file}: {message}.")
        assert hint in ran.err
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize("case", ["go0", "go0b"])
def test_the_zero_time_of_go_is_unknown(tokctl, case):
    (one,) = read_tokens(tokctl, CASES / f"{case}.ndjson")
    assert one["completed_at"] is one["cancelled_at"] is None
    assert one["created_at"] == (None if case == "go0" else "2026-11-28T16:00:00.000Z")
    for command in COMMANDS:
        ran = tokctl(*command, "--file", CASES / f"{case}.ndjson")
        assert not MILLENNIA.search(ran.out + ran.err)
        assert ran.code in {0, 1}, ran.err


@pytest.mark.parametrize("case", ["max", "maxoff"])
def test_the_latest_time_is_the_latest_that_can_be_represented(tokctl, store_path, case):
    assert [one["created_at"] for one in read_tokens(tokctl, CASES / f"{case}.ndjson")] == [LAST]
    assert tokctl("store", "import", CASES / f"{case}.ndjson", "--store", store_path).code == 0
    ran = tokctl("tokens", "list", "pi", "--store", store_path, "-o", "json")
    assert json.loads(ran.out)["tokens"][0]["created_at"] == LAST
    for command in COMMANDS:
        ran = tokctl(*command, "--store", store_path)
        assert not MILLENNIA.search(ran.out + ran.err)
        assert ran.code in {0, 1}, ran.err


def forms(text: str) -> dict[str, str]:
    line = json.dumps({"success": True, "data": {"tokens": ["@"]}})
    return {"ndjson": text, "json": line.replace('"@"', text.strip()), "sequence": f"\x1e{text}"}


@pytest.mark.parametrize("number", ["1e400", "-1E+400", "1e-400", "1" * 400, "1" * 5000])
@pytest.mark.parametrize("form", ["ndjson", "json", "sequence"])
def test_a_number_of_any_size_is_in_every_format(tokctl, tmp_path, number, form):
    text = (CASES / "n0.ndjson").read_text().replace("1e400", number)
    file = tmp_path / "n.json"
    file.write_text(forms(text)[form])
    out = {}
    for kind in ("json", "ndjson", "yaml", "csv", "table", "wide", "id"):
        ran = tokctl("tokens", "list", "pi", "--file", file, "-o", kind)
        assert ran.code == 0, ran.err
        out[kind] = ran.out
    assert f'"variables":{{"x":{number}}}' in out["json"]
    assert f'"variables":{{"x":{number}}}' in out["ndjson"]
    assert f'""x"":{number}' in out["csv"]
    (scalar,) = [node for node in scalars(yaml.compose(out["yaml"])) if node.value[-3:] == number[-3:]]
    assert scalar.tag.endswith((":float", ":int"))
    assert scalar.value.lower().replace(".0", "").replace("+", "") == number.lower().replace("+", "")
    for command in (("tokens", "show", "t"), ("instances", "show", "pi"), ("explain", "t"), ("debug",)):
        ran = tokctl(*command, "--file", file)
        assert ran.code in {0, 1}, ran.err
    ran = tokctl("tokens", "list", "pi", "--file", file, "-o", "json", "--query", "tokens[].variables.x")
    assert ran.out == f"[{number}]\n"


@pytest.mark.parametrize("number", ["1e400", "1" * 5000])
def test_a_number_of_any_size_hides_nothing_beside_it(tokctl, tmp_path, number):
    context = f'{{"worker_id":"w-1","x":{number},"error_message":"out of order"}}'
    hops = f'[{{"from_element":"before","via_flow":"f","x":{number},"timestamp":"0001-01-01T00:00:00Z"}},{number}]'
    more = f'"element_id":"e","execution_context":{context},"flow_history":{hops}'
    file = tmp_path / "n.ndjson"
    text = (CASES / "n0.ndjson").read_text().replace('"element_id":"e"', more)
    file.write_text(text.replace("1e400", number))
    shown = tokctl("tokens", "show", "t", "--file", file, width=20_000).out
    assert "w-1" in shown
    assert number in shown
    history = tokctl("tokens", "history", "t", "--file", file, "-o", "json").out
    assert "before" in history
    assert "0001-" not in history
    assert "out of order" in tokctl("tokens", "list", "pi", "--file", file).out
    assert tokctl("explain", "t", "--file", file).code == 0


def scalars(node):
    if isinstance(node, yaml.ScalarNode):
        yield node
    else:
        for child in node.value:
            for inner in child if isinstance(child, tuple) else (child,):
                yield from scalars(inner)


@pytest.mark.parametrize("shell_name", TRANSFORMATIONS)
@pytest.mark.parametrize(
    "command",
    [
        ("store", "export", "@latest"),
        ("store", "export", "@latest", "-o", "ndjson"),
        ("tokens", "list", "-A", "-o", "json"),
        ("tokens", "list", "-A", "-o", "ndjson"),
        ("tokens", "list", "@latest", "-o", "json"),
    ],
    ids=" ".join,
)
def test_what_a_shell_of_windows_redirects_is_read_back(tokctl, own_store, tmp_path, command, shell_name):
    ran = tokctl(*command, "--store", own_store)
    assert ran.code == 0, ran.err
    file = tmp_path / "redirected"
    expected = tmp_path / "expected"
    expected.write_text(ran.out)
    file.write_bytes(TRANSFORMATIONS[shell_name](ran.out))
    assert read_tokens(tokctl, file) == read_tokens(tokctl, expected) != []


def test_zstd_without_the_package_names_the_extra(tmp_path):
    file = tmp_path / "a.zst"
    file.write_bytes(b"\x28\xb5\x2f\xfd\0\0\0\0")
    code = "import sys; sys.modules['backports'] = sys.modules['compression'] = None\n"
    code += "from tokctl.__main__ import run; sys.exit(run(['tokens', 'list', '-A', '--file', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert done.returncode == 7
    assert done.stderr.startswith(f"error: {os.fspath(file)}: zstd data needs the extra 'zstd'.")
    assert done.stderr.count("\n") == 1
