"""Reports of any tokens: they are whole pages, whatever is missing or odd."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from support.report_pages import check_page, make_report
from support.strategies import make_instances, token_sets

IDS = ["a", "b", "c"]


@given(several=token_sets(), about=st.tuples(*(make_instances(st.just(name)) for name in IDS)))
def test_any_tokens_make_a_page(several, about):
    """Of one instance, of several, and of two sides."""
    known = {}
    for n, one in enumerate(several):
        placed = replace(one, instance_id=IDS[n % 3])
        known[placed.instance_id, placed.token_id] = placed
    tokens = list(known.values())
    for instances, base in ((about[:1], None), (about, None), (about, ["c"])):
        page = check_page(make_report(tokens, instances, base=base))
        assert page.text("h1")
