"""The Kubernetes objects of docs/deploy.md: they fit together, and their commands and probes work in real processes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from support.commandline import clean_environment
from support.documentation import fences
from support.paths import ROOT
from support.running_server import PEPPER, make_secret, serving
from tokctl.server.settings import PORT, Limits
from tokctl.store import open_store

TEXT = next(fence.text for fence in fences(ROOT / "docs/deploy.md") if fence.title == "tokctl.yaml")
OBJECTS = {one["kind"]: one for one in yaml.safe_load_all(TEXT)}
POD = OBJECTS["Deployment"]["spec"]["template"]
SERVER = POD["spec"]["containers"][0]
MIGRATION = OBJECTS["Job"]["spec"]["template"]["spec"]["containers"][0]
SECRETS = {"pepper": PEPPER}
"""What the Secret holds; the tests' database asks for no password."""


def environment(container: dict[str, Any], place: str) -> dict[str, str]:
    """The environment of a container, with the database of the tests."""
    found = {}
    for variable in container["env"]:
        secret = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = variable["value"] if secret is None else SECRETS.get(secret["key"], "")
    assert found.pop("TOKCTL_STORE").startswith("postgresql://")
    return found | {"TOKCTL_STORE": place}


@pytest.fixture
def place(postgresql) -> str:
    url = postgresql.new_schema()
    open_store(url, write=True, create=True).close()
    return url


def test_the_objects_fit_together():
    labels = POD["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert OBJECTS[kind]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["Deployment"]["spec"]["replicas"] > OBJECTS["PodDisruptionBudget"]["spec"]["minAvailable"]
    assert [port["containerPort"] for port in SERVER["ports"]] == [PORT]
    assert POD["spec"]["terminationGracePeriodSeconds"] > Limits().drain_seconds
    for pod in (POD["spec"], OBJECTS["Job"]["spec"]["template"]["spec"]):
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_job_migrates(place):
    command = MIGRATION["command"]
    assert command[0] == "tokctl"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=clean_environment(environment(MIGRATION, place)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_server_is_ready_and_stops_in_time(place, tmp_path):
    secret, _ = make_secret(place, "reader", "process")
    words = [*SERVER["command"], *SERVER["args"]]
    assert words[:2] == ["tokctl", "serve"]
    assert words[2:4] == ["--host", "0.0.0.0"]
    # The address of the pod is one of this machine.
    words = ["--host", "127.0.0.1", *(re.sub(r"^10\.0\.0\.0/8$", "127.0.0.0/8", word) for word in words[4:])]
    settings = environment(SERVER, place) | {"TOKCTL_STATE_DIR": str(tmp_path)}
    with serving(place, *words, env=settings) as served:
        probe = SERVER["readinessProbe"]["httpGet"]
        assert served.get(probe["path"]).status_code == 200
        assert served.get("/metrics").status_code == 200
        assert served.get("/api/v1/processes", secret).status_code == 200
        assert served.end() == 0
    assert list(tmp_path.iterdir())  # the state directory is writable
