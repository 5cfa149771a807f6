"""What was found as JUnit XML: a test case for each rule, failed where it found something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET  # nothing is parsed with it

from tokctl.process.debug import Finding, Report
from tokctl.process.rules.base import SEVERITIES

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, fail_on: str) -> Iterator[str]:
    """Yield the report; findings below ``fail_on`` are told, and fail nothing."""
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
            told = ET.SubElement(case, "failure", {"type": finding.severity, "message": _clean(finding.message)})
        else:
            told = ET.SubElement(case, "system-out")
        told.text = _clean("\n".join(_lines(finding)))
    ET.indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ET.tostring(root, encoding="unicode") + "\n"


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.message
    for hit in finding.hits:
        yield f"{hit.visit.instance_id} {hit.visit.token_id} {hit.visit.name}: {hit.says}"
    if finding.count > len(finding.hits):
        yield f"and {finding.count - len(finding.hits):,} more"
    if finding.next:
        yield f"Next: {finding.next}"


def _clean(text: str) -> str:
    """Text without the characters that XML has no way to write."""
    return _NOT_XML.sub("\ufffd", text)
