"""Schemathesis at work on a server, while other tests run: it takes half a minute."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from support.running_server import ENDED, LARGE, SMALL, make_secret, serving
from tokctl.store import open_store

CONFIG = f"""
headers = {{ X-API-Key = "%s" }}
[dictionaries]
instances = {{ values = ["{SMALL}", "{ENDED}", "{LARGE}"] }}
tokens = {{ values = ["l1", "t0", "shared"] }}
processes = {{ values = ["p", "order"] }}
api_tokens = {{ values = [1, 2, 3] }}

[parameters]
"path.instance_id" = {{ dictionary = "instances" }}
"path.token_id" = {{ dictionary = "tokens" }}
"path.process_id" = {{ dictionary = "processes" }}
"path.id" = {{ dictionary = "api_tokens" }}

# Parameters that cannot be used together, which OpenAPI cannot say.
[[operations]]
include-path-regex = "/api/v1/(processes(|/.*/tokens)|tokens)$"
checks.positive_data_acceptance.expected-statuses = [200, 304, 400, 404]

# Expiry has to be in the future, If-Match one of ours, and an Idempotency-Key new: nor can it say that.
[[operations]]
include-path-regex = "/api/api-tokens(|/[^/]*id[^/]*)$"
checks.positive_data_acceptance.expected-statuses = [200, 201, 400, 404, 409, 412, 422]
"""


@contextmanager
def examined(store: Path, folder: Path):
    """Begin to compare, on a copy of a store; yields what comes of it, once it is there."""
    own = folder / "examined.db"
    with open_store(str(store)) as opened:
        opened.backup(own)
    secret, number = make_secret(own, "examiner", "*", type_="full-access")
    assert number > 3  # those before it may be revoked, itself not
    # Not on the command line, where other tests would find it in the list of processes.
    config, settings = folder / "schemathesis.toml", folder / "config.yaml"
    config.write_text(CONFIG % secret, encoding="utf-8")
    settings.write_text("serve: {limits: {failures: 1000000}, access_log: 'off'}", encoding="utf-8")
    with (
        serving(own, env={"TOKCTL_CONFIG": str(settings)}) as served,
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(config),
                "run",
                f"{served.url}/openapi.json",
                "--max-examples",
                "25",
                "--generation-deterministic",
                "--no-color",
                "--phases",
                "examples,coverage,fuzzing",
                "--checks",
                "all",
                "--max-failures",
                "20",
            ],
            stdout=(folder / "said").open("wb"),
            stderr=subprocess.STDOUT,
            cwd=folder,
        ) as process,
    ):
        try:
            yield process, folder / "said"
        finally:
            process.kill()
