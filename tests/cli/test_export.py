"""``tokctl export``: what is selected, from where, where it goes, and what a collector is sent."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest

from support import faulty_server
from support.builders import ndjson, token
from support.commandline import NOW
from support.documented_server import DocumentedServer
from support.export_readers import attributes, read_chrome_trace, read_otlp, read_xes
from tokctl.exports.otlp import trace_id
from tokctl.kinds import EXPORT_FORMATS

ORDERS = ("ord-1001", "ord-1002", "pay-2001")
SECRET = "c0llector-s3cret"


@pytest.fixture
def export(tokctl, known):
    """Export from the known store."""

    def call(*words, code=0, **options):
        ran = tokctl("export", *words, "--store", known, **options)
        assert ran.code == code, ran.err
        return ran

    return call


def cases(text):
    """The instances in a CSV, in order."""
    return list(dict.fromkeys(row["case_id"] for row in csv.DictReader(io.StringIO(text))))


# --- selection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pay-2001", "ord-1001"], ["pay-2001", "ord-1001"]),
        (["ord-1001", "ord-1001"], ["ord-1001"]),
        (["srv1-"], ["srv1-aB3dEf9hK2mN5pQ8uV"]),
        (["--process", "pay*"], ["pay-2001"]),
        (["--process", "order-processing"], ["ord-1001", "ord-1002", "srv1-aB3dEf9hK2mN5pQ8uV"]),
        (["--process", "order*", "--since", "2025-01-11T10:30:00Z"], ["srv1-aB3dEf9hK2mN5pQ8uV"]),
        (["--until", "2025-01-11T10:05:00Z"], ["ord-1001"]),
        (["--troubled", "--process", "order*"], ["ord-1002", "srv1-aB3dEf9hK2mN5pQ8uV"]),
    ],
)
def test_selected_instances(export, words, expected):
    ran = export(*words, "--format", "csv")
    assert cases(ran.out) == expected
    assert ran.err == ""


def test_troubled_instances_are_those_of_debug(export, tokctl, known):
    found = json.loads(tokctl("debug", "-o", "json", "--store", known).out)
    troubled = {one["instance_id"] for issue in found["issues"] for one in issue["tokens"]}
    assert set(cases(export("--troubled", "-f", "csv").out)) == troubled


@pytest.mark.parametrize("form", sorted(set(EXPORT_FORMATS) - {"otlp", "chrome-trace"}))
def test_the_same_from_a_store_and_a_file(tokctl, known, orders, form):
    ids = ["ord-1002"] if form == "mermaid" else ORDERS
    expected = tokctl("export", *ids, "-f", form, "--store", known)
    of_file = tokctl("export", *ids, "-f", form, "--file", "-", stdin=orders.read_bytes())
    assert expected.code == of_file.code == 0
    assert expected.out == of_file.out != ""


def test_mermaid_is_that_of_flow(export, tokctl, known):
    assert export("ord-1002", "-f", "mermaid").out == tokctl("flow", "ord-1002", "-o", "mermaid", "--store", known).out


def test_formats_are_read_by_their_readers(export):
    assert len(read_xes(export("-p", "*", "-f", "xes").out)) == 4
    assert {one["pid"] for one in read_chrome_trace(export("-p", "*", "-f", "chrome-trace").out)} == {1, 2, 3, 4}
    found = read_otlp(export("-p", "*", "-f", "otlp").out)
    assert {one.trace_id.hex() for one in found} == {trace_id(one) for one in (*ORDERS, "srv1-aB3dEf9hK2mN5pQ8uV")}


def test_a_state_of_the_past(export):
    ran = export("ord-1001", "-f", "csv", "--at", "2025-01-11T10:00:35Z")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["element_id"] for row in rows if not row["end"]] == ["check"]
    assert len(rows) < len(export("ord-1001", "-f", "csv").out.splitlines()) - 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "no --format given. Valid: chrome-trace, otlp, xes, mermaid, csv."),
        (["-f", "oltp"], 2, "invalid --format 'oltp' (did you mean 'otlp'?)"),
        (["-f", "csv"], 2, "no process instance given"),
        (["-f", "csv", "ord-1001", "--troubled"], 2, "INSTANCE cannot be used with --process"),
        (["-f", "csv", "--process", ""], 2, "--process is empty"),
        (["-f", "csv", "--process", "nowhere"], 3, "no process instance matches"),
        (["-f", "csv", "ord-9"], 3, "no process instance 'ord-9'"),
        (["-f", "mermaid", "--process", "*"], 2, "mermaid is for one instance, and 4 match"),
        (["-f", "csv", "--since", "1h", "--until", "2h"], 2, "--since must be before --until"),
        (["-f", "csv", "@latest", "--endpoint", "http://127.0.0.1:1"], 2, "--endpoint needs --format otlp"),
        (["-f", "otlp", "@latest", "--endpoint", "http://127.0.0.1:1", "--out", "x"], 2, "cannot be used together"),
        (["-f", "otlp", "@latest", "--endpoint-credential", "env:X"], 2, "--endpoint-credential needs --endpoint"),
        (["-f", "otlp", "@latest", "--endpoint", "collector"], 2, "collector"),
        (["-f", "csv", "@latest", "--out", ""], 2, "--out is empty"),
        (["-f", "csv", "@latest", "--redact", "token_id"], 2, "would remove token_id"),
        (["-f", "csv", "@latest", "--out", "/nowhere/x.csv"], 6, "cannot write /nowhere/x.csv"),
    ],
)
def test_errors_are_one_line(export, words, code, message):
    ran = export(*words, code=code)
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""


# --- what is written --------------------------------------------------------------------------------------


def test_a_file_gets_its_name_when_it_is_complete(export, tmp_path):
    path = tmp_path / "log.xes.gz"
    export("-p", "*", "-f", "xes", "--out", path)
    assert gzip.decompress(path.read_bytes()).decode() == export("-p", "*", "-f", "xes").out
    assert [one.name for one in tmp_path.iterdir()] == ["log.xes.gz"]


def test_the_source_is_not_overwritten(tokctl, own_store):
    before = own_store.read_bytes()
    ran = tokctl("export", "-p", "*", "-f", "csv", "--store", own_store, "--out", own_store)
    assert (ran.code, "would overwrite the store" in ran.err) == (2, True)
    assert own_store.read_bytes() == before


def test_redacted_values(export):
    words = ("ord-1002", "-f", "csv", "--redact", "element_name", "--redact", "execution_context.worker_id")
    ran = export(*words, "--redact", "business_key.x")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert {row["activity"] for row in rows} == {"[redacted]"}
    assert {row["resource"] for row in rows} == {"", "[redacted]"}
    assert "--redact 'business_key.x' matches nothing." in ran.err


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_nothing_redacted_is_in_any_format(tokctl, form):
    hidden = token(
        state="FAILED",
        element_name=SECRET,
        created_at=NOW,
        variables={"a": SECRET},
        execution_context={"error_message": SECRET, "stack_trace": SECRET, "worker_id": SECRET},
    )
    words = ("export", "-f", form, "--file", "-", "--redact", "element_name", "--redact", "execution_context.*")
    ran = tokctl(*words, stdin=ndjson([hidden]))
    assert ran.code == 0
    assert ran.out
    assert SECRET not in ran.out + ran.err


def test_tokens_without_a_time_are_counted(tokctl):
    untimed = ndjson([token("a", created_at=NOW), token("b", state="ACTIVE"), token("c", state="WAITING")])
    for form, note in (("otlp", True), ("chrome-trace", True), ("xes", False), ("csv", False)):
        ran = tokctl("export", "-f", form, "--file", "-", stdin=untimed)
        assert ran.code == 0
        assert ran.err == (f"Left out 2 tokens without a time: {form} needs one.\n" if note else "")


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_a_terminal_is_not_controlled(tokctl, form):
    hostile = ndjson([token(element_name="a\x1b[2J\u202eb\x9b", created_at=NOW)])
    ran = tokctl("export", "-f", form, "--file", "-", stdin=hostile, tty=True)
    assert ran.code == 0
    assert not {"\x1b", "\u202e", "\x9b"} & set(ran.out)


class Broken(DocumentedServer):
    """Cannot return the tokens of one instance."""

    def _answer(self, store, path, given):
        if path[3:] == ["ord-1002", "tokens"]:
            raise ValueError("broken")
        return super()._answer(store, path, given)


def test_an_instance_that_cannot_be_read_does_not_stop_the_others(tokctl, known, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    server = Broken(known)
    words = ("-f", "csv", "--server", server.url, "--engine-kind", "rest")
    try:
        ran = tokctl("export", *ORDERS, *words)
        assert (ran.code, cases(ran.out)) == (5, ["ord-1001", "pay-2001"])
        assert "Cannot read 1 instance: ord-1002: " in ran.err
        alone = tokctl("export", "ord-1002", *words)
        assert (alone.code, alone.err.count("\n")) == (2, 1)
    finally:
        server.close()


# --- a collector ------------------------------------------------------------------------------------------

OK = faulty_server.good(b"{}")


def sent(server):
    """The spans that a collector has, decoded by OpenTelemetry's definitions."""
    return [span for request in server.seen for span in read_otlp(request.body.decode())]


@pytest.mark.parametrize(("path", "target"), [("", "/v1/traces"), ("/", "/v1/traces"), ("/otlp/v1", "/otlp/v1")])
def test_spans_are_sent_to_the_collector(export, path, target):
    with faulty_server.serving(OK) as server:
        ran = export("-p", "*", "-f", "otlp", "--endpoint", server.url + path)
        requests = server.seen
        found = sent(server)
    assert (ran.out, ran.err) == ("", "")
    assert found == read_otlp(export("-p", "*", "-f", "otlp").out)
    assert {(one.method, one.target, one.headers["content-type"]) for one in requests} == {
        ("POST", target, "application/json")
    }
    assert len(requests) == 4


def test_a_request_that_failed_for_a_while_is_repeated(export):
    refusals = [faulty_server.good(b"{}", status, Retry_After="0") for status in (503, 429, 502)]
    with faulty_server.serving(*refusals, OK) as server:
        export("ord-1001", "-f", "otlp", "--endpoint", server.url)
        first, *others = sent(server)
    assert len([one for one in others if one == first]) == 3


def test_the_credential_is_sent_only_if_it_is_named(export, monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", "of-another-server")
    monkeypatch.setenv("COLLECTOR", SECRET)
    with faulty_server.serving(OK) as server:
        export("ord-1001", "-f", "otlp", "--endpoint", server.url)
        export("ord-1001", "-f", "otlp", "--endpoint", server.url, "--endpoint-credential", "env:COLLECTOR")
        without, with_one = server.seen
    assert "authorization" not in without.headers
    assert with_one.headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}', 5, "rejected 2 spans: too old"),
        (b'{"partialSuccess":{"rejectedSpans":1}}', 5, "The collector rejected 1 span."),
        (b'{"partialSuccess":{"errorMessage":"use gRPC"}}', 0, "The collector warns: use gRPC"),
        (b'{"partialSuccess":{}}', 0, ""),
        (b"", 0, ""),
        (b"<html>hello</html>", 7, "this is an HTML page"),
    ],
)
def test_what_the_collector_answers(export, answer, code, message):
    with faulty_server.serving(faulty_server.good(answer)) as server:
        ran = export("ord-1001", "-f", "otlp", "--endpoint", server.url, code=code)
    assert message in ran.err
    assert ran.err.count("\n") == bool(message)


def test_a_collector_that_refuses_or_is_not_there(export):
    with faulty_server.serving(faulty_server.good(b'{"message":"bad span"}', 400)) as server:
        ran = export("ord-1001", "-f", "otlp", "--endpoint", server.url, code=2)
        assert "bad span" in ran.err
        assert len(server.seen) == 1
    with faulty_server.serving(faulty_server.good(b"{}", 401)) as server:
        export("ord-1001", "-f", "otlp", "--endpoint", server.url, code=4)


def test_the_summary_of_an_incident_is_sent(export):
    with faulty_server.serving(OK) as server:
        export("ord-1002", "-f", "otlp", "--endpoint", server.url)
        (failed,) = [span for span in sent(server) if span.status.code]
    assert attributes(failed)["tokctl.element_id"] == "mail"
    assert [event.name for event in failed.events] == ["exception"]
