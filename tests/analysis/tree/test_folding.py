"""Loops whose passes split: drawn once, with nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.drawing import LoopPosition, draw_forest
from tokctl.analysis.tree.forest import TreeRow


class Run:
    """Makes the tokens of an instance, one after the other."""

    def __init__(self):
        self.rows = []

    def add(self, element, parent, state="COMPLETED"):
        number = len(self.rows)
        token = f"t{number}"
        self.rows.append(TreeRow(token, element, state, parent, None, None, None, number * 1000, number * 1000 + 500))
        return token

    def review(self, last, second="finance", state="COMPLETED"):
        """Add a pass: two people look at it side by side, and one decides."""
        split = self.add("split", self.add("review", last))
        self.add("join", self.add("legal", split))
        return self.add("decide", self.add("join", self.add(second, split)), state)


def lines_of(rows, **options):
    return [
        (line.prefix + line.token.element_id, line.count, line.loop and line.loop.passes)
        for line in draw_forest(build_forest(rows), **options)
    ]


def test_a_loop_whose_passes_split_is_drawn_once():
    run = Run()
    last = run.add("start", None)
    for _ in range(5):
        last = run.review(last)
    run.add("end", last)
    assert lines_of(run.rows) == [
        ("start", 1, None),
        ("review", 5, 5),
        ("split", 5, 5),
        ("├─ legal", 5, None),
        ("│  join", 5, None),
        ("└─ finance", 5, 5),
        ("   join", 5, 5),
        ("   decide", 5, 5),
        ("   end", 1, None),
    ]
    steps = [line.loop for line in draw_forest(build_forest(run.rows)) if line.loop]
    assert steps == [LoopPosition(step, 5, 5) for step in range(5)]


def test_true_depths_go_on_behind_a_loop():
    run = Run()
    last = None
    for _ in range(3):
        last = run.review(last)
    end = run.add("end", last)
    depths = {line.token.token_id: line.depth for line in draw_forest(build_forest(run.rows))}
    assert (
        depths[end]
        == {line.token.token_id: line.depth for line in draw_forest(build_forest(run.rows), expand=True)}[end]
        == 15
    )


@pytest.mark.parametrize(("second", "state"), [("auditor", "COMPLETED"), ("finance", "ACTIVE")])
def test_a_pass_that_differs_is_drawn_by_itself(second, state):
    run = Run()
    last = run.review(run.review(None))
    run.review(last, second, state)
    drawn = lines_of(run.rows)
    assert drawn[0] == ("review", 2, 2)
    assert sum(count for _, count, _ in drawn) == len(run.rows)
    odd = [
        line
        for line in draw_forest(build_forest(run.rows))
        if "auditor" in line.token.element_id or line.token.state == "ACTIVE"
    ]
    assert [line.count for line in odd] == [1]


def test_a_limit_of_depth_hides_later_passes_once():
    run = Run()
    last = None
    for _ in range(4):
        last = run.review(last)
    lines = list(draw_forest(build_forest(run.rows), depth=1))
    assert [line.count for line in lines] == [1, 1, len(run.rows) - 2]


@st.composite
def runs(draw_value):
    """Instances of sequences, splits and loops in each other, the passes mostly alike."""
    run = Run()
    states = st.sampled_from(["COMPLETED"] * 9 + ["ACTIVE"])

    def body(plan, parent):
        for kind, parts in plan:
            if kind == "split":
                split = run.add("split", parent)
                ends = [body(part, split) for part in parts]
                parent = ends[-1]
            elif kind == "loop":
                for _ in range(3):
                    parent = body(parts, parent)
            else:
                parent = run.add(kind, parent, parts)
        return parent

    plans = st.recursive(
        st.lists(st.tuples(st.sampled_from("abc"), states), min_size=1, max_size=3),
        lambda inner: st.lists(
            st.tuples(st.just("split"), st.lists(inner, min_size=2, max_size=3)) | st.tuples(st.just("loop"), inner),
            min_size=1,
            max_size=2,
        ),
        max_leaves=8,
    )
    for plan in draw_value(st.lists(plans, min_size=1, max_size=3)):
        body(plan, run.rows[-1].token_id if run.rows and draw_value(st.booleans()) else None)
    return run.rows


@settings(max_examples=scaled(2), deadline=None)
@given(runs())
def test_folding_loses_nothing(rows):
    forest = build_forest(rows)
    assert sum(line.count for line in draw_forest(forest)) == len(rows)
    states = [line.token.state for line in draw_forest(forest) for _ in range(line.count)]
    assert sorted(states) == sorted(row.state for row in rows)
    live = sum(
        line.count for line in draw_forest(forest, predicate=lambda row: row.state == "ACTIVE") if not line.context
    )
    assert live == sum(row.state == "ACTIVE" for row in rows)
