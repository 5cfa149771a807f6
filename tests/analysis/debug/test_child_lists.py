"""Parents found through the lists of children."""

from __future__ import annotations

import pytest

from tokctl.analysis.debug.child_lists import MISSING_PARENT, NO_PARENT, find_listed_parents
from tokctl.model.visits import Visit


def visit(token_id, parent=None, children=(), kind="serviceTask"):
    return Visit(
        token_id=token_id,
        element_id="e",
        element_type=kind,
        state="COMPLETED",
        parent_token_id=parent,
        child_tokens=None if children is None else tuple(children),
    )


SPLIT = (
    visit("a", None, ["b", "c"], "parallelGateway"),
    visit("b", "a", ["j"]),
    visit("c", "a", ["j"]),
    visit("j", "c", ["k"], "parallelGateway"),
    visit("k", "j"),
)


def test_a_join_may_be_listed_by_tokens_besides_its_parent():
    assert find_listed_parents(SPLIT) == [NO_PARENT, 0, 0, 2, 3]


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (1, 0, 3, 2, 4)])
def test_the_order_of_the_tokens_does_not_matter(order):
    found = find_listed_parents([SPLIT[number] for number in order])
    assert found is not None
    names = [None if parent == NO_PARENT else SPLIT[order[parent]].token_id for parent in found]
    assert names == [SPLIT[number].parent_token_id for number in order]


def test_a_parent_that_is_not_among_the_tokens_contradicts_nothing():
    assert find_listed_parents([visit("a", None, ["b"]), visit("b", "a"), visit("c", "gone")]) == [
        NO_PARENT,
        0,
        MISSING_PARENT,
    ]


@pytest.mark.parametrize(
    "visits",
    [
        [visit("a"), visit("b", "a")],
        [visit("a", None, ["b"]), visit("b", "a"), visit("c", "a")],
        [visit("a", None, ["b", "x"]), visit("b", "a")],
        [visit("a", None, ["b", "b"]), visit("b", "a")],
        [visit("a", None, ["a", "b"], "parallelGateway"), visit("b", "a")],
        [visit("a", None, ["b", "c"]), visit("b", "a", ["c"]), visit("c", "a")],
        [visit("a", None, ["b"]), visit("b")],
        [visit("a", None, ["b"]), visit("b", "a", None)],
    ],
    ids=["no lists", "unlisted", "unknown child", "listed twice", "by itself", "by another", "no parent", "no list"],
)
def test_nothing_is_found_if_lists_and_parents_may_not_match(visits):
    assert find_listed_parents(visits) is None
