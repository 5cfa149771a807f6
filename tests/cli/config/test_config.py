"""``tokctl config``: what it shows, what it changes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.commandline import clean_environment

SECRET = "xvc_hunter2hunter2"


@pytest.fixture
def file(tmp_path, monkeypatch, tokctl):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "config" / "tokctl" / "config.yaml"


@pytest.fixture
def written(file):
    """A configuration with two contexts, one of them current."""
    file.parent.mkdir(parents=True)
    file.write_text("""\
# ours
current_context: prod
output: table
contexts:
  prod:
    server: https://engine.example:27555   # the real one
    credential: env:ENGINE_KEY
    timeout: 10s
    debug: {long_running: 1h}
  local: {store: /data/local.db, output: json}
debug: {retries: 5, long_running: 30m}
serve: {port: 8080}
""")
    return file


def test_a_current_context_that_is_a_list(tokctl, file):
    file.parent.mkdir(parents=True)
    file.write_text("current_context: [a]\ncontexts: {a: {output: id}}\n")
    ran = tokctl("config", "validate")
    assert (ran.code, ran.out.count("current_context")) == (1, 1)
    assert "invalid context name" in ran.out


def test_deleting_that_fails_says_nothing_of_what_did_not_happen(tokctl, file):
    file.parent.mkdir(parents=True)
    file.write_text("contexts: {b: &b {output: id}, a: *b}\ncurrent_context: b\n")
    refused(tokctl("config", "delete", "b"), "Edit the file", code=7)


def fine(ran):
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def refused(ran, *parts, code):
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    for part in parts:
        assert part in ran.err
    assert "hunter2" not in ran.err


def shown(tokctl, *words):
    """What ``config view`` says, by name: value and origin."""
    document = json.loads(fine(tokctl("config", "view", "-o", "json", *words)))
    return {one["key"]: (one["value"], one["origin"]) for one in document["settings"]}


# --- view and get ---------------------------------------------------------------------------------------------


def test_view_shows_what_holds_and_where_it_comes_from(tokctl, written):
    assert shown(tokctl) == {
        "context": ("prod", "configuration"),
        "server": ("https://engine.example:27555", "context prod"),
        "credential": ("env:ENGINE_KEY", "context prod"),
        "insecure": (False, "default"),
        "timeout": ("10s", "context prod"),
        "connect_timeout": ("5s", "default"),
        "output": ("json", "flag"),
        "debug.long_running": ("1h", "context prod"),
        "debug.retries": (5, "configuration"),
        "serve.port": (8080, "configuration"),
    }
    assert shown(tokctl, "--store", "x.db") == {
        "store": ("x.db", "flag"),
        "output": ("json", "flag"),
        "debug.long_running": ("30m", "configuration"),
        "debug.retries": (5, "configuration"),
        "serve.port": (8080, "configuration"),
    }


def test_view_follows_the_environment(tokctl, written, monkeypatch):
    monkeypatch.setenv("TOKCTL_CONTEXT", "local")
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    assert shown(tokctl)["store"] == ("/data/local.db", "context local")
    assert fine(tokctl("config", "get", "output")) == '{"key":"output","value":"json","origin":"context local"}\n'
    monkeypatch.setenv("TOKCTL_SERVER", "http://other")
    monkeypatch.delenv("TOKCTL_CONTEXT")
    ran = tokctl("config", "view", "--origin", width=120)
    assert "environment TOKCTL_SERVER" in ran.out
    assert "environment TOKCTL_API_KEY" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_view_as_a_table(tokctl, written):
    ran = tokctl("config", "view")
    assert ran.out.splitlines()[0].split() == ["KEY", "VALUE"]
    assert str(written) in tokctl("config", "view", tty=True).out
    assert ran.err == "Other contexts: local.\n"
    assert tokctl("config", "view", "--origin").out.splitlines()[0].split() == ["KEY", "VALUE", "ORIGIN"]
    assert "contexts.local.store" in tokctl("config", "view", "--all").out


def test_contexts_with_the_current_one_marked(tokctl, written, monkeypatch):
    document = json.loads(fine(tokctl("config", "get-contexts", "-o", "json")))
    assert document["current_context"] == "prod"
    assert document["contexts"] == [
        {
            "name": "prod",
            "current": True,
            "server": "https://engine.example:27555",
            "store": None,
            "credential": "env:ENGINE_KEY",
        },
        {"name": "local", "current": False, "server": None, "store": "/data/local.db", "credential": None},
    ]
    assert fine(tokctl("config", "get-contexts", "-o", "id")) == "prod\nlocal\n"
    assert fine(tokctl("config", "get-contexts", "-o", "csv", "--columns", "name,current")) == (
        "name,current\nprod,true\nlocal,false\n"
    )
    rows = [line.split()[:2] for line in fine(tokctl("config", "get-contexts", "-o", "table")).splitlines()]
    assert rows == [["CURRENT", "NAME"], ["*", "prod"], ["-", "local"]]
    fine(tokctl("config", "use-context", "local"))
    assert json.loads(fine(tokctl("config", "ls", "-o", "json")))["current_context"] == "local"
    monkeypatch.setenv("TOKCTL_CONTEXT", "prod")
    assert json.loads(fine(tokctl("config", "get-contexts", "-o", "json")))["current_context"] == "prod"


def test_the_current_context(tokctl, written, monkeypatch):
    assert fine(tokctl("config", "current-context")) == "prod\n"
    assert json.loads(fine(tokctl("config", "current-context", "-o", "json"))) == {"current_context": "prod"}
    monkeypatch.setenv("TOKCTL_CONTEXT", "local")
    assert fine(tokctl("config", "current-context", "-o", "id")) == "local\n"


def test_no_current_context(tokctl, file):
    refused(tokctl("config", "current-context"), "no current context", "tokctl config use", code=3)


def test_no_contexts(tokctl, file):
    ran = tokctl("config", "get-contexts")
    assert (ran.code, ran.out) == (0, "")
    assert "tokctl config set contexts.NAME.server URL" in ran.err


def test_view_without_a_file(tokctl, file, tmp_path):
    assert shown(tokctl) == {
        "store": (str(tmp_path / "data" / "tokctl" / "tokctl.db"), "default"),
        "output": ("json", "flag"),
    }
    assert "does not exist" in " ".join(tokctl("config", "view", tty=True).out.split())
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "parts", "code"),
    [
        ("a: [", ["line 2", "invalid YAML"], 7),
        ("contexts:\n  a: {servr: x}", ["contexts.a.servr", "did you mean 'server'?"], 2),
        (f"contexts: {{a: {{credential: {SECRET}}}}}", ["contexts.a.credential"], 2),
    ],
)
def test_a_broken_file_says_where(tokctl, file, text, parts, code):
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for words in (["config", "view"], ["config", "get", "output"], ["tokens", "list"], ["store", "info"]):
        refused(tokctl(*words), str(file), *parts, code=code)
    assert fine(tokctl("config", "path")) == f"{file}\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", "https://engine.example:27555"),
        ("timeout", "10s"),
        ("context", "prod"),
        ("current_context", "prod"),
        ("contexts.local.store", "/data/local.db"),
        ("debug.long_running", "1h"),
        ("contexts.prod.debug.long_running", "1h"),
        ("serve.port", "8080"),
        ("output", "table"),
    ],
)
def test_get(tokctl, written, key, value):
    assert fine(tokctl("config", "get", key)) == f"{value}\n"
    if key != "output":
        assert fine(tokctl("config", "get", key, "-o", "id")) == f"{value}\n"


def test_get_of_a_section(tokctl, written):
    out = fine(tokctl("config", "get", "contexts.local", "-o", "json"))
    assert [(one["key"], one["value"]) for one in json.loads(out)["settings"]] == [
        ("contexts.local.store", "/data/local.db"),
        ("contexts.local.output", "json"),
    ]


def test_get_of_what_is_not_there(tokctl, written):
    for key in ("contexts.prod.ca_file", "store", "debug.loops", "serve.host", "ca_file", "contexts.other"):
        refused(tokctl("config", "get", key), f"{key} is not set", code=3)
    refused(tokctl("config", "get", "debug.looops"), "did you mean 'debug.loops'?", code=2)
    refused(tokctl("config", "get", "sever"), "unknown setting 'sever'", code=2)


# --- set and unset ----------------------------------------------------------------------------------------------


def test_set_get_and_view_agree(tokctl, file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    steps = {
        "contexts.a.server": ("http://h:1/", "http://h:1/"),
        "contexts.a.insecure": ("yes", "true"),
        "contexts.a.timeout": ("1m30s", "1m30s"),
        "contexts.a.ca_file": ("ca.pem", str(tmp_path / "ca.pem")),
        "contexts.a.credential": ("file:secret", f"file:{tmp_path / 'secret'}"),
        "contexts.a.debug.retries": ("7", "7"),
        "contexts.b.store": ("~/x.db", str(Path("~/x.db").expanduser())),
        "debug.long_running": ("2h", "2h"),
        "serve.port": ("80", "80"),
        "theme.warning": ("#ff8800 on black", "#ff8800 on black"),
        "serve.trusted_proxies": ("10.0.0.0/8, ::1", "10.0.0.0/8,::1"),
        "serve.limits.body": ("10", "10"),
        "output": ("JSON", "JSON"),
    }
    for key, (value, _) in steps.items():
        fine(tokctl("config", "set", key, value, "-o", "table"))
    for key, (_, value) in steps.items():
        expected = "json" if key == "output" else value
        assert json.loads(fine(tokctl("config", "get", key, "--query", "value", "-o", "json"))) in (
            expected,
            _plain(expected),
        )
    document = yaml.safe_load(file.read_text())
    assert document["contexts"]["a"]["insecure"] is True
    assert document["serve"] == {"port": 80, "trusted_proxies": ["10.0.0.0/8", "::1"], "limits": {"body": 10}}
    settings = shown(tokctl, "--context", "a")
    assert settings["timeout"] == ("1m 30s", "context a")
    assert settings["server"] == ("http://h:1", "context a")
    assert settings["debug.retries"] == (7, "context a")
    fine(tokctl("config", "validate", "-o", "json"))
    for key in steps:
        fine(tokctl("config", "unset", key))
    assert {key for key, (_, origin) in shown(tokctl).items() if origin != "default"} == {"output"}


def _plain(text):
    if "," in text:
        return text.split(",")
    return yaml.safe_load(text) if text in {"true", "7", "80", "10"} else text


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("contexts.a.sevrer", "x", ["contexts.a.sevrer", "did you mean 'contexts.a.server'?"]),
        ("contexts.a.server", "h:1", ["contexts.a.server", "has no scheme"]),
        ("contexts.a.server", "http://me:hunter2@h", ["contains a user name or a password"]),
        ("contexts.a.credential", SECRET, ["contexts.a.credential", "env:NAME"]),
        ("contexts.a.credential", "hunter2", ["contexts.a.credential", "env:NAME"]),
        ("contexts.a.store", f"/x/{SECRET}", ["the value is a secret"]),
        (f"contexts.{SECRET}.store", "x", ["the value is a secret"]),
        (SECRET, "x", ["the value is a secret"]),
        ("contexts.a b.store", "x", ["invalid context name 'a b'"]),
        ("contexts.a", "x", ["is a section"]),
        ("debug", "x", ["is a section", "long_running"]),
        ("debug.long_running", "600", ["debug.long_running", "invalid duration"]),
        ("debug.retries", "many", ["debug.retries", "expected an integer"]),
        ("debug.long_runing", "5m", ["did you mean 'debug.long_running'?"]),
        ("current_context", "nope", ["unknown context 'nope'"]),
        ("output", "junit", ["output"]),
        ("", "x", ["unknown setting ''"]),
        ("..", "x", ["unknown setting"]),
    ],
)
def test_set_refuses_what_means_nothing(tokctl, file, key, value, parts):
    refused(tokctl("config", "set", key, value), *parts, code=2)
    assert not file.exists()


def test_set_keeps_comments_and_order(tokctl, written):
    before = written.read_text()
    fine(tokctl("config", "set", "contexts.prod.server", "https://other:1"))
    fine(tokctl("config", "set", "debug.loops", "9"))
    after = before.replace("https://engine.example:27555", "https://other:1")
    assert written.read_text() == after.replace("30m}", "30m, loops: 9}")


def test_unset(tokctl, written):
    fine(tokctl("config", "unset", "contexts.local"))
    fine(tokctl("config", "unset", "debug.retries"))
    assert "local" not in written.read_text()
    assert yaml.safe_load(written.read_text())["debug"] == {"long_running": "30m"}
    refused(tokctl("config", "unset", "debug.retries"), "is not set", code=3)
    refused(tokctl("config", "unset", "output.x"), "is not set", code=3)


def test_a_broken_file_can_be_mended(tokctl, written):
    written.write_text(written.read_text() + "outputt: json\n")
    refused(tokctl("config", "view"), "outputt", code=2)
    fine(tokctl("config", "unset", "outputt"))
    fine(tokctl("config", "view", "-o", "json"))
    written.write_text("current_context: gone\ncontexts: {here: {store: x}}\n")
    refused(tokctl("config", "view"), "unknown context 'gone'", code=2)
    fine(tokctl("config", "use", "here"))
    assert shown(tokctl)["context"] == ("here", "configuration")


# --- contexts -----------------------------------------------------------------------------------------------------


def test_use_rename_delete(tokctl, written):
    fine(tokctl("config", "use", "local"))
    assert shown(tokctl)["context"] == ("local", "configuration")
    fine(tokctl("config", "rename", "local", "here", "-o", "table"))
    assert shown(tokctl)["context"] == ("here", "configuration")
    assert shown(tokctl)["store"] == ("/data/local.db", "context here")
    assert "# the real one" in written.read_text()
    ran = tokctl("config", "delete", "here", "-o", "table")
    assert ran.code == 0
    assert ran.err == "here was the current context. Choose another one with 'tokctl config use'.\n"
    assert "context" not in shown(tokctl)
    assert list(yaml.safe_load(written.read_text())["contexts"]) == ["prod"]


def test_contexts_that_are_not_there(tokctl, written):
    for words in (["use", "prodd"], ["rename", "prodd", "x"], ["delete", "prodd"]):
        refused(tokctl("config", *words), "unknown context 'prodd' (did you mean 'prod'?)", code=3)
    refused(tokctl("config", "rename", "prod", "local"), "already", code=2)
    refused(tokctl("config", "rename", "prod", "a.b"), "invalid context name", code=2)
    refused(tokctl("--context", "prodd", "tokens", "list"), "unknown context 'prodd'", "--context", code=3)


def test_a_context_with_a_store_is_looked_at(tokctl, file, known):
    fine(tokctl("config", "set", "contexts.k.store", known))
    fine(tokctl("config", "set", "contexts.k.output", "id"))
    assert tokctl("--context", "k", "instances", "list").out.startswith("srv1-")
    assert tokctl("instances", "list", "--context", "k").out == tokctl("--context", "k", "instances", "list").out
    fine(tokctl("config", "use", "k"))
    assert tokctl("instances", "list").out.startswith("srv1-")
    assert json.loads(tokctl("store", "info", "-o", "json").out)["location"] == str(known)


def test_thresholds_of_a_context(tokctl, file, known):
    fine(tokctl("config", "set", "debug.long_running", "2h"))
    fine(tokctl("config", "set", "contexts.k.debug.long_running", "3h"))
    rules = {
        one["type"]: one
        for one in json.loads(tokctl("debug", "--list-rules", "--context", "k", "-o", "json").out)["rules"]
    }
    assert rules["LONG_RUNNING_TOKENS"]["thresholds"] == {"long_running": "3h"}


def test_a_command_on_the_store_refuses_a_server(tokctl, written, known):
    for words in (["--server", "http://h"], ["--context", "prod"], ["--file", "x"]):
        refused(tokctl(*words, "store", "info"), words[0], "works on a store", code=2)
    assert tokctl("store", "info", "--store", known).code == 0  # whatever the current context is


def test_the_next_command_asks_the_same_server(tokctl, file, known):
    from tokctl.cli.app import App, Invocation

    invocation = Invocation(lambda: None)
    invocation.flags |= {"server": "https://h:1/a b", "insecure": True, "request_timeout": "5s", "output": "json"}
    assert App(invocation).prefix == "tokctl --server 'https://h:1/a b' --insecure --request-timeout 5s"


# --- path and validate ------------------------------------------------------------------------------------------------


def test_path(tokctl, file, monkeypatch):
    assert fine(tokctl("config", "path")) == f"{file}\n"
    assert json.loads(fine(tokctl("config", "path", "-o", "json"))) == {"file": str(file), "exists": False}
    monkeypatch.setenv("TOKCTL_CONFIG", "/elsewhere.yaml")
    assert fine(tokctl("config", "path")) == "/elsewhere.yaml\n"


def test_validate_tells_all_that_is_wrong(tokctl, written, tmp_path):
    ran = tokctl("config", "validate")
    assert (ran.code, "no problems" in ran.out + ran.err) == (0, True)
    other = tmp_path / "other.yaml"
    other.write_text(f"""
current_context: gone
contexts:
  a: {{servr: http://h, timeout: 5, debug: {{retries: many}}}}
  b: {{server: http://h, store: x, credential: {SECRET}}}
debug: {{long: 5m}}
serve: {{port: 99999}}
""")
    ran = tokctl("config", "validate", other, "-o", "json")
    assert ran.code == 1
    assert {one["key"] for one in json.loads(ran.out)["problems"]} == {
        "current_context",
        "contexts.a.servr",
        "contexts.a.timeout",
        "contexts.a.debug.retries",
        "contexts.b",
        "contexts.b.credential",
        "debug.long",
        "serve.port",
    }
    assert "hunter2" not in ran.out + ran.err
    refused(tokctl("config", "validate", tmp_path / "none"), "not found", code=3)
    other.write_text("a: [")
    refused(tokctl("config", "validate", other), "invalid YAML", code=7)


def test_validate_without_a_file(tokctl, file):
    ran = tokctl("config", "validate")
    assert (ran.code, "the file does not exist" in ran.out + ran.err) == (0, True)


# --- the shell, the start ------------------------------------------------------------------------------------


def completed(line, environ):
    done = subprocess.run(
        [sys.executable, "-m", "tokctl"],
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(environ | {"_TOKCTL_COMPLETE": "bash_complete", "COMP_WORDS": line}),
    )
    assert done.stderr == ""
    return [offer.split("\t")[0] for offer in done.stdout.splitlines() if offer]


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("tokctl --context ", ["prod", "local"]),
        ("tokctl config use l", ["local"]),
        ("tokctl config set contexts.local.out", ["contexts.local.output"]),
        ("tokctl config get debug.lo", ["debug.loops", "debug.long_running"]),
        ("tokctl config set output js", ["json"]),
        ("tokctl config set contexts.prod.engine_kind ", ["rest", "atomd", "camunda7", "flowable"]),
        ("tokctl config set contexts.prod.credential k", ["keyring"]),
        ("tokctl config set current_context p", ["prod"]),
        ("tokctl tokens list --engine-kind a", ["atomd"]),
    ],
)
def test_the_shell_offers_names(written, tmp_path, line, offers):
    got = completed(line, {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert sorted(got) == sorted(offers)


def test_a_broken_file_offers_nothing(written, tmp_path):
    written.write_text("a: [")
    assert completed("tokctl --context ", {"XDG_CONFIG_HOME": str(tmp_path / "config")}) == []


@pytest.mark.parametrize("exists", [True, False])
def test_yaml_is_imported_for_a_file_and_read_once(known, tmp_path, exists):
    folder = tmp_path / "config" / "tokctl"
    folder.mkdir(parents=True)
    if exists:
        (folder / "config.yaml").write_text("debug: {retries: 5}\n")
    program = """
import os, sys
os._exit = sys.exit
reads = []
sys.addaudithook(lambda event, given: reads.append(given[0]) if event == "open" else None)
sys.argv[0] = "tokctl"
from tokctl.__main__ import main
try:
    main()
finally:
    read = sum(str(name).endswith("config.yaml") for name in reads)
    print(read, "yaml" in sys.modules, "platformdirs" in sys.modules, file=sys.stderr)
"""
    environ = clean_environment({"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "-c", program, "debug", "pay", "--store", str(known), "-o", "json"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == ("1 True False" if exists else "0 False False")
