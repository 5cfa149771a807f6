"""Changes of the configuration file: only what is meant changes, whole or not at all, one after the other."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support.commandline import clean_environment
from support.examples import scaled
from tokctl.config.editing import change, remove_key, rename, rename_context, set_value, set_values, unset
from tokctl.config.file import expand_dotted_names, load_yaml, parse_configuration
from tokctl.config.keys import CONTEXT, LIMITS, SERVE
from tokctl.errors import InputError, NotAllowedError, UsageError

WRITTEN = """\
# what we look at

current_context: prod   # mostly
contexts:
    prod:               # the real one
        server: https://engine.example:27555
        # it is slow at night
        timeout: 10s

    # never mind
    test: {server: "http://127.0.0.1:27555", output: 'json'}   # on this machine
    empty:
debug:
    retries: 5
    # nightly batches
serve.port: 8080
serve:
    trusted_proxies:
        - 10.0.0.0/8   # the balancer
        - ::1/128
"""
STYLES = [
    "",
    "# only a comment",
    "---\n# begins\noutput: json\n",
    "{}\n",
    "{output: json, contexts: {a: {store: x}}} # flow",
    "contexts: {a: {store: x,},\n  b: {server: http://h}}\noutput: json",
    "debug: ~\noutput: json\n",
    "contexts:\n  a:\n    store: x\n\n\n# the end\n",
    "contexts: # none yet\n",
    "output: json\r\ndebug:\r\n  retries: 5\r\n",
    "contexts.a.store: x\ncontexts: {a: {output: id}}\n",
    "\"output\": 'json'\n'debug':\n  \"retries\": 5",
    WRITTEN,
]


def comments(text):
    return re.findall(r"#[^\r\n]*", text)


def read(text):
    return expand_dotted_names(load_yaml(text.encode(), "the text"), "the text")


def plain(document):
    """The document without sections that hold nothing, but with contexts that do."""
    if not isinstance(document, dict):
        return document
    return {name: plain(value) for name, value in document.items()} or None


def names():
    context = st.sampled_from(["a", "b", "prod", "test", "on", "1"])
    of_context = st.sampled_from(["store", "output", "ca_file", "timeout", "debug.retries", "debug.loops"])
    top = st.sampled_from(["output", "debug.retries", "debug.long_running", "serve.port", "serve.limits.body"])
    path = st.builds("contexts.{}.{}".format, context, of_context) | top
    return path.map(lambda name: tuple(name.split(".")))


ODD = ["on", "no", "~", "1", "0x10", "1:30", "a: b", "'", '"', "[x", "{", "%a", "é", "- x", "x, y", "2020-01-01"]
VALUES = (
    st.sampled_from(ODD)
    | st.text("abc :'\",[]{}&*!|>%@`-?é", min_size=1, max_size=12).filter(str.strip)
    | st.integers(-5, 10**9)
    | st.booleans()
    | st.lists(st.sampled_from(["10.0.0.0/8", "::1", "a, b"]), min_size=1, max_size=3)
)


@given(st.sampled_from(STYLES), st.lists(st.tuples(names(), VALUES | st.none()), max_size=8))
def test_what_is_set_is_there_and_nothing_else_has_changed(text, steps):
    expected = read(text)
    for parts, value in steps:
        before = deepcopy(expected)
        place = expected
        for part in parts[:-1]:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
        if value is None:
            place.pop(parts[-1], None)
            new = remove_key(text, parts)
            if plain(before) == plain(expected):
                assert new == text
            left = set(text.splitlines())
            assert set(new.splitlines()) <= left or "{" in text
        else:
            place[parts[-1]] = value
            new = set_value(text, parts, value)
            assert comments(new) == comments(text)
        assert plain(_sparse(read(new))) == plain(_sparse(expected))
        text = new


def _sparse(document):
    """The document without the sections that a test's own steps make before they take something out."""
    if not isinstance(document, dict):
        return document
    made = {name: _sparse(value) for name, value in document.items()}
    return {name: value for name, value in made.items() if value is not None} or None


@pytest.mark.parametrize("text", STYLES)
@pytest.mark.parametrize("value", ["# x", "a # b", "#", "a#b"])
def test_a_value_may_look_like_a_comment(text, value):
    assert read(set_value(text, ("debug", "odd"), value))["debug"]["odd"] == value


def test_lines_that_are_not_meant_stay_as_they_are():
    new = set_value(WRITTEN, ("contexts", "prod", "server"), "http://other")
    assert new == WRITTEN.replace("https://engine.example:27555", "http://other")
    new = set_value(WRITTEN, ("contexts", "prod", "insecure"), True)
    assert new == WRITTEN.replace("timeout: 10s\n", "timeout: 10s\n        insecure: true\n")
    new = set_value(WRITTEN, ("contexts", "empty", "store"), "x.db")
    assert new == WRITTEN.replace("    empty:\n", "    empty:\n        store: x.db\n")
    new = set_value(WRITTEN, ("serve", "port"), 80)
    assert new == WRITTEN.replace("serve.port: 8080", "serve.port: 80")
    new = remove_key(WRITTEN, ("contexts", "prod", "server"))
    assert new == WRITTEN.replace("        server: https://engine.example:27555\n", "")
    new = remove_key(WRITTEN, ("contexts", "test", "server"))
    assert new == WRITTEN.replace('server: "http://127.0.0.1:27555", ', "")
    new = rename(WRITTEN, ("contexts", "test"), "here")
    assert new == WRITTEN.replace("    test:", "    here:")


def test_a_context_with_dots_is_renamed_wherever_it_stands():
    text = "contexts.a.store: x\ncontexts: {a: {output: id}, b: {}}\ncontexts.b.output: json\n"
    new = rename(text, ("contexts", "a"), "c")
    assert new == "contexts.c.store: x\ncontexts: {c: {output: id}, b: {}}\ncontexts.b.output: json\n"


# --- any mapping that the table allows ---------------------------------------------------------------------------


def _fitting(key):
    for value in (
        "http://h",
        "rest",
        "strapi",
        "keyring",
        "json",
        "true",
        "7",
        "30s",
        "60/min",
        "10.0.0.0/8,::1",
        "some/text",
    ):
        try:
            yield key.stored(value)
        except UsageError:
            continue


ALLOWED = {("contexts", "a", name): list(_fitting(key)) for name, key in CONTEXT.items() if name != "store"}
ALLOWED |= {("serve", name): list(_fitting(key)) for name, key in SERVE.items()}
ALLOWED |= {("serve", "limits", name): list(_fitting(key)) or [2048] for name, key in LIMITS.items()}
ALLOWED |= {("output",): ["json", "id"], ("debug", "retries"): [3]}


@settings(max_examples=scaled(0.5))
@given(st.data())
def test_any_settings_that_are_allowed_can_be_set_and_read(tmp_path, data):
    file = tmp_path / "config.yaml"
    file.write_text(data.draw(st.sampled_from(["", "# mine\n", "{}", "contexts:\n    b: {store: x}\n"])))
    chosen = data.draw(st.lists(st.sampled_from(sorted(ALLOWED)), unique=True, min_size=1))
    values = {parts: data.draw(st.sampled_from(ALLOWED[parts])) for parts in chosen}
    values = {parts: list(value) if isinstance(value, tuple) else value for parts, value in values.items()}
    environ = {"TOKCTL_CONFIG": str(file)}
    set_values(environ, values)
    document = parse_configuration(file.read_bytes(), file).document
    for parts, value in values.items():
        place = document
        for part in parts:
            place = place[part]
        assert place == value
    assert file.stat().st_mode & 0o777 == 0o600
    unset(environ, *values)
    left = parse_configuration(file.read_bytes(), file)
    assert set(left.values) <= {"contexts.b.store"}


# --- the file on the disk ----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return tmp_path / "own" / "config.yaml"


@pytest.fixture
def environ(file):
    return {"TOKCTL_CONFIG": str(file)}


def test_file_and_folder_are_made_for_their_owner(file, environ):
    old = os.umask(0)
    try:
        set_values(environ, {("output",): "json"})
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


def test_a_link_stays_one(file, environ, tmp_path):
    real = tmp_path / "dotfiles" / "tokctl.yaml"
    real.parent.mkdir()
    real.write_text("output: id\n")
    real.chmod(0o644)
    file.parent.mkdir()
    file.symlink_to(real)
    assert set_values(environ, {("output",): "json"}) == real
    assert file.is_symlink()
    assert real.read_text() == "output: json\n"
    assert real.stat().st_mode & 0o777 == 0o600


def test_what_would_be_wrong_is_not_written(file, environ):
    set_values(environ, {("contexts", "a", "store"): "x"})
    before = file.read_bytes()
    for parts, value in ((("contexts", "a", "server"), "http://h"), (("current_context",), "b"), (("what",), 1)):
        with pytest.raises(UsageError):
            set_values(environ, {parts: value})
    assert file.read_bytes() == before


def test_a_wrong_name_can_be_taken_out(file, environ):
    file.parent.mkdir()
    file.write_text("outputt: json\ncontexts: {a: {servr: x}}\n")
    unset(environ, ("outputt",))
    assert file.read_text() == "contexts: {a: {servr: x}}\n"
    unset(environ, ("contexts", "a", "servr"))
    assert parse_configuration(file.read_bytes(), file).contexts == {"a": {}}


@pytest.mark.parametrize(
    "text",
    ["contexts:\n  a: &a {output: id}\n  b: *a\n", "contexts: {a: &a {store: x}, b: *a}\n"],
)
def test_what_cannot_be_changed_safely_is_left_alone(file, environ, text):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(InputError, match="Edit the file"):
        set_values(environ, {("contexts", "b", "output"): "json"})
    assert file.read_text() == text


def test_a_renamed_context_stays_the_current_one(file, environ):
    set_values(environ, {("contexts", "a", "store"): "x", ("current_context",): "a"})
    rename_context(environ, "a", "b", current=True)
    assert yaml.safe_load(file.read_text()) == {"contexts": {"b": {"store": "x"}}, "current_context": "b"}


def _set(environ, *words, **popen):
    return subprocess.Popen(
        [sys.executable, "-m", "tokctl", "config", "set", *words],
        env=clean_environment(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


@pytest.mark.slow
def test_many_that_set_at_once_lose_nothing(file, environ):
    running = [_set(environ, f"contexts.c{n}.server", f"http://h{n}") for n in range(8)]
    for process in running:
        assert process.communicate()[1] == ""
    contexts = yaml.safe_load(file.read_text())["contexts"]
    assert contexts == {f"c{n}": {"server": f"http://h{n}"} for n in range(8)}


def test_whoever_holds_the_lock_is_waited_for(file, environ):
    set_values(environ, {("output",): "id"})
    folder = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    process = _set(environ, "output", "json")
    time.sleep(1.5)
    assert process.poll() is None
    assert file.read_text() == "output: id\n"
    os.close(folder)
    assert process.wait(20) == 0
    assert file.read_text() == "output: json\n"


def test_a_full_disk_leaves_the_old_file_whole(file, environ):
    set_values(environ, {("contexts", f"c{n}", "server"): f"http://host{n}" for n in range(30)})
    before = file.read_bytes()
    environ |= {"PYTHONDONTWRITEBYTECODE": "1"}  # Python itself would leave bytecode files cut short
    process = _set(environ, "output", "json", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)))
    out, err = process.communicate()
    assert (process.returncode, out) == (7, "")
    assert "cannot write" in err
    assert err.count("\n") == 1
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_the_right_to_write(file, environ):
    set_values(environ, {("output",): "id"})
    file.parent.chmod(0o500)
    try:
        with pytest.raises(NotAllowedError, match="may not be changed"):
            set_values(environ, {("output",): "json"})
        assert file.read_text() == "output: id\n"
    finally:
        file.parent.chmod(0o700)


def test_what_stands_in_the_way(file, environ, tmp_path):
    file.parent.write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        set_values(environ, {("output",): "id"})
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(InputError):
        set_values({"TOKCTL_CONFIG": str(folder)}, {("output",): "id"})
    bad = tmp_path / "bad.yaml"
    for data in (b"\xff\xfe\x00", b"a: [", b"- x"):
        bad.write_bytes(data)
        with pytest.raises(InputError):
            set_values({"TOKCTL_CONFIG": str(bad)}, {("output",): "id"})
        assert bad.read_bytes() == data


def test_what_a_killed_one_left_is_in_nobodys_way(file, environ):
    set_values(environ, {("output",): "id"})
    file.with_name(f".config.yaml.{os.getpid()}.part").write_text("half")  # containers give out the same ids again
    set_values(environ, {("output",): "json"})
    assert file.read_text() == "output: json\n"
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


def test_what_is_no_file_is_neither_replaced_nor_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a regular file"):
        set_values({"TOKCTL_CONFIG": str(pipe)}, {("output",): "id"})
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("contexts.a.server: http://h\noutput: id\ncurrent_context: a\n", "output: id\n"),
        ("{contexts: {a: {server: http://h,},}, current_context: a, output: id,}\n", None),
    ],
)
def test_the_only_one_can_go_however_it_is_written(file, environ, text, rest):
    file.parent.mkdir(parents=True)
    file.write_text(text)
    unset(environ, ("contexts", "a"), ("current_context",))
    assert rest is None or file.read_text() == rest
    assert parse_configuration(file.read_bytes(), file).values == {"output": "id"}


def test_a_change_that_says_something_else_is_not_written(file, environ):
    set_values(environ, {("output",): "id"})
    with pytest.raises(InputError, match="Edit the file"):
        change(environ, lambda text: text + "debug: {retries: 3}\n", lambda _: None)
    assert Path(file).read_text() == "output: id\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_with_the_line_ends_of_windows_keeps_them(tmp_path, mark):
    texts = []
    for line_end in ("\n", "\r\n"):
        file = tmp_path / "config.yaml"
        file.write_bytes((mark + WRITTEN).replace("\n", line_end).encode())
        set_values(
            {"TOKCTL_CONFIG": str(file)}, {("contexts", "test", "output"): "id", ("contexts", "new", "store"): "x"}
        )
        texts.append(file.read_bytes().decode())
    assert texts[1] == texts[0].replace("\n", "\r\n")
    assert texts[0] != mark + WRITTEN
