"""What each command does, over a store, over a saved answer, and over stdin."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest

import tokctl.simulation.demo
from support.builders import DOCUMENTED, answer, at, instance, raw, token
from support.commandline import NOW, clean_environment, fill
from support.own_api_tokens import OwnStore
from support.terminal import Terminal

ORDER = Path(tokctl.simulation.demo.__file__).with_name("order.bpmn")
SCENARIO = ORDER.with_name("order.yaml")
TASK, VALIDATE, GATEWAY = "srv1-token-aB3dEf9hK2mN", "srv1-token-cD4eF8gH1jK3", "srv1-token-eF5gH9iJ2kL4"


@pytest.fixture
def ids(tokctl, known):
    """Run a command over the known store; returns the ids that it lists."""

    def call(*words):
        ran = tokctl(*words, "-o", "id", "--store", known)
        assert (ran.code, ran.err) == (0, "")
        return ran.out.split()

    return call


def refused(ran, *parts):
    """Check that a command line was refused on one line of stderr; returns the exit code."""
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: ")
    for part in parts:
        assert part in ran.err
    return ran.code


# --- instances --------------------------------------------------------------------------------------


def test_instances_are_listed_newest_first(ids):
    assert ids("instances", "list") == ["srv1-aB3dEf9hK2mN5pQ8uV", "pay-2001", "ord-1002", "ord-1001"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--status", "COMPLETED"], ["ord-1001"]),
        (
            ["-s", "active,completed", "--sort", "started"],
            ["ord-1001", "ord-1002", "pay-2001", "srv1-aB3dEf9hK2mN5pQ8uV"],
        ),
        (["--process", "pay*"], ["pay-2001"]),
        (
            ["-p", "pay*", "-p", "order-*", "--sort", "-tokens"],
            ["ord-1001", "ord-1002", "pay-2001", "srv1-aB3dEf9hK2mN5pQ8uV"],
        ),
        (["--live", "--sort", "process", "-n", "2"], ["ord-1002", "srv1-aB3dEf9hK2mN5pQ8uV"]),
        (["--since", "20m"], ["srv1-aB3dEf9hK2mN5pQ8uV"]),
        (["--until", "2025-01-11 10:04"], ["ord-1001"]),
        (["--limit", "1", "--page", "2"], ["pay-2001"]),
        (["--limit", "0"], ["srv1-aB3dEf9hK2mN5pQ8uV", "pay-2001", "ord-1002", "ord-1001"]),
        (["--status", "SUSPENDED"], []),
        (["--stuck"], ["srv1-aB3dEf9hK2mN5pQ8uV", "ord-1002"]),
        (["--var", "orderId=nobody"], []),
    ],
)
def test_instances_are_filtered_and_sorted(ids, options, found):
    assert ids("instances", "list", *options) == found


def test_stuck_instances_are_marked_on_a_terminal(tokctl, known):
    shown = tokctl("instances", "list", "--store", known, "--color", "always", tty=True, width=200).out
    statuses = {line.split()[0]: line for line in shown.splitlines() if "ACTIVE" in line}
    assert {name: "\x1b[33m▲ ACTIVE~, stuck" in line for name, line in statuses.items()} == {
        "srv1-aB3": True,
        "pay-2001": False,
        "ord-1002": False,  # it has an incident, which is worse
    }
    assert "stuck" not in tokctl("instances", "list", "--store", known).out


def test_an_instance_shows_where_it_stands(tokctl, known):
    ran = tokctl("instances", "show", "ord-1002", "--store", known)
    assert ran.code == 0
    assert "Live tokens" in ran.out
    assert "b3-pick" in ran.out
    assert "b4-bill" not in ran.out  # it has ended
    assert ran.out.index("b5-mail") < ran.out.index("b3-pick")  # what failed comes first
    assert ran.out.index("b6-join") < ran.out.index("\n6 tokens") < ran.out.index("\nInstance")
    document = json.loads(tokctl("instances", "show", "ord-1002", "-o", "json", "--store", known).out)
    assert [activity["token_id"] for activity in document["current_activities"]] == ["b3-pick", "b5-mail", "b6-join"]
    assert document["summary"]["total_tokens"] == 6


# --- which instance, which token ----------------------------------------------------------------------


def test_a_short_id_does_not_end_with_a_space(tokctl, store_path):
    """It would look like the id of another instance."""
    tokens = [{"token_id": name, "element_id": "e", "state": "ACTIVE"} for name in ("1", "2")]
    instances = [
        {"instance_id": "order no 1", "tokens": tokens[:1]},
        {"instance_id": "order no 1 b", "tokens": tokens[1:]},
    ]
    data = "\n".join(map(json.dumps, instances))
    assert tokctl("store", "import", "-", "--store", store_path, stdin=data).code == 0
    shown = tokctl("instances", "list", "--store", store_path, "--color", "never", tty=True).out
    assert re.search("^order no 1 b ", shown, re.MULTILINE)


def test_an_id_may_be_its_beginning_or_latest(tokctl, known):
    for given in ("pay-2001", "pay", "p"):
        assert "pay-2001" in tokctl("tokens", "list", given, "--store", known, tty=True).out
    assert "srv1-aB3dEf9hK2mN5pQ8uV" in tokctl("tokens", "tree", "@latest", "--store", known, tty=True).out


def test_the_only_instance_needs_no_name(tokctl):
    assert tokctl("tokens", "list", "--file", DOCUMENTED, "-o", "id").out.split() == [VALIDATE, GATEWAY, TASK]


def test_an_ambiguous_id_lists_the_candidates(tokctl, known):
    assert refused(tokctl("tokens", "list", "ord-1", "--store", known), "ambiguous", "ord-1001", "ord-1002") == 3
    assert refused(tokctl("tokens", "show", "a2", "--store", known), "a2-check-1", "a2-check-2") == 3


def test_several_instances_and_none_named(tokctl, known):
    assert refused(tokctl("tokens", "list", "--store", known), "no process instance given.", "@latest") == 2


@pytest.mark.parametrize(
    "words",
    [
        ["tokens", "list", "no"],
        ["tokens", "show", "no"],
        ["tokens", "show", "ord-1001", "b1"],
        ["tokens", "list", ""],
        ["tokens", "show", ""],
        ["tokens", "history", ""],
    ],
)
def test_an_unknown_id_is_not_found(tokctl, known, words):
    assert refused(tokctl(*words, "--store", known), "no ", "See 'tokctl") == 3


# --- tokens list --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["b1-start", "b2-split", "b3-pick", "b4-bill", "b5-mail", "b6-join"]),
        (["--state", "ACTIVE", "--state", "failed"], ["b3-pick", "b5-mail"]),
        (["-s", "active,waiting"], ["b3-pick", "b6-join"]),
        (["--type", "gateway"], ["b2-split", "b6-join"]),
        (["-t", "SERVICE_TASK", "-t", "startEvent"], ["b1-start", "b3-pick", "b4-bill", "b5-mail"]),
        (["--element", "*i*"], ["b2-split", "b3-pick", "b4-bill", "b5-mail", "b6-join", "b1-start"]),
        (["--element", "Send*"], ["b4-bill", "b5-mail"]),
        (["--worker", "*-worker-*"], ["b4-bill", "b5-mail"]),
        (["--live"], ["b3-pick", "b5-mail", "b6-join"]),
        (["--no-completed"], ["b3-pick", "b5-mail", "b6-join"]),
        (["--since", "2025-01-11T10:05:15Z"], ["b5-mail"]),
        (["--until", "2025-01-11T10:05:01Z"], ["b1-start", "b2-split", "b3-pick"]),
        (["--sort", "-retries", "-n", "2"], ["b3-pick", "b5-mail"]),
        (["--sort", "element", "-n", "3"], ["b4-bill", "b6-join", "b5-mail"]),
        (["--limit", "2", "--page", "3"], ["b5-mail", "b6-join"]),
        (["--live", "--state", "COMPLETED"], []),
    ],
)
def test_tokens_are_filtered_and_sorted(ids, options, found):
    listed = ids("tokens", "list", "ord-1002", *options)
    assert sorted(listed) == sorted(found)
    if "--element" not in options:
        assert listed == found


@pytest.mark.parametrize(
    "options", [["-A", "--state", "FAILED"], ["--state", "FAILED"], ["-A", "-s", "FAILED", "-n1"], ["--failed"]]
)
def test_tokens_of_all_instances_are_listed_with_their_instance(tokctl, known, options):
    ran = tokctl("tokens", "list", *options, "--store", known, "-o", "json")
    (found,) = json.loads(ran.out)["tokens"]
    assert (found["instance_id"], found["token_id"]) == ("ord-1002", "b5-mail")
    table = tokctl("tokens", "list", *options, "--store", known).out
    assert table.split()[0] == "INSTANCE"
    assert "ord-1002" in table
    narrow = tokctl("tokens", "list", *options, "--store", known, tty=True, width=60).out
    assert {"ELEMENT", "STATE", "AGE"} <= set(re.sub("\x1b\\[[0-9;]*m", "", narrow).split())


def test_all_tokens_come_instance_by_instance(ids, tokctl, known):
    everything = ids("tokens", "list", "-A")
    one_by_one = [ids("tokens", "list", one) for one in reversed(ids("instances", "list", "--sort", "-started"))]
    assert sorted(everything) == sorted(chain.from_iterable(one_by_one))
    assert all("".join(several) in "".join(everything) for several in one_by_one)
    assert "1 to 2 of" in tokctl("tokens", "list", "-A", "-n", "2", "--store", known).err


@pytest.mark.parametrize("options", [[], ["--state", "ACTIVE"], ["--type", "event", "--limit", "1"]])
def test_the_summary_is_of_the_whole_instance(tokctl, known, options):
    document = json.loads(tokctl("tokens", "list", "ord-1002", *options, "-o", "json", "--store", known).out)
    assert document["summary"]["token_states"] == {
        "ACTIVE": 1,
        "WAITING": 1,
        "SUSPENDED": 0,
        "COMPLETED": 3,
        "CANCELLED": 0,
        "FAILED": 1,
    }


def test_what_is_left_out_is_told_on_stderr(tokctl, known):
    ran = tokctl("tokens", "list", "ord-1002", "-n", "2", "--page", "2", "--store", known, width=200)
    assert ran.err == "Showing 3 to 4 of 6 tokens. Use --page for more, --limit 0 for all.\n"
    assert "Showing" not in ran.out
    assert tokctl("tokens", "list", "ord-1002", "-n", "6", "--store", known, width=200).err == ""
    ran = tokctl("tokens", "list", "ord-1002", "-n", "2", "--page", "9", "--store", known)
    assert ran.code == 0
    assert ran.err == "This page is empty.\nShowing none of 6 tokens. Use --page for more, --limit 0 for all.\n"
    ran = tokctl("tokens", "list", "ord-1002", "-s", "CANCELLED", "--store", known)
    assert (ran.code, ran.err) == (0, "No tokens match.\n")


def test_a_table_shows_a_hundred_on_a_terminal_and_all_in_a_pipe(tokctl, tmp_path):
    file = tmp_path / "many.ndjson"
    file.write_text(
        "".join(f'{{"instance_id":"i","token_id":"t{n:03}","element_id":"e","state":"ACTIVE"}}\n' for n in range(130))
    )
    shown = tokctl("tokens", "list", "--file", file, tty=True).out
    assert "t099" in shown
    assert "t100" not in shown
    assert "100 of 130 tokens" in shown
    table = tokctl("tokens", "list", "--file", file)
    assert (len(table.out.splitlines()), table.err) == (131, "")  # with the titles
    assert "Showing 1 to 100 of 130 tokens" in tokctl("tokens", "list", "--file", file, "-n", "100").err
    assert len(tokctl("tokens", "list", "--file", file, "-o", "id").out.splitlines()) == 130


def test_variables_are_shown_when_asked_for(tokctl, known):
    assert "ORD-7" not in tokctl("tokens", "list", "ord-1001", "--store", known, width=300).out
    assert "ORD-7" in tokctl("tokens", "list", "ord-1001", "--variables", "--store", known, width=300).out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["tokens", "list", "--no-completed", "--state", "COMPLETED"],
            ["cannot be used together", "Remove one of them."],
        ),
        (["tokens", "list", "--state", "ACTIV"], ["did you mean 'ACTIVE'?", "SUSPENDED"]),
        (["tokens", "tree", "--state", "xyz"], ["unknown state 'xyz'.", "FAILED"]),
        (["instances", "list", "--status", "COMPLETE"], ["did you mean 'COMPLETED'?"]),
        (["tokens", "list", "--type", "servicetsk"], ["did you mean 'serviceTask'?"]),
        (["tokens", "list", "--sort", "creatd"], ["did you mean 'created'?", "retries"]),
        (["instances", "list", "--sort", "name"], ["cannot sort by 'name'", "started"]),
        (["tokens", "list", "-o", "jsn"], ["did you mean 'json'?", "ndjson"]),
        (["tokens", "list", "ord-1001", "--columns", "tokn_id"], ["did you mean 'token_id'?", "element_name"]),
        (["tokens", "list", "ord-1001", "--columns", ""], ["--columns is empty", "element_name"]),
        (["tokens", "show", "a1", "--columns", "state"], ["--columns applies only to lists", "--query"]),
        (["tokens", "list", "--color", "alway"], ["did you mean 'always'?"]),
        (["get", "incidents"], ["no command 'get' (did you mean 'instances show'?)"]),
        (["describe", "tokens", "x"], ["no command 'describe' (did you mean 'tokens show'?)"]),
        (["list"], ["no command 'list' (did you mean 'instances list'?)"]),
        (["token", "list"], ["no command 'token' (did you mean 'tokens'?)", "tokctl --help"]),
        (["tokens", "lst"], ["did you mean 'list'?", "tokctl tokens --help"]),
        (["tokens", "list", "--stat", "x"], ["--stat", "--state", "tokctl tokens list --help"]),
        (["tokens", "list", "--since", "soon"], ["'soon'", "15m"]),
        (["tokens", "list", "--since", "1h", "--until", "2h"], ["--since must be before --until"]),
        (["tokens", "list", "--limit", "-1"], ["--limit"]),
        (["tokens", "list", "--page", "0"], ["--page"]),
        (["tokens", "list", "-A", "ord-1001"], ["--all-instances", "Remove one of them."]),
        (["tokens", "list", "ord-1001", "--sort", "recorded"], ["cannot sort by 'recorded'"]),
        (["instances", "list", "--var", "orderId"], ["invalid variable 'orderId'.", "NAME=VALUE"]),
        (["instances", "list", "--var", "a=b", "--at", "1h"], ["--at", "not known"]),
        (["instances", "list", "--business-key", ""], ["--business-key is empty."]),
        (["incidents", "list", "--by", "eror"], ["did you mean 'error'?"]),
        (["tokens", "list", "a", "b"], ["tokctl tokens list --help"]),
        (["tokens", "show"], ["tokctl tokens show --help"]),
        (["tokens", "show", "a", "b", "c"], ["too many ids"]),
        (["tokens", "history", "a", "b", "c"], ["too many ids"]),
        (["tokens", "list", "ord-1001", "--limit", "0", "--page", "2"], ["--limit 0 shows all rows", "no page 2"]),
        *(
            (["tokens", "list", "ord-1001", option, ""], [f"{option} is empty."])
            for option in ("--state", "--type", "--element", "--worker")
        ),
        (["tokens", "list", "ord-1001", "--state", " , "], ["--state is empty."]),
        (["tokens", "tree", "ord-1001", "--state", ""], ["--state is empty."]),
        (["instances", "list", "--status", ""], ["--status is empty."]),
        (["instances", "list", "--process", ""], ["--process is empty."]),
        (["instances", "list", "--file", ""], ["--file is empty."]),
        (["instances", "list", "--store", ""], ["--store is empty."]),
        (["tokens", "show", "ord-1001"], ["'ord-1001' is a process instance", "tokctl tokens list ord-1001"]),
        (["tokens", "show", "@latest"], ["is a process instance"]),
        (["tokens", "tree", "ord-1001", "--depth", "0"], ["invalid --depth: use a whole number from 1 upwards"]),
        (["tokens", "list", "--limit", "many"], ["invalid --limit: use a whole number from 0 upwards"]),
        (["serve", "--port", "99999"], ["invalid --port: use a whole number from 0 to 65535"]),
        (["tokens", "list"], ["no process instance given", "-A"]),
        (["flow", "ord-1001", "-o", "sarif"], ["does not support -o sarif", "mermaid"]),
        (["store", "export", "-o", "yaml"], ["yaml", "ndjson"]),
        (["--file", "x", "store", "info"], ["--file", "Use --store."]),
        (["store", "prune"], ["--completed-before"]),
        (["simulate", ORDER, "--start", "now", "--end", "now"], ["cannot be used together"]),
    ],
)
def test_what_cannot_mean_anything_is_refused(tokctl, known, words, parts):
    where = () if "--file" in words else ("--store", known)
    assert refused(tokctl(*where, *words), *parts) == 2


# --- tokens show ----------------------------------------------------------------------------------------


def test_a_token_is_found_with_or_without_its_instance(tokctl, known):
    for ids in (["b3-pick"], ["b3"], ["ord-1002", "b3"], ["ord-1002", "b3-pick"]):
        ran = tokctl("tokens", "show", *ids, "--store", known)
        assert ran.code == 0
        assert ran.out.startswith("在庫の確認 🎉  ACTIVE  b3-pick\n")
        for part in ("2025-01-11 10:05:00 UTC  (35m ago)", "picker-03", "split", "f6", '"shelf": "東-7"'):
            assert part in ran.out


def test_a_token_that_is_named_by_what_it_does_not_list_says_so(tokctl, known):
    assert "c3-hold (not in its child list)" in tokctl("tokens", "show", "c2-auth", "--store", known).out


@pytest.mark.parametrize(
    ("flow_history", "said"),
    [
        ([{"from_element": "b", "via_flow": 7}, 3], ['[{"from_element": "b", "via_flow": 7}, 3]', "FROM", "b"]),
        ("gone", ['"gone"']),
        ([], ["none"]),
        (None, ["unknown"]),
    ],
)
def test_a_flow_history_that_is_odd_is_shown_too(tokctl, flow_history, said):
    token = {"token_id": "t", "element_id": "e", "state": "ACTIVE", "variables": {}, "execution_context": {}}
    ran = tokctl("tokens", "show", "t", "--file", "-", stdin=json.dumps([token | {"flow_history": flow_history}]))
    shown = ran.out.partition("Flow history\n")[2].partition("Variables")[0].split("\n")
    assert shown[0].strip() == said[0]
    assert all(part in ran.out for part in said)


# --- tokens tree ----------------------------------------------------------------------------------------


def test_a_loop_is_folded_and_unfolded(tokctl, known):
    folded = tokctl("tokens", "tree", "ord-1001", "--store", known).out
    assert "Check stock  ×2 (step 1 of 2)" in folded
    assert "a2-check-2" not in folded
    expanded = tokctl("tokens", "tree", "ord-1001", "--expand", "--store", known).out
    assert "×" not in expanded
    assert all(token in expanded for token in ("a2-check-1", "a2-check-2", "a3-again-1", "a3-again-2"))


def test_what_lies_deeper_is_counted(tokctl, known):
    ran = tokctl("tokens", "tree", "ord-1002", "--depth", "1", "--store", known)
    assert "└─ … 4 tokens below, 3 live" in ran.out
    assert "b3-pick" not in ran.out


def test_a_state_keeps_the_way_to_what_matches(ids):
    assert ids("tokens", "tree", "ord-1002", "--state", "WAITING") == ["b1-start", "b2-split", "b4-bill", "b6-join"]


def test_every_token_stands_in_the_tree_once(tokctl):
    document = json.loads(tokctl("tokens", "tree", "--file", DOCUMENTED, "-o", "json").out)
    assert sorted(line["token_id"] for line in document["tree"]) == sorted([TASK, VALIDATE, GATEWAY])
    assert document["contradictions"]["total"] == 3


def test_only_what_is_live_goes_on(tokctl):
    made = {"created_at": "2025-01-11T10:30:00Z"}
    root = {"token_id": "a", "element_id": "split", "state": "COMPLETED", **made}
    live = [
        {
            "token_id": f"b{n}",
            "element_id": "pack",
            "state": "ACTIVE",
            "parent_token_id": "a",
            "created_at": f"2025-01-11T10:{n}:00Z",
        }
        for n in (31, 35, 38)
    ]
    ran = tokctl("tokens", "tree", "--file", "-", stdin=json.dumps([root, *live]))
    assert [line.split("  ")[0].strip() for line in ran.out.splitlines()[1:]] == ["split", "└─ pack"]
    assert "…" not in ran.out.splitlines()[1]  # nobody knows when it ended, but it did
    assert "ACTIVE" in ran.out.splitlines()[2]
    assert "2m… to 9m…" in ran.out.splitlines()[2]  # equal tokens, from the youngest to the oldest


def test_a_folded_duration_says_that_it_was_derived(tokctl):
    def pack(n, took):
        return {
            "token_id": f"b{n}",
            "element_id": "pack",
            "state": "COMPLETED",
            "parent_token_id": "a",
            "created_at": "2025-01-11T10:30:00Z",
            "completed_at": f"2025-01-11T10:30:0{n}Z",
            "execution_context": {"duration_ms": took} if took else {},
        }

    root = {"token_id": "a", "element_id": "split", "state": "COMPLETED"}
    for took, said in ((None, "~2s to 4s"), (7000, " 7s")):
        tokens = [root, pack(2, took), pack(4, took)]
        line = tokctl("tokens", "tree", "--file", "-", stdin=json.dumps(tokens)).out.splitlines()[2]
        assert "pack  ×2" in line
        assert said in line
        ran = tokctl("tokens", "tree", "--file", "-", "-o", "json", stdin=json.dumps(tokens))
        lines = json.loads(ran.out)["tree"]
        assert [line["token_id"] for line in lines] == ["a", "b2", "b4"]  # programs get every token
        assert lines[1]["duration_derived"] is (took is None)


def test_the_ids_of_a_tree_are_those_of_every_token_that_is_drawn(ids):
    assert ids("tokens", "tree", "ord-1001") == ids("tokens", "tree", "ord-1001", "--expand")
    assert len(ids("tokens", "tree", "ord-1001")) == len(ids("tokens", "list", "ord-1001"))


def test_what_is_hidden_has_no_id(tokctl, known):
    ran = tokctl("tokens", "tree", "ord-1002", "--depth", "1", "-o", "id", "--store", known)
    assert ran.out == "b1-start\nb2-split\n"


# --- tokens history ---------------------------------------------------------------------------------------


def test_the_way_of_an_instance_and_of_a_token(ids):
    assert ids("tokens", "history", "ord-1002") == ["b1-start", "b2-split", "b3-pick", "b4-bill", "b5-mail", "b6-join"]
    way = ["b1-start", "b2-split", "b4-bill", "b6-join"]
    assert ids("tokens", "history", "ord-1002", "b6") == way
    assert ids("tokens", "history", "b6-join") == way


def test_waits_and_durations(tokctl, known):
    hops = json.loads(tokctl("tokens", "history", "ord-1001", "-o", "json", "--store", known).out)["history"]
    assert [(hop["wait_ms"], hop["duration_ms"]) for hop in hops] == [
        (None, 0),
        (0, 12000),
        (0, 0),
        (18000, 11000),
        (0, 0),
        (0, 54000),
        (0, 0),
    ]


def test_an_instance_that_ended_at_some_time_does_not_go_on(tokctl):
    token = {"token_id": "t", "element_id": "e", "created_at": "2025-01-11T10:30:00Z"}
    for state, lasted, said in (("COMPLETED", None, ""), ("ACTIVE", 600.0, "for 10m")):
        stdin = json.dumps([token | {"state": state}])
        row = json.loads(
            tokctl("instances", "list", "--file", "-", "-o", "ndjson", "--columns", "lasted_seconds", stdin=stdin).out
        )
        assert row == {"lasted_seconds": lasted}
        headline = tokctl("tokens", "list", "--file", "-", "--color", "never", stdin=stdin, tty=True).out.splitlines()[
            0
        ]
        assert headline.split("~")[1].split("  ")[1] == (said or "1 token: 1 completed")


def test_the_date_is_told_where_it_is_not_todays(tokctl):
    def visit(name, day):
        return {"token_id": name, "element_id": name, "state": "ACTIVE", "created_at": f"2025-01-{day}T10:30:00.250Z"}

    def times(*days, now, tty=True):
        tokens = json.dumps([visit(f"t{n}", day) for n, day in enumerate(days)])
        words = ("tokens", "history", "--file", "-", "--columns", "timestamp", "--color", "never")
        lines = tokctl(*words, stdin=tokens, now=now, tty=tty).out.splitlines()
        return [line.strip() for line in lines[lines.index(next(line for line in lines if "TIME" in line)) + 1 :]]

    day = datetime(2025, 1, 11, 12, tzinfo=UTC)
    assert times("11", "11", now=day) == ["10:30:00.250", "10:30:00.250"]
    assert times("10", "10", "11", now=day) == ["2025-01-10 10:30:00.250", "10:30:00.250", "2025-01-11 10:30:00"]
    assert times("10", "11", now=day, tty=False) == ["2025-01-10 10:30:00.250 UTC", "2025-01-11 10:30:00.250 UTC"]


# --- more than a person can look over -----------------------------------------------------------------------


@pytest.fixture
def star():
    """A token with very many children, all of them live, as a bare list."""
    children = [f"c{n:05d}" for n in range(20_000)]
    root = {"token_id": "root", "instance_id": "star", "element_id": "split", "state": "COMPLETED"}
    listed = {**root, "child_tokens": children}
    fan = [
        {"token_id": child, "instance_id": "star", "element_id": "pack", "state": "ACTIVE", "parent_token_id": "root"}
        for child in children
    ]
    return json.dumps([listed, *fan])


def test_a_token_with_very_many_children_is_shown_at_once(tokctl, star):
    begin = time.process_time()
    ran = tokctl("tokens", "show", "root", "--file", "-", stdin=star)
    assert time.process_time() - begin < 5  # comparing each with each takes longer
    assert "c00099 and 19,900 more (-o json lists all)" in " ".join(ran.out.split())
    assert "c00100" not in ran.out
    document = json.loads(tokctl("tokens", "show", "root", "--file", "-", "-o", "json", stdin=star).out)
    assert len(document["child_tokens"]) == 20_000


def test_an_instance_says_how_many_of_its_live_tokens_it_shows(tokctl, star, known):
    ran = tokctl("instances", "show", "--file", "-", stdin=star)
    assert "Live tokens (first 1,000 of 20,000)\n" in ran.out
    assert "\nLive tokens\n" in tokctl("instances", "show", "ord-1002", "--store", known).out


def test_numbers_of_hops_stand_on_one_line(tokctl):
    tokens = [{"token_id": f"t{n}", "element_id": "e", "state": "ACTIVE"} for n in range(10_001)]
    ran = tokctl("tokens", "history", "--file", "-", stdin=json.dumps(tokens), width=40)
    assert [line.split()[0] for line in ran.out.splitlines() if "ACTIVE" in line][-2:] == ["10000", "10001"]


@pytest.mark.parametrize("kind", ["--store", "--file"])
@pytest.mark.parametrize("paging", [["--limit"], ["--limit", "5", "--page"]])
def test_a_number_may_be_larger_than_any_database_counts(tokctl, known, orders, kind, paging):
    source = known if kind == "--store" else orders
    ran = tokctl("tokens", "list", "ord-1002", *paging, "9" * 25, "-o", "id", kind, source)
    assert ran.code == 0
    assert len(ran.out.split()) == (6 if len(paging) == 1 else 0)


# --- a saved answer, and stdin ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["instances", "list"],
        ["instances", "show", "ord-1002"],
        ["tokens", "list", "ord-1002", "--sort", "-duration"],
        ["tokens", "show", "pay", "c2"],
        ["tokens", "tree", "pay-2001"],
        ["tokens", "history", "ord-1001"],
        ["tokens", "list", "ord-1001", "-o", "json"],
    ],
)
def test_a_file_is_looked_at_like_a_store(tokctl, own_store, orders, tmp_path, words):
    packed = tmp_path / "orders.ndjson.gz"
    packed.write_bytes(gzip.compress(orders.read_bytes()))
    expected = tokctl(*words, "--store", own_store)
    assert expected.code == 0
    assert tokctl(*words, "--file", orders) == expected
    assert tokctl(*words, "--file", packed) == expected
    assert tokctl(*words, "--file", "-", stdin=orders.read_bytes()) == expected


# --- the store ------------------------------------------------------------------------------------------------


def test_import_reports_and_changes_nothing_the_second_time(tokctl, tmp_path, orders):
    store = tmp_path / "new" / "store.db"
    words = ["store", "import", orders, "--store", store]
    ran = tokctl(*words, "-o", "json")
    assert json.loads(ran.out)["files"][0] | {"file": ""} == {
        "file": "",
        "instances": 3,
        "added": 17,
        "updated": 0,
        "unchanged": 0,
        "definitions": 0,
        "rejected": 0,
    }
    before = tokctl("store", "export", "--store", store).out
    ran = tokctl(*words, width=500)
    assert ran.err == "Nothing changed: the store already has these tokens.\n"
    assert ran.out.split()[-6:] == ["0", "0", "0", "17", "0", "0"]
    assert tokctl("store", "export", "--store", store).out == before


def test_a_dry_run_changes_nothing(tokctl, own_store, tmp_path):
    before = own_store.read_bytes()
    ran = tokctl("store", "import", "--dry-run", DOCUMENTED, "--store", own_store, "-o", "json")
    assert json.loads(ran.out)["files"][0]["added"] == 3
    assert json.loads(ran.out)["dry_run"] is True
    assert own_store.read_bytes() == before
    absent = tmp_path / "absent.db"
    ran = tokctl("store", "import", "--dry-run", DOCUMENTED, "--store", absent)
    assert (ran.code, ran.err) == (0, "Dry run: nothing was changed.\n")
    assert not absent.exists()


def test_a_bad_token_fails_the_import_or_is_kept_apart(tokctl, own_store, tmp_path):
    bad, rejects = tmp_path / "bad.ndjson", tmp_path / "rejects.ndjson"
    bad.write_text(
        '{"instance_id":"n","token_id":"t1","element_id":"e","state":"ACTIVE"}\n'
        '{"instance_id":"n","token_id":"t2","element_id":"e","state":7}\n'
    )
    before = tokctl("store", "export", "--store", own_store).out
    ran = tokctl("store", "import", bad, "--store", own_store)
    assert refused(ran, "bad.ndjson", "line 2", "state", "--rejects") == 7
    assert tokctl("store", "export", "--store", own_store).out == before
    ran = tokctl("store", "import", bad, "--rejects", rejects, "--store", own_store)
    assert ran.code == 0
    assert "1 record was rejected" in ran.err
    assert "rejected: " in ran.err
    assert json.loads(rejects.read_text())["file"] == str(bad)
    assert tokctl("tokens", "list", "n", "-o", "id", "--store", own_store).out == "t1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_rejects_that_cannot_be_written(tokctl, tmp_path):
    ran = tokctl(
        "store", "import", "-", "--rejects", "/dev/full", "--store", tmp_path / "x.db", stdin='{"token_id": 5}'
    )
    assert (ran.code, ran.err.count("error: cannot write --rejects /dev/full: No space left")) == (6, 1)
    assert not (tmp_path / "x.db").exists()


def test_an_input_without_tokens_says_so(tokctl, tmp_path):
    ran = tokctl("store", "import", "-", "--store", tmp_path / "x.db", stdin="[]")
    assert (ran.code, "the input has no tokens" in ran.err) == (0, True)


def test_a_progress_bar_where_it_takes_a_while(tokctl, own_store, tmp_path, orders, monkeypatch):
    file = tmp_path / "odd\x1b[2J[red]name.ndjson"
    file.write_bytes(orders.read_bytes())
    words = ["store", "import", file, "--dry-run", "--store", own_store]
    assert "Importing" not in tokctl(*words, err_tty=True).err
    monkeypatch.setattr("tokctl.cli.progress.DELAY", 0)
    assert "Importing" not in tokctl(*words).err
    ran = tokctl(*words, err_tty=True)
    assert "Importing odd\\u001b[2J[red]name.ndjson" in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", ran.err)
    assert "\x1b[2J" not in ran.err
    assert "Importing" not in ran.out


def test_import_reads_stdin(tokctl, tmp_path, orders):
    store = tmp_path / "s.db"
    ran = tokctl("store", "import", "-", "--store", store, stdin=orders.read_bytes())
    assert ran.code == 0
    assert "standard input" in ran.out


@pytest.mark.parametrize("shape", ["json", "ndjson"])
@pytest.mark.parametrize("name", ["out.json", "out.json.gz", None])
def test_an_export_gives_an_equal_store(tokctl, own_store, tmp_path, shape, name):
    copy = tmp_path / "copy.db"
    if name is None:
        stdin = tokctl("store", "export", "-o", shape, "--store", own_store).out
        assert tokctl("store", "import", "-", "--store", copy, stdin=stdin).code == 0
    else:
        file = tmp_path / name
        ran = tokctl("store", "export", "-o", shape, "--to", file, "--store", own_store)
        assert (ran.code, ran.out) == (0, "")
        assert file.stat().st_mode & 0o777 == 0o600
        assert tokctl("store", "import", file, "--store", copy).code == 0
    everything = tokctl("store", "export", "-o", "ndjson", "--store", own_store).out
    assert tokctl("store", "export", "-o", "ndjson", "--store", copy).out == everything


def test_one_instance_is_exported(tokctl, own_store):
    ran = tokctl("store", "export", "pay", "--store", own_store)
    assert json.loads(ran.out)["data"]["instance_id"] == "pay-2001"
    assert refused(tokctl("store", "export", "nix", "--store", own_store), "nix") == 3


def test_an_export_into_a_link_writes_what_it_points_to(tokctl, own_store, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert tokctl("store", "export", "--to", tmp_path / "link.json", "--store", own_store).code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_size


def test_info(tokctl, own_store):
    document = json.loads(tokctl("store", "info", "-o", "json", "--store", own_store).out)
    assert (document["instances"], document["tokens"], document["live_tokens"]) == (3, 17, 5)
    ran = tokctl("store", "info", "--store", own_store)
    assert "17, 5 live" in ran.out


def test_check_finds_contradictions_and_says_so_by_its_exit_code(tokctl, own_store, tmp_path):
    ran = tokctl("store", "check", "--store", own_store)
    assert ran.code == 1
    assert "PARENT_MISSING" in ran.out
    assert ran.err == "Checked 3 instances: 3 problems.\n"
    ran = tokctl("store", "check", "--no-links", "--store", own_store)
    assert (ran.code, ran.out, ran.err) == (0, "", "Checked 3 instances: no problems.\n")
    assert tokctl("store", "check", "-o", "json", "--store", own_store).code == 1


def test_backup(tokctl, own_store, tmp_path):
    copy = tmp_path / "copy.db"
    assert tokctl("store", "backup", copy, "--store", own_store).code == 0
    exported = tokctl("store", "export", "--store", own_store).out
    assert tokctl("store", "export", "--store", copy).out == exported
    for taken in (copy, "", ".", "/"):
        assert refused(tokctl("store", "backup", taken, "--store", own_store), "already exists") == 6


def test_prune_says_what_it_would_remove_and_removes_it(tokctl, own_store):
    words = ["store", "prune", "--completed-before", "10m", "--store", own_store]
    ran = tokctl(*words)
    assert " ".join(ran.out.split()) == (
        "Would remove 1 instance that ended before 2025-01-11 10:30:00 UTC, with 7 tokens. Use --yes to remove them."
    )
    assert "ord-1001" in tokctl("instances", "list", "--store", own_store).out
    assert tokctl(*words, "--yes").out.startswith("Removed 1 instance ")
    assert "ord-1001" not in tokctl("instances", "list", "--store", own_store).out
    none = "No instance without FAILED tokens ended before "
    assert none in tokctl(*words, "--yes").out


@pytest.mark.slow
def test_prune_asks_at_a_terminal(own_store):
    words = ("store", "prune", "--completed-before", "2025-01-11T10:30:00Z", "--store", own_store)
    for reply, said in (("n\r", "Would remove 1 instance"), ("y\r", "Removed 1 instance")):
        with Terminal(*words, columns=120) as terminal:
            terminal.until("[y/N]")
            terminal.type(reply)
            terminal.until(said)
            assert terminal.end() == 0


# --- simulate, demo -----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_store(tokctl, tmp_path):
    exports = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        store = tmp_path / name
        ran = tokctl(
            "simulate", ORDER, "--scenario", SCENARIO, "-n", "3", "--seed", seed, "--end", "now", "--store", store
        )
        assert ran.code == 0
        assert "Simulated 3 instances" in ran.out
        exports.append(tokctl("store", "export", "-o", "ndjson", "--store", store).out)
    assert exports[0] == exports[1]
    assert exports[0] != exports[2]


def test_simulating_again_changes_nothing(tokctl, tmp_path):
    words = [
        "simulate",
        ORDER,
        "--scenario",
        SCENARIO,
        "-n",
        "2",
        "--start",
        "2025-01-01",
        "--store",
        tmp_path / "s.db",
    ]
    assert "Nothing changed" not in tokctl(*words).err
    assert "Nothing changed: the store already has these tokens." in tokctl(*words).err


def test_a_scenario_that_ends_before_all_have_started_says_so(tokctl, tmp_path):
    words = ["simulate", ORDER, "--scenario", SCENARIO, "--store", tmp_path / "s.db"]
    said = "The simulation ended before all 3,000 instances started."
    assert said in tokctl(*words, "-n", "3000").err
    assert "instances started" not in tokctl(*words, "-n", "2").err
    assert "instances started" not in tokctl(*words).err


def test_demo_shows_the_commands(tokctl, tmp_path):
    ran = tokctl("demo", "--store", tmp_path / "demo.db")
    assert ran.code == 0
    for part in ("$ tokctl tokens tree @latest", "├─ ", "order-processing", "tokctl --help", "instance_id,live_tokens"):
        assert part in ran.out
    assert "An order process ran in SpiffWorkflow: 20 instances" in ran.err


def test_demo_keeps_what_else_is_in_its_store(tokctl, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert "20 instances" in tokctl("demo").err
    demo = tmp_path / "data" / "tokctl" / "demo.db"
    fill(demo, DOCUMENTED)
    OwnStore(demo, {}).add("mine")
    later = NOW + timedelta(hours=1)
    assert tokctl("demo", now=later).code == 0
    assert OwnStore(demo, {}).names() == ["mine"]
    rows = json.loads(tokctl("instances", "list", "-o", "json", "--store", demo, now=later).out)["instances"]
    assert len(rows) == 21
    started = [row["started_at"] for row in rows if row["process_id"] == "order-processing"]
    assert max(started) > "2025-01-11T11:30"  # its own are as of now
    assert {path.name for path in demo.parent.iterdir()} <= {"demo.db", "demo.db-wal", "demo.db-shm"}


def test_demo_refuses_a_store_with_other_data(tokctl, own_store, tmp_path):
    before = tokctl("store", "export", "--store", own_store).out
    assert refused(tokctl("demo", "--store", own_store), "has other data (3 instances, 0 API tokens)") == 2
    assert tokctl("store", "export", "--store", own_store).out == before
    own = OwnStore(tmp_path / "keys.db", {})
    own.add("ci")
    assert refused(tokctl("demo", "--store", own.path), "(0 instances, 1 API token)", "--store") == 2
    assert refused(tokctl("demo", "--store", ":memory:"), "commands need a file") == 2
    assert own.names() == ["ci"]


@pytest.mark.slow
def test_demo_goes_on_with_enter(tmp_path):
    with Terminal("demo", "--store", tmp_path / "demo.db", lines=60) as terminal:
        terminal.until("1 of 7: ")
        terminal.until("[Enter: next step, q: quit]")
        assert "2 of 7: " not in terminal.text
        terminal.type("\r")
        terminal.until("2 of 7: ")
        terminal.type("q\r")
        terminal.until("tokctl --help")
        assert terminal.end() == 0
        assert "3 of 7: " not in terminal.text
    with Terminal("demo", "--no-pause", "--store", tmp_path / "demo.db", lines=500) as terminal:
        assert terminal.end() == 0
        assert "7 of 7: " in terminal.text
        assert "Enter: next step" not in terminal.text


# --- aliases and suggestions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("incidents ls", "incidents list"),
        ("instances ls", "instances list"),
        ("instances get ord-1002", "instances show ord-1002"),
        ("tokens ls ord-1001", "tokens list ord-1001"),
        ("tokens get b3", "tokens show b3"),
        ("tokens describe b3", "tokens show b3"),
        ("keys ls", "api-tokens list"),
    ],
)
def test_aliases(tokctl, known, alias, words):
    ran = tokctl(*alias.split(), "--store", known)
    assert ran == tokctl(*words.split(), "--store", known)
    assert ran.code == 0


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        ("tokens lisst", "'list'"),
        ("tokns list", "'tokens'"),
        ("tokens list --sate FAILED", "'--state'"),
        ("tokens list --instance x", ""),  # not --insecure
        ("tokens list --insecur", ""),
        ("serve --insecure-htp", ""),
        ("api-tokens create ci --show-secrt", ""),
        ("auth login --noverify", "'--verify'"),
        ("instances list --staet ACTIVE", ""),  # its own options only: --status is too far away
        ("instances list --statsu ACTIVE", "'--status'"),
        ("tokens list -x", ""),
    ],
)
def test_suggestions(tokctl, words, suggested):
    ran = tokctl(*words.split())
    assert refused(ran) == 2
    assert re.findall("did you mean (.*?)\\?", ran.err) == ([suggested] if suggested else [])


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tokctl tokens list o", ["ord-1001", "ord-1002"]),
        ("tokctl tokens list @", ["@latest"]),
        ("tokctl tokens show b3", ["b3-pick"]),
        ("tokctl tokens show ord-1002 b", ["b1-start", "b2-split", "b3-pick", "b4-bill", "b5-mail", "b6-join"]),
        ("tokctl tokens show ord-1002 a", []),  # only those of the instance
        ("tokctl tokens list --state co", ["COMPLETED"]),
        ("tokctl tokens list --type gat", ["gateway"]),
        ("tokctl tokens list -o js", ["json"]),
        ("tokctl tokens list --sort dur", ["duration"]),
        ("tokctl instances list --sort sta", ["started", "status"]),
        ("tokctl tokens li", ["list"]),
        ("tokctl tokens l", ["list", "ls"]),
        ("tokctl tokens ", ["list", "show", "tree", "history", "watch", "wait", "trace"]),
        ("tokctl config u", ["unset", "use", "use-context"]),
        ("tokctl tokens show nothing-like-it", []),
    ],
)
def test_completion_offers_what_is_in_the_store(shell, own_store, line, offered):
    line = line.replace("tokctl ", f"tokctl --store {own_store} ", 1)
    ran = shell(env={"_TOKCTL_COMPLETE": "bash_complete", "COMP_WORDS": line})
    assert [word.partition("\t")[0] for word in ran.out.split("\n") if word] == offered
    assert ran.err == ""


def test_completion_without_a_store_is_silent(shell, tmp_path):
    ran = shell(env={"_TOKCTL_COMPLETE": "bash_complete", "COMP_WORDS": f"tokctl --store {tmp_path}/no tokens show x"})
    assert (ran.out.strip(), ran.err) == ("", "")


SHELL_CHECKS = {
    "bash": (["bash", "--noprofile", "-ic", "complete -p tokctl"], "complete -F _tokctl tokctl"),
    "zsh": (["zsh", "-ic", "print -r -- $_comps[tokctl]"], "_tokctl"),
    "fish": (["fish", "-c", "complete --do-complete 'tokctl '; complete tokctl"], "__tokctl_offers"),
}


@pytest.mark.parametrize("name", SHELL_CHECKS)
def test_the_completion_is_installed(shell, tmp_path, name):
    if not shutil.which(name):
        pytest.skip(f"no {name} here")
    env = {"HOME": str(tmp_path), "SHELL": f"/bin/{name}", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "ZDOTDIR": ""}
    ran = shell("--install-completion", env=env)
    assert (ran.code, ran.err) == (0, "")
    assert f"Installed the completion for {name} in {tmp_path}" in ran.out
    words, expected = SHELL_CHECKS[name]
    program = tmp_path / "tokctl"  # fish loads a script for programs only
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environ = clean_environment({**env, "ZDOTDIR": str(tmp_path), "PATH": path})
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        environ.pop(variable, None)
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert expected in done.stdout, done.stderr
    before = {file: file.read_text() for file in tmp_path.glob(".*rc")}
    assert "Added" not in shell("--install-completion", env=env).out
    assert before == {file: file.read_text() for file in tmp_path.glob(".*rc")}


def test_the_completion_script_is_printed(tokctl, monkeypatch):
    for name in ("bash", "zsh", "fish"):
        ran = tokctl("completion", name)
        assert (ran.code, ran.err) == (0, "")
        assert f"_TOKCTL_COMPLETE={name}_complete" in ran.out
    assert refused(tokctl("completion", "basch"), "(did you mean 'bash'?)", "Valid: bash, zsh, fish.") == 2
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert refused(tokctl("--install-completion"), "SHELL is 'ksh'", "tokctl completion bash") == 2


# --- errors where they happen ----------------------------------------------------------------------------


def failing_instance() -> bytes:
    """An instance with a failure without a message, and two with messages under different keys; one other."""
    tokens = [
        token("silent", "bad", state="FAILED", created_at=at(0)),
        token("late", "bad", state="FAILED", created_at=at(9), execution_context={"errorMessage": "later"}),
        token("first", "bad", state="FAILED", created_at=at(5), execution_context={"error": {"message": "a\nb"}}),
        token("tried", "bad", state="ACTIVE", created_at=at(0), execution_context={"failure_message": "once"}),
    ]
    return answer(instance("bad"), tokens) + b"\n" + answer(instance("good"), [token("well", "good")]) + b"\n"


@pytest.mark.parametrize("source", ["--file", "--store"])
def test_the_error_is_where_the_failure_is(tokctl, tmp_path, source):
    path = tmp_path / "failing.ndjson"
    path.write_bytes(failing_instance())
    if source == "--store":
        assert tokctl("store", "import", path, "--store", tmp_path / "own.db").code == 0
        path = tmp_path / "own.db"
    listed = json.loads(tokctl("instances", "list", source, path, "-o", "json").out)["instances"]
    assert {one["instance_id"]: one.get("first_error") for one in listed} == {"bad": "a\nb", "good": None}
    assert "first_error" not in next(one for one in listed if one["instance_id"] == "good")
    assert " a " in next(line for line in tokctl("instances", "list", source, path).out.splitlines() if "bad" in line)
    tokens = json.loads(tokctl("tokens", "list", "bad", source, path, "-o", "json").out)["tokens"]
    errors = {one["token_id"]: one.get("error") for one in tokens}
    assert errors == {"silent": None, "late": "later", "first": "a\nb", "tried": "once"}
    shown = tokctl("tokens", "show", "bad", "first", source, path).out
    assert "\nError\n  a\n  b\n" in shown


def test_an_exported_error_is_read_back_as_it_was(tokctl, tmp_path):
    path, again = tmp_path / "failing.ndjson", tmp_path / "again.ndjson"
    own = {"extra": {"error": raw("its own")}}
    path.write_bytes(failing_instance() + answer(instance("own"), [token("t", "own", **own)]) + b"\n")
    for source, store, target in ((path, "one.db", again), (again, "two.db", tmp_path / "third.ndjson")):
        assert tokctl("store", "import", source, "--store", tmp_path / store).code == 0
        target.write_text(tokctl("store", "export", "--store", tmp_path / store).out)
    assert again.read_text() == (tmp_path / "third.ndjson").read_text()
    assert '"error":"its own"' in again.read_text()
    with sqlite3.connect(tmp_path / "two.db") as read:
        assert [extra for (extra,) in read.execute("SELECT extra FROM token") if extra] == ['{"error":"its own"}']
