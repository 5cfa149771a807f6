"""What an engine overrides answers as the generic methods of ``Engine`` do over the few that are required."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.builders import FIXTURES, token
from support.engine_makers import MAKERS, each_engine
from support.strategies import (
    filters,
    instance_filters,
    instance_orders,
    limits,
    make_instances,
    make_tokens,
    offsets,
    orders,
)
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine
from tokctl.errors import NotFoundError
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.tokens import NULL
from tokctl.model.visits import Visit

IDS = st.sampled_from(["i1", "i2", "i3"])
RECORDS = st.tuples(
    st.lists(make_instances(IDS), max_size=3, unique_by=lambda one: one.instance_id),
    st.lists(make_tokens(instance_ids=IDS), max_size=8, unique_by=lambda one: one.token_id),
).map(lambda both: [*both[0], *both[1]])
CREATED = SortOrder("created")


def plain_visit(visit: Visit) -> tuple:
    """Visits that were decoded lean are of a type of their own."""
    fields = {name: getattr(visit, name) for name in Visit.__struct_fields__}
    return tuple(sorted((fields | {"context": msgspec.structs.asdict(visit.context)}).items()))


@given(
    records=RECORDS,
    where=instance_filters,
    order=instance_orders,
    limit=limits,
    offset=offsets,
    tokens=filters,
    token_order=orders,
)
@settings(max_examples=10)
@each_engine
def test_answers_about_many_instances(make, records, where, order, limit, offset, tokens, token_order):
    engine = make(records)
    generic = list(Engine.instances(engine, where, order, limit=limit, offset=offset))
    assert generic == list(engine.instances(where, order, limit=limit, offset=offset))
    assert Engine.count_instances(engine, where) == engine.count_instances(where)
    assert list(Engine.all_instance_ids(engine)) == list(engine.all_instance_ids())
    assert Engine.latest_instance_id(engine) == engine.latest_instance_id()
    assert sorted(Engine.token_ids(engine, "", None, 99)) == sorted(engine.token_ids("", None, 99))
    assert [
        (replace(status, live_elements=()), [plain_visit(one) for one in visits])
        for status, visits in Engine.all_visits(engine, where, tokens, flows=True)
    ] == [
        (replace(status, live_elements=()), [plain_visit(one) for one in visits])
        for status, visits in engine.all_visits(where, tokens, flows=True)
    ]
    for by in (SortOrder("recorded"), SortOrder("recorded", descending=True), token_order):
        generic = list(Engine.tokens(engine, None, tokens, by, limit=limit, offset=offset))
        assert generic == list(engine.tokens(None, tokens, by, limit=limit, offset=offset))
    assert Engine.count_tokens(engine, None, tokens) == engine.count_tokens(None, tokens)
    for name in {None, *(record.process_id for record in records)}:
        generic, own = (
            sorted(rows)
            for rows in (Engine.visit_durations(engine, name, None, 2), engine.visit_durations(name, None, 2))
        )
        assert [ids for *ids, _ in generic] == [ids for *ids, _ in own]
        # Durations of centuries differ in the last digit that a float holds.
        assert [ms for *_, ms in generic] == pytest.approx([ms for *_, ms in own], rel=1e-12, abs=1e-3)
    engine.close()


@given(records=RECORDS, where=filters, limit=limits, offset=offsets)
@settings(max_examples=10)
@each_engine
def test_answers_about_one_instance(make, records, where, limit, offset):
    engine = make(records)
    for one in engine.all_instance_ids():
        generic = list(Engine.tokens(engine, one, where, CREATED, limit=limit, offset=offset))
        assert generic == list(engine.tokens(one, where, CREATED, limit=limit, offset=offset))
        assert Engine.summary(engine, one) == engine.summary(one)
        assert Engine.count_tokens(engine, one, where) == engine.count_tokens(one, where)
        assert [*map(plain_visit, Engine.visits(engine, one, where))] == [*map(plain_visit, engine.visits(one, where))]
        for token_id in [found.token_id for found in engine.tokens(one, ALL_TOKENS, CREATED)]:
            assert Engine.token(engine, one, token_id) == engine.token(one, token_id)
            assert Engine.children(engine, one, token_id) == engine.children(one, token_id)
    engine.close()


@pytest.mark.parametrize("maker", sorted(MAKERS))
def test_an_unknown_instance_cannot_be_loaded(maker):
    for projection in Projection:
        with pytest.raises(NotFoundError):
            MAKERS[maker]([token()]).load_instance("none", projection)


def test_a_store_reads_no_payloads_that_are_not_needed():
    hop = [{"from_element": "a", "via_flow": "f"}]
    engine = MAKERS["store"]([token(variables={"a": 1}, flow_history=hop, execution_context={"worker_id": "w"})])
    for projection, has_variables, has_flows in (
        (Projection.TOKENS, True, True),
        (Projection.VISITS, False, False),
        (Projection.VISITS_WITH_JOINS, False, True),
        (Projection.VISITS_WITH_FLOWS, False, True),
    ):
        (found,) = engine.tokens("i1", ALL_TOKENS, CREATED, projection=projection)
        assert (found.variables != NULL, found.flow_history != NULL) == (has_variables, has_flows), projection
        assert found.context.worker_id == "w"


def test_a_list_decodes_an_execution_context_at_most_once_a_row(tokctl, monkeypatch, tmp_path):
    import tokctl.model.tokens as model

    monkeypatch.setenv("TOKCTL_STORE", str(tmp_path / "store.db"))
    tokctl("store", "import", str(FIXTURES / "documented_tokens.json"))
    decoded = []
    decode = model.decode_context
    monkeypatch.setattr(model, "decode_context", lambda raw: decoded.append(raw) or decode(raw))
    for arguments, rows in (((), 3), (("-o", "wide"), 3), (("-o", "csv"), 3), (("-o", "json"), 0), (("-o", "id"), 0)):
        decoded.clear()
        assert tokctl("tokens", "list", *arguments).out
        assert len(decoded) == rows, arguments
