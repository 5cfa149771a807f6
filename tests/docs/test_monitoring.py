"""The alert rules and the dashboard of docs/monitoring: what they name exists, and Prometheus evaluates it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from support.builders import instance, token
from support.paths import FIXTURES, ROOT
from support.postgresql_server import temporary_server
from support.running_server import make_secret, make_store, serving
from tokctl.store import open_store

FOLDER = ROOT / "docs/monitoring"
ALERTS = FOLDER / "tokctl-alerts.yaml"
DASHBOARD = json.loads((FOLDER / "tokctl-dashboard.json").read_text(encoding="utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
PAGE = ROOT / "docs/operations.md"
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")) and not os.environ.get("CI"),
    reason="needs promtool and prometheus",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with a FAILED token and an API token that expires."""
    path = tmp_path_factory.mktemp("monitored") / "tokctl.db"
    with open_store(str(path), write=True, create=True) as opened, opened.write() as batch:
        batch.put(instance("i1"), [token("t1", "i1", state="FAILED"), token("t2", "i1", state="ACTIVE")])
        batch.put(instance("i2"), [token("t1", "i2", state="COMPLETED")])
    make_secret(path, "expires", "process", lasts=3600)
    return path


@pytest.fixture(scope="module")
def served(store):
    with serving(store, "--metrics-from", "127.0.0.1", "--workers", "2") as running:
        assert running.get("/api/v1/processes/i1").status_code == 401
        running.get("/api/v1/processes/i1", "xvc_nonesuch")
        yield running


@pytest.fixture(scope="module")
def metrics(served) -> str:
    answer = served.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\btokctl_\w+", text))


def samples_in(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def run(*command: str | Path, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], input=stdin, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_metric_in_alerts_and_dashboard_exists(metrics):
    named = names_in(ALERTS.read_text(encoding="utf-8")) | names_in(" ".join(EXPRESSIONS))
    assert len(named) > 15
    assert named - names_in(metrics) == set()


def test_the_page_lists_the_metrics_that_there_are(metrics):
    families = set(re.findall(r"^# TYPE (tokctl_\w+)", metrics, re.MULTILINE))
    section = PAGE.read_text(encoding="utf-8").split("\n### Metrics\n")[1].split("\n### ")[0]
    assert names_in(section) == families


def test_the_dashboard_is_whole():
    """Every panel has a place of its own, and a data source that the reader chooses."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)
    assert DASHBOARD["schemaVersion"] >= 42
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"]


def test_every_alert_has_a_severity_a_summary_and_an_action():
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert set(rule["annotations"]) == {"summary", "action"}


def test_metrics_of_a_store(metrics):
    found = samples_in(metrics)
    assert found["tokctl_store_up"] == 1
    assert (found["tokctl_open_instances"], found["tokctl_live_tokens"], found["tokctl_failed_tokens"]) == (1, 2, 1)
    assert found["tokctl_api_tokens"] == 1
    assert 0 < found["tokctl_api_token_next_expiry_timestamp_seconds"] - time.time() <= 3600
    for changed in ("processes", "api_tokens"):
        assert 0 < time.time() - found[f'tokctl_store_last_change_timestamp_seconds{{changed="{changed}"}}'] < 300
    assert found['tokctl_store_errors_total{kind="unreachable",operation="read"}'] == 0


@needs_prometheus
def test_promtool_accepts_metrics_and_rules(metrics, tmp_path):
    run("promtool", "check", "metrics", stdin=metrics)
    run("promtool", "check", "rules", ALERTS)
    for file in (ALERTS, FIXTURES / "alert_cases.yaml"):
        shutil.copy(file, tmp_path)
    run("promtool", "test", "rules", "alert_cases.yaml", cwd=tmp_path)


def test_every_alert_has_a_case():
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    assert alerts
    assert [name for name in alerts if name not in (FIXTURES / "alert_cases.yaml").read_text(encoding="utf-8")] == []


def test_metrics_need_an_api_token_from_other_networks(tmp_path):
    store = make_store(tmp_path / "own.db")
    secret, _ = make_secret(store, "prometheus", "metrics")
    with serving(store, "--metrics-from", "192.0.2.0/24", "--trusted-proxy", "127.0.0.1") as served:
        assert served.get("/metrics").status_code == 401
        assert served.get("/metrics", secret).status_code == 200
        inside = {"X-Forwarded-For": "192.0.2.7"}
        assert served.get("/metrics", headers=inside).status_code == 200
        assert served.get("/api/v1/processes", headers=inside).status_code == 401
        assert served.client.post("/metrics", headers=inside).status_code == 405


def test_metrics_are_there_while_the_database_is_not():
    with temporary_server() as database:
        with open_store(database.url(), write=True, create=True) as opened, opened.write() as batch:
            batch.put(instance("i1"), [token("t1", "i1")])
        secret, _ = make_secret(database.url(), "reader", "*", type_="full-access")
        with serving(database.url(), "--metrics-from", "127.0.0.1") as served:
            assert samples_in(served.get("/metrics").text)["tokctl_store_up"] == 1
            database.stop()
            assert served.get("/api/v1/processes/i1", secret).status_code == 503
            assert (
                served.client.post("/api/api-tokens", headers={"X-API-Key": secret}, json={"name": "n"}).status_code
                == 503
            )
            found = samples_in(served.get("/metrics").text)
            assert found["tokctl_store_up"] == 0
            assert found['tokctl_store_errors_total{kind="unreachable",operation="read"}'] >= 1
            assert "tokctl_failed_tokens" not in found
            database.start()
            deadline = time.monotonic() + 20
            while samples_in(served.get("/metrics").text)["tokctl_store_up"] != 1:
                assert time.monotonic() < deadline


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Run Prometheus over a server, with the alert rules; yields a client of its HTTP API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "tokctl", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder, "web.listen-address": address}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", *(f"--{name}={value}" for name, value in options.items())], stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://{address}") as client:
            yield client
    finally:
        process.kill()
        process.wait()


@needs_prometheus
def test_prometheus_evaluates_every_panel_and_alert(served, tmp_path):
    """Every panel shows something, and the alert on the API token that expires fires."""
    expected = [*EXPRESSIONS, 'ALERTS{alertname="TokctlApiTokenExpires", alertstate="firing"}']
    with prometheus(tmp_path, served.url.removeprefix("http://")) as client:

        def is_empty(expression: str) -> bool:
            expression = expression.replace("$job", "tokctl").replace("$__rate_interval", "1m")
            answer = client.get("/api/v1/query", params={"query": expression}).json()
            assert answer["status"] == "success", (expression, answer)
            return not answer["data"]["result"]

        wait_until(lambda: client.get("/-/ready").status_code == 200, tmp_path)
        wait_until(lambda: not any(map(is_empty, expected)), tmp_path)
        rules = [rule for group in client.get("/api/v1/rules").json()["data"]["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}


def wait_until(is_done: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            if is_done():
                return
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
