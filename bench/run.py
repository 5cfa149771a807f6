"""Measures tokctl beside its peers, in the same run, and prints a Markdown table of ratios.

Every line is two whole processes doing the same work, run in turn; what counts is the ratio of the
medians, for the machine's own speed and noise are in both. Peak memory is what the kernel says of
the process (ru_maxrss).

    python bench/run.py [--rounds N] [--tokens N] [--only WORD]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
PYTHON = [sys.executable]
TOKCTL = [str(BIN / "tokctl")]
PEER = [str(BIN / "sqlite-utils")]
SMALL = 100  # tokens of an ordinary instance


# Starts a command and measures it. A process of its own, and a small one: what it starts begins with its peak memory.
RUNNER = """
import os, sys, time
nowhere = os.open(os.devnull, os.O_WRONLY)
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)])
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Side:
    """One of the two commands of a line, with what it took."""

    command: Sequence[str]
    cleanup: Sequence[Path] = ()
    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Run the command once, and keep its time and peak memory."""
        for path in self.cleanup:
            path.unlink(missing_ok=True)
        command = [sys.executable, "-I", "-S", "-c", RUNNER, *map(str, self.command)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(self.command)}: {done.stderr}")
        seconds, peak = done.stdout.split()
        self.seconds.append(float(seconds))
        self.peak.append(int(peak))

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def megabytes(self) -> float:
        """Peak memory."""
        return statistics.median(self.peak) / 1024


def token_lines(path: Path, count: int) -> None:
    """Write tokens as NDJSON: one instance with all of them but the last 1,000, those ten of SMALL each.

    They are linked as an engine links them: sequences, and every tenth token a split in two.
    """
    chance = random.Random(1)
    alphabet = string.ascii_letters + string.digits
    kinds = ("serviceTask", "exclusiveGateway", "userTask", "parallelGateway", "scriptTask")
    big = count - 10 * SMALL
    with path.open("w") as stream:
        ids: list[str] = []
        for number in range(count):
            inside = number if number < big else (number - big) % SMALL
            instance = "big" if number < big else f"small{(number - big) // SMALL:06d}"
            if inside == 0:
                ids = []
            ids.append("srv1-token-" + "".join(chance.choices(alphabet, k=12)))
            back = 2 if inside % 10 == 1 and inside > 1 else 1
            live = inside % SMALL == SMALL - 1
            second = number % 86_000
            day, clock = 11 + number // 86_000 % 20, f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            began = f"2025-01-{day:02d}T{clock}"
            kind = kinds[inside % len(kinds)]
            token = {
                "instance_id": f"srv1-{instance}",
                "process_id": "order-processing",
                "token_id": ids[-1],
                "element_id": f"{kind}-{inside % 40}",
                "element_type": kind,
                "element_name": f"Step {inside % 40}",
                "state": "ACTIVE" if live else "COMPLETED",
                "created_at": f"{began}.123Z",
                "updated_at": f"{began}.789Z",
                "completed_at": None if live else f"{began}.789Z",
                "cancelled_at": None,
                "variables": {"orderId": f"ORD-{number:06d}", "amount": 299.99, "paymentMethod": "credit"},
                "execution_context": {
                    "job_key": f"srv1-job-{number}", "worker_id": f"worker-{inside % 7}",
                    "retries_used": inside % 4, "duration_ms": 666,
                },
                "parent_token_id": ids[-1 - back] if inside >= back else None,
                "child_tokens": [],
                "flow_history": [
                    {"from_element": "before", "via_flow": f"flow_{inside % 41}", "timestamp": f"{began}.123Z"}
                ],
            }  # fmt: skip
            stream.write(json.dumps(token) + "\n")


def measure(title: str, aim: str, ours: Side, peer: Side, name: str, rounds: int) -> None:
    """Run both sides in turn and print their line."""
    ours.run()
    peer.run()  # once unmeasured: bytecode and the file cache are warm for both
    for side in (ours, peer):
        side.seconds.clear()
        side.peak.clear()
    for _ in range(rounds):
        ours.run()
        peer.run()
    ratio = ours.median / peer.median
    print(
        f"| {title} | {ours.median * 1000:,.0f} | {ours.megabytes:.0f} | {name} | {peer.median * 1000:,.0f} "
        f"| {peer.megabytes:.0f} | **{ratio:.2f}** | {aim} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="measured runs of each short command")
    parser.add_argument("--tokens", type=int, default=201_000)
    parser.add_argument("--only", default="", help="lines whose title holds this")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), options)


def bench(here: Path, options: argparse.Namespace) -> None:
    lines, store, peer = here / "tokens.ndjson", here / "store.db", here / "peer.db"
    token_lines(lines, options.tokens)
    subprocess.run([*TOKCTL, "store", "import", lines, "--store", store], check=True, capture_output=True)
    subprocess.run([*PEER, "insert", peer, "tokens", lines, "--nl", "--silent"], check=True)
    subprocess.run([*PEER, "create-index", peer, "tokens", "instance_id"], check=True)
    big, few = options.tokens - 10 * SMALL, max(options.rounds // 3, 3)
    small = ["--where", "instance_id = 'srv1-small000000'"]
    large = ["--where", "instance_id = 'srv1-big'"]

    def on(*arguments: str) -> Side:
        return Side([*TOKCTL, *arguments, "--store", str(store)])

    def rows(*arguments: str) -> Side:
        return Side([*PEER, "rows", str(peer), "tokens", *arguments])

    fresh, other = here / "fresh.db", here / "other.db"
    extra = [here / f"fresh.db{suffix}" for suffix in ("", "-wal", "-shm")]
    work = [
        ("`--version`", "", Side([*TOKCTL, "--version"]), Side([*PYTHON, "-c", "pass"]), "`python -c pass`", 0),
        (f"`tokens list -o json`, {SMALL} tokens", "0.6", on("tokens", "list", "srv1-small000000", "-o", "json"),
         rows(*small), "`sqlite-utils rows`", 0),
        (f"`tokens list`, {SMALL} tokens", "0.7", on("tokens", "list", "srv1-small000000"), rows(*small, "-t"),
         "`sqlite-utils rows -t`", 0),
        (f"`tokens list -o json`, {big:,} tokens", "0.6", on("tokens", "list", "srv1-big", "-o", "json"),
         rows(*large), "`sqlite-utils rows`", few),
        (f"`tokens list -n 0`, {big:,} tokens", "0.7", on("tokens", "list", "srv1-big", "-n", "0"),
         rows(*large, "-t"), "`sqlite-utils rows -t`", few),
        (f"`tokens tree`, {big:,} tokens", "", on("tokens", "tree", "srv1-big"), rows(*large, "-t"),
         "`sqlite-utils rows -t`", few),
        (f"`tokens tree --expand`, {big:,} tokens", "", on("tokens", "tree", "srv1-big", "--expand"),
         rows(*large, "-t"), "`sqlite-utils rows -t`", few),
        (f"`store import`, {options.tokens:,} tokens", "0.2",
         Side([*TOKCTL, "store", "import", str(lines), "--store", str(fresh)], cleanup=extra),
         Side([*PEER, "insert", str(other), "tokens", str(lines), "--nl", "--silent"], cleanup=[other]),
         "`sqlite-utils insert --nl`", few),
    ]  # fmt: skip
    versions = subprocess.run([*PEER, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {versions}; "
          f"{options.tokens:,} tokens, {lines.stat().st_size / 1e6:,.0f} MB of NDJSON.\n")  # fmt: skip
    print("| what | ms | MB | beside | ms | MB | ratio | aim |")
    print("|---|--:|--:|---|--:|--:|--:|--:|")
    for title, aim, ours, theirs, name, rounds in work:
        if options.only in title:
            measure(title, aim, ours, theirs, name, rounds or options.rounds)


if __name__ == "__main__":
    if not shutil.which(PEER[0]):
        raise SystemExit("sqlite-utils is not installed; 'make bench' installs it.")
    main()
