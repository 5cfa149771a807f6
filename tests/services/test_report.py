"""Reading instances for a report: once, redacted, and on after failures."""

from __future__ import annotations

import pytest

from support.builders import at, instance, token, tokens
from tokctl.analysis.redaction import Redactor
from tokctl.engines.file import FileEngine
from tokctl.errors import NotFoundError
from tokctl.services.report import (
    MAX_DETAIL_TOKENS,
    MAX_DETAILS,
    MAX_TREE_LINES,
    InstanceReport,
    OverviewReport,
    ReportReader,
)

NOW = at(3600)


def read(engine, ids, *, redact=()):
    reader = ReportReader(engine, NOW, source=("a.json", "file"), redaction=Redactor(redact), clock=lambda: NOW)
    return reader.read_instance(ids[0]) if len(ids) == 1 else reader.read_instances(ids)


def make_engine(*records):
    return FileEngine(records, name="a.json")


def test_one_instance_or_several_are_shown():
    engine = make_engine(*tokens(3, "i1"), *tokens(2, "i2"), *tokens(1, "i3"))
    one, several = read(engine, ["i1"]).body, read(engine, ["i2", "i3"]).body
    assert isinstance(one, InstanceReport)
    assert [token.token_id for token in one.tokens] == ["t0", "t1", "t2"]
    assert [visit.token_id for visit in one.flow.visits] == ["t0", "t1", "t2"]
    assert isinstance(several, OverviewReport)
    assert [status.instance.instance_id for status in several.statuses] == ["i2", "i3"]


def test_nothing_that_is_redacted_is_in_any_part():
    secret = {"error_message": "hunter2", "worker_id": "hunter2", "retries_left": 0}
    failed = [
        token(state="FAILED", instance_id=name, created_at=at(0), execution_context=secret, variables={"a": "hunter2"})
        for name in ("i1", "i2")
    ]
    about = [instance(name, business_key="hunter2", process_id="p") for name in ("i1", "i2")]

    def told(ids, *redact):
        body = read(make_engine(*about, *failed), ids, redact=redact).body
        parts = [getattr(body, name) for name in body.__struct_fields__]
        shown = [*body.debug.findings, *(hit.text for finding in body.debug.findings for hit in finding.matches)]
        return repr((parts, shown, getattr(getattr(body, "flow", None), "visits", None))).count("hunter2")

    for ids in (["i1"], ["i1", "i2"]):
        assert told(ids) > 3
        assert told(ids, "execution_context.*", "variables.*", "business_key") == 0


def test_an_instance_that_cannot_be_read_does_not_stop_the_others():
    engine = make_engine(*tokens(1, "i1"))
    made = read(engine, ["i1", "missing"])
    assert [one.instance_id for one in made.unread] == ["missing"]
    assert [status.instance.instance_id for status in made.body.statuses] == ["i1"]
    with pytest.raises(NotFoundError):
        read(engine, ["missing"])


def test_the_tree_is_limited():
    several = [
        token(f"t{n}", element_id=f"e{n}", parent_token_id=f"t{n - 1}" if n else None, created_at=at(n))
        for n in range(MAX_TREE_LINES + 1)
    ]
    body = read(make_engine(*several), ["i1"]).body
    assert (len(body.tree), body.has_more_tree) == (MAX_TREE_LINES, True)


@pytest.mark.slow
def test_the_details_are_limited():
    """To some instances, the worst first, and to those that are not too large."""
    names = [f"i{n:02}" for n in range(MAX_DETAILS + 2)]
    several = [one for name in names for one in tokens(1, name)]
    large = tokens(MAX_DETAIL_TOKENS, "large", state="FAILED")
    body = read(make_engine(*several, *large), [*names, "large"]).body
    assert body.statuses[0].instance.instance_id == "large"
    assert [one.status.instance.instance_id for one in body.details] == ["large"]
    failed = [token("f", "i99", state="FAILED", created_at=at(0))]
    body = read(make_engine(*several, *failed), [*names, "i99"]).body
    assert [one.status.instance.instance_id for one in body.details] == ["i99", *names[: MAX_DETAILS - 1]]


def test_instances_of_the_base_are_read_once_and_apart():
    engine = make_engine(*tokens(1, "i1"), *tokens(2, "i2"))
    reader = ReportReader(engine, NOW, source=("a.json", "file"), redaction=Redactor(()), clock=lambda: NOW)
    report = reader.read_instances(["i1"], base=("v1", ["i2", "missing"]))
    assert [status.instance.instance_id for status in report.body.statuses] == ["i1"]
    assert [status.instance.instance_id for status in report.base.body.statuses] == ["i2"]
    assert [one.instance_id for one in report.unread] == ["missing"]
    assert [(group.element_id, group.comparison.base.count) for group in report.base.groups] == [("task", 2)]
