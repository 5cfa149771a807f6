"""PM4Py, a program for process mining, in an environment of its own: it brings half a gigabyte of libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from live.engine_programs import locked

VERSION = "2.7.23.11"
_SCRIPT = """
import json, sys
import pm4py
log = pm4py.read_xes(sys.argv[1])
done = log[log["lifecycle:transition"] == "complete"]
intervals = pm4py.objects.log.util.interval_lifecycle.to_interval(pm4py.convert_to_event_log(log))
json.dump({
    "cases": sorted(log["case:concept:name"].unique()),
    "transitions": log["lifecycle:transition"].value_counts().to_dict(),
    "variants": [[list(variant), count] for variant, count in pm4py.get_variants(done).items()],
    "seconds": [[one["element_id"], one["@@duration"]] for case in intervals for one in case],
}, open(sys.argv[2], "w"))
"""


def install() -> Path:
    """Return the interpreter of the environment, which is made once; skip the test where that is not possible."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokctl-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"pm4py-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, marker = folder / "bin" / "python", folder / ".installed"
    with locked(cache / "pm4py.lock"):
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            installed = subprocess.run(
                [python, "-m", "pip", "install", "-q", f"pm4py=={VERSION}"], capture_output=True, text=True, check=False
            )
            if installed.returncode:
                (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
                    f"PM4Py cannot be installed: {installed.stderr.strip().splitlines()[-1:]}"
                )
            marker.touch()
    return python


def mine(log: Path) -> dict[str, Any]:
    """What PM4Py finds in an event log."""
    told = log.with_name("told.json")
    subprocess.run([install(), "-c", _SCRIPT, log, told], check=True, capture_output=True, timeout=300)
    return json.loads(told.read_text())
