"""Findings as JUnit XML: a test case for each rule, failed if it found something."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET  # only for writing

from tokctl.analysis.debug.rules.base import SEVERITIES
from tokctl.analysis.debug.runner import DebugFinding, DebugReport
from tokctl.render.text import replace_invalid_xml


def junit(report: DebugReport, fail_on: str) -> Iterator[str]:
    """Yield the report. Findings below the severity ``fail_on`` are reported, but do not fail a test case."""
    found = {finding.type: finding for finding in report.findings}
    least = SEVERITIES.index(fail_on)
    failed = sum(SEVERITIES.index(finding.severity) >= least for finding in report.findings)
    counts = {"tests": str(len(report.rules)), "failures": str(failed), "errors": "0"}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": "tokctl debug"} | counts | {"skipped": "0"})
    for name in report.rules:
        case = ET.SubElement(suite, "testcase", {"classname": "tokctl.debug", "name": name})
        if (finding := found.get(name)) is None:
            continue
        if SEVERITIES.index(finding.severity) >= least:
            told = ET.SubElement(
                case, "failure", {"type": finding.severity, "message": replace_invalid_xml(finding.message)}
            )
        else:
            told = ET.SubElement(case, "system-out")
        told.text = replace_invalid_xml("\n".join(_lines(finding)))
    if report.notes:
        ET.SubElement(suite, "system-out").text = replace_invalid_xml("\n".join(report.notes))
    ET.indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ET.tostring(root, encoding="unicode") + "\n"


def _lines(finding: DebugFinding) -> Iterator[str]:
    yield finding.message
    for hit in finding.matches:
        yield f"{hit.visit.instance_id} {hit.visit.token_id} {hit.visit.name}: {hit.text}"
    if finding.count > len(finding.matches):
        yield f"and {finding.count - len(finding.matches):,} more"
    if finding.next:
        yield f"Next: {finding.next}"
