"""An engine as of a point in time, over each engine, compared with ``as_of.reconstruct_instance`` of each token."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.builders import at, instance, raw, tokens
from support.engine_makers import MAKERS, each_but_bare
from support.examples import scaled
from support.strategies import (
    filters,
    globs,
    instance_filters,
    instance_orders,
    limits,
    make_instances,
    make_tokens,
    moments,
    names,
    offsets,
    orders,
)
from tokctl.analysis.as_of import reconstruct_instance
from tokctl.engines.as_of import AsOfEngine
from tokctl.engines.file import FileEngine
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.model.tokens import ExecutionContext
from tokctl.model.variables import VariableCondition
from tokctl.model.visits import Visit

CREATED, STARTED = SortOrder("created"), SortOrder("started")
IDS = st.sampled_from(["i1", "i2", "i3", "j1"])
MOMENTS = moments.filter(bool)
RECORDS = st.tuples(
    st.lists(make_instances(IDS), max_size=4, unique_by=lambda one: one.instance_id),
    st.lists(make_tokens(instance_ids=IDS), max_size=10, unique_by=lambda one: one.token_id),
).map(lambda two: [*two[0], *two[1]])


def of_the_past(records, moment):
    """A file of what stood at the moment, and its instances' statuses."""
    now, then, statuses = FileEngine(records, name="now"), [], {}
    for instance_id in now._instances:
        found = reconstruct_instance(now.instance(instance_id), now.tokens(instance_id, ALL_TOKENS, CREATED), moment)
        if found is not None:
            statuses[instance_id] = found.status
            then += [found.status.instance, *found.tokens]
    return FileEngine(then, name="then"), statuses


def plain(one):
    """A token or a visit without what a store adds; an instance without what no file can say of itself."""
    if hasattr(one, "status_derived"):
        return msgspec.structs.replace(one, status_derived=False)
    if isinstance(one, Visit):  # one that was decoded lean is of a type of its own
        return {name: plain_context(getattr(one, name)) for name in Visit.__struct_fields__ if name != "process_id"}
    return msgspec.structs.replace(one, process_id=None) if hasattr(one, "process_id") else one


def plain_context(value):
    return msgspec.structs.asdict(value) if isinstance(value, ExecutionContext) else value


def plainly(several):
    return [plain(one) for one in several]


def visit_batches(engine, instances, where):
    return [(about.instance_id, list(several)) for about, several in engine.visit_batches(instances, where)]


past_filters = instance_filters.map(lambda where: replace(where, variables=()))


def test_values_of_variables_in_the_past_are_not_known():
    where = InstanceFilter(variables=(VariableCondition("a", "1"),))
    engine = AsOfEngine(MAKERS["file"]([instance("i1", variables=raw({"a": 1}))]), at(0))
    with pytest.raises(UsageError, match="--at"):
        list(engine.scan_instances(where))


@given(
    records=RECORDS,
    moment=MOMENTS,
    where=past_filters,
    order=instance_orders,
    limit=limits,
    offset=offsets,
    prefix=st.sampled_from(["", "i", "j", "i2", "x"]),
)
@settings(max_examples=scaled(0.5))
@each_but_bare
def test_instances_as_of_a_moment(make, records, moment, where, order, limit, offset, prefix):
    below = make(records)
    engine, (expected, statuses) = AsOfEngine(below, moment), of_the_past(records, moment)
    assert list(engine.instances(where, order)) == [
        statuses[one.instance.instance_id] for one in expected.instances(where, order)
    ]
    several = engine.instances(where, order, limit=limit, offset=offset)
    assert plainly(several) == plainly(expected.instances(where, order, limit=limit, offset=offset))
    assert engine.count_instances(where) == expected.count_instances(where)
    assert engine.latest_instance_id() == expected.latest_instance_id()
    for count in (1, 2, 5):
        assert engine.instance_ids(prefix, count) == expected.instance_ids(prefix, count)
    for instance_id in ("i1", "i2", "i3", "j1"):
        if instance_id in statuses:
            assert engine.instance(instance_id) == statuses[instance_id]
        else:
            with pytest.raises(NotFoundError):
                engine.instance(instance_id)
    engine.close()


@given(
    records=RECORDS,
    moment=MOMENTS,
    where=filters,
    order=orders,
    limit=limits,
    offset=offsets,
    prefix=st.one_of(names, st.just("")),
)
@settings(max_examples=scaled(0.5))
@each_but_bare
def test_tokens_as_of_a_moment(make, records, moment, where, order, limit, offset, prefix):
    below = make(records)
    engine, (expected, statuses) = AsOfEngine(below, moment), of_the_past(records, moment)
    for one in statuses:
        assert engine.summary(one) == expected.summary(one)
        assert plainly(engine.tokens(one, where, order)) == plainly(expected.tokens(one, where, order))
        some = engine.tokens(one, where, order, limit=limit, offset=offset)
        assert plainly(some) == plainly(expected.tokens(one, where, order, limit=limit, offset=offset))
        assert engine.count_tokens(one, where) == expected.count_tokens(one, where)
        visits = engine.visits(one, where, flows=True)
        assert plainly(visits) == plainly(expected.visits(one, where, flows=True))
        assert list(engine.tree_rows(one)) == list(expected.tree_rows(one))
        assert engine.token_ids(prefix, one, 3) == expected.token_ids(prefix, one, 3)
        assert visit_batches(engine, one, where) == visit_batches(expected, one, where)
        for found in expected.tokens(one, ALL_TOKENS, CREATED):
            assert plain(engine.token(one, found.token_id)) == plain(found)
            assert engine.children(one, found.token_id) == expected.children(one, found.token_id)
    for record in records:
        if hasattr(record, "token_id") and not expected.token_ids(record.token_id, None, 99):
            with pytest.raises(NotFoundError):
                engine.token(record.instance_id, record.token_id)
    for count in (1, 3, 99):
        assert engine.token_ids(prefix, None, count) == expected.token_ids(prefix, None, count)
    engine.close()


@given(
    records=RECORDS,
    moment=MOMENTS,
    instances=past_filters,
    where=filters,
    names_=st.sets(names),
    count=limits,
    process=st.one_of(st.none(), names, globs),
)
@settings(max_examples=scaled(0.5))
@each_but_bare
def test_the_visits_of_all_as_of_a_moment(make, records, moment, instances, where, names_, count, process):
    below = make(records)
    engine, (expected, statuses) = AsOfEngine(below, moment), of_the_past(records, moment)
    found = [(status, plainly(visits)) for status, visits in engine.all_visits(instances, where, flows=True)]
    assert found == [
        (statuses[status.instance.instance_id], plainly(visits))
        for status, visits in expected.all_visits(instances, where, flows=True)
    ]
    assert visit_batches(engine, instances, where) == visit_batches(expected, instances, where)
    elements = names_ | {record.element_id for record in records if hasattr(record, "element_id")}
    for name in {process, *(record.process_id for record in records)}:
        durations = engine.visit_durations(name, elements, count or 3)
        assert list(durations) == list(expected.visit_durations(name, elements, count or 3))
    engine.close()


@pytest.mark.parametrize("maker", sorted(MAKERS.keys() - {"bare"}))
def test_the_last_instances_of_a_process_are_the_last_that_had_begun(maker):
    records = [instance(f"i{n}", process_id="p[1]*") for n in range(4)] + [instance("o", process_id="p1")]
    for n, instance_id in enumerate(("i0", "i1", "i2", "i3", "o")):
        records += tokens(1, instance_id, created_at=at(n * 10), updated_at=at(n * 10 + 5), completed_at=at(n * 10 + 5))
    engine = AsOfEngine(MAKERS[maker](records), at(29))
    assert list(engine.visit_durations("p[1]*", {"task"}, 2)) == [("i2", "task", 5000.0), ("i1", "task", 5000.0)]
    assert list(engine.visit_durations("p[1]*", {"task"}, 9))[-1] == ("i0", "task", 5000.0)
    assert not list(engine.visit_durations("p1", {"task"}, 9))
    assert engine.latest_instance_id() == "i2"
    engine.close()
