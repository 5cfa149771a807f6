"""``tokctl flow``: the same over a store and a file, in every format, of good data and bad."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.builders import DOCUMENTED, answer, at, instance, ndjson, token, tokens
from support.commandline import NOW
from support.examples import scaled
from support.strategies import token_sets
from tokctl.model.times import format_time
from tokctl.render.formats.layout import width
from tokctl.render.waterfall import ASCII, UNICODE, Axis


@pytest.fixture
def ask(tokctl, known):
    """The flow of an instance of the known store, as JSON."""

    def call(*words):
        ran = tokctl("flow", *words, "-o", "json", "--store", known)
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return call


def said(tokctl, several, *words, form="table", room=100, now=NOW, **options):
    """Show the flow of tokens from stdin."""
    ran = tokctl("flow", *words, "--file", "-", "-o", form, stdin=ndjson(several), width=room, now=now, **options)
    assert ran.code == 0, ran.err
    return ran


# --- documents --------------------------------------------------------------------------------------------


def test_the_documented_keys(ask):
    flow = ask("srv1-")
    assert list(flow)[:4] == ["instance_id", "process_id", "generated_at", "activeTokens"]
    assert [one["token_id"] for one in flow["activeTokens"]] == ["srv1-token-aB3dEf9hK2mN"]
    assert [(one["element"], one["completedAt"], one["duration"]) for one in flow["completedPath"]] == [
        ("Validate Order", "2025-01-11T10:30:45.123Z", 29889),
        ("Payment Method?", "2025-01-11T10:31:30.789Z", 5111),
    ]
    assert [one["element"] for one in flow["currentBottlenecks"]] == [
        "Process Payment",
        "Validate Order",
        "Payment Method?",
    ]
    assert sum(one["percentage_of_total"] for one in flow["currentBottlenecks"]) == pytest.approx(100, abs=0.02)
    assert flow["parallelExecution"]["max_concurrent_tokens"] == 1
    assert flow["summary"]["total_tokens"] == 3


def test_the_critical_path_and_the_slack_beside_it(ask):
    flow = ask("ord-1002")
    path = flow["critical_path"]
    assert path["until"] == "now"
    assert [step["token_id"] for step in path["steps"]] == ["b1-start", "b2-split", "b3-pick"]
    assert (
        path["total_ms"]
        == path["elapsed_ms"]
        == 35 * 60_000
        == sum(s["wait_ms"] + s["duration_ms"] for s in path["steps"])
    )
    by_id = {
        one["token_id"]: one for name in ("completedPath", "ended_otherwise", "other_live_tokens") for one in flow[name]
    }
    assert by_id["b4-bill"]["slack_ms"] == by_id["b6-join"]["slack_ms"] == 34 * 60_000 + 50_000
    assert (by_id["b2-split"]["critical"], by_id["b2-split"]["slack_ms"]) == (True, 0)
    (stretch,) = flow["parallelExecution"]["stretches"]
    assert (stretch["max_concurrent_tokens"], set(stretch["token_ids"])) == (
        3,
        {"b3-pick", "b4-bill", "b5-mail", "b6-join"},
    )


def test_every_token_is_told_once(ask):
    flow = ask("pay-2001")
    lists = ("completedPath", "activeTokens", "other_live_tokens", "ended_otherwise")
    assert sorted(one["token_id"] for name in lists for one in flow[name]) == [
        "c1-start",
        "c2-auth",
        "c3-hold",
        "c4-odd",
    ]


@pytest.mark.parametrize("name", ["srv1-", "ord-1001", "ord-1002", "pay-2001"])
def test_a_store_and_a_file_give_the_same_bytes(tokctl, known, orders, name):
    file = DOCUMENTED if name == "srv1-" else orders
    for form in ("json", "ndjson", "yaml", "csv", "id", "table", "wide", "mermaid"):
        for more in ([], ["--variables"]) if form in {"json", "table"} else ([],):
            words = ("flow", name, *more, "-o", form)
            stored, saved = tokctl(*words, "--store", known), tokctl(*words, "--file", file)
            assert (stored.code, stored.out, stored.err) == (0, saved.out, saved.err)
            assert stored.out


def test_lists_pick_columns_and_limits(tokctl, known):
    ran = tokctl("flow", "ord-1001", "-o", "csv", "--columns", "element_id,duration", "-n", "2", "--store", known)
    assert ran.out.splitlines() == ["element_id,duration", "start,0.0", "check,12000.0"]
    assert tokctl("flow", "ord-1001", "-o", "id", "--limit", "0", "--store", known).out.count("\n") == 7
    ran = tokctl("flow", "ord-1001", "--limit", "3", "--store", known)
    assert "Showing 3 of 7 tokens in the time line, 3 of 7 completed tokens. Use --limit 0 for all." in ran.err
    assert [line for line in ran.out.splitlines() if "a4-ship" in line]


def test_variables_that_changed(tokctl):
    steps = [
        token(
            "a", element_id="a", created_at=at(0), completed_at=at(1), variables={"x": 1, "y": {"b": 1, "a": 2}, "z": 0}
        ),
        token(
            "b",
            element_id="b",
            created_at=at(1),
            completed_at=at(2),
            parent_token_id="a",
            variables={"x": 2, "y": {"a": 2, "b": 1}, "z": 0, "who": "<ana>"},
        ),
        token(
            "c",
            element_id="c",
            created_at=at(1),
            completed_at=at(3),
            parent_token_id="a",
            child_tokens=("j",),
            variables={"x": 1, "y": {"a": 2, "b": 1}, "c": True, "only here": 1},
        ),
        token(
            "j",
            element_id="j",
            created_at=at(3),
            completed_at=at(3),
            parent_token_id="b",
            variables={"x": 2, "y": 3, "who": "<ana>", "c": True},
        ),
        token("k", element_id="k", created_at=at(4), completed_at=at(4), parent_token_id="j", variables=[1]),
    ]
    changes = json.loads(said(tokctl, steps, "--variables", form="json").out)["variable_changes"]
    seen = [(c["token_id"], c["from_token_ids"], c["added"], c["changed"], c["removed"]) for c in changes]
    assert seen == [
        ("a", [], {"x": 1, "y": {"b": 1, "a": 2}, "z": 0}, {}, {}),
        ("b", ["a"], {"who": "<ana>"}, {"x": {"old": 1, "new": 2}}, {}),
        ("c", ["a"], {"c": True, "only here": 1}, {}, {"z": 0}),
        ("j", ["c", "b"], {}, {"y": {"old": {"a": 2, "b": 1}, "new": 3}}, {}),
    ]
    shown = said(tokctl, steps, "--variables").out
    assert "~ x: 1 → 2" in shown
    assert "- z, was 0" in shown
    assert "variable_changes" not in json.loads(said(tokctl, steps, form="json").out)


# --- the time line ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(-(10**15), 10**15), st.sampled_from([0, 1, 10**3, 10**6, 10**12])), min_size=1, max_size=6
    ),
    st.integers(8, 120),
    st.booleans(),
)
def test_bars_fit_and_stand_in_order(spans, cells, unicode):
    spans = [(begin, begin + length) for begin, length in spans]
    signs = UNICODE if unicode else ASCII
    axis = Axis((time for span in spans for time in span), cells)
    assert len(axis.text(signs)) <= cells
    for begin, end in spans:
        for live in (False, True):
            bar = axis.bar(begin, end, signs, live=live)
            assert len(bar) == cells
            assert bar.strip()
            assert (signs.open in bar) == live
        assert 0 <= axis.at(begin) <= axis.at(end) <= cells + 1e-6
    times = sorted(time for span in spans for time in span)
    assert [axis.at(time) for time in times] == sorted(axis.at(time) for time in times)


def test_bars_are_as_long_as_they_lasted():
    axis = Axis([0, 1_000_000, 2_500_000, 5_000_000, 10_000_000], 40)
    assert axis.text(UNICODE) == "╵0                  ╵5s"
    assert axis.bar(0, 5_000_000, UNICODE, live=False) == "█" * 20 + " " * 20
    assert axis.bar(2_500_000, 10_000_000, UNICODE, live=False) == " " * 10 + "█" * 30
    assert axis.bar(0, 1_050_000, UNICODE, live=False) == "████▏".ljust(40)
    assert axis.bar(125_000, 1_000_000, UNICODE, live=False) == "▐███".ljust(40)
    assert axis.bar(5_000_000, 5_000_000, UNICODE, live=False) == (" " * 20 + "◆").ljust(40)
    assert axis.bar(5_000_000, 10_000_000, ASCII, live=True) == " " * 20 + "#" * 19 + ">"
    assert axis.bar(0, 0, UNICODE, live=False, unknown_begin=True) == "?".ljust(40)


def test_a_stretch_that_dwarfs_the_rest_is_left_out():
    day = 86_400_000_000
    axis = Axis([0, 1_000_000, 2_000_000, 300 * day, 300 * day + 2_000_000], 43)
    assert axis.omitted == 300 * day - 2_000_000
    assert (
        axis.bar(1_000_000, 300 * day + 1_000_000, UNICODE, live=False)
        == " " * 10 + "█" * 10 + "⋯⋯⋯" + "█" * 10 + " " * 10
    )
    assert "⋯⋯⋯╵300d" in axis.text(UNICODE)
    assert Axis([0, 10, 20, 70], 43).omitted == 0
    assert Axis([0, 1, 300 * day], 43).omitted == 0  # cannot save a snapshot in to tell apart


@pytest.mark.parametrize("room", [60, 80, 120])
def test_of_too_many_tokens_the_telling_ones_are_shown(tokctl, room):
    many = [
        token(f"t{n}", element_id=f"Étape {n}", created_at=at(n), completed_at=at(n + (50 if n == 700 else 1)))
        for n in range(1000)
    ]
    many.append(token("live", element_id="live", state="WAITING", created_at=at(5)))
    many.append(token("late", element_id="late", state="ACTIVE", created_at=at(1999.5)))
    ran = said(tokctl, many, "--color", "never", room=room, now=at(2000), tty=True)
    assert "100 of 1,002 tokens in the time line" in " ".join(ran.out.split())
    line, _, rest = ran.out.partition("Completed path")
    assert line.count("Étape ") == 98
    assert "● late" in line
    assert "Étape 700" in line
    assert "◌ live" in line
    assert rest.count("Étape ") >= 100
    assert all(width(text) <= room for text in ran.out.splitlines())


# --- bad input --------------------------------------------------------------------------------------------


def test_no_tokens(tokctl):
    for form in ("table", "json", "csv", "ndjson", "id", "yaml", "mermaid"):
        ran = tokctl("flow", "--file", "-", "-o", form, "--variables", stdin=answer(instance("i1"), []))
        assert ran.code == 0
    ran = tokctl("flow", "--file", "-", stdin=answer(instance("i1"), []))
    assert "The instance has no tokens." in ran.out


def test_one_token_without_any_time(tokctl):
    ran = said(tokctl, [token("t1", element_id="Lost")])
    assert "1 token without any time" in ran.err
    flow = json.loads(said(tokctl, [token("t1")], form="json").out)
    assert flow["unknown"]["times"] == 1
    assert (flow["critical_path"]["steps"], flow["completedPath"][0]["slack_ms"]) == ([], None)


def test_a_list_with_nothing_in_it_says_so_in_its_place(tokctl):
    ran = said(tokctl, [token("t1", state="ACTIVE", created_at=NOW)])
    assert "Completed path  0 tokens\n  No token has completed.\n" in ran.out
    assert "Bottlenecks\n  No time was spent at any element.\n" in ran.out
    assert ran.err == ""


def test_a_path_that_breaks_off_says_so(tokctl):
    ran = said(tokctl, [token("t1", created_at=at(0), completed_at=at(1), parent_token_id="gone")])
    assert "The path is incomplete before t1: its parent gone is unknown." in ran.out


def test_text_that_could_steer_a_terminal_does_not(tokctl):
    evil = token("t1", element_id="\x1b[2Jx\u202e", created_at=at(0), completed_at=at(1), variables={"\x1b": "\x07"})
    for form in ("table", "wide", "mermaid"):
        out = said(tokctl, [evil], "--variables", form=form).out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)


@settings(max_examples=scaled(0.6), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(token_sets().filter(bool), st.sampled_from([20, 60, 80, 120]), st.booleans(), st.booleans())
def test_whatever_the_data_say_it_is_shown(tokctl, several, room, unicode, variables):
    words = ["flow", "--file", "-", "--limit", "2", *(["--variables"] if variables else [])]
    encoding = "utf-8" if unicode else "ascii"
    shown = tokctl(*words, "--color", "never", stdin=ndjson(several), width=room, encoding=encoding, now=NOW, tty=True)
    assert shown.code == 0, shown.err
    block = shown.out.partition("Variables that changed")[0].splitlines()
    assert all(width(line) <= room for line in block)
    told = tokctl("flow", "--file", "-", "-o", "json", stdin=ndjson(several), now=NOW)
    document = json.loads(told.out)
    lists = ("completedPath", "activeTokens", "other_live_tokens", "ended_otherwise")
    ids = sorted(one["token_id"] for name in lists for one in document[name])
    assert ids == sorted(one.token_id for one in several)


def test_as_it_stood(tokctl, known):
    ran = tokctl("flow", "ord-1001", "--at", "2025-01-11 10:00:20", "-o", "json", "--store", known)
    flow = json.loads(ran.out)
    assert flow["generated_at"] == "2025-01-11T10:00:20.000Z"
    assert [one["element_id"] for one in flow["completedPath"]] == ["start", "check", "again"]


def test_an_instance_is_needed(tokctl, known):
    ran = tokctl("flow", "--store", known)
    assert (ran.code, ran.out) == (2, "")
    assert tokctl("flow", "nope", "--store", known).code == 3


def test_a_chain_of_any_length_is_shown(tokctl):
    many = tokens(20_000)
    chain = [
        token(
            t.token_id, parent_token_id=f"t{n - 1}" if n else None, created_at=t.created_at, completed_at=t.completed_at
        )
        for n, t in enumerate(many)
    ]
    flow = json.loads(said(tokctl, chain, form="json").out)
    assert len(flow["critical_path"]["steps"]) == len(flow["completedPath"]) == 20_000
    assert flow["completedPath"][-1]["completedAt"] == format_time(at(0) + timedelta(seconds=20_000))
