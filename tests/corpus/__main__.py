"""Simulates every model of the corpus and reports what ran, what was refused and why: ``make corpus``.

Exit code 1: a model hangs, crashes or has an incomplete run, or fewer than ``MIN_SHARE`` of those with a startable
process run; 2: nothing could be fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from corpus.packages import PACKAGES, FetchError, cache_folder, fetch, models_in, short_name
from corpus.report import Model, print_file, print_list, print_summary, print_table, share_that_runs
from corpus.worker import CRASHED, HUNG, INCOMPLETE, TIME_LIMIT, run_all
from support.bpmn_reading import has_several_processes, startable_processes

MIN_SHARE = 0.85
SEEDS = 3


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, width=max(140, Console().width))
    models = find_models(options.package, console)
    if options.file:
        models = [model for model in models if options.file in str(model.path)]
    if not models:
        console.print("no models", style="red")
        return 2
    runs = [run for model in models[:: options.every] for run in model.runs(options.seeds)]
    by_path = {str(model.path): model for model in models}
    progress = Console(stderr=True)
    with progress.status("simulating") as status:
        for number, result in enumerate(run_all(runs, workers=options.workers, time_limit=options.time_limit), 1):
            by_path[result.run.file].results.append(result)
            if number % 50 == 0:
                status.update(f"simulated {number} of {len(runs)}")
    models = models[:: options.every]
    if options.json:
        documents = [result.to_json() for model in models for result in model.results]
        Path(options.json).write_text(json.dumps(documents, indent=1), encoding="utf-8")
    if options.list is not None:
        print_list(console, models, options.list)
    elif options.file:
        for model in models:
            print_file(console, model)
    else:
        print_table(console, models)
        print_summary(console, models)
    bad = any(model.outcome in {HUNG, CRASHED, INCOMPLETE} for model in models)
    return int(bad or share_that_runs(models) < MIN_SHARE)


def find_models(wanted: str, console: Console) -> list[Model]:
    """Return the distinct models of the packages whose name contains a text; say which cannot be fetched."""
    fetched = []
    for package in PACKAGES:
        if wanted in package:
            try:
                fetch(package)
                fetched.append(package)
            except FetchError as error:
                console.print(f"not fetched: {error}", style="red", markup=False)
    return models_of(fetched)


def models_of(packages: Iterable[str]) -> list[Model]:
    """Return the distinct models of packages; a model that is in two is one of the first. Raises ``FetchError``."""
    models, seen = [], set()
    for package in packages:
        for path in models_in(fetch(package)):
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            if digest not in seen:
                seen.add(digest)
                processes = tuple(startable_processes(content))
                collaborates = has_several_processes(content)
                models.append(Model(short_name(package), path, processes, has_collaboration=collaborates))
    return models


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corpus", description=f"Models are kept in {cache_folder()}.")
    parser.add_argument("--package", metavar="TEXT", default="", help="only packages whose name contains this")
    parser.add_argument("--file", metavar="TEXT", help="only models whose path contains this, with every run of them")
    parser.add_argument("--list", metavar="REASON", help="list the models whose outcome or reason contains this")
    parser.add_argument("--json", metavar="OUT", help="write every run into a file")
    parser.add_argument("--seeds", metavar="N", type=int, default=SEEDS, help="seeds for each process (default: 3)")
    parser.add_argument("--every", metavar="N", type=int, default=1, help="only every Nth model")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="worker processes (default: 2)")
    parser.add_argument("--time-limit", metavar="SECONDS", type=float, default=TIME_LIMIT, help="of each run")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
