"""Schemathesis at work on a server, while other tests run: it takes half a minute."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def examined(store: Path, secret: str, folder: Path):
    """Begin to compare; yields what comes of it, once it is there."""
    config, settings = folder / "schemathesis.toml", folder / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    settings.write_text("serve: {limits: {failures: 1000000}, access_log: 'off'}", encoding="utf-8")
    with serving(store, env={"TOKCTL_CONFIG": str(settings)}) as served, subprocess.Popen(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{served.url}/openapi.json",
         "-H", f"X-API-Key: {secret}", "--max-examples", "25", "--generation-deterministic", "--no-color",
         "--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-failures", "20"],
        stdout=(folder / "said").open("wb"), stderr=subprocess.STDOUT, cwd=folder,
    ) as process:  # fmt: skip
        try:
            yield process, folder / "said"
        finally:
            process.kill()
