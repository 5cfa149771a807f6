"""Common options: before the command, between group and command, after it; flags, environment, defaults."""

from __future__ import annotations

import json

import pytest

from tokctl.cli.options import SHARED

FLAGS = {
    "store": ["--store", "{known}"],
    "file": ["--file", "{orders}"],
    "at": ["--at", "2025-01-11T10:00:05Z"],
    "output": ["-o", "json"],
    "columns": ["--columns", "token_id,state"],
    "query": ["--query", "tokens[0].token_id"],
    "color": ["--color", "always"],
    "no_headers": ["--no-headers"],
    "quiet": ["-q"],
    "verbose": ["-v"],
    "utc": ["--utc", "--columns", "created_at"],
    "no_pager": ["--no-pager"],
    "debug_traceback": ["--debug-traceback"],
}
CONTEXT = {  # what stands on the line besides, so that the option makes a difference
    "store": [],
    "file": [],
    "no_headers": ["--file", "{orders}", "-o", "csv"],
    "quiet": ["--file", "{orders}", "-n", "2"],
    "verbose": ["--store", "{known}"],
    "debug_traceback": ["--file", "{orders}", "--columns", "nothing"],
}


def at(place, option, rest):
    """Return ``tokens list ord-1001`` with an option in one of its places."""
    before, between, after = (option if place == here else [] for here in ("before", "between", "after"))
    return [*before, "tokens", *between, "list", "ord-1001", *rest, *after]


CONNECTION = {  # option → what stands on the line, and what 'config view' says of it
    "server": (["--server", "http://other"], "server", "http://other"),
    "context": (["--context", "remote"], "server", "http://remote"),
    "engine_kind": (["--engine-kind", "atomd"], "engine_kind", "atomd"),
    "registry_kind": (["--registry-kind", "strapi"], "registry_kind", "strapi"),
    "ca_file": (["--ca-file", "ca.pem"], "ca_file", "ca.pem"),
    "insecure": (["--insecure"], "insecure", True),
    "request_timeout": (["--request-timeout", "7s"], "timeout", "7s"),
    "rate": (["--rate", "5/s"], "rate", "5/s"),
}


@pytest.mark.parametrize("place", ["before", "between", "after"])
@pytest.mark.parametrize("name", CONNECTION)
def test_each_of_a_server_works_in_each_place(tokctl, monkeypatch, tmp_path, name, place):
    (tmp_path / "tokctl").mkdir()
    (tmp_path / "tokctl" / "config.yaml").write_text("contexts: {remote: {server: http://remote}}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    option, key, value = CONNECTION[name]
    before, between, after = (option if place == here else [] for here in ("before", "between", "after"))
    rest = [] if name in {"server", "context"} else ["--server", "http://other"]
    ran = tokctl(*before, "config", *between, "view", *rest, *after, "-o", "json")
    assert {one["key"]: one["value"] for one in json.loads(ran.out)["settings"]}[key] == value


@pytest.mark.parametrize("place", ["before", "between", "after"])
@pytest.mark.parametrize("name", FLAGS)
def test_each_works_in_each_place(tokctl, known, orders, name, place):
    def filled(words):
        return [word.format(known=known, orders=orders) for word in words]

    rest = filled(CONTEXT.get(name, ["--file", "{orders}"]))
    line = at(place, filled(FLAGS[name]), rest)
    if name == "debug_traceback":
        with pytest.raises(Exception, match="unknown column"):
            tokctl(*line)
        return
    ran = tokctl(*line)
    assert ran.code == 0
    if name in {"store", "file", "no_pager"}:
        assert "a2-check-1" in ran.out
    elif name == "verbose":
        assert ": opened to read" in ran.err
        assert "opened" not in tokctl(*[word for word in line if word != "-v"]).err
    elif name == "at":
        assert len(ran.out.splitlines()) == 3
    elif name == "output":
        assert json.loads(ran.out)["instance_id"] == "ord-1001"
    elif name == "columns":
        assert ran.out.splitlines()[0].split() == ["TOKEN", "STATE"]
    elif name == "no_headers":
        assert ran.out == "".join(tokctl(*[word for word in line if word != "--no-headers"]).out.splitlines(True)[1:])
    elif name == "quiet":
        assert "a1-start" in ran.out
        assert ran.err == ""
        assert "Showing 1 to 2 of 7" in tokctl(*[word for word in line if word != "-q"]).err
    elif name == "utc":
        assert "10:00:00 UTC" in ran.out
    elif name == "query":
        assert ran.out == "a1-start\n"
    else:
        assert "\x1b[" in ran.out


@pytest.mark.parametrize("tty", [False, True])
def test_tables_without_headings(tokctl, known, tty):
    ran = tokctl("tokens", "list", "pay", "--no-headers", "-q", "--store", known, tty=tty)
    assert "c1-start" in ran.out
    assert "TOKEN" not in ran.out


def test_every_shared_option_is_tested():
    assert set(FLAGS) | set(CONNECTION) == set(SHARED)


def test_the_nearest_to_the_end_wins(tokctl, known):
    line = ["-o", "json", "tokens", "-o", "yaml", "list", "ord-1001", "-o", "csv", "--store", known, "-o", "id"]
    assert tokctl(*line).out.splitlines()[0] == "a1-start"
    assert tokctl(*line[:-2]).out.startswith("token_id,")
    assert tokctl("-o", "json", "tokens", "-o", "id", "list", "ord-1001", "--store", known).out.startswith("a1-start")
    assert tokctl("-o", "id", "tokens", "list", "ord-1001", "--store", known).out.startswith("a1-start")
    ran = tokctl("--store", "/nonexistent", "tokens", "list", "ord-1001", "--store", known)
    assert ran.code == 0


@pytest.mark.parametrize("joined", ["-ojson", "--output=json", "-o=json"])
def test_a_value_may_be_joined_to_its_option(tokctl, known, joined):
    ran = tokctl("tokens", "list", "ord-1001", "--store", known, joined)
    assert ran.out.startswith('{"instance_id"') if joined != "-o=json" else ran.code == 2


def test_environment_and_flags(tokctl, known, orders, own_store, monkeypatch):
    monkeypatch.setenv("TOKCTL_STORE", str(known))
    assert tokctl("instances", "list", "-o", "id").out.startswith("srv1-")
    assert tokctl("instances", "list", "-o", "id", "--store", own_store).out.startswith("pay-2001")
    assert tokctl("instances", "list", "-o", "id", "--file", orders).out.startswith("pay-2001")
    monkeypatch.setenv("TOKCTL_OUTPUT", "id")
    assert tokctl("tokens", "list", "pay").out.split() == ["c1-start", "c2-auth", "c3-hold", "c4-odd"]
    assert tokctl("tokens", "list", "pay", "-o", "csv").out.startswith("token_id,")
    assert tokctl("-o", "csv", "tokens", "list", "pay").out.startswith("token_id,")
    monkeypatch.setenv("TOKCTL_OUTPUT", "")
    assert tokctl("tokens", "list", "pay").out.startswith("TOKEN ")
    monkeypatch.setenv("TOKCTL_OUTPUT", "toml")
    assert tokctl("tokens", "list", "pay").code == 2


def test_the_default_store_is_in_the_data_directory(tokctl, orders, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ran = tokctl("tokens", "list")
    assert ran.code == 6
    assert str(tmp_path / "data" / "tokctl" / "tokctl.db") in ran.err
    assert "tokctl demo" in ran.err
    assert tokctl("store", "import", orders).code == 0
    assert (tmp_path / "data" / "tokctl" / "tokctl.db").is_file()
    assert tokctl("instances", "list").code == 0


def test_format_names_ignore_case(tokctl, known):
    assert tokctl("tokens", "list", "pay", "-o", "ID", "--store", known).out.startswith("c1-start\n")


# --- colour -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "tty", "environment", "coloured"),
    [
        ([], True, {}, True),
        ([], False, {}, False),
        ([], True, {"NO_COLOR": "1"}, False),
        ([], True, {"NO_COLOR": ""}, True),  # as no-color.org has it
        ([], True, {"TERM": "dumb"}, False),
        ([], False, {"FORCE_COLOR": "1"}, True),
        (["--color", "always"], False, {}, True),
        (["--color", "always"], False, {"NO_COLOR": "1"}, True),
        (["--color", "never"], True, {}, False),
        (["--color", "AUTO"], True, {}, True),
    ],
)
@pytest.mark.parametrize("words", [["tokens", "list", "pay"], ["tokens", "show", "c2"], ["instances", "list"]])
def test_colour(tokctl, known, monkeypatch, words, options, tty, environment, coloured):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = tokctl(*words, *options, "--store", known, tty=tty)
    assert ("\x1b[" in ran.out) is coloured
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("form", ["json", "ndjson", "yaml", "csv", "id"])
def test_data_is_never_coloured(tokctl, known, form):
    assert (
        "\x1b" not in tokctl("tokens", "list", "pay", "-o", form, "--color", "always", "--store", known, tty=True).out
    )


# --- help -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["tokens"], ["store"], ["instances"]])
def test_a_group_alone_shows_its_help(tokctl, words):
    ran = tokctl(*words)
    assert ran.code == 2
    assert "Usage: " in ran.out
    assert ran.err == ""


def commands():
    from tokctl.cli.command_tree import COMMAND_TREE, CommandGroup

    def walk(group, words):
        yield words
        for name, entry in group.commands.items():
            if isinstance(entry, CommandGroup):
                yield from walk(entry, [*words, name])
            else:
                yield [*words, name]

    return list(walk(COMMAND_TREE, []))


@pytest.mark.parametrize("words", commands(), ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(tokctl, words, flag):
    ran = tokctl(*words, flag, width=80)
    assert (ran.code, ran.err) == (0, "")
    assert "Common options" in ran.out
    assert "<str>" not in ran.out
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    if words and words[-1] not in {"tokens", "instances", "store"}:
        assert "Examples" in ran.out
        assert "$ tokctl " in ran.out


def test_the_help_groups_the_commands(tokctl):
    out = tokctl("--help").out
    assert out.index("Inspect instances") < out.index("Manage stores")
    assert out.index("tokens  ") < out.index("Manage stores") < out.index("simulate")
