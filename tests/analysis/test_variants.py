"""Variants of instances."""

from __future__ import annotations

import pytest

from support.builders import at, token
from tokctl.analysis.flow.token_links import TokenLinks
from tokctl.analysis.variants import VariantCounter, order_elements
from tokctl.model.visits import Visit


def visit(element: str, seconds: int | None, hops=(), **fields) -> Visit:
    history = [
        {"from_element": source, "timestamp": f"2025-01-11T12:00:{second:02}Z"} | more for source, second, more in hops
    ]
    created = None if seconds is None else at(seconds)
    made = token(f"{element}{seconds}", element_id=element, created_at=created, flow_history=history, **fields)
    return Visit.from_token(made, flows=True)


@pytest.mark.parametrize(
    ("visits", "elements"),
    [
        ([visit("b", 2), visit("a", 1), visit("c", 3)], ("a", "b", "c")),
        ([visit("b", 1), visit("a", 1)], ("a", "b")),
        ([visit("a", 1, parent_token_id="z1"), visit("b", 1, parent_token_id="z1"), visit("z", 1)], ("z", "a", "b")),
        ([visit("a", 1), visit("a", 2)], ("a", "a")),
        ([visit("c", 0, [("a", 1, {}), ("b", 2, {})])], ("a", "b", "c")),
        ([visit("c", 0, [("a", 1, {})]), visit("d", 0, [("a", 1, {}), ("b", 2, {})])], ("a", "c", "b", "d")),
        ([visit("a", 0), visit("b", 1, [("a", 1, {})])], ("a", "b")),
        ([visit("a", 0), visit("b", None)], None),
        ([visit("a", 0), visit("b", 1, [("x", 1, {"certainty": "ambiguous"})])], None),
        ([visit("a", 0), visit("b", 1, [("x", 1, {"timestamp": None})])], None),
        ([], None),
    ],
    ids=[
        "times",
        "same time",
        "predecessor",
        "loop",
        "moved",
        "split",
        "recorded twice",
        "no time",
        "ambiguous",
        "no hop time",
        "none",
    ],
)
def test_elements_are_in_the_order_of_time(visits, elements):
    assert order_elements(TokenLinks(visits, at(99))) == elements


def test_variants_are_counted_by_process_and_whether_they_are_over():
    counter = VariantCounter()
    for n in range(6):
        counter.add(f"i{n}", "p", TokenLinks([visit("a", 1)], at(99)), ended=n > 0)
    counter.add("j", "q", TokenLinks([visit("a", 1)], at(99)), ended=True)
    counter.add("k", "p", TokenLinks([], at(99)), ended=True)
    first, second = counter.most_common(2)
    assert (first.process_id, first.elements, first.ended, first.instances, first.example) == (
        "p",
        ("a",),
        True,
        5,
        "i1",
    )
    assert first.share == pytest.approx(5 / 7)
    assert (second.ended, second.example) == (False, "i0")
    assert (counter.distinct, counter.unordered) == (3, 1)
