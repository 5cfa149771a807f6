"""A Mermaid flowchart of an instance, as ``tokctl flow -o mermaid`` draws it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.exports.export_format import ExportFormat, InstanceExport
from tokctl.render.formats.mermaid import write_mermaid


def write(instances: Iterable[InstanceExport], now: datetime) -> Iterator[str]:
    """Yield the lines of the flowchart."""
    for instance in instances:
        yield from write_mermaid(FlowAnalysis(instance.read.visits, now), instance.read.find_definition())


FORMAT = ExportFormat(write=write, is_single=True)
