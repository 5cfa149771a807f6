"""``tokctl perf``: what is looked at, what it is compared with, and every format."""

import csv
import io
import json

import pytest

from support.builders import DOCUMENTED, answer, at, instance, ndjson, token
from tokctl.analysis.performance.statistics import Throughput
from tokctl.render.views.perf import bar, sparkline

TIMES = {"created_at": at(0), "updated_at": at(9), "completed_at": at(9)}


def jobs(instance_id, took, count=12, **about):
    """An instance of so many visits to ``work``, all of which took as long, and one to ``rest``."""
    known = instance(instance_id, **{"process_id": "order", "version": 1} | about)
    several = [
        token(
            f"{instance_id}-{n}",
            instance_id,
            element_id="work",
            element_type="serviceTask",
            execution_context={"duration_ms": took, "worker_id": f"w{n % 2}"},
            **TIMES,
        )
        for n in range(count)
    ]
    return answer(known, [*several, token(f"{instance_id}-x", instance_id, element_id="rest", **TIMES)])


@pytest.fixture
def saved(tmp_path):
    def save(*answers):
        path = tmp_path / "answers.ndjson"
        path.write_bytes(b"".join(one + b"\n" for one in answers))
        return path

    return save


@pytest.fixture
def perf(tokctl):
    """Run ``tokctl perf`` on a file; returns the JSON."""

    def call(path, *words):
        ran = tokctl("perf", *words, "--file", path, "-o", "json")
        assert ran.err == ""
        assert ran.code == 0
        return json.loads(ran.out)

    return call


def visits(document):
    return {group["element_id"]: group["visits"] for group in document["groups"]}


# --- the document -----------------------------------------------------------------------------------


def test_the_documented_keys(perf):
    found = perf(DOCUMENTED)
    assert found["totalTokens"] == found["total_tokens"] == 3
    assert found["retryAnalysis"] == {"0": 2}
    assert found["typePerformance"] == {"endEvent": 0, "exclusiveGateway": 1, "serviceTask": 2, "startEvent": 0}
    assert found["slowestToken"]["token_id"] == "srv1-token-cD4eF8gH1jK3"
    assert found["slowestToken"]["execution_context"]["duration_ms"] == 29889
    assert found["fastestToken"]["execution_context"]["duration_ms"] is None  # it has none; this one is derived
    assert (found["fastestToken"]["duration_ms"], found["fastestToken"]["derived"]) == (5111, True)
    assert found["avgExecutionTime"] == found["mean_ms"] == (29889 + 5111) / 2
    assert found["derived"] == 1
    assert list(found)[:6] == [
        "totalTokens",
        "avgExecutionTime",
        "fastestToken",
        "slowestToken",
        "retryAnalysis",
        "typePerformance",
    ]
    assert found["throughput"]["bucket_ms"] == 1000
    assert [b for b in found["throughput"]["buckets"] if b["finished"]] == [
        {"from": "2025-01-11T10:30:45.000Z", "finished": 1},
        {"from": "2025-01-11T10:31:30.000Z", "finished": 1},
    ]
    assert sum(bucket["finished"] for bucket in found["throughput"]["buckets"]) == 2


def test_an_instance_without_tokens(perf, tokctl, saved):
    path = saved(answer(instance("i1"), []))
    found = perf(path)
    assert (found["totalTokens"], found["avgExecutionTime"], found["mean_ms"]) == (0, 0, None)
    assert (found["fastestToken"], found["groups"], found["throughput"]["buckets"]) == (None, [], [])
    ran = tokctl("perf", "--file", path)
    assert (ran.code, ran.out, ran.err) == (0, "", "No tokens match.\n")


def test_live_visits_are_counted_and_have_no_duration(perf, saved):
    path = saved(answer(instance("i1"), [token(state="ACTIVE", created_at=at(0), updated_at=at(5))]))
    found = perf(path)
    assert found["live_tokens"] == 1
    assert (found["groups"][0]["live"], found["groups"][0]["count"], found["groups"][0]["mean_ms"]) == (1, 0, None)


def waiting_at_join(instance_id, **about):
    """An instance of which a join has waited for an hour: another branch was cancelled."""
    kinds = {"element_id": "join", "element_name": "Both ready", "element_type": "parallelGateway"}
    done = {"created_at": at(-9000), "completed_at": at(-8400), "element_type": "serviceTask"}
    tokens = [
        token(f"{instance_id}-work", instance_id, element_id="work", **done),
        token(f"{instance_id}-off", instance_id, element_id="off", **done | {"state": "CANCELLED"}),
        token(
            f"{instance_id}-join",
            instance_id,
            state="WAITING",
            created_at=at(-8400),
            updated_at=at(-8400),
            parent_token_id=f"{instance_id}-work",
            **kinds,
        ),
    ]
    return answer(instance(instance_id, process_id="order", **about), tokens)


@pytest.mark.parametrize("words", [(), ("i1",), ("--by", "element,process"), ("--by", "type")])
def test_a_join_that_has_waited_is_the_bottleneck(tokctl, perf, saved, words):
    path = saved(*(waiting_at_join(f"i{n}") for n in range(4)), jobs("j1", 2000))
    found = perf(path, *words)
    first = found["groups"][0]
    assert first["element_type"] == "parallelGateway"
    assert (first["mean_ms"], first["total_ms"], first["share"]) == (None, 0, 0)  # nothing of it is over
    number = 1 if words == ("i1",) else 4
    waited = 3_600_000
    assert (first["open"], first["so_far_ms"], first["spent_ms"]) == (number, number * waited, number * waited)
    assert first["at_least"] == dict.fromkeys(("mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"), waited)
    assert found["time_so_far"]["waiting_ms"] == found["so_far_ms"] == number * waited
    assert found["time"]["waiting_ms"] == 0
    assert found["longest_open"]["duration_ms"] == waited
    assert [group["at_least"] for group in found["groups"][1:]] == [None] * (len(found["groups"]) - 1)
    table = tokctl("perf", *words, "--file", path, "--limit", "1").out
    assert " so far " in next(line for line in table.splitlines() if "≥" in line and "lower bound" not in line)
    assert next(line for line in table.splitlines() if "waiting  " in line).endswith(" open")


def test_at_a_past_moment_it_had_waited_until_then(perf, saved):
    found = perf(saved(waiting_at_join("i1")), "--at", "45m")
    assert found["so_far_ms"] == 15 * 60_000
    assert found["groups"][0]["element_id"] == "join"


@pytest.mark.parametrize("command", ["flow", "tokens trace"])
def test_flow_and_trace_say_the_same_of_what_waits(tokctl, saved, command):
    path = saved(waiting_at_join("i1"))
    document = json.loads(tokctl(*command.split(), "--file", path, "-o", "json").out)
    analysis = document.get("performance_analysis", document)
    first, *others = analysis.get("bottlenecks") or analysis["currentBottlenecks"]
    assert (first["element_id"], first["so_far_ms"]) == ("join", 3_600_000)
    assert all("so_far_ms" not in one for one in others)
    if command == "flow":
        assert [step.get("so_far") for step in document["critical_path"]["steps"]] == [None, True]
    else:
        assert analysis["time_so_far"]["waiting_ms"] == 3_600_000
        assert analysis["time_breakdown"]["waiting_ms"] == 0
        assert {path["status"]: path.get("so_far") for path in document["execution_paths"]} == {
            "WAITING": True,
            "CANCELLED": None,
        }
    line = next(x for x in tokctl(*command.split(), "--file", path).out.splitlines() if x.count(" so far") == 2)
    assert line.split()[:2] == ["Both", "ready"]


# --- what is looked at --------------------------------------------------------------------------------


def test_left_out_the_instance_means_all_of_them(perf, saved):
    path = saved(jobs("i1", 5), jobs("i2", 7), jobs("i3", 7, process_id="refund", version=2))
    found = perf(path)
    assert (found["about"], found["instances"]) == ("3 instances of 2 processes", 3)
    assert {(g["process_id"], g["element_id"]): g["visits"] for g in found["groups"]} == {
        ("order", "work"): 24,
        ("refund", "work"): 12,
        ("order", "rest"): 2,
        ("refund", "rest"): 1,
    }
    assert perf(path, "i2")["about"] == "order  i2"
    assert perf(path, "--process", "ref*")["about"] == "1 instance of refund"
    assert perf(path, "--version", "1")["instances"] == 2
    assert visits(perf(path, "i1", "--element", "re*")) == {"rest": 1}
    assert visits(perf(path, "i1", "--type", "task")) == {"work": 12}
    assert visits(perf(path, "i1", "--worker", "w1")) == {"work": 6}
    assert visits(perf(path, "i1", "--until", "2025-01-11")) == {}


@pytest.mark.parametrize(
    "words",
    [(), ("--by", "worker,type"), ("ord-1002", "--compare", "ord-1001"), ("--since", "2025-01-11T10:01:00Z")],
)
def test_the_store_and_the_file_say_the_same(tokctl, own_store, orders, words):
    told = [tokctl("perf", *words, "-o", "json", *where) for where in (("--store", own_store), ("--file", orders))]
    assert [ran.code for ran in told] == [0, 0]
    assert json.loads(told[0].out) == json.loads(told[1].out)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("element", [("work", None, None), ("rest", None, None)]),
        ("type", [(None, "serviceTask", None), (None, None, None)]),
        ("worker", [(None, None, "w0"), (None, None, "w1"), (None, None, None)]),
        ("process", [(None, None, None)]),
    ],
)
def test_groups_by(perf, saved, by, keys):
    found = perf(saved(jobs("i1", 5)), "--by", by, "--sort", "-visits")
    told = [(g["element_id"], g["element_type"] if by == "type" else None, g["worker_id"]) for g in found["groups"]]
    assert sorted(told, key=str) == sorted(keys, key=str)


@pytest.mark.parametrize("order", ["total", "visits", "live", "mean", "p50", "p90", "p99", "max", "name"])
def test_orders(perf, saved, order):
    path = saved(jobs("i1", 5), jobs("i2", 9, count=3, process_id="b"))
    key = {"name": "element_id", "visits": "visits", "live": "live"}.get(order, f"{order}_ms")
    there = [g[key] for g in perf(path, "--sort", order)["groups"]]
    back = [g[key] for g in perf(path, "--sort", f"-{order}")["groups"]]
    assert there == sorted(there)
    assert back == sorted(back, reverse=True)


def test_pages(tokctl, saved):
    path = saved(jobs("i1", 5))
    ran = tokctl("perf", "--file", path, "-n", "1")
    assert "  rest " in ran.out
    assert "  work " not in ran.out.partition("By element")[2]
    assert ran.err == "Showing 1 to 1 of 2 groups. Use --page for more, --limit 0 for all.\n"
    assert tokctl("perf", "--file", path, "-n", "1", "--page", "2", "-o", "id").out == "work\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--by", "elemnt"], 2, "invalid --by 'elemnt' (did you mean 'element'?). Valid: element, type"),
        (["--by", ","], 2, "--by is empty"),
        (["--sort", "size"], 2, "cannot sort by 'size'"),
        (["--sort", "change"], 2, "Add --compare BASE"),
        (["i1", "--version", "1"], 2, "cannot be used with"),
        (["i1", "--process", "order"], 2, "cannot be used with"),
        (["i1", "--compare", "i1"], 2, "cannot compare 'i1' with itself"),
        (["--compare", ".."], 2, "the period is empty"),
        (["--compare", "1d..7d"], 2, "--since must be before --until"),
        (["--compare", "soon..1d"], 2, "invalid time: 'soon'"),
        (["--compare", "v9"], 3, "no token of version 9 matches"),
        (["--compare", "nobody"], 3, "no process instance 'nobody'"),
        (["--compare", ""], 3, "no process instance ''"),
        (["nobody"], 3, "no process instance 'nobody'"),
    ],
)
def test_what_cannot_be(tokctl, saved, words, code, said):
    ran = tokctl("perf", *words, "--file", saved(jobs("i1", 5), jobs("i2", 5)))
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


# --- what it is compared with -------------------------------------------------------------------------


@pytest.fixture
def versions(saved):
    return saved(
        jobs("a1", 100, version=3),
        jobs("a2", 200, version=4),
        jobs("b1", 100, process_id="refund", version=3),
        jobs("v4", 300, version=5),
    )


def compared(document):
    (work,) = [g for g in document["groups"] if g["element_id"] == "work" and g["process_id"] != "refund"]
    return (
        work["visits"],
        work["p50_ms"],
        work["comparison"]["base"]["count"],
        work["comparison"]["base"]["p50_ms"],
        work["comparison"]["verdict"],
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a2", "--compare", "a1"], (12, 200, 12, 100, "slower")),
        (["a1", "--compare", "a2"], (12, 100, 12, 200, "faster")),
        (["a2", "--compare", "b1"], (12, 200, 12, 100, "slower")),  # one process on each side
        (["a2", "--compare", "v3"], (12, 200, 12, 100, "slower")),  # of the same process
        (["a2", "--compare", "order:3"], (12, 200, 12, 100, "slower")),
        (["a2", "--compare", "refund:v3"], (12, 200, 12, 100, "slower")),
        (["a2", "--compare", "v4"], (12, 200, 12, 300, "faster")),  # an instance of that name goes before
        (["a2", "--compare", "order:v5"], (12, 200, 12, 300, "faster")),
        (["-p", "order", "--version", "4", "--compare", "v3"], (12, 200, 12, 100, "slower")),
        (["-p", "order", "--compare", "v3"], (24, 200, 12, 100, "slower")),  # all versions but the base
        (["-p", "order", "--compare", "a1"], (24, 200, 12, 100, "slower")),
        (["a2", "--compare", "2025-01-01.."], (12, 200, 24, 100, "same")),  # the others of its process
    ],
)
def test_bases(perf, versions, words, expected):
    assert compared(perf(versions, *words)) == expected


def test_nothing_beside_the_base_is_said(tokctl, versions):
    ran = tokctl("perf", "-p", "order", "--version", "3", "--compare", "v3", "--file", versions)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "No other tokens match than those of the base, version 3.\n"


def test_periods(perf, saved):
    def day(number, took):
        times = {"created_at": at(86400 * number), "completed_at": at(86400 * number + 9)}
        times["updated_at"] = times["completed_at"]
        return [
            token(f"{number}-{n}", element_id="work", execution_context={"duration_ms": took}, **times)
            for n in range(10)
        ]

    path = saved(
        answer(instance(process_id="order"), [t for n, took in enumerate((9, 50, 10, 20)) for t in day(n, took)])
    )
    base = "2025-01-12..2025-01-14"  # the second and the third day
    assert compared(perf(path, "--compare", base)) == (10, 20, 20, 10, "same")
    assert compared(perf(path, "--since", "2025-01-11", "--until", "2025-01-12", "--compare", base))[:4] == (
        10,
        9,
        20,
        10,
    )
    assert compared(perf(path, "--compare", "..2025-01-12"))[:4] == (30, 20, 10, 9)
    assert compared(perf(path, "--compare", "2025-01-13.."))[:4] == (20, 9, 20, 10)


def test_what_is_marked_is_said_in_words(tokctl, versions):
    ran = tokctl("perf", "a2", "--compare", "a1", "--file", versions)
    assert "slower  work  median 100ms → 200ms  slower in 100% of pairs, 12 and 12 visits" in ran.out
    assert "? marks 1 group with too few visits to tell" in ran.out
    assert "criterion: at least 10 durations" in ran.out
    plain = tokctl("perf", "a2", "--compare", "a1", "--file", versions, encoding="ascii")
    assert "slower  work  median 100ms -> 200ms" in plain.out


# --- formats ------------------------------------------------------------------------------------------


def test_csv_and_columns(tokctl, saved):
    path = saved(jobs("i1", 5))
    rows = list(csv.DictReader(io.StringIO(tokctl("perf", "--file", path, "-o", "csv").out)))
    assert [(row["element_id"], row["p99_ms"]) for row in rows] == [("rest", "9000.0"), ("work", "5.0")]
    ran = tokctl("perf", "--file", path, "--columns", "element_id,visits", "-o", "ndjson")
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"element_id": "rest", "visits": 1},
        {"element_id": "work", "visits": 12},
    ]


def test_every_column_of_the_table_is_in_the_json(tokctl, perf, versions):
    columns = tokctl("perf", "a2", "--compare", "a1", "--file", versions, "-o", "csv").out.splitlines()[0].split(",")
    (group, *_) = perf(versions, "a2", "--compare", "a1")["groups"]
    flat = group | group["comparison"] | {f"base_{k}": v for k, v in group["comparison"]["base"].items()}
    assert set(columns) - {"base_visits"} <= set(flat)


def test_what_contradicts_itself_is_told(tokctl, saved):
    path = saved(
        answer(
            instance("i1"),
            [
                token("a", created_at=at(9), completed_at=at(0)),
                token("b"),
                token("c", execution_context={"duration_ms": 4}),
            ],
        )
    )
    ran = tokctl("perf", "--file", path)
    assert "left out  1 that ended before they began, 1 without times" in ran.out
    assert "over 1 completed visit" in ran.out


# --- pictures -----------------------------------------------------------------------------------------


def test_bars():
    assert [bar(share, 4) for share in (0, 0.001, 0.5, 0.53, 1, 7)] == [
        "",
        "▏",
        "██",
        "██▏",
        "████",
        "████",
    ]


def test_sparklines():
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([7] * Throughput.MAX_BUCKETS) == "█" * Throughput.MAX_BUCKETS
    assert sparkline([]) == ""


@pytest.mark.parametrize(("room", "title", "full"), [(20, "3s", 15), (40, "2s", 22), (60, "1s", 45)])
def test_throughput_fits(tokctl, saved, room, title, full):
    ends = [token(f"t{n}", created_at=at(n), completed_at=at(n), updated_at=at(n)) for n in range(45)]
    shown = tokctl("perf", "--file", saved(answer(instance("i1"), ends)), width=room).out
    words = shown.partition("\nThroughput")[2].split()
    assert words[:4] == ["ended", "in", "each", title]
    assert words[4].count("█") == full


def test_retries_that_nobody_tells_are_unknown_not_none(tokctl, tmp_path):
    told = token("t1", execution_context={"retries_used": 0}, **TIMES)
    for name, several, says in (
        ("untold", [token("t1", **TIMES)], "unknown"),
        ("told", [told, token("t2", **TIMES)], "none, in 2"),
    ):
        path = tmp_path / f"{name}.ndjson"
        path.write_bytes(ndjson(several))
        assert says in tokctl("perf", "--file", path).out.partition("Retries")[2].splitlines()[1]
        document = json.loads(tokctl("perf", "--file", path, "-o", "json").out)
        assert (document["retryAnalysis"], document["untold_retries"]) == ({"0": len(several)}, 1)
