"""Settings from the line, the environment and the file: whatever is nearer to the line wins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.client import check_url
from tokctl.config import Settings, config_file, config_section, resolve_settings
from tokctl.config.keys import CONTEXT, ENGINE_KINDS, LIMITS, SERVE, url
from tokctl.config.settings import VARIABLES
from tokctl.errors import InputError, NotFoundError, TokctlError, UsageError

URLS = {name: f"https://{name}.example:27555" for name in ("flag", "variable", "context")}


@pytest.fixture
def configured(tmp_path):
    """Write a configuration; returns the environment that names it."""

    def write(text: str) -> dict[str, str]:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return {"TOKCTL_CONFIG": str(file)}

    return write


# --- one setting -------------------------------------------------------------------------------------------

VALUES = {  # field → flag, variable, what stands in the file; each with what it means
    "engine_kind": (("atomd", "atomd"), ("rest", "rest"), ("atomd", "atomd")),
    "ca_file": (("/flag.pem", "/flag.pem"), ("/variable.pem", "/variable.pem"), ("/file.pem", "/file.pem")),
    "timeout": (("1s", 1.0), ("2m", 120.0), ("3s", 3.0)),
    "insecure": ((True, True), ("1", True), ("true", True)),
    "output": (("json", "json"), ("yaml", "yaml"), ("csv", "csv")),
    "connect_timeout": (None, ("2s", 2.0), ("3s", 3.0)),
    "rate": (("60/min", "60/min"), ("5 / s", "5/s"), ("100/h", "100/h")),
    "credential": (None, None, ("env:B", "env:B")),
    "registry_server": (None, ("http://v", "http://v"), ("http://c", "http://c")),
    "registry_kind": (("strapi", "strapi"), ("tokctl", "tokctl"), ("xivercms", "xivercms")),
    "registry_credential": (None, ("env:V", "env:V"), ("env:R", "env:R")),
}


@pytest.mark.parametrize("field", VALUES)
def test_the_nearest_wins(configured, field):
    flag, variable, written = VALUES[field]
    environ = configured(f"current_context: c\ncontexts: {{c: {{server: http://h, {field}: {written[0]}}}}}")
    flags = {}
    layers = [(written, "context c", lambda: None)]
    if variable is not None:
        layers.append(
            (variable, f"environment {VARIABLES[field]}", lambda: environ.update({VARIABLES[field]: variable[0]}))
        )
    if flag is not None:
        name = "request_timeout" if field == "timeout" else field
        layers.append((flag, "flag", lambda: flags.update({name: flag[0]})))
    for (_, meant), origin, add in layers:
        add()
        settings = resolve_settings(flags, environ)
        assert (getattr(settings, field), settings.origins[field]) == (meant, origin)


def test_every_setting_of_a_context_is_tested():
    assert set(VALUES) == set(CONTEXT) - {"store", "server"}


@pytest.mark.parametrize("variables", [["TOKCTL_API_KEY", "TOKCTL_CREDENTIAL"], ["TOKCTL_CREDENTIAL"]])
def test_the_credential_of_a_context_is_the_only_one_that_its_server_gets(configured, variables):
    contexts = "{c: {server: http://h, credential: env:B}, open: {server: http://o}}"
    environ = configured(f"current_context: c\ncontexts: {contexts}") | dict.fromkeys(variables, "env:A")
    general = "env:TOKCTL_API_KEY" if "TOKCTL_API_KEY" in variables else "env:A"
    for flags, credential, origin in (
        ({}, "env:B", "context c"),
        ({"context": "c"}, "env:B", "context c"),
        ({"context": "open"}, general, f"environment {variables[0]}"),
        ({"server": "http://x"}, general, f"environment {variables[0]}"),
    ):
        settings = resolve_settings(flags, environ)
        assert (settings.credential, settings.origins["credential"]) == (credential, origin)


def test_a_key_in_the_environment_goes_before_places_of_secrets():
    settings = resolve_settings({}, {"TOKCTL_CREDENTIAL": "env:A", "TOKCTL_API_KEY": "xvc_secret0"}, configured=False)
    assert settings.credential == "env:TOKCTL_API_KEY"
    assert "xvc_secret0" not in repr(settings)


@pytest.mark.parametrize("name", VARIABLES.values())
def test_an_empty_variable_says_nothing(name):
    assert resolve_settings({}, {name: "", "XDG_CONFIG_HOME": "/nonexistent"}) == Settings()


def test_output_of_a_context_goes_before_that_of_the_file(configured):
    environ = configured("output: csv\ncontexts: {c: {store: x, output: id}}")
    assert resolve_settings({}, environ).output == "csv"
    assert resolve_settings({}, environ).origins["output"] == "configuration"
    assert resolve_settings({"context": "c"}, environ).output == "id"


def test_thresholds_of_a_context_go_before_those_of_the_file(configured):
    environ = configured("debug: {retries: 1, loops: 2}\ncontexts: {c: {store: x, debug.retries: 9}}")
    assert resolve_settings({}, environ).debug == {"retries": 1, "loops": 2}
    assert resolve_settings({"context": "c"}, environ).debug == {"retries": 9, "loops": 2}
    assert resolve_settings({"store": "y"}, environ | {"TOKCTL_CONTEXT": "c"}).debug == {"retries": 1, "loops": 2}


def test_the_theme_is_that_of_the_file(configured):
    found = resolve_settings({}, configured("theme: {failed: bold magenta, ok: none}"))
    assert found.theme == {"failed": "bold magenta", "ok": "none"}
    assert found.origins["theme.failed"] == "configuration"


# --- what to look at ----------------------------------------------------------------------------------------

PLACES = ("file", "store", "server", "context", "stored")  # the last: a context that has a store


def _named(where, place):
    return {
        "file": {"file": "f.json"},
        "store": {"store": f"{where}.db"},
        "server": {"server": URLS[where]},
        "context": {"context": "remote"},
        "stored": {"context": "local"},
    }[place]


def _expected(where, place):
    return {
        "file": ("file", "file", "f.json"),
        "store": ("store", "store", f"{where}.db"),
        "server": ("server", "server", URLS[where]),
        "context": ("server", "server", URLS["context"]),
        "stored": ("store", "store", "/local.db"),
    }[place]


FILE = f"""
contexts:
  remote: {{server: "{URLS["context"]}", credential: env:X, timeout: 3s}}
  local: {{store: /local.db}}
"""


@pytest.mark.parametrize("current", [None, "remote", "local"])
@pytest.mark.parametrize("variable", [None, *PLACES[1:]])
@pytest.mark.parametrize("flag", [None, *PLACES])
def test_what_is_named_nearest_is_looked_at(configured, flag, variable, current):
    environ = configured(FILE + (f"\ncurrent_context: {current}" if current else ""))
    nearest = ("store", "store", None)
    if current:
        nearest = _expected("context", "context" if current == "remote" else "stored")
    if variable:
        environ |= {VARIABLES[field]: value for field, value in _named("variable", variable).items()}
        nearest = _expected("variable", variable)
    if flag:
        nearest = _expected("flag", flag)
    settings = resolve_settings(_named("flag", flag) if flag else {}, environ)
    kind, field, value = nearest
    assert (settings.kind, getattr(settings, field)) == (kind, value)
    its_own = settings.server == URLS["context"]
    assert settings.credential == ("env:X" if its_own else None)  # a context's credential goes nowhere else
    assert settings.timeout == (3.0 if its_own else 30.0)
    remote = {"remote": kind == "server" and its_own}
    assert (settings.context == "remote") == remote["remote"]


@pytest.mark.parametrize("one", PLACES)
@pytest.mark.parametrize("other", PLACES)
def test_two_flags_that_say_what_to_look_at_are_refused(configured, one, other):
    flags = _named("flag", one) | _named("flag", other)
    if len(flags) < 2:
        return
    with pytest.raises(UsageError, match="cannot be used together"):
        resolve_settings(flags, configured(FILE))


@pytest.mark.parametrize(
    "names",
    [("TOKCTL_STORE", "TOKCTL_SERVER"), ("TOKCTL_STORE", "TOKCTL_CONTEXT"), ("TOKCTL_SERVER", "TOKCTL_CONTEXT")],
)
def test_two_variables_count_as_long_as_no_flag_decides(configured, names):
    values = {"TOKCTL_STORE": "s.db", "TOKCTL_SERVER": "http://s", "TOKCTL_CONTEXT": "remote"}
    environ = configured(FILE) | {name: values[name] for name in names}
    settings = resolve_settings({}, environ)
    with pytest.raises(UsageError, match=f"(?=.*{names[0]})(?=.*{names[1]})"):
        _ = settings.kind
    assert resolve_settings({"store": "x"}, environ).kind == "store"
    assert resolve_settings({"file": "x"}, environ).kind == "file"


def test_a_context_without_a_place_goes_with_any(configured):
    environ = configured("contexts: {quiet: {output: id, debug: {retries: 8}}}")
    settings = resolve_settings({"context": "quiet", "server": "http://h"}, environ)
    assert (settings.kind, settings.output, settings.debug, settings.context) == (
        "server",
        "id",
        {"retries": 8},
        "quiet",
    )


@pytest.mark.parametrize("environ", [{"TOKCTL_CONTEXT": "remotte"}, {}])
def test_an_unknown_context_is_told_with_the_nearest(configured, environ):
    flags = {} if environ else {"context": "remotte"}
    with pytest.raises(NotFoundError, match=r"unknown context 'remotte' \(did you mean 'remote'\?\)"):
        resolve_settings(flags, configured(FILE) | environ)


def test_handmade_settings_say_what_they_look_at():
    assert Settings().kind == Settings(store="x").kind == "store"
    assert Settings(file="x", store="y").kind == "file"
    assert Settings(server="http://x").kind == "server"


@pytest.mark.parametrize(
    ("field", "value", "variable"),
    [
        ("timeout", "soon", "TOKCTL_TIMEOUT"),
        ("engine_kind", "camunda", "TOKCTL_ENGINE_KIND"),
        ("insecure", "maybe", "TOKCTL_INSECURE"),
        ("credential", "hunter2hunter2", "TOKCTL_CREDENTIAL"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(field, value, variable):
    with pytest.raises(UsageError, match=variable) as caught:
        resolve_settings({}, {variable: value, "XDG_CONFIG_HOME": "/nonexistent"})
    assert "hunter2" not in str(caught.value)


# --- the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ",
    [{}, {"XDG_CONFIG_HOME": "/somewhere/else"}, {"XDG_CONFIG_HOME": ""}, {"HOME": "/home/other"}],
)
def test_the_file_is_where_the_platform_says(monkeypatch, environ):
    from platformdirs import user_config_path

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert config_file(environ) == user_config_path("tokctl", appauthor=False) / "config.yaml"


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG directories are those of Linux")
def test_a_relative_xdg_directory_is_ignored():
    """As its specification says; old versions of platformdirs take one."""
    expected = Path("~/.config/tokctl/config.yaml").expanduser()
    assert config_file({"XDG_CONFIG_HOME": "relative"}) == expected


def test_paths_in_the_file_begin_at_its_folder(configured, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    environ = configured("""
contexts:
  a: {store: data/x.db}
  b: {store: ~/x.db}
  c: {server: http://h, ca_file: ca.pem, credential: file:secret}
  d: {store: "postgresql://h/db"}
serve: {tls_cert: /etc/cert.pem}
""")
    assert resolve_settings({"context": "a"}, environ).store == str(tmp_path / "data" / "x.db")
    assert resolve_settings({"context": "b"}, environ).store == "/home/me/x.db"
    assert resolve_settings({"context": "c"}, environ).ca_file == str(tmp_path / "ca.pem")
    assert resolve_settings({"context": "c"}, environ).credential == f"file:{tmp_path / 'secret'}"
    assert resolve_settings({"context": "d"}, environ).store == "postgresql://h/db"
    assert config_section("serve", environ) == {"tls_cert": "/etc/cert.pem"}


def test_a_section_for_the_server(configured):
    environ = configured("serve: {port: 8080, trusted_proxies: '10.0.0.0/8,::1/128', limits: {body: 10}}")
    assert config_section("serve", environ) == {
        "port": 8080,
        "trusted_proxies": ("10.0.0.0/8", "::1/128"),
        "limits": {"body": 10},
    }


def test_a_name_with_dots_is_that_of_a_setting_in_a_section(configured):
    nested = resolve_settings({"context": "p"}, configured("contexts: {p: {server: http://h, debug: {retries: 3}}}"))
    dotted = resolve_settings(
        {"context": "p"}, configured("contexts.p.server: http://h\ncontexts:\n  p.debug.retries: 3\n")
    )
    assert nested == dotted
    assert resolve_settings({}, configured("output: csv\ndebug: {retries: 3}\ndebug.retries: 4")).debug == {
        "retries": 4
    }


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("servers: {}", UsageError, ["servers", "contexts"]),
        ("outputt: json", UsageError, ["outputt", "did you mean 'output'?"]),
        ("contexts: {p: {servr: http://h}}", UsageError, ["contexts.p.servr", "did you mean 'server'?"]),
        ("contexts: {p: {server: ftp://h}}", UsageError, ["contexts.p.server"]),
        (
            "contexts: {p: {server: 'http://me:hunter2@h'}}",
            UsageError,
            ["contexts.p.server", "user name or a password"],
        ),
        ("contexts: {p: {server: 'http://h/?key=hunter2'}}", UsageError, ["contexts.p.server", "has a query"]),
        ("contexts: {p: {server: http://h, store: x}}", UsageError, ["contexts.p", "a store and a server"]),
        ("contexts: {p: {credential: hunter2}}", UsageError, ["contexts.p.credential", "env:NAME"]),
        ("contexts: {p: {credential: xvc_hunter2hunter2}}", UsageError, ["contexts.p.credential", "env:NAME"]),
        ("contexts: {p: {credential: env:xvc_hunter2hunter2}}", UsageError, ["contexts.p.credential", "a secret"]),
        ("contexts: {p: {store: xvc_hunter2hunter2}}", UsageError, ["contexts.p.store", "a secret"]),
        ("contexts: {xvc_hunter2hunter2: {}}", UsageError, ["contexts", "a secret"]),
        ("xvc_hunter2hunter2: 1", UsageError, ["a secret"]),
        ("debug: {retries: xvc_hunter2hunter2}", UsageError, ["debug.retries", "a secret"]),
        ("contexts: {p: {timeout: 30}}", UsageError, ["contexts.p.timeout", "a duration such as 30s"]),
        ("contexts: {p: {timeout: 0s}}", UsageError, ["contexts.p.timeout"]),
        ("contexts: {p: {insecure: perhaps}}", UsageError, ["contexts.p.insecure", "true or false"]),
        ("contexts: {p: {engine_kind: atmd}}", UsageError, ["contexts.p.engine_kind", "did you mean 'atomd'?"]),
        ("contexts: {p: [a]}", InputError, ["contexts.p", "mapping of names to values"]),
        ("contexts: {'a b': {}}", UsageError, ["'a b'"]),
        ("current_context: p", UsageError, ["unknown context 'p'"]),
        ("theme: {failed: lila}", UsageError, ["theme.failed", "invalid style 'lila'"]),
        ("theme: {faild: red}", UsageError, ["theme.faild", "did you mean 'failed'?"]),
        ("theme: red", InputError, ["theme", "mapping of names to values"]),
        ("serve: {port: 70000}", UsageError, ["serve.port", "from 0 to 65535"]),
        ("serve: {port: 80.5}", UsageError, ["serve.port"]),
        ("serve: {limits: {conections: 3}}", UsageError, ["serve.limits.conections", "mean 'connections'?"]),
        ("output: json\noutput: csv", InputError, ["line 1", "duplicate name 'output'"]),
        ("output: junit", UsageError, ["output"]),
        ("a: &x [*x]", UsageError, ["'a'", "a"]),
        ("output:\n\t- x", InputError, ["line 2", "invalid YAML"]),
    ],
)
def test_what_is_wrong_with_a_file(configured, text, kind, parts):
    with pytest.raises(kind) as caught:
        resolve_settings({}, configured(text))
    if text != "a: &x [*x]":
        for part in parts:
            assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "output:", "contexts:", "contexts: {p: }", "debug: {retries: }", "serve: {}"])
def test_what_says_nothing(configured, text):
    assert resolve_settings({}, configured(text)) == Settings()


def test_what_never_ends(configured):
    with pytest.raises(InputError, match="nested too deeply"):
        resolve_settings({}, configured("debug: &x {retries: *x}"))


def test_what_is_too_deep(configured):
    """Whether PyYAML's own limit or Python's is reached first depends on their versions, and so does the reason."""
    environ = configured("a: " + "{a: " * 3000 + "1" + "}" * 3000)
    with pytest.raises(InputError) as caught:
        resolve_settings({}, environ)
    assert environ["TOKCTL_CONFIG"] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["1", "yes", "2025-01-01"])
def test_a_name_that_yaml_takes_for_something_else(configured, name):
    environ = configured(f"contexts: {{{name}: {{output: id}}}}\ncurrent_context: {name}\n")
    assert resolve_settings({}, environ).output == "id"


def test_a_device_without_an_end():
    with pytest.raises(InputError, match="too large"):
        resolve_settings({}, {"TOKCTL_CONFIG": "/dev/zero"})


def test_a_home_that_nobody_knows(configured):
    with pytest.raises(NotFoundError, match="configuration file ~nonesuch/x"):
        resolve_settings({}, {"TOKCTL_CONFIG": "~nonesuch/x"})
    resolve_settings({}, configured("contexts: {a: {ca_file: ~nonesuch/x, credential: 'file:~nonesuch/y'}}"))


@given(st.from_regex(r"(https?|unix|HTTP)://?/?[a-z0-9@:/?#%\\\[\]. ]{0,30}", fullmatch=True))
def test_the_url_of_a_context_is_one_for_the_client(text):
    try:
        kept = url(text)
    except UsageError:
        return
    check_url(kept)


@pytest.mark.parametrize("field", ["timeout", "connect_timeout"])
def test_a_time_that_no_clock_can_hold(configured, field):
    for flags, environ in (
        ({}, {VARIABLES[field]: "9999999d"}),
        ({}, configured(f"contexts: {{a: {{{field}: 9999999d}}}}")),
    ):
        with pytest.raises(UsageError, match="too long"):
            resolve_settings(flags, environ)


def test_a_file_is_read_again_once_it_has_changed(configured):
    assert resolve_settings({}, configured("output: json")).output == "json"
    assert resolve_settings({}, configured("output: yaml")).output == "yaml"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_settings_or_one_clear_error(tmp_path, data):
    file = tmp_path / "any.yaml"
    file.write_bytes(data)
    try:
        resolve_settings({}, {"TOKCTL_CONFIG": str(file)})
    except TokctlError as error:
        assert "\n" not in str(error).replace(str(Path(file)), "")  # noqa: PT017


# --- the table -------------------------------------------------------------------------------------------------


def test_the_table_names_what_there_is():
    from tokctl.engines import ENGINES
    from tokctl.server.settings import Limits, ServeSettings

    assert set(LIMITS) == set(Limits.__struct_fields__)
    assert set(SERVE) == {*ServeSettings.__struct_fields__, "store"} - {"limits"}
    assert set(ENGINE_KINDS) == set(ENGINES) - {"store", "file"}
