"""The OpenAPI document and what the server really answers, compared by schemathesis."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running_server import ENDED, LARGE, SMALL, serving

CONFIG = f"""
[parameters]
"path.instance_id" = ["{SMALL}", "{ENDED}", "{LARGE}"]
"path.token_id" = ["l1", "t0", "shared"]
"path.process_id" = ["p", "order"]

# Parameters that exclude each other, which OpenAPI cannot say.
[[operations]]
include-path-regex = "/api/v1/processes(|/.*/tokens)$"
checks.positive_data_acceptance.expected-statuses = [200, 304, 400, 404]
"""


@pytest.mark.timeout(120)
def test_schemathesis_finds_nothing(served_store, secrets, tmp_path):
    config, settings = tmp_path / "schemathesis.toml", tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    settings.write_text("serve: {limits: {failures: 1000000}, access_log: 'off'}", encoding="utf-8")
    with serving(served_store, env={"TOKCTL_CONFIG": str(settings)}) as served:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run",
             f"{served.url}/openapi.json", "-H", f"X-API-Key: {secrets['reader']}", "--max-examples", "10",
             "--generation-deterministic", "--no-color", "--phases", "examples,coverage,fuzzing", "--checks", "all",
             "--max-failures", "20"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
    assert "Tested: 21" in done.stdout
