"""Measures tokctl beside its peers, in the same run, and prints Markdown tables.

Every line is two whole processes doing the same work, run in turn; what counts is the ratio of the
medians, for the machine's own speed and noise are in both. Peak memory and processor time are what
the kernel says of the process. The large store has no peer: what its time grows with is what is shown.

    python bench/run.py [--rounds N] [--tokens N] [--only WORD] [--part PART] [--store-tokens 1,3,10]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import analyses
import databases
import keys
import masks
import stores
from measure import BIN, PYTHON, SQLITE_UTILS, TOKCTL, Line, Side, header, measure

import engines
import services
from documents import SMALL, token_lines

PARTS = ("commands", "analyses", "store", "serve", "databases", "keys", "mask", "engines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="measured runs of each short command")
    parser.add_argument("--tokens", type=int, default=201_000)
    parser.add_argument("--only", default="", help="lines whose title holds this")
    parser.add_argument("--part", choices=PARTS, action="append", help="all unless told; may be repeated")
    parser.add_argument(
        "--store-tokens",
        default="1,3",
        metavar="N,N",
        help="sizes of the large store in millions of tokens; 10 takes 3 minutes and 7 GB",
    )
    parser.add_argument("--log-megabytes", type=float, default=1000, metavar="N", help="size of the log to mask")
    parser.add_argument("--folder", help="where files are made; the system's for temporary ones unless told")
    options = parser.parse_args()
    parts = options.part or PARTS
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    machine = [f"Python {platform.python_version()}", *_versions(parts), f"{os.cpu_count()} cores"]
    print(f"{', '.join(machine)}; load {os.getloadavg()[0]:.1f} to begin with.\n")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if "commands" in parts:
            commands(Path(folder), options)
        if "analyses" in parts:
            path = analyses.prepare(Path(folder), 200_000)
            print(f"The answer: 200,000 tokens, {path.stat().st_size / 1e6:,.0f} MB. All sides agree on its results.\n")
            table(analyses.lines(path, 200_000, max(options.rounds // 2, 3)), options.only)
            path = analyses.prepare(Path(folder), 200_000, troubled=True)
            table([analyses.front_page(path, 200_000, max(options.rounds // 2, 3), "half")], options.only)
            path.unlink()
        if "store" in parts:
            sizes = sorted({int(float(size) * 1e6) for size in options.store_tokens.split(",")})
            stores.measure(Path(folder), sizes)
        if "mask" in parts:
            for every in (1000, 10):
                log = masks.prepare(Path(folder) / "requests.log", int(options.log_megabytes * 1e6), every)
                table(masks.lines(log, max(options.rounds // 3, 1), every), options.only)
                log.unlink()
        if "engines" in parts:
            here = Path(folder) / "engines"
            here.mkdir()
            _isolate(here)
            engines.measure(here, options.rounds, options.only)
        if "databases" in parts:
            here = Path(folder) / "databases"
            here.mkdir()
            _isolate(here)
            databases.measure(here, max(options.rounds // 3, 1))
        for part, module in (("serve", services), ("keys", keys)):
            if part in parts:
                here = Path(folder) / part
                here.mkdir()
                _isolate(here)
                module.measure(here, max(options.rounds // 3, 1))
                with module.lines(here, options.rounds) as lines:
                    table(lines, options.only)


def _isolate(here: Path) -> None:
    """Keep the user's configuration out of what is measured."""
    os.environ |= {"TOKCTL_CONFIG": str(here / "config.yaml"), "TOKCTL_STATE_DIR": str(here)}
    (here / "config.yaml").write_text("{}")  # where a pepper is made beside


def _versions(parts: Sequence[str]) -> list[str]:
    """Say what is compared with. Ends the run where something is missing that it needs."""
    needed = {
        "commands": [("", *SQLITE_UTILS)],
        "analyses": [("Node.js ", "node"), ("", "jq")],
        "serve": [("httpie ", str(BIN / "http")), ("", "wrk")],
        "keys": [("httpie ", str(BIN / "http")), ("", "wrk")],
        "mask": [("", "sed")],
    }
    found = []
    for part in parts:
        for prefix, name in needed.get(part, ()):
            if not shutil.which(name):
                raise SystemExit(f"{Path(name).name} is not installed: --part names the parts that do without.")
            done = subprocess.run([name, "--version"], check=False, capture_output=True, text=True)  # wrk says 1
            found.append(prefix + done.stdout.splitlines()[0].replace(", version", "").partition(" [")[0])
    return found


def table(lines: list[Line], only: str) -> None:
    """Measure lines, and print them as a table."""
    header()
    for line in lines:
        if only in line.title:
            measure(line)
    print()


def commands(here: Path, options: argparse.Namespace) -> None:
    """Measure the commands that list and import tokens."""
    lines, stored, peer = here / "tokens.ndjson", here / "store.db", here / "peer.db"
    token_lines(lines, options.tokens)
    subprocess.run([*TOKCTL, "store", "import", lines, "--store", stored], check=True, capture_output=True)
    subprocess.run([*SQLITE_UTILS, "insert", peer, "tokens", lines, "--nl", "--silent"], check=True)
    subprocess.run([*SQLITE_UTILS, "create-index", peer, "tokens", "instance_id"], check=True)
    big, few = options.tokens - 10 * SMALL, max(options.rounds // 3, 3)
    small = ["--where", "instance_id = 'srv1-small000000'"]
    large = ["--where", "instance_id = 'srv1-big'"]

    def on(*arguments: str, terminal: bool = False) -> Side:
        return Side([*TOKCTL, *arguments, "--store", str(stored)], terminal=terminal)

    def rows(*arguments: str, terminal: bool = False) -> Side:
        return Side([*SQLITE_UTILS, "rows", str(peer), "tokens", *arguments], terminal=terminal)

    fresh, other = here / "fresh.db", here / "other.db"
    extra = [here / f"fresh.db{suffix}" for suffix in ("", "-wal", "-shm")]
    work = [
        Line(
            "`--version`",
            "",
            Side([*TOKCTL, "--version"]),
            Side([*PYTHON, "-c", "pass"]),
            "`python -c pass`",
            options.rounds,
        ),
        Line(
            f"`tokens list -o json`, {SMALL} tokens",
            "0.6",
            on("tokens", "list", "srv1-small000000", "-o", "json"),
            rows(*small),
            "`sqlite-utils rows`",
            options.rounds,
        ),
        Line(
            f"`tokens list` on a terminal, {SMALL} tokens",
            "1.0",
            on("tokens", "list", "srv1-small000000", "--no-pager", terminal=True),
            rows(*small, "-t", terminal=True),
            "`sqlite-utils rows -t`",
            options.rounds,
        ),
        Line(
            f"`tokens list` into a pipe, {SMALL} tokens",
            "0.6",
            on("tokens", "list", "srv1-small000000"),
            rows(*small, "-t"),
            "`sqlite-utils rows -t`",
            options.rounds,
        ),
        Line(
            f"`tokens list -o json`, {big:,} tokens",
            "0.6",
            on("tokens", "list", "srv1-big", "-o", "json"),
            rows(*large),
            "`sqlite-utils rows`",
            few,
        ),
        Line(
            f"`tokens list -n 0`, {big:,} tokens",
            "0.7",
            on("tokens", "list", "srv1-big", "-n", "0"),
            rows(*large, "-t"),
            "`sqlite-utils rows -t`",
            few,
        ),
        Line(
            f"`tokens tree`, {big:,} tokens",
            "",
            on("tokens", "tree", "srv1-big"),
            rows(*large, "-t"),
            "`sqlite-utils rows -t`",
            few,
        ),
        Line(
            f"`tokens tree --expand`, {big:,} tokens",
            "",
            on("tokens", "tree", "srv1-big", "--expand"),
            rows(*large, "-t"),
            "`sqlite-utils rows -t`",
            few,
        ),
        Line(
            f"`store import`, {options.tokens:,} tokens",
            "0.2",
            Side([*TOKCTL, "store", "import", str(lines), "--store", str(fresh)], cleanup=extra),
            Side([*SQLITE_UTILS, "insert", str(other), "tokens", str(lines), "--nl", "--silent"], cleanup=[other]),
            "`sqlite-utils insert --nl`",
            few,
        ),
    ]
    print(f"{options.tokens:,} tokens, {lines.stat().st_size / 1e6:,.0f} MB of NDJSON.\n")
    table(work, options.only)


if __name__ == "__main__":
    main()
