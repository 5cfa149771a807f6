"""``tokctl debug`` as it is used: options, exit codes, formats, settings, and rules of other packages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from support.builders import DOCUMENTED, at, instance, raw, token
from support.builders import answer as answer_of
from support.commandline import NOW, clean_environment
from tokctl.model.times import format_time

HOSTILE = "\x1b[31m]]><x a=\"'&\u202e\u0000\uffff🎉\r\n"


@pytest.fixture(autouse=True)
def config(monkeypatch, tmp_path):
    """Where the configuration file is looked for; nothing is there yet."""
    monkeypatch.delenv("TOKCTL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "tokctl" / "config.yaml"
    path.parent.mkdir(parents=True)
    return path


def issues(ran):
    assert ran.err == ""
    return {issue["type"]: issue for issue in json.loads(ran.out)["issues"]}


def answer(tmp_path, *tokens, name="a.json", **about):
    path = tmp_path / name
    path.write_bytes(answer_of(instance(**about), list(tokens)))
    return path


def stuck(token_id="t1", instance_id="i1", **fields):
    """ACTIVE since twenty minutes ago."""
    return token(token_id, instance_id, state="ACTIVE", created_at=at(-NOON_TO_NOW - 1200), **fields)


NOON_TO_NOW = (at(0) - NOW).total_seconds()


def refused(ran, *parts, code=2):
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: ")
    for part in parts:
        assert part in ran.err
    assert ran.code == code


# --- the document ---


def test_the_documented_example(tokctl):
    ran = tokctl("debug", "--file", DOCUMENTED, "-o", "json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert list(document) == ["instance_id", "process_id", "issues", "summary"]
    assert document["instance_id"] == "srv1-aB3dEf9hK2mN5pQ8uV"
    assert document["summary"]["totalIssues"] == len(document["issues"]) == 3
    assert document["summary"]["severity"] == "HIGH"
    [timed_out, orphaned, broken] = document["issues"]
    assert list(timed_out)[:4] == ["type", "severity", "count", "tokens"]
    assert timed_out["tokens"][0] == {
        "id": "srv1-token-aB3dEf9hK2mN",
        "element": "Process Payment",
        "timeout_at": "2025-01-11T10:33:30.789Z",
        "overdue_ms": 389_211.0,
        "instance_id": "srv1-aB3dEf9hK2mN5pQ8uV",
        "element_id": "process-payment",
        "element_type": "serviceTask",
        "state": "ACTIVE",
        "worker_id": "payment-worker-02",
        "since": "2025-01-11T10:33:30.789Z",
        "says": "timed out 6m 29s ago",
        "also": ["ORPHANED_TOKENS", "BROKEN_LINKS"],
    }
    assert timed_out["also"] == {"ORPHANED_TOKENS": 1, "BROKEN_LINKS": 1}
    assert (orphaned["type"], broken["type"], broken["count"]) == ("ORPHANED_TOKENS", "BROKEN_LINKS", 2)


def test_nothing_found_reads_well(tokctl, known):
    ran = tokctl("debug", "ord-1001", "--store", known)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "  No problems found (17 rules, 1 instance checked)."
    document = json.loads(tokctl("debug", "ord-1001", "--store", known, "-o", "json").out)
    assert (document["issues"], document["summary"]["totalIssues"], document["summary"]["severity"]) == ([], 0, "LOW")


def test_the_whole_store(tokctl, known):
    ran = tokctl("debug", "--store", known)
    assert ran.code == 0
    assert ran.out.startswith("3 instances running  3 with problems  2 high, 1 low\n")
    assert ran.err.splitlines()[-1] == "1 ended instance is not checked. Use --all to check all instances."
    severities = re.findall(r"^  [▲◆▪] (\w+)", ran.out, re.MULTILINE)
    assert severities == sorted(severities, key=["HIGH", "MEDIUM", "LOW"].index)
    everything = tokctl("debug", "--all", "--store", known)
    assert everything.out.startswith("3 instances running, 1 ended  3 with problems")
    assert "left out" not in everything.err


@pytest.mark.parametrize("status", [None, "ACTIVE", "COMPLETED", "FAILED", "CANCELLED"])
def test_failed_tokens_are_always_trouble(tokctl, store_path, status):
    """Also of instances that their source calls ended."""
    failed = token("t1", "i1", state="FAILED", created_at=at(-9000), updated_at=at(-8000))
    data = answer_of(instance("i1", status=status), [failed]) + b"\n" + answer_of(instance("i2"), [token("t2", "i2")])
    assert tokctl("store", "import", "-", "--store", store_path, stdin=data).code == 0
    for where in (["--file", "-"], ["--store", store_path]):
        ran = tokctl("debug", *where, "--fail-on", "high", "-o", "json", stdin=data)
        assert (ran.code, [*issues(ran)]) == (1, ["FAILED_TOKENS"])


def failing(number: int) -> str:
    """Instances whose last token failed, each with an error of its own, and a join that waits for it."""
    join = {"element_id": "join", "element_type": "parallelGateway", "state": "WAITING"}
    lines = []
    for n in range(number):
        error = {"retries_used": 3, "error_message": f"HTTP 500 for order {n}\nmore", "worker_id": "w"}
        mail = {"element_id": "mail", "element_name": "Send Mail", "state": "FAILED", "execution_context": error}
        since = format_time(at(-9000 + n))
        tokens = [mail | {"token_id": f"{n}-mail", "created_at": since}, join | {"token_id": f"{n}-join"}]
        lines.append(json.dumps({"instance_id": f"order-{n:04}", "process_id": "orders", "tokens": tokens}) + "\n")
    return "".join(lines)


def test_several_common_causes_take_the_room_of_rows(tokctl, tmp_path, monkeypatch):
    monkeypatch.setenv("LINES", "24")
    lines = failing(300).splitlines()
    for other in ("Print the Label at the Warehouse in Rotterdam", "Book the Carrier for the Next Working Day"):
        named = failing(300).replace("Send Mail", other).replace('"mail"', f'"{other}"').replace('"w"', f'"{other}"')
        lines += named.replace("order-", f"{other[0]}-").splitlines()
    path = tmp_path / "failing.ndjson"
    path.write_text("\n".join(lines))
    ran = tokctl("debug", "--file", path, "--color", "never", tty=True, width=80)
    assert ran.out.count("Common cause: ") == 3
    assert "Next: " in ran.out
    assert len(ran.out.splitlines()) + ran.err.count("\n") < 24


def test_folded_lines_take_the_room_of_rows(tokctl, tmp_path, monkeypatch):
    """What is wrong with the instances that are not shown takes two lines of 80 columns, the headline two as well."""
    monkeypatch.setenv("LINES", "24")
    kinds = {
        "late": {"state": "ACTIVE", "execution_context": {"timeout_at": format_time(at(-60))}},
        "long": {"state": "ACTIVE"},
        "gate": {"state": "WAITING", "element_type": "parallelGateway"},
        "idle": {"state": "SUSPENDED"},
    }
    lines = failing(100).splitlines()
    for kind, fields in kinds.items():
        for n in range(100):
            one = {
                "token_id": f"{kind}-{n}",
                "element_id": f"{kind}-{n}",
                "created_at": format_time(at(-9000)),
            } | fields
            lines.append(json.dumps({"instance_id": f"{kind}-{n:04}", "process_id": "orders", "tokens": [one]}))
    path = tmp_path / "failing-orders.ndjson"
    path.write_text("\n".join(lines))
    ran = tokctl("debug", "--file", path, "--color", "never", tty=True, width=80)
    assert "idle" not in ran.out
    assert len(ran.out.splitlines()) + ran.err.count("\n") < 24


def test_quiet_has_no_next_command(tokctl, known):
    for words in (["debug"], ["explain", "ord-1002"]):
        shown, quiet = (tokctl(*words, *q, "--store", known, tty=True).out for q in ([], ["-q"]))
        assert ("Next: " in shown, "Next: " in quiet) == (True, False)


def test_ids_of_findings_are_short_on_a_terminal(tokctl, tmp_path):
    path = tmp_path / "store.db"
    tokctl("store", "import", "-", "--store", path, stdin=failing(3).replace("order-", "a-very-long-instance-id-"))
    words = ("debug", "--by", "finding", "-r", "failed", "--store", path)
    shown = tokctl(*words, "--color", "never", tty=True, width=120).out
    rows = [line.split()[0] for line in shown.splitlines() if "Send Mail" in line]
    assert all("a-very-long-instance-id-".startswith(row[:8]) for row in rows)
    assert len(rows) == 3
    assert re.findall("(?m)^  (a-very-long-instance-id-000[0-2])  ", tokctl(*words).out)


def test_long_ids_are_cut_on_a_narrow_terminal(tokctl, tmp_path):
    """A file has no unique prefixes. An id that was cut is accepted with its ellipsis."""
    path = tmp_path / "failing.ndjson"
    path.write_text(failing(3).replace("order-", "a-very-long-instance-id-of-orders-"))
    words = ("debug", "--file", path, "--color", "never")
    rows = [line for line in tokctl(*words, tty=True, width=80).out.splitlines() if "retries" in line]
    assert len(rows) == 3
    assert all(re.search(" a-very-[a-z-]*…  Send Mail  failed after 3 retries", row) for row in rows)
    assert "a-very-long-instance-id-of-orders-0002" in tokctl(*words, "-o", "wide", tty=True, width=200).out
    ran = tokctl("explain", "a-very-long-instance-id-of-orders-0002…", "--file", path)
    assert (ran.code, "a-very-long-instance-id-of-orders-0002" in ran.out) == (0, True)
    ran = tokctl("tokens", "show", "a-very-long-instance-id-of-orders-0002…", "2-mai…", "--file", path)
    assert (ran.code, "2-mail" in ran.out) == (0, True)


@pytest.mark.parametrize(("height", "rows"), [(24, 12), (40, 15), (10, 3)])
def test_hundreds_of_failures_fit_on_one_screen(tokctl, tmp_path, monkeypatch, height, rows):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINES", str(height))
    path = Path("failing.ndjson")
    path.write_text(failing(588))
    ran = tokctl("debug", "--file", path, "--color", "never", "--fail-on", "high", tty=True, width=80)
    lines = ran.out.splitlines()
    assert ran.code == 1
    assert len(lines) + ran.err.count("\n") < max(height, 24)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "failing.ndjson  10:40:00 UTC  588 instances running  588 with problems  588 high"
    assert sum("failed after 3 retries: HTTP 500 for" in line for line in lines) == rows
    assert f"… and {588 - rows} more instances: {588 - rows} failed." in ran.out
    assert "Common cause: 588 of 588 stuck instances (100%) at Send Mail, with worker w" in ran.out
    assert tokctl("debug", "--file", path, "-o", "id").out.split() == [f"order-{n:04}" for n in range(588)]


@pytest.mark.parametrize(
    ("by", "row"),
    [
        ("error", "HIGH,588,588,HTTP 500 for order …,"),
        ("element", "HIGH,588,588,Send Mail,"),
        ("worker", "HIGH,588,588,w,"),
    ],
)
def test_failures_are_grouped(tokctl, tmp_path, by, row):
    path = tmp_path / "failing.ndjson"
    path.write_text(failing(588))
    header, *rows = tokctl("debug", "--file", path, "--by", by, "-r", "failed", "-o", "csv").out.splitlines()
    assert header == "severity,tokens,instances,value,since,instance_id"
    assert len(rows) == 1
    assert rows[0].startswith(row)
    assert rows[0].endswith(",order-0000")


def test_an_incident_without_times_is_reported_whatever_the_period(tokctl, tmp_path):
    path = answer(tmp_path, token("t1", state="FAILED"), status="COMPLETED")
    ran = tokctl("debug", "--file", path, "--since", "1h", "--fail-on", "high")
    assert (ran.code, "failed" in ran.out) == (1, True)


def test_a_token_appears_once_and_causes_come_first(tokctl, known):
    rows = [line.split(",") for line in tokctl("debug", "ord-1002", "--store", known, "-o", "csv").out.splitlines()[1:]]
    assert len({row[4] for row in rows}) == len(rows)
    assert [row[6] for row in rows][:2] == ["FAILED_TOKENS", "RETRIES_EXHAUSTED"]


@pytest.mark.parametrize("several", [[], [token()]])
def test_no_tokens_and_one(tokctl, several):
    data = answer_of(instance(), several)
    assert issues(tokctl("debug", "--file", "-", "-o", "json", stdin=data)) == {}
    ran = tokctl("debug", "--file", "-", stdin=data)
    assert (ran.code, ran.err) == (0, "")
    assert "No problems found (17 rules, 1 instance checked)." in ran.out


def test_an_empty_store(tokctl, tmp_path, own_store):
    ran = tokctl("debug", "--file", "-", stdin=b"[]")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("0 instances running\n")
    assert ran.out.endswith("  No problems found (17 rules, 0 instances checked).\n")


# --- options ---


def test_only_some_rules(tokctl, known):
    def found(*options):
        return list(issues(tokctl("debug", "--store", known, "-o", "json", "--all", *options)))

    everything = found()
    assert found("-r", "long_running_tokens", "--rule", "FAILED-TOKENS") == ["FAILED_TOKENS", "LONG_RUNNING_TOKENS"]
    assert found("-r", "FAILED_TOKENS,HIGH_RETRY_TOKENS") == ["FAILED_TOKENS", "HIGH_RETRY_TOKENS"]
    assert found("--skip", "failed_tokens") == [name for name in everything if name != "FAILED_TOKENS"]
    assert found("--severity", "medium") == everything[: everything.index("HIGH_RETRY_TOKENS") + 1]


def test_only_some_tokens(tokctl, known):
    def found(*options):
        ran = tokctl("debug", "--store", known, "-o", "json", *options)
        return {name: [hit["id"] for hit in issue["tokens"]] for name, issue in issues(ran).items()}

    assert found("--element", "All done?") == {"STUCK_GATEWAY_TOKENS": ["b6-join"]}
    payment = "srv1-token-aB3dEf9hK2mN"
    assert found("--since", "10m") == {
        "TIMED_OUT_TOKENS": [payment],
        "ORPHANED_TOKENS": [payment],
        "BROKEN_LINKS": [payment, "srv1-token-eF5gH9iJ2kL4"],
    }
    assert found("--since", "2025-01-11T10:33:30.790Z") == {}


def test_thresholds(tokctl, known, config):
    def found(*options):
        return "STUCK_GATEWAY_TOKENS" in issues(tokctl("debug", "ord-1002", "--store", known, "-o", "json", *options))

    assert found()
    assert not found("-T", "stuck_gateway=1h")
    assert not found("--threshold", " STUCK-GATEWAY = 1h ")
    config.write_text("debug:\n  stuck_gateway: 1h\n")
    assert not found()
    assert found("-T", "stuck_gateway=1m")


def test_the_limit(tokctl, tmp_path):
    path = answer(tmp_path, *[stuck(f"t{n:02}") for n in range(30)])
    by_finding = ("debug", "--file", path, "-r", "LONG_RUNNING_TOKENS", "--by", "finding")
    ran = tokctl(*by_finding)
    assert ran.out.count("\n  t") == 10
    assert "The worst 10 of 30. Use --limit 0 to show all." in ran.out
    assert tokctl(*by_finding, "-n", "0").out.count("\n  t") == 30
    for options, shown, more in (([], 15, 15), (["-n", "2"], 2, 28), (["-n", "0"], 30, 0)):
        ran = tokctl("debug", "--file", path, "-r", "long-running", *options)
        assert len(re.findall(r"ACTIVE for 20m\W+20m\s", ran.out)) == shown
        assert (f"… and {more} more tokens in these instances. Use --limit 0" in ran.out) == (more > 0)
    for options, shown in (([], 30), (["--limit", "2"], 2), (["-n", "0"], 30)):
        issue = issues(tokctl("debug", "--file", path, "-o", "json", *options))["LONG_RUNNING_TOKENS"]
        assert (issue["count"], len(issue["tokens"])) == (30, shown)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 0),
        (["--fail-on", "high"], 1),
        (["--fail-on", "LOW"], 1),
        (["--fail-on", "high", "--severity", "high", "--element", "nowhere"], 0),
        (["--fail-on", "high", "--skip", "LONG_RUNNING_TOKENS"], 0),
        (["--fail-on", "medium", "--skip", "LONG_RUNNING_TOKENS"], 1),
    ],
)
@pytest.mark.parametrize("form", ["table", "json", "junit", "id"])
def test_exit_codes(tokctl, tmp_path, options, code, form):
    path = answer(tmp_path, stuck(execution_context={"retries_used": 3}))
    ran = tokctl("debug", "--file", path, "-o", form, *options)
    assert (ran.code, ran.err) == (code, "")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--rule", "LONG_RUNING"], ["'LONG_RUNING_TOKENS' (did you mean 'LONG_RUNNING_TOKENS'?)", "--list-rules"]),
        (["--rule", ""], ["--rule"]),
        (["--skip", "x"], ["unknown rule 'X'"]),
        (["-r", "FAILED_TOKENS", "--skip", "FAILED_TOKENS"], ["exclude all rules"]),
        (["--severity", "hihg"], ["unknown severity 'hihg' (did you mean 'HIGH'?)", "LOW, MEDIUM, HIGH"]),
        (["--fail-on", ""], ["unknown severity ''"]),
        (["-T", "long_running"], ["invalid --threshold 'long_running'", "NAME=VALUE"]),
        (["-T", "=5m"], ["invalid --threshold"]),
        (["-T", "retries="], ["invalid --threshold"]),
        (["-T", "long_runing=5m"], ["unknown threshold 'long_runing' (did you mean 'long_running'?)"]),
        (["-T", "long_running=soon"], ["invalid duration: 'soon'"]),
        (["-T", "long_running=-5m"], ["invalid duration: '-5m'"]),
        (["-T", "retries=-1"], ["expected an integer of at least 0, got '-1'"]),
        (["-T", "slow_percentile=101"], ["from 1 to 100, got '101'"]),
        (["--since", "tomorrow"], ["tomorrow"]),
        (["--element", ""], ["--element"]),
        (["--limit", "-1"], ["--limit"]),
        (["-o", "mermaid"], ["mermaid"]),
        (["--columns", "x"], ["unknown column 'x'"]),
        (["--at", "2099-01-01"], ["in the future"]),
    ],
)
def test_what_means_nothing(tokctl, known, options, parts):
    refused(tokctl("debug", "--store", known, *options), *parts)


def test_what_is_not_there(tokctl, known, tmp_path):
    refused(tokctl("debug", "nope", "--store", known), "nope", code=3)
    refused(tokctl("debug", "--file", tmp_path / "nope"), "nope", code=3)
    refused(tokctl("debug", "ord-", "--store", known), "ambiguous", code=3)


def test_as_it_stood(tokctl, known):
    ran = tokctl("debug", "ord-1002", "--store", known, "--at", "2025-01-11T10:05:12Z", "-o", "json")
    assert ran.code == 0
    assert "STUCK_GATEWAY_TOKENS" not in issues(ran)
    assert "STUCK_GATEWAY_TOKENS" in issues(tokctl("debug", "ord-1002", "--store", known, "--at", "5m", "-o", "json"))


# --- formats ---


def test_formats(tokctl, known):
    ids = tokctl("debug", "--store", known, "-o", "id").out.split()
    assert ids == ["ord-1002", "srv1-aB3dEf9hK2mN5pQ8uV", "pay-2001"]
    lines = [json.loads(line) for line in tokctl("debug", "--store", known, "-o", "ndjson").out.splitlines()]
    assert lines == json.loads(tokctl("debug", "--store", known, "-o", "json").out)["issues"]
    header, *rows = tokctl("debug", "--store", known, "-o", "csv").out.splitlines()
    assert header == "severity,instance_id,process_id,status,token_id,element,type,problem,also,since,worker_id,error"
    assert len(rows) == json.loads(tokctl("debug", "--store", known, "-o", "json").out)["summary"]["troubled_tokens"]
    header, *rows = tokctl("debug", "--store", known, "-o", "csv", "--by", "finding").out.splitlines()
    assert header == "severity,type,count,instances,since,message,also,next"
    assert len(rows) == len(lines)
    picked = tokctl("debug", "--store", known, "--columns", "type,count", "--by", "finding")
    assert picked.out.splitlines()[0].split() == ["FINDING", "TOKENS"]
    assert tokctl("debug", "--store", known, "--query", "summary.severity", "-o", "json").out == '"HIGH"\n'


def test_junit(tokctl, tmp_path):
    path = answer(
        tmp_path,
        stuck("t1" + HOSTILE.replace("\0", ""), element_id=HOSTILE, element_name=HOSTILE),
        stuck("t2", parent_token_id="gone"),
    )
    ran = tokctl("debug", "--file", path, "-o", "junit", "--fail-on", "medium")
    assert (ran.code, ran.err) == (1, "")
    root = ET.fromstring(ran.out)
    [suite] = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    for one in (root, suite):
        assert (one.get("tests"), one.get("failures"), one.get("errors")) == ("17", "1", "0")
    cases = {case.get("name"): case for case in suite}
    assert len(cases) == 17
    assert {(case.tag, case.get("classname")) for case in suite} == {("testcase", "tokctl.debug")}
    [failure] = cases["LONG_RUNNING_TOKENS"]
    assert (failure.tag, failure.get("type")) == ("failure", "HIGH")
    assert failure.get("message").startswith(
        "Tokens that have been ACTIVE, or WAITING for a job, for too long: 2 tokens; the worst: "
    )
    assert "]]><x a=\"'&\u202e" in failure.text
    [told] = cases["ORPHANED_TOKENS"]
    assert told.tag == "system-out"
    assert not list(cases["FAILED_TOKENS"])


def test_junit_on_a_terminal_and_in_ascii(tokctl, tmp_path):
    path = answer(tmp_path, stuck(element_id=HOSTILE))
    for options in ({"tty": True}, {"encoding": "ascii"}):
        ran = tokctl("debug", "--file", path, "-o", "junit", **options)
        assert "\x1b" not in ran.out
        ET.fromstring(ran.out.encode())


def test_hostile_text_cannot_steer_a_terminal(tokctl, tmp_path):
    path = answer(
        tmp_path, stuck(element_id=HOSTILE, parent_token_id=HOSTILE, execution_context={"worker_id": HOSTILE})
    )
    ran = tokctl("debug", "--file", path, "--color", "never", tty=True)
    assert not set("\x1b\r\u202e") & set(ran.out)


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "csv", "ndjson", "junit", "id"])
def test_contradicting_data_in_every_format(tokctl, form):
    broken = [
        {"token_id": "a", "element_id": "e", "state": "ACTIVE", "parent_token_id": "b", "execution_context": [1]},
        {
            "token_id": "b",
            "element_id": "e",
            "state": "?",
            "parent_token_id": "a",
            "execution_context": "x",
            "created_at": "2099-01-01T00:00:00Z",
        },
        {
            "token_id": "c",
            "element_id": "e",
            "state": "COMPLETED",
            "execution_context": {"duration_ms": None},
            "created_at": "2025-01-11T10:00:00Z",
            "completed_at": "2025-01-11T09:00:00Z",
            "child_tokens": ["c", "x"],
        },
    ]
    data = json.dumps({"data": {"instance_id": "i1", "tokens": broken}}).encode()
    ran = tokctl("debug", "--file", "-", "-o", form, "--by", "finding", stdin=data)
    assert ran.code == 0
    assert "BROKEN_LINKS" in ran.out
    assert "TIME_ANOMALIES" in ran.out


# --- what to do next ---


def test_every_next_command_runs(tokctl, known, tmp_path):
    """With ids, elements and files that a shell or an option parser would take apart."""
    store, file = tmp_path / "a b.db", tmp_path / "it's.json"
    store.write_bytes(known.read_bytes())
    odd = [stuck(f"-t{n}", f"-i{n}", element_id="-e [x]*", parent_token_id="gone") for n in range(4)]
    file.write_bytes(b"\n".join(answer_of(instance(one.instance_id), [one]) for one in odd))
    for options in (["--all", "--store", store], ["--file", file]):
        found = issues(tokctl("debug", *options, "-o", "json"))
        assert len(found) > 2
        for issue in found.values():
            program, *words = shlex.split(issue["next"])
            assert program == "tokctl"
            ran = tokctl(*words)
            assert ran.code == 0, (issue["next"], ran.err)


def test_the_next_command_looks_at_the_same(tokctl, tmp_path):
    path = answer(tmp_path, stuck())
    for options in (["--file", str(path)], ["--file", str(path), "--at", "5m"]):
        issue = issues(tokctl("debug", *options, "-o", "json"))["LONG_RUNNING_TOKENS"]
        assert issue["next"] == f"tokctl {' '.join(options)} explain i1 t1"


def test_no_command_is_suggested_that_would_read_a_pipe_again(tokctl):
    data = answer_of(instance(), [stuck()])
    assert "Next:" not in tokctl("debug", "--file", "-", stdin=data).out
    assert "Next:" not in tokctl("debug", "--file", "-", "--by", "finding", stdin=data).out
    assert issues(tokctl("debug", "--file", "-", "-o", "json", stdin=data))["LONG_RUNNING_TOKENS"]["next"] == ""


@pytest.mark.parametrize("instance_id", ["-i1", "i 1", "i'1"])
def test_the_command_below_the_table_runs(tokctl, tmp_path, instance_id):
    path = answer(tmp_path, stuck("t1", instance_id), instance_id=instance_id)
    [suggested] = re.findall("Next: (.*)", tokctl("debug", "--file", path, width=300).out)
    program, *words = shlex.split(suggested)
    assert program == "tokctl"
    ran = tokctl(*words)
    assert (ran.code, ran.err) == (0, "")
    assert "t1" in ran.out


def test_the_next_command_leaves_out_what_the_environment_says(tokctl, known, monkeypatch):
    monkeypatch.setenv("TOKCTL_STORE", str(known))
    issue = issues(tokctl("debug", "-o", "json"))["FAILED_TOKENS"]
    assert issue["next"] == "tokctl explain ord-1002 b5-mail"


# --- what is looked for ---


def test_the_rules_are_listed(tokctl, config):
    config.write_text("debug: {long_running: 2h}")
    document = json.loads(tokctl("debug", "--list-rules", "-o", "json", "-T", "retries=9").out)
    rules = {rule["type"]: rule for rule in document["rules"]}
    assert len(rules) == 17
    assert rules["LONG_RUNNING_TOKENS"]["thresholds"] == {"long_running": "2h"}
    assert rules["LONG_RUNNING_TOKENS"]["threshold_meanings"] == {
        "long_running": "ACTIVE, or WAITING for a job, for longer than this"
    }
    assert rules["HIGH_RETRY_TOKENS"]["thresholds"] == {"retries": 9}
    assert rules["SUSPENDED_TOKENS"]["thresholds"] == {"suspended": "0s"}
    assert tokctl("debug", "--list-rules", "-o", "id", "--severity", "high", "--skip", "FAILED_TOKENS").out.split() == [
        name for name, rule in rules.items() if rule["severity"] == "HIGH" and name != "FAILED_TOKENS"
    ]
    assert "long_running=2h" in " ".join(tokctl("debug", "--list-rules").out.split())


# --- the configuration file ---


@pytest.mark.parametrize(
    ("text", "parts", "code"),
    [
        ("debug: [long_running]", ["'debug' must be a mapping of names to values"], 7),
        ("[debug]", ["must be a mapping of names to values"], 7),
        ("debug: {a: [", ["line ", "invalid YAML"], 7),
        ("\0", ["invalid YAML"], 7),
        ("debug: {long_running: 600}", ["section debug: threshold long_running: expected a duration such as 10m"], 2),
        ("debug: {long_running: later}", ["section debug: invalid duration: 'later'"], 2),
        ("debug: {retries: many}", ["section debug: threshold retries: expected an integer"], 2),
        ("debug.long: 5m", ["section debug: unknown threshold 'long'"], 2),
        ("debug: {long: 5m}", ["section debug: unknown threshold 'long'"], 2),
    ],
)
def test_a_configuration_that_cannot_be_read(tokctl, known, config, text, parts, code):
    config.write_text(text)
    refused(tokctl("debug", "--store", known), *parts, code=code)


@pytest.mark.parametrize(
    "text", ["debug: {long_running: 2h}", "debug.long_running: 2h", "debug: {}\ndebug.long_running: 2h"]
)
def test_a_threshold_stands_in_a_section_or_behind_its_name(tokctl, config, text):
    config.write_text(text)
    rules = json.loads(tokctl("debug", "--list-rules", "-o", "json").out)["rules"]
    assert {rule["type"]: rule for rule in rules}["LONG_RUNNING_TOKENS"]["thresholds"] == {"long_running": "2h"}


@pytest.mark.parametrize("text", ["", "# nothing", "serve: {port: 1}", "debug:", "debug: {}"])
def test_a_configuration_that_says_nothing(tokctl, known, config, text):
    config.write_text(text)
    assert tokctl("debug", "--store", known).code == 0


def test_a_configuration_by_name(tokctl, known, tmp_path, monkeypatch):
    named = tmp_path / "mine.yaml"
    monkeypatch.setenv("TOKCTL_CONFIG", str(named))
    refused(tokctl("debug", "--store", known), str(named), "TOKCTL_CONFIG", code=3)
    named.mkdir()
    refused(tokctl("debug", "--store", known), "cannot read", code=7)
    named.rmdir()
    named.write_text("debug: {retries: 3}")
    assert [
        hit["id"]
        for hit in issues(tokctl("debug", "ord-1002", "--store", known, "-o", "json"))["HIGH_RETRY_TOKENS"]["tokens"]
    ] == ["b3-pick"]


# --- rules of other packages ---

OWN_RULE = """
    from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleMatch, integer_threshold


    class BigOrderWaits(Rule):
        name = "BIG_ORDER_WAITS"
        severity = HIGH
        meaning = "An approval has been tried more often than approvals should be."
        next = "tokctl tokens show {instance} {token}"
        thresholds = (integer_threshold("approvals", 3, "attempts at an approval"),)

        def find(self, context):
            for visit in context.live:
                attempts = visit.context.retries_used or 0
                if visit.element_id == "approve" and attempts > self.limits["approvals"]:
                    yield RuleMatch(visit, f"{attempts} attempts", since=visit.created_at, weight=attempts)
"""


@pytest.fixture
def with_rule(tmp_path, shell, monkeypatch):
    """Run tokctl where a package with a rule is installed."""
    site = tmp_path / "site"

    def call(*words, code=OWN_RULE, value="own_rules:BigOrderWaits", **options):
        info = site / "own_rules-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-rules\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tokctl.rules]\nbig_order_waits = {value}\n")
        (site / "own_rules.py").write_text(textwrap.dedent(code))
        path = os.pathsep.join(filter(None, [str(site), clean_environment().get("PYTHONPATH")]))
        return shell(*words, env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}, **options)

    return call


def approval(tmp_path, tries):
    return answer(tmp_path, stuck(element_id="approve", execution_context={"retries_used": tries}))


def test_a_rule_of_ones_own(with_rule, tmp_path, config):
    ran = with_rule(
        "debug", "--file", approval(tmp_path, 4), "-o", "json", "-r", "big_order_waits", "--fail-on", "high"
    )
    assert (ran.code, ran.err) == (1, "")
    [issue] = json.loads(ran.out)["issues"]
    assert (issue["type"], issue["count"], issue["tokens"][0]["says"]) == ("BIG_ORDER_WAITS", 1, "4 attempts")
    assert issue["next"].endswith("tokens show i1 t1")
    assert (
        "BIG_ORDER_WAITS" not in with_rule("debug", "--file", approval(tmp_path, 3), "-o", "id", "--by", "finding").out
    )
    config.write_text("debug: {approvals: 2}")
    assert "BIG_ORDER_WAITS" in with_rule("debug", "--file", approval(tmp_path, 3), "-o", "id", "--by", "finding").out
    assert "approvals=2" in " ".join(with_rule("debug", "--list-rules").out.split())


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"value": "own_rules:Nothing"}, ["own_rules:Nothing", "cannot load", "Fix or remove the package"]),
        ({"value": "no_such_module:X"}, ["no_such_module:X", "ModuleNotFoundError"]),
        ({"code": "1 / 0"}, ["cannot load", "ZeroDivisionError"]),
        ({"code": "BigOrderWaits = 5"}, ["is not a named subclass"]),
        ({"code": OWN_RULE.replace('"BIG_ORDER_WAITS"', '"big order"')}, ["has an invalid name: 'big order'"]),
        ({"code": OWN_RULE.replace("severity = HIGH", "severity = 'AWFUL'")}, ["has no severity or no meaning"]),
        (
            {"code": OWN_RULE.replace("def find", "def fnid")},
            ["defines neither find nor finalize", "neither find nor finalize"],
        ),
        (
            {"code": OWN_RULE.replace("visit.element_id ==", "visit.nothing ==")},
            ["the debug rule BIG_ORDER_WAITS failed: AttributeError", "--skip BIG_ORDER_WAITS"],
        ),
    ],
)
def test_a_broken_rule_of_ones_own(with_rule, tmp_path, change, parts):
    refused(with_rule("debug", "--file", approval(tmp_path, 4), **change), *parts, code=7)


def test_a_broken_rule_can_be_left_out(with_rule, tmp_path):
    code = OWN_RULE.replace("visit.element_id ==", "visit.nothing ==")
    assert with_rule("debug", "--file", approval(tmp_path, 4), "--skip", "big_order_waits", code=code).code == 0


def test_help_tells_of_the_options(tokctl):
    text = tokctl("debug", "--help").out
    for option in ("--rule", "--skip", "--severity", "--threshold", "--since", "--fail-on", "--list-rules", "--at"):
        assert option in text
    assert Path(DOCUMENTED).is_file()


def test_what_only_a_comparison_of_instances_finds_is_told(tokctl, tmp_path):
    path = tmp_path / "failing.ndjson"
    path.write_text(failing(5))
    ran = tokctl("debug", "--file", path, "-r", "COMMON_CAUSE", "--fail-on", "high")
    assert ran.code == 1
    assert "Nothing" not in ran.out + ran.err
    assert "Common cause: 5 of 5 stuck instances (100%) at Send Mail, with worker w" in ran.out
    assert ran.out.count("failed after 3 retries") == 5
    ran = tokctl("debug", "--file", path, "-r", "COMMON_CAUSE", "-o", "id")
    assert ran.out.split() == [f"order-{n:04}" for n in range(5)]
    rows = csv.DictReader(io.StringIO(tokctl("debug", "--file", path, "-r", "COMMON_CAUSE", "-o", "csv").out))
    found = [(row["instance_id"], row["token_id"], row["type"]) for row in rows]
    assert found == [(f"order-{n:04}", f"{n}-mail", "COMMON_CAUSE") for n in range(5)]


def test_an_instance_is_shown_with_all_that_was_found_about_its_worst_tokens(tokctl, tmp_path):
    overdue = stuck("t1", execution_context=raw({"timeout_at": format_time(at(-NOON_TO_NOW - 600)), "worker_id": "w"}))
    path = answer(tmp_path, overdue, token("t2"))
    ran = tokctl("debug", "--file", path, "--color", "always", tty=True, width=100)
    assert "\x1b[2mlong running\x1b[0m" in ran.out
    plain = tokctl("debug", "--file", path).out
    rows, evidence = plain.split("\nEvidence\n")
    assert re.search(r"t1 .* timed out 10m ago +long running +10m\n", rows)
    assert evidence.splitlines()[:3] == [
        "  task  t1, ACTIVE, worker w, since 2025-01-11 10:30:00 UTC",
        "    TIMED_OUT_TOKENS  timed out 10m ago",
        "    LONG_RUNNING_TOKENS  ACTIVE for 20m",
    ]
    assert "Evidence" not in tokctl("debug", "--file", path, "--by", "finding").out
