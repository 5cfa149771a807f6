"""Reports of data that tries to become markup, and of everything that may be missing."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from support.builders import at, instance, token
from support.report_pages import HOSTILE, HOSTILE_MODEL, check_page, make_hostile_token, make_report


@pytest.mark.parametrize("number", [1, 2])
def test_data_never_becomes_markup(number):
    ids = [f"{HOSTILE}{n}" for n in range(number)]
    states = [{"state": "FAILED"}, {"state": HOSTILE}, {"state": "WAITING", "element_id": "a"}]
    several = [make_hostile_token(n, one, **fields) for one in ids for n, fields in enumerate(states)]
    about = [instance(one, process_id="p", version=1, business_key=HOSTILE) for one in ids]
    page = check_page(make_report(several, about, HOSTILE_MODEL, name=HOSTILE))
    assert page.text().count(HOSTILE.partition("\u202e")[0]) > 10
    assert "\u202e" not in page.text()


def test_elements_of_the_diagram_lead_to_their_tokens():
    several = [token("t1", element_id="a", created_at=at(0)), token("t2", element_id="b", created_at=at(1))]
    page = check_page(make_report(several, [instance(process_id="p", version=1)], HOSTILE_MODEL))
    linked = [attributes for tag, attributes in page.elements if tag == "a" and "aria-label" in attributes]
    assert [one["href"] for one in linked] == ["#element-1", "#element-2"]
    details = [attributes["id"] for tag, attributes in page.elements if tag == "details"]
    assert details == ["element-1", "element-2"]


@pytest.mark.parametrize(
    "several",
    [
        [],
        [token()],
        [token(state="ACTIVE", created_at=at(0))],
        [token(created_at=at(9), completed_at=at(0))],
        [token("t1", parent_token_id="t1", created_at=at(0)), token("t2", parent_token_id="missing")],
        [token(variables="text", execution_context=[1], flow_history={"no": "list"})],
    ],
    ids=["no token", "no time", "live", "negative", "contradiction", "odd JSON"],
)
@pytest.mark.parametrize("number", [1, 2])
def test_anything_may_be_missing(several, number):
    others = [instance(f"other{n}") for n in range(number - 1)]
    page = check_page(make_report(several, [instance(), *others]))
    assert "No diagram of ?: the process is unknown." in page.text()


@pytest.mark.parametrize("number", [1, 2])
def test_long_errors_are_cut(number):
    def measure(error: str) -> int:
        context = {"error_message": error, "stack_trace": error}
        several = [token(instance_id=f"i{n}", state="FAILED", execution_context=context) for n in range(number)]
        return len(make_report(several, [instance(f"i{n}") for n in range(number)]))

    assert measure("x" * 1_000_000) < measure("x") + number * 30_000


def test_a_deep_tree_is_nested_up_to_a_limit():
    """Each token splits into two, one of which splits again."""
    several = [token("n0", created_at=at(0))]
    for n in range(1, 200):
        several += [
            token(f"{side}{n}", element_id=f"{side}{n}", parent_token_id=f"n{n - 1}", created_at=at(n)) for side in "nm"
        ]
    page = check_page(make_report(several, [instance()]))
    assert all(page.text("code").count(f"n{n}") for n in range(200))


def test_the_structure_serves_screen_readers():
    page = check_page(
        make_report([token(created_at=at(0), state="FAILED")], [instance(process_id="p", version=1)], HOSTILE_MODEL)
    )
    tags = [tag for tag, _ in page.elements]
    assert all(tag in tags for tag in ("header", "nav", "main", "footer"))
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    assert all(
        {"aria-label", "tabindex"} <= attributes.keys()
        for _, attributes in page.elements
        if "scroll" in (attributes.get("class") or "").split()
    )
    assert all("aria-label" in attributes for tag, attributes in page.elements if tag == "svg")


def test_what_is_derived_or_unknown_is_marked():
    hops = [{"from_element": "x", "via_flow": "f", "timestamp": "2025-01-01T00:00:00Z", "certainty": "reconstructed"}]
    several = [
        token("t1", created_at=at(0), completed_at=at(2), flow_history=hops),
        token("t2", created_at=at(3), completed_at=at(4), flow_history=[{"certainty": "ambiguous"}]),
    ]
    text = check_page(make_report(several, [instance()])).text()
    assert "~2s" in text
    assert "≈ 2025-01-01 00:00:00 from x via f" in text
    assert "? ? from ? via ?" in text
    assert "1 step: unknown, because several ways are possible (?)." in text


def test_live_tokens_give_lower_bounds():
    several = [token("t1", created_at=at(0), completed_at=at(2)), token("t2", state="ACTIVE", created_at=at(0))]
    assert "≥ 1h" in check_page(
        make_report(
            several,
            [instance()],
        )
    ).text("td")
