"""``tokctl doctor``: what each check finds, that none hides another, and that no secret is shown."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from support import fake_atomd
from support.commandline import Stream, clean_environment
from support.fake_atomd import FakeAtomd
from support.fake_camunda import FakeCamunda
from support.fake_flowable import FakeFlowable
from support.faulty_server import Link, good, has_ipv6, head, page, redirect, serving, silent, unused_port
from support.paths import RECORDINGS
from support.serving import Served, grant
from support.watchers import live, put
from tokctl.__main__ import run as program

SECRET = "xvc_" + "S3cr3t" * 6
KEYRING = """
from keyring.backend import KeyringBackend

class Fake(KeyringBackend):
    priority = 5
    kept = {}
    def get_password(self, service, name): return self.kept.get((service, name))
    def set_password(self, service, name, secret): KEEP
    def delete_password(self, service, name): self.kept.pop((service, name))
"""


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    """A home of its own: no configuration, no store, no keyring."""
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    certificates = ("ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle", "curl_ca_bundle")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", *certificates):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def doctor(tokctl, home, monkeypatch):  # tokctl: without what the environment says
    """Run doctor; returns its exit code, and the findings by check."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(home / "remembered"))

    def call(*words):
        out, err = Stream(), Stream()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = program([*map(str, ("doctor", *words, "-o", "json"))])
        assert "Traceback" not in err.written()
        assert SECRET not in out.written() + err.written()
        return code, {one["check"]: one for one in json.loads(out.written())["checks"]}

    return call


def configure(home: Path, text: str) -> Path:
    file = home / "config" / "tokctl" / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("served") / "served.db")
    put(server.path, live("a"))
    yield server
    server.close()


def states(found: dict) -> dict[str, str]:
    return {name: one["state"] for name, one in found.items()}


# --- all is well ------------------------------------------------------------------------------------------


def test_a_server_where_all_is_well(doctor, served, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", served.secret)
    code, found = doctor("--server", served.url)
    assert (code, {check for check, state in states(found).items() if state != "ok"}) == (0, {"keyring"})
    assert list(found) == [
        "configuration",
        "place",
        "store",
        "server",
        "TLS",
        "kind",
        "clock",
        "credential",
        "permissions",
        "keyring",
        "api tokens",
    ]
    assert found["place"]["origin"] == "flag"
    assert 0 < found["server"]["elapsed_ms"] < 5000
    assert found["kind"]["kind"] == "rest"
    assert abs(found["clock"]["difference_ms"]) <= 2000
    assert (found["credential"]["place"], found["credential"]["accepted"]) == ("env:TOKCTL_API_KEY", True)
    assert found["permissions"]["permissions"] == {"process": True, "token": True, "bpmn": True}


def test_the_table(tokctl, home, served, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", served.secret)
    ran = tokctl("doctor", "--server", served.url, now=datetime.now(UTC), width=90, tty=True)
    assert ran.out.endswith("1 warning.\x1b[0m\n")  # there is no keyring
    assert re.search("keyring.*! warning", ran.out)
    assert "✓ ok" in ran.out
    assert served.secret[:12] not in ran.out
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in ran.out.splitlines()) <= 90
    assert served.url in tokctl("doctor", "--server", served.url, "-o", "csv", now=datetime.now(UTC)).out


def test_without_anything(doctor, home):
    code, found = doctor()
    assert (code, states(found)) == (
        0,
        {"configuration": "ok", "place": "ok", "store": "warning", "keyring": "warning", "api tokens": "ok"},
    )
    assert not (home / "data").exists()
    assert not (home / "config").exists()


# --- configuration and place ------------------------------------------------------------------------------


def test_a_configuration_that_is_wrong(doctor, home, store_path):
    put(store_path, live("a"))
    configure(home, "outptu: json\ndebug: {long_running: soon}\n")
    code, found = doctor("--store", store_path)
    assert (code, found["configuration"]["state"], found["store"]["state"]) == (1, "problem", "ok")
    assert "outptu" in found["configuration"]["found"]
    assert "1 more problem" in found["configuration"]["found"]
    assert "config validate" in found["configuration"]["advice"]


@pytest.mark.parametrize("text", ["a: [", "- 1", "\0"])
def test_a_configuration_that_cannot_be_read(doctor, home, text):
    configure(home, text)
    code, found = doctor()
    assert (code, found["configuration"]["state"]) == (1, "problem")


def test_a_configuration_that_others_can_change(doctor, home):
    file = configure(home, "output: json\n")
    file.chmod(0o646)
    code, found = doctor()
    assert (code, found["configuration"]["state"]) == (1, "problem")
    assert f"chmod go-w {file}" in found["configuration"]["advice"]


def test_a_configuration_that_is_not_where_it_was_said_to_be(doctor, monkeypatch, home):
    monkeypatch.setenv("TOKCTL_CONFIG", str(home / "nowhere.yaml"))
    code, found = doctor()
    assert (code, found["configuration"]["state"]) == (1, "problem")
    assert "nowhere.yaml" in found["configuration"]["found"]


def test_a_context_says_where(doctor, home, served):
    configure(home, f"current_context: prod\ncontexts: {{prod: {{server: '{served.url}', credential: env:KEY}}}}\n")
    _, found = doctor()
    assert found["place"]["found"].endswith("set by context prod.")
    assert found["place"]["context"] == "prod"
    assert found["credential"]["state"] == "problem"
    assert "KEY" in found["credential"]["found"]


def test_a_context_that_there_is_not(doctor):
    code, found = doctor("--context", "prod")
    assert (code, found["place"]["state"]) == (1, "problem")
    assert "prod" in found["place"]["found"]
    assert "keyring" in found


@pytest.mark.parametrize(
    "variables",
    [
        {"TOKCTL_SERVER": "garbage"},
        {"TOKCTL_SERVER": "http://127.0.0.1:9", "TOKCTL_STORE": "x.db"},
        {"TOKCTL_TIMEOUT": "never"},
        {"TOKCTL_SERVER": f"http://u:{SECRET}@h"},
    ],
)
def test_variables_that_mean_nothing(doctor, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, found = doctor()
    assert code == 1
    assert "keyring" in found


# --- the store --------------------------------------------------------------------------------------------


def test_a_store_that_is_none(doctor, tmp_path):
    (tmp_path / "no.db").write_text("This is no database, however one looks at it." * 100)
    code, found = doctor("--store", tmp_path / "no.db")
    assert (code, found["store"]["state"]) == (1, "problem")
    assert "not an SQLite database" in found["store"]["found"]


def test_a_store_that_others_can_read(doctor, store_path):
    put(store_path, live("a"))
    assert doctor("--store", store_path)[1]["store"]["state"] == "ok"
    store_path.chmod(0o644)
    code, found = doctor("--store", store_path)
    assert (code, found["store"]["state"], found["store"]["instances"]) == (0, "warning", 1)


# --- the server -------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(doctor):
    code, found = doctor("--server", f"http://127.0.0.1:{unused_port()}")
    assert (code, found["server"]["state"]) == (1, "problem")
    assert {one for one, state in states(found).items() if state == "warning"} == {
        "kind",
        "clock",
        "credential",
        "permissions",
        "keyring",
    }


def test_a_server_that_is_silent_takes_no_longer_than_a_check_may(doctor, monkeypatch):
    monkeypatch.setattr("tokctl.services.doctor.server.TIMEOUT_SECONDS", 0.5)
    begin = time.monotonic()
    with serving(silent) as server:
        code, found = doctor("--server", server.url)
        assert len(server.seen) == 1
    assert time.monotonic() - begin < 5
    assert (code, found["server"]["state"]) == (1, "problem")


def test_a_server_that_is_something_else(doctor, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    with serving(page()) as server:
        code, found = doctor("--server", server.url)
    assert (code, found["permissions"]["state"]) == (1, "problem")
    with serving(page(404)) as server:
        code, found = doctor("--server", server.url)
    assert (code, found["server"]["state"], found["permissions"]["state"]) == (1, "ok", "problem")
    assert "it is not an engine" in found["permissions"]["found"]
    assert (found["kind"]["state"], found["kind"]["kind"]) == ("warning", "rest")
    assert found["kind"]["found"].startswith("not recognized")
    assert (found["credential"]["state"], found["credential"]["accepted"]) == ("warning", None)
    assert "not checked" in found["credential"]["found"]
    with serving(redirect("https://elsewhere.example/")) as server:
        code, found = doctor("--server", server.url)
        assert not any("x-api-key" in asked.headers and "elsewhere" in asked.target for asked in server.seen)
    assert (code, found["server"]["state"]) == (1, "problem")


def test_a_server_that_is_not_well(doctor):
    with serving(good(b"{}", 503)) as server:
        assert doctor("--server", server.url)[1]["server"]["state"] == "problem"
    with serving(good(b"{}", 500)) as server:
        code, found = doctor("--server", server.url)
    assert (code, found["permissions"]["state"]) == (1, "problem")
    assert "server error (500)" in found["permissions"]["found"]


# --- TLS --------------------------------------------------------------------------------------------------


def test_tls(doctor, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def secured(name="127.0.0.1", days=400) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ends = datetime.now(UTC) + timedelta(days=days, minutes=5)
        authority.issue_cert(name, not_after=ends).configure_cert(context)
        return context

    def of(tls, *words):
        with serving(good(), tls=tls) as server:
            return doctor("--server", server.url, *words)[1]["TLS"]

    trusted = ("--ca-file", tmp_path / "ca.pem")
    fine = of(secured(), *trusted)
    assert (fine["state"], fine["trusted"], "1y" in fine["found"]) == ("ok", True, True)
    assert of(secured(days=5), *trusted)["state"] == "warning"
    unknown = of(secured())
    assert (unknown["state"], "--ca-file" in unknown["advice"]) == ("problem", True)
    assert of(secured("other.example"), *trusted)["state"] == "problem"
    assert of(secured(), *trusted, "--insecure")["state"] == "warning"  # on this machine
    assert of(secured(), "--ca-file", tmp_path / "none.pem")["state"] == "problem"
    with serving(good()) as server:
        plain = doctor("--server", server.url.replace("http:", "https:"))[1]["TLS"]
    assert (plain["state"], "may use http" in plain["advice"]) == ("problem", True)


def test_the_trusted_certificates_are_named(doctor, monkeypatch, tmp_path):
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with serving(good(), tls=tls) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        found = doctor("--server", server.url)[1]["TLS"]
        assert found["trusted_certificates"] == f"{tmp_path / 'ca.pem'} (REQUESTS_CA_BUNDLE)"
        assert f"trusted certificates: {tmp_path / 'ca.pem'} (REQUESTS_CA_BUNDLE)" in found["found"]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
        found = doctor("--server", server.url)[1]
        for check in ("server", "TLS"):
            assert found[check]["state"] == "problem"
            assert "gone.pem (REQUESTS_CA_BUNDLE) does not exist" in found[check]["found"]


def test_the_proxy_is_named(doctor, monkeypatch):
    with serving(good()) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.replace("://", "://me:hunter2@"))
        found = doctor("--server", "http://engine.invalid")[1]["server"]
        assert found["found"].endswith(f"through the proxy {server.url} (HTTP_PROXY).")
        assert found["proxy"] == f"{server.url} (HTTP_PROXY)"
    with serving(page(403)) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        found = doctor("--server", "https://engine.invalid")[1]["server"]
        assert f"the proxy {server.url} (HTTPS_PROXY) for https://engine.invalid refuses" in found["found"]
        assert "NO_PROXY" in found["advice"]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address(doctor, home):
    with serving(good(), host="::1") as server:
        configure(home, f"contexts: {{six: {{server: 'http://[0:0::1]:{server.port}/'}}}}\n")
        for words in (("--server", f"http://[::0001]:{server.port}"), ("--context", "six")):
            found = doctor(*words)[1]
            assert (found["server"]["state"], found["server"]["url"]) == ("ok", server.url)
            assert f"the server {server.url}, set by" in found["place"]["found"]
    assert list(json.loads((home / "remembered" / "servers.json").read_text())) == [server.url]


def test_no_tls_over_a_network(doctor):
    found = doctor("--server", "http://192.0.2.1:1", "--request-timeout", "200ms")[1]
    assert found["TLS"]["state"] == "problem"
    assert found["TLS"]["encrypted"] is False


# --- kind and clock ---------------------------------------------------------------------------------------


def answering(**answers):
    """Answer by the beginning of the path behind the last slash but one; everything else is 404."""

    def answer(link: Link) -> bool:
        path = link.asked.target.partition("?")[0]
        name = next((name for name in answers if path.endswith(name) or f"/{name}/" in path), None)
        status, document = answers.get(name, (404, {"error": {"code": "NOT_FOUND"}}))
        body = json.dumps(document).encode()
        when = format_datetime(datetime.now(UTC) + OFFSET.get("by", timedelta()), usegmt=True)
        link.send(head(status, len(body), Date=when) + body)
        return True

    return answer


OFFSET: dict[str, timedelta] = {}
ATOMD = {"success": True, "data": {"status": "healthy", "checks": {"server": "ok"}}, "meta": {"request_id": "health"}}


def test_the_kind_is_asked_anew_and_remembered(doctor, home):
    with serving(
        answering(health=(200, ATOMD), typed=(200, {}), bpmn=(200, {}), processes=(200, {}), jobs=(200, {}))
    ) as server:
        known = home / "remembered" / "servers.json"
        known.parent.mkdir()
        known.write_text(json.dumps({server.url: "rest"}))
        _, found = doctor("--server", server.url)
        assert found["kind"]["found"] == "atomd; rest was remembered."
        assert json.loads(known.read_text()) == {server.url: "atomd"}
        assert set(found["permissions"]["permissions"]) == {"process", "token", "bpmn", "job"}
        _, found = doctor("--server", server.url, "--engine-kind", "rest")
    assert (found["kind"]["state"], found["kind"]["kind"]) == ("warning", "atomd")


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (1, "ok"), (-1, "ok"), (30, "warning"), (-30, "warning")])
def test_clocks(doctor, monkeypatch, seconds, state):
    monkeypatch.setitem(OFFSET, "by", timedelta(seconds=seconds))
    with serving(answering(health=(200, {}))) as server:
        clock = doctor("--server", server.url)[1]["clock"]
    assert clock["state"] == state
    assert abs(clock["difference_ms"] - seconds * 1000) < 1500
    if state == "warning":
        assert ("ahead of" if seconds > 0 else "behind") in clock["found"]


def test_a_slow_answer_is_no_wrong_clock(doctor, monkeypatch):
    monkeypatch.setattr("tokctl.services.doctor.server.MAX_CLOCK_SKEW_SECONDS", 0.5)

    def slow(link: Link) -> bool:
        seen.append(link.asked.target)
        link.wait(3 if link.asked.target == "/health" and seen.count("/health") == 3 else 0)
        return answering(health=(200, {}))(link)

    seen: list[str] = []
    with serving(slow) as server:
        assert doctor("--server", server.url)[1]["clock"]["state"] == "ok"
    assert seen.count("/health") == 3


def test_a_server_that_tells_no_time(doctor):
    with serving(good()) as server:
        assert doctor("--server", server.url)[1]["clock"]["state"] == "warning"


# --- the credential ---------------------------------------------------------------------------------------


def test_a_credential_that_is_not_accepted(doctor, served, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    code, found = doctor("--server", served.url)
    assert (code, found["credential"]["state"], found["credential"]["accepted"]) == (1, "problem", False)
    assert found["permissions"]["state"] == "warning"


@pytest.fixture
def atomd(monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", fake_atomd.SECRET)
    fake = FakeAtomd()
    yield fake
    fake.close()


def test_a_credential_is_accepted_if_a_wrong_one_is_not(doctor, atomd):
    found = doctor("--server", atomd.url)[1]["credential"]
    assert (found["state"], found["accepted"]) == ("ok", True)
    atomd.open_to_all = True
    found = doctor("--server", atomd.url)[1]["credential"]
    assert (found["state"], found["accepted"]) == ("warning", None)
    assert "accepts any credential from here" in found["found"]


def test_an_address_that_is_blocked(doctor, atomd):
    atomd.blocked = True
    found = doctor("--server", atomd.url)[1]["credential"]
    assert (found["state"], found["accepted"]) == ("problem", None)
    assert "forbids access from this address (403: IP not allowed)" in found["found"]
    atomd.blocked, atomd.refused = False, ("processes",)
    found = doctor("--server", atomd.url)[1]["credential"]
    assert (found["state"], found["accepted"]) == ("warning", None)
    assert "forbids the credential from env:TOKCTL_API_KEY to read processes" in found["found"]


def test_a_limit_that_is_used_up(doctor, atomd):
    atomd.limit = 0
    _, found = doctor("--server", atomd.url)
    for check in ("credential", "permissions"):
        assert found[check]["state"] == "warning"
        assert "accepts no more requests for now (429)" in found[check]["found"]
        assert "Wait a minute" in found[check]["advice"]
    assert found["credential"]["accepted"] is None


def test_no_credential(doctor, served):
    code, found = doctor("--server", served.url)
    assert (code, found["credential"]["state"], found["credential"]["exists"]) == (1, "problem", False)
    assert "auth login" in found["credential"]["advice"]
    with serving(good()) as server:
        assert doctor("--server", server.url)[1]["credential"]["state"] == "ok"


def test_a_credential_that_others_can_read(doctor, served, home, monkeypatch):
    key = home / "key"
    key.write_text(SECRET)
    key.chmod(0o644)
    monkeypatch.setenv("TOKCTL_CREDENTIAL", f"file:{key}")
    code, found = doctor("--server", served.url)
    assert (code, found["credential"]["state"]) == (1, "problem")
    assert found["permissions"]["found"] == "unknown, because the credential cannot be read."


@pytest.mark.parametrize(
    ("scopes", "state", "may"),
    [
        (["process"], "warning", {"process": True, "token": False, "bpmn": True}),
        (["process", "token"], "ok", {"process": True, "token": True, "bpmn": True}),
        (["metrics"], "problem", {"process": False, "token": False, "bpmn": False}),
    ],
)
def test_what_it_may_do(doctor, served, monkeypatch, scopes, state, may):
    monkeypatch.setenv("TOKCTL_API_KEY", grant(served.path, *scopes))
    _, found = doctor("--server", served.url)
    assert found["permissions"]["permissions"] == may
    assert found["permissions"]["state"] == state
    assert found["credential"]["state"] == ("ok" if may["process"] else "warning")  # valid, but no request shows it
    if state != "ok":
        assert found["permissions"]["provided"] == scopes


def test_what_it_may_read_of_an_engine_that_hides_the_rest(doctor, monkeypatch):
    """Only what was counted is told; nothing is no proof."""
    monkeypatch.setenv("TOKCTL_API_KEY", "jo:secret")
    folder = RECORDINGS / "operaton"
    with FakeCamunda(folder, user="jo:secret") as server:
        found = doctor("--server", f"{server.url}/engine-rest")[1]["permissions"]
    assert found["state"] == "ok"
    assert found["found"].startswith("can read 7 process models, 14 instances, 6 jobs, 5 incidents; ")
    assert found["readable"] == {"process models": 7, "instances": 14, "jobs": 6, "incidents": 5}
    with FakeCamunda(folder, user="jo:secret", powerless=True) as server:
        found = doctor("--server", f"{server.url}/engine-rest")[1]["permissions"]
    assert (found["state"], set(found["permissions"].values())) == ("warning", {None})
    assert found["found"].startswith("unknown: can read 0 process models, 0 instances")
    with FakeCamunda(folder) as server:
        found = doctor("--server", f"{server.url}/engine-rest/engine/nope")[1]["permissions"]
    assert (found["state"], set(found["permissions"].values())) == ("problem", {False})
    assert "No process engine available (400)" in found["found"]


def test_what_it_may_read_of_an_engine_that_refuses_the_rest(doctor):
    with FakeFlowable() as server:
        found = doctor("--server", server.address)[1]["permissions"]
    assert found["found"] == "can read 6 process models, 14 instances, 0 jobs, 4 incidents."
    with FakeFlowable(refused=("/process-api/management/dead",)) as server:
        found = doctor("--server", server.address)[1]["permissions"]
    assert found["state"] == "problem"
    assert found["found"].startswith("can read 6 process models, 14 instances, 0 jobs, but not incidents: http://")
    assert found["permissions"] == {"process models": True, "instances": True, "jobs": True, "incidents": False}


def test_only_what_changes_nothing_is_asked(doctor, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    with serving(answering(health=(200, ATOMD))) as server:
        doctor("--server", server.url)
        assert {asked.method for asked in server.seen} == {"GET"}
        assert not any(SECRET in asked.target for asked in server.seen)
        shown_to = {asked.target for asked in server.seen if "x-api-key" in asked.headers}
        assert shown_to
        assert "/health" not in shown_to


# --- the keyring ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "state"),
    [
        ("self.kept[service, name] = secret", "ok"),
        ("pass", "warning"),
        ("raise RuntimeError(secret)", "warning"),
        ("__import__('time').sleep(60)", "warning"),
    ],
)
def test_a_keyring(home, keep, state):
    (home / "fakering.py").write_text(KEYRING.replace("KEEP", keep))
    done = run_apart(home, {"PYTHON_KEYRING_BACKEND": "fakering.Fake", "PYTHONPATH": search_path(home)})
    assert done["keyring"]["state"] == state
    if state == "ok":
        assert done["keyring"]["backend"] == "fakering"


def test_all_is_well(home, served):
    (home / "fakering.py").write_text(KEYRING.replace("KEEP", "self.kept[service, name] = secret"))
    ran = subprocess.run(
        [sys.executable, "-m", "tokctl", "doctor", "--server", served.url],
        capture_output=True,
        text=True,
        env=clean_environment(
            {
                "HOME": str(home),
                "TOKCTL_API_KEY": served.secret,
                "PYTHON_KEYRING_BACKEND": "fakering.Fake",
                "PYTHONPATH": search_path(home),
            }
        ),
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "No problems found.\n")


def test_a_keyring_that_is_needed_and_not_there(doctor, served, monkeypatch):
    monkeypatch.setenv("TOKCTL_CREDENTIAL", "keyring")
    code, found = doctor("--server", served.url)
    assert (code, found["keyring"]["state"]) == (1, "problem")


def search_path(folder: Path) -> str:
    """Return where Python looks for modules: in a folder, too."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def run_apart(home: Path, environment: dict[str, str], *words: str) -> dict:
    """Run doctor in a process of its own; returns what it found."""
    ran = subprocess.run(
        [sys.executable, "-m", "tokctl", "doctor", *words, "-o", "json"],
        capture_output=True,
        text=True,
        env=clean_environment({"HOME": str(home)} | environment),
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    assert "Traceback" not in ran.stderr
    return {one["check"]: one for one in json.loads(ran.stdout)["checks"]}
