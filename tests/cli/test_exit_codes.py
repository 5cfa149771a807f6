"""Exit codes, and which stream says what: in processes of their own, with real pipes, signals and terminals."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from support.builders import DOCUMENTED
from support.commandline import clean_environment

pytestmark = pytest.mark.slow  # starts programs, or waits for them


def one_line(ran, code):
    """Check that a failure says one line on stderr and nothing else anywhere."""
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err


def test_success(shell, known):
    ran = shell("tokens", "list", "pay", "--store", known, env={"COLUMNS": "200"})
    assert (ran.code, ran.err) == (0, "")
    assert ran.out


def test_1_findings(shell, known):
    ran = shell("store", "check", "--store", known)
    assert ran.code == 1
    assert "PARENT_MISSING" in ran.out
    assert "error: " not in ran.err


def test_2_usage(shell, known):
    one_line(shell("tokens", "list", "--bogus"), 2)
    one_line(shell("tokens", "list", "--store", known, "--state", "bogus"), 2)


def test_3_not_found(shell, known, tmp_path):
    one_line(shell("tokens", "list", "bogus", "--store", known), 3)
    one_line(shell("tokens", "list", "ord", "--store", known), 3)  # ambiguous
    one_line(shell("tokens", "list", "--file", tmp_path / "bogus"), 3)
    one_line(shell("simulate", tmp_path / "bogus.bpmn", "--store", tmp_path / "s.db"), 3)


def test_6_the_store(shell, tmp_path):
    assert "tokctl demo" in one_line(shell("tokens", "list", "--store", tmp_path / "absent.db"), 6)
    assert "directory" in one_line(shell("tokens", "list", "--store", tmp_path), 6)
    text = tmp_path / "text.db"
    text.write_text("This is no database, however one looks at it." * 100)
    assert "not an SQLite database" in one_line(shell("tokens", "list", "--store", text), 6)
    newer = tmp_path / "newer.db"
    shell("store", "import", DOCUMENTED, "--store", newer)
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    assert "newer" in one_line(shell("tokens", "list", "--store", newer), 6)


def test_7_input(shell, tmp_path):
    for content in (
        b"",
        b"{",
        b"[1]",
        b'{"success":false,"error":{"code":"UNAUTHORIZED","message":"no"}}',
        b"\x1f\x8b\x08cut",
    ):
        assert one_line(shell("tokens", "list", "--file", "-", stdin=content), 7)
    one_line(shell("store", "import", "-", "--store", tmp_path / "s.db", stdin=b"nonsense"), 7)
    model = tmp_path / "model.bpmn"
    model.write_text("<no/>")
    one_line(shell("simulate", model, "--store", tmp_path / "s.db"), 7)


@pytest.mark.parametrize(
    "words", [["tokens", "list", "bogus"], ["tokens", "list", "--bogus"], ["tokens", "list", "--state", "bogus"]]
)
def test_a_traceback_only_when_it_is_asked_for(shell, known, words):
    for line in ([*words, "--debug-traceback"], ["--debug-traceback", *words]):
        ran = shell("--store", known, *line)
        assert ran.code != 0
        assert "Traceback (most recent call last)" in ran.err
    assert "Traceback" not in shell("--store", known, *words).err


def test_a_fault_of_our_own_is_one_line_too(shell, known, monkeypatch):
    code = (
        "import sys, tokctl.engines.store as local\n"
        "def broken(settings, reading): raise RuntimeError('first\\nsecond')\n"
        "local.open_engine = broken\n"
        "from tokctl.__main__ import main\n"
        "sys.argv[1:] = ['tokens', 'list']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    assert "RuntimeError: first second" in done.stderr
    assert "--debug-traceback" in done.stderr


# --- interruptions ------------------------------------------------------------------------------------------


def test_ctrl_c_is_130_and_one_line(shell, tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "store", "import", "-", "--store", str(tmp_path / "s.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    try:
        running.stdin.write(b'{"instance_id":"i","token_id":"t","element_id":"e","state":"ACTIVE"}\n')
        running.stdin.flush()
        until = time.monotonic() + 10
        while not [*tmp_path.glob("s.db.*.part-wal")] and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=10)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, out, err) == (130, b"", b"tokctl: interrupted.\n")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "words",
    [
        ["tokens", "list", "big", "-n", "0"],
        ["tokens", "list", "big", "-o", "json"],
        ["tokens", "list", "big", "-o", "ndjson"],
        ["tokens", "list", "big", "-o", "csv"],
        ["tokens", "list", "big", "-o", "id"],
        ["tokens", "tree", "big", "--expand"],
        ["tokens", "history", "big"],
        ["store", "export"],
        ["store", "export", "-o", "ndjson"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_a_reader_that_goes_is_no_fault(big, words):
    running = subprocess.Popen(
        [sys.executable, "-m", "tokctl", *words, "--store", str(big)]
        if words[0] != "--help"
        else [sys.executable, "-m", "tokctl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert (running.wait(timeout=20), err) == (141, b"")


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    from support.commandline import fill

    folder = tmp_path_factory.mktemp("big")
    file = folder / "big.ndjson"
    with file.open("w") as stream:
        for n in range(5000):
            token = {
                "instance_id": "big",
                "token_id": f"t{n:05}",
                "element_id": f"e{n * 7919 % 5000}",
                "state": "ACTIVE",
            }
            stream.write(json.dumps(token | {"parent_token_id": f"t{n - 1:05}" if n else None}) + "\n")
    fill(folder / "big.db", file)
    return folder / "big.db"


# --- streams that are not there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["tokens", "list", "pay"],
        ["tokens", "list", "pay", "-o", "json"],
        ["tokens", "watch", "pay"],
        ["store", "export"],
        ["--version"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_output_without_stdout_is_an_error(known, words):
    code, err = with_closed(1, *([] if words == ["--version"] else ["--store", known]), *words)
    assert code == 74
    assert err == "error: cannot write the output: stdout is closed. Redirect it to a file or to /dev/null.\n"


def test_without_stdout_and_output_all_is_well(known, tmp_path):
    assert with_closed(1, "store", "export", "--to", tmp_path / "all.json", "--store", known) == (0, "")
    assert (tmp_path / "all.json").stat().st_size
    code, err = with_closed(1, "tokens", "list", "bogus", "--store", known)
    assert (code, err.count("\n")) == (3, 1)


def test_without_stdin_there_is_nothing_to_read(known):
    code, err = with_closed(0, "tokens", "list", "--file", "-")
    assert code == 7
    assert err == "error: standard input: the input is empty.\n"
    assert with_closed(0, "tokens", "list", "pay", "--store", known)[0] == 0


def test_without_stderr_the_code_still_tells(known):
    assert with_closed(2, "tokens", "list", "bogus", "--store", known)[0] == 3


def with_closed(descriptor, *words):
    """Run tokctl with a standard stream closed; returns its exit code and stderr."""
    sign = {0: "<&-", 1: ">&-", 2: "2>&-"}[descriptor]
    line = ["sh", "-c", f'exec "$@" {sign}', "sh", sys.executable, "-m", "tokctl", *map(str, words)]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_environment(), check=False)
    return done.returncode, done.stderr.decode()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    "words", [["tokens", "list", "pay"], ["store", "export"], ["--version"], ["--help"]], ids=" ".join
)
def test_output_that_cannot_be_written(shell, known, words):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = shell("--store", known, *words, stdout=full, env={"COLUMNS": "200"})
    assert ran.code == 74
    assert ran.err.count("\n") == 1
    assert os.strerror(errno.ENOSPC) in ran.err


def test_an_export_to_a_device_leaves_it_alone(shell, known, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
    ran = shell("store", "export", "pay", "--to", fifo, "--store", known)
    out, _ = reader.communicate(timeout=10)
    assert ran.code == 0
    assert json.loads(out)["data"]["instance_id"] == "pay-2001"
    assert fifo.is_fifo()


def test_an_export_that_cannot_be_written(shell, known, tmp_path):
    one_line(shell("store", "export", "--to", tmp_path / "no" / "where", "--store", known), 6)
    assert list(tmp_path.iterdir()) == []


INVALID = os.fsdecode(b"a\xff\xfe")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tokens", "list", INVALID], 2),
        (["tokens", "show", INVALID], 2),
        (["explain", INVALID], 2),
        (["tokens", "list", "pay", "--element", INVALID], 2),
        (["tokens", "list", "pay", "--query", INVALID], 2),
        (["tokens", "watch", "--process", INVALID], 2),
        (["instances", "list", "--process", INVALID], 2),
        (["perf", "--compare", INVALID], 2),
        (["tokens", "wait", "pay", "--for", f"element={INVALID}"], 2),
        (["tokens", INVALID], 2),
        (["tokens", "list", f"--{INVALID}"], 2),
        (["store", "import", INVALID], 3),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_invalid_bytes_on_the_line(shell, known, words, code):
    err = one_line(shell(*words, "--store", known), code)
    assert "\\udcff" in err or "is not valid UTF-8. Check the terminal's encoding." in err


def test_a_file_may_have_any_name(shell, known, tmp_path):
    file = tmp_path / INVALID
    assert shell("store", "export", "--to", file, "--store", known).code == 0
    assert (
        shell("instances", "list", "-o", "id", "--file", file).out
        == shell("instances", "list", "-o", "id", "--store", known).out
    )


# --- who says what ----------------------------------------------------------------------------------------------------


def test_results_on_stdout_and_everything_else_on_stderr(shell, own_store):
    for words in (
        ["tokens", "list", "pay", "-s", "FAILED", "-o", "id"],
        ["store", "check", "--no-links", "-o", "id"],
    ):
        ran = shell("--store", own_store, *words)
        assert (ran.code, ran.out) == (0, ""), words
    ran = shell("tokens", "list", "ord-1001", "-n", "1", "-o", "table", "--store", own_store)
    assert "Showing 1 to 1 of 7" in ran.err
    assert "Showing" not in ran.out


@pytest.mark.parametrize(
    "words",
    [["tokens", "list", "pay"], ["tokens", "show", "c2"], ["--help"], ["tokens", "list", "--help"]],
    ids=" ".join,
)
def test_nothing_is_coloured_into_a_pipe(shell, known, words):
    ran = shell("--store", known, *words, env={"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [
        ["tokens", "list"],
        ["tokens", "list", "-o", "wide"],
        ["tokens", "tree"],
        ["tokens", "history"],
        ["tokens", "show", "b3"],
        ["tokens", "list", "-o", "csv"],
        ["tokens", "list", "-o", "id"],
        ["tokens", "list", "--help"],
    ],
    ids=" ".join,
)
def test_a_stream_that_takes_no_unicode(tokctl, known, words, encoding):
    line = [*words, *([] if "--help" in words or "show" in words else ["ord-1002"])]
    ran = tokctl(*line, "--store", known, encoding=encoding, width=200)
    assert ran.code == 0
    if "--help" not in words:
        assert ran.out.isascii()


def test_json_and_yaml_keep_their_meaning_in_ascii(tokctl, known):
    import yaml

    words = ["tokens", "list", "ord-1002", "--store", known]
    plain = json.loads(tokctl(*words, "-o", "json").out)
    assert json.loads(tokctl(*words, "-o", "json", encoding="ascii").out) == plain
    assert yaml.safe_load(tokctl(*words, "-o", "yaml", encoding="ascii").out) == plain


def test_ascii_for_real(shell, known):
    ran = shell("tokens", "tree", "ord-1002", "--store", known, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "150"})
    assert ran.code == 0
    assert "|- " in ran.out
    assert "`- Send the mail" in ran.out
    assert "ACTIVE" in ran.out
    assert "34m 50s..." not in ran.err


def test_no_home(shell, tmp_path):
    env = {"HOME": "/nonexistent", "XDG_DATA_HOME": ""}
    assert "/nonexistent" in one_line(shell("tokens", "list", env=env), 6)
    assert shell("tokens", "list", "--file", DOCUMENTED, env=env).code == 0


def test_version(shell):
    from tokctl import __version__

    assert shell("--version") == (0, f"tokctl {__version__}\n", "")
    for words in (["-V"], ["--color", "never", "--version"], ["--color", "never", "-V"]):
        assert shell(*words) == (0, f"tokctl {__version__}\n", "")


def test_data_that_a_format_cannot_nest_as_deeply(shell):
    deep = '{"a":' * 950 + "1" + "}" * 950
    token = f'{{"token_id":"t","element_id":"e","state":"ACTIVE","instance_id":"i","variables":{deep}}}'
    assert shell("tokens", "list", "--file", "-", "-o", "json", stdin=token.encode()).code == 0
    ran = shell("tokens", "list", "--file", "-", "-o", "yaml", stdin=token.encode())
    assert (ran.code, "nested too deeply" in ran.err, ran.err.count("\n")) == (7, True, 1)


def test_a_home_of_nobody(tokctl, monkeypatch):
    monkeypatch.chdir("/")
    ran = tokctl("tokens", "list", "--store", "~nosuchuser/s.db")
    assert ran.code == 6
    assert "no store found at ~nosuchuser/s.db" in ran.err
