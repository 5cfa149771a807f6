"""What became of the models of the corpus, as tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from corpus.worker import APPROXIMATED, OUTCOMES, RAN, REFUSED, Run, RunResult

NO_PROCESS = "no process"
"""The outcome of a model without a startable process."""
MAX_REASONS = 60


@dataclass(slots=True)
class Model:
    """A model file, the processes in it that have a start event, and the results of their runs.

    If it has several processes, ``has_collaboration`` is true: they also run together.
    """

    package: str
    path: Path
    processes: tuple[str, ...]
    results: list[RunResult] = field(default_factory=list)
    has_collaboration: bool = False

    def runs(self, seeds: int) -> list[Run]:
        """Return the runs of all its processes, each with so many seeds."""
        processes = [*self.processes, *([None] if self.processes and self.has_collaboration else [])]
        return [Run(str(self.path), process, seed) for process in processes for seed in range(1, seeds + 1)]

    @property
    def worst(self) -> RunResult | None:
        """The result that decides about the model: the worst of its runs."""
        return max(self.results, key=lambda result: OUTCOMES.index(result.outcome), default=None)

    @property
    def outcome(self) -> str:
        """The worst outcome of its runs."""
        return NO_PROCESS if self.worst is None else self.worst.outcome

    @property
    def reasons(self) -> set[str]:
        """The groups of the reasons and problems of its worst runs."""
        return {text for result in self.results if result.outcome == self.outcome for text in groups(result)}


def groups(result: RunResult) -> set[str]:
    """Return the reason, problems and approximations of a run without what differs from model to model."""
    texts = [result.reason, *result.problems] if result.outcome != APPROXIMATED else result.approximations
    return {group(text) for text in texts if text}


def group(text: str) -> str:
    """Return a message without names, expressions and numbers."""
    text = re.sub(r"<Element [^>]*>", "<…>", " ".join(text.split()))
    text = re.sub(r"(?<!\w)'.*?'(?![\w'])|\"[^\"]*\"", "'…'", text)
    text = re.sub(r"(it has|process) [\w.-]+(, [\w.-]+)*\.$", r"\1 '…'.", text)
    text = re.sub(r"\{[^}]*\}\w*", "{…}", text)
    return re.sub(r"\d+", "N", text)[:170]


def share_that_runs(models: Iterable[Model]) -> float:
    """Return the share of the models with a startable process in which each of those runs."""
    outcomes = [model.outcome for model in models if model.processes]
    return sum(outcome in {RAN, APPROXIMATED} for outcome in outcomes) / max(len(outcomes), 1)


def print_table(console: Console, models: Sequence[Model]) -> None:
    """Print the number of models by package and outcome, with their totals."""
    packages: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        packages[model.package].append(model)
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("package", footer="total", no_wrap=True)
    counted = {name: _count(of) for name, of in packages.items()}
    total = _count(models)
    for name in total:
        table.add_column(name, justify="right", footer=str(total[name]))
    for name, counts in counted.items():
        table.add_row(escape(name), *(str(count or "") for count in counts.values()))
    console.print(table)


def print_summary(console: Console, models: Sequence[Model]) -> None:
    """Print the reasons of what did not run as it should, the most frequent first, and the share that runs."""
    for outcome in (REFUSED, *OUTCOMES[3:], APPROXIMATED):
        counts = Counter(text for model in models if model.outcome == outcome for text in model.reasons)
        if counts:
            console.print(f"\n{outcome}", style="bold")
        for text, times in counts.most_common(MAX_REASONS):
            console.print(f"{times:5}  {escape(text)}")
        if len(counts) > MAX_REASONS:
            console.print(f"       … and {len(counts) - MAX_REASONS} other reasons: --list {outcome}")
    unchecked = Counter(group(text) for model in models for r in model.results for text in set(r.unchecked))
    for text, times in unchecked.most_common(MAX_REASONS):
        console.print(f"{times:5}  not checked: {escape(text)}")
    startable = sum(bool(model.processes) for model in models)
    ran = sum(model.outcome in {RAN, APPROXIMATED} for model in models)
    console.print(f"\n{ran} of {startable} models with a startable process run: {share_that_runs(models):.1%}")


def print_list(console: Console, models: Iterable[Model], wanted: str) -> None:
    """Print the models whose outcome or reason contains a text, each with its reason."""
    for model in models:
        result = model.worst
        if result is None:
            continue
        texts = [text for text in (result.reason, *result.problems, *result.approximations) if text]
        found = [text for text in texts if wanted in text or wanted in group(text)]
        if found or wanted == model.outcome:
            console.print(str(model.path), markup=False)
            console.print(f"    {model.outcome}: {next(iter(found or texts), '')}", markup=False)


def print_file(console: Console, model: Model) -> None:
    """Print every run of a model with all that is known of it."""
    console.print(str(model.path), style="bold", markup=False)
    for result in model.results:
        run = f"{result.run.process or 'all processes'}, seed {result.run.seed}"
        console.print(f"  {run}: {result.outcome}, {result.tokens} tokens, {result.seconds:.2f} s", markup=False)
        for text in (result.reason, *result.problems, *result.approximations):
            if text:
                console.print(f"    {text}", markup=False)
        for text in result.unchecked:
            console.print(f"    not checked: {text}", markup=False)


def _count(models: Sequence[Model]) -> dict[str, int]:
    outcomes = Counter(model.outcome for model in models)
    return {
        "files": len(models),
        "startable": sum(bool(model.processes) for model in models),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
    }
