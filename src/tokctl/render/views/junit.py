"""What was found as JUnit XML: a test case for each rule, failed where it found something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from tokctl.process.debug import Finding, Report
from tokctl.process.rules.base import SEVERITIES

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, fail_on: str) -> Iterator[str]:
    """Yield the report; findings below ``fail_on`` are told, and fail nothing."""
    found = {finding.type: finding for finding in report.findings}
    least = SEVERITIES.index(fail_on)
    failed = sum(SEVERITIES.index(finding.severity) >= least for finding in report.findings)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    counts = f'tests="{len(report.rules)}" failures="{failed}" errors="0"'
    yield f"<testsuites {counts}>\n"
    yield f'  <testsuite name="tokctl debug" {counts} skipped="0">\n'
    for name in report.rules:
        finding = found.get(name)
        if finding is None:
            yield f'    <testcase classname="tokctl.debug" name={_attribute(name)}/>\n'
            continue
        yield f'    <testcase classname="tokctl.debug" name={_attribute(name)}>\n'
        text = _text("\n".join(_lines(finding)))
        if SEVERITIES.index(finding.severity) >= least:
            yield f'      <failure type="{finding.severity}" message={_attribute(finding.message)}>{text}</failure>\n'
        else:
            yield f"      <system-out>{text}</system-out>\n"
        yield "    </testcase>\n"
    yield "  </testsuite>\n</testsuites>\n"


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.message
    for hit in finding.hits:
        yield f"{hit.visit.instance_id} {hit.visit.token_id} {hit.visit.name}: {hit.says}"
    if finding.count > len(finding.hits):
        yield f"and {finding.count - len(finding.hits):,} more"
    if finding.next:
        yield f"Next: {finding.next}"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))
