"""How long visits took: against the long way round, over the store and a file."""

import sys
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import combinations
from math import comb, erfc, inf, sqrt
from pathlib import Path
from statistics import pstdev

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.builders import at, instance, token
from support.strategies import few_names, filters, make_instances, make_tokens
from tokctl.analysis.performance.comparison import ALPHA, compare, find_groups_only_in, rank_test
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import DIMENSIONS
from tokctl.analysis.performance.statistics import Throughput, classify_time, compute_statistics
from tokctl.engines.file import FileEngine
from tokctl.model.element_types import ELEMENT_TYPES
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, TokenFilter
from tokctl.model.states import COMPLETED
from tokctl.model.times import to_micros
from tokctl.model.visits import Visit
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate
from tokctl.store import open_store
from tokctl.store.importing import import_records

pytestmark = pytest.mark.slow

NOW = at(30)
MODEL = Path(sys.modules["tokctl"].__file__).parent / "simulation" / "demo" / "order.bpmn"


def from_store(records):
    store = open_store(":memory:", write=True, create=True)
    with store.write() as batch:
        import_records(batch, records, lambda reject: pytest.fail(str(reject)))
    return store


def from_file(records):
    return FileEngine(records, name="answer.json")


def from_lean_file(records):
    """What ``--file`` reads for an analysis: visits, not tokens."""
    return FileEngine(
        ([Visit.from_token(one)] if hasattr(one, "token_id") else one for one in records), name="answer.json"
    )


ENGINES = {"store": from_store, "file": from_file, "lean file": from_lean_file}


def measure(engine, by=("element",), where=ALL_TOKENS, instances=None, now=None):
    performance = Performance(by, now)
    for about, visit_batches in engine.visit_batches(instances or InstanceFilter(), where):
        performance.add(about.instance_id, about.process_id, visit_batches)
    return performance


def everything(performance):
    """All that can be asked of a performance."""
    return {
        "groups": performance.groups(),
        "division": performance.breakdown(),
        "retries": performance.retries,
        "counts": _added(performance.counts()),
        "throughput": (performance.finished.width, performance.finished.buckets()),
        "fastest": performance.fastest,
        "slowest": performance.slowest,
        "period": (performance.first, performance.last),
        "instances": (performance.instances, performance.processes),
        "open": (performance.total_and_count_so_far(), performance.breakdown_so_far(), performance.longest_open),
        "left out": [performance.total(name) for name in ("derived", "negative", "unmeasured")],
    }


def _added(counts):
    added = Counter()
    for state, kind, number in counts:
        added[state, kind] += number
    return added


def measured(*tokens, by=("element",), where=ALL_TOKENS, now=None):
    return measure(from_file(list(tokens)), by, where, now=now)


# --- against the long way round -------------------------------------------------------------------

records_of = st.lists(make_tokens(instance_ids=few_names), max_size=14, unique_by=lambda t: (t.instance_id, t.token_id))
orders_by = st.lists(st.sampled_from(DIMENSIONS), min_size=1, max_size=3, unique=True).map(tuple)


def expected_groups(tokens, by, process_of):
    """Key → (visits, completed, live, durations, derived, negative, unmeasured, waited, open), by the definitions."""
    ends = {(t.instance_id, t.token_id): t.finished_at for t in tokens}
    groups = defaultdict(lambda: [0, 0, 0, [], 0, 0, 0, timedelta(), []])
    for visit in tokens:
        process = process_of.get(visit.instance_id)
        value = {"element": visit.element_id, "type": visit.element_type, "worker": visit.context.worker_id}
        key = (process if {"process", "element"} & set(by) else None, *(value[d] for d in by if d != "process"))
        group = groups[key]
        group[0] += 1
        group[2] += visit.live
        end = ends.get((visit.instance_id, visit.parent_token_id))
        if end and visit.created_at and visit.created_at > end:
            group[7] += visit.created_at - end
        since = visit.finished_at if visit.state == "FAILED" else visit.created_at
        if visit.live and since is not None:
            group[8].append(max((NOW - since) / timedelta(milliseconds=1), 0.0))
        if visit.state != COMPLETED:
            continue
        group[1] += 1
        took = visit.duration
        if took is None:
            group[6] += 1
        elif took.ms < 0:
            group[5] += 1
        else:
            group[3].append(took.ms)
            group[4] += took.derived
    return groups


@pytest.mark.parametrize("maker", sorted(ENGINES))
@given(tokens=records_of, by=orders_by, processes=st.dictionaries(few_names, few_names))
def test_groups_are_what_the_definitions_say(maker, tokens, by, processes):
    ids = {one.instance_id for one in tokens}
    known = [instance(i, process_id=processes.get(i)) for i in sorted(ids)]
    performance = measure(ENGINES[maker]([*known, *tokens]), by, now=NOW)
    expected = expected_groups([Visit.from_token(one) for one in tokens], by, processes)
    found = {g.key: g for g in performance.groups()}
    assert found.keys() == expected.keys()
    for key, (visits, completed, live, took, derived, negative, unmeasured, waited, open_ones) in expected.items():
        group = found[key]
        assert (group.visits, group.completed, group.live) == (visits, completed, live)
        assert group.stats == compute_statistics(took)
        assert (group.derived, group.negative, group.unmeasured) == (derived, negative, unmeasured)
        assert group.open == len(open_ones)
        assert group.so_far == pytest.approx(sum(open_ones))
        assert group.spent == pytest.approx(sum(took) + sum(open_ones))
        assert group.at_least == compute_statistics([*took, *open_ones] if open_ones else [])
        assert group.waited == pytest.approx(waited / timedelta(milliseconds=1))
    assert performance.instances == len(ids)
    total, count = performance.total_and_count()
    assert total == pytest.approx(sum(g.stats.total for g in found.values()))
    assert count == sum(g.stats.count for g in found.values())
    assert performance.total_and_count_so_far()[1] == sum(g.open for g in found.values())
    if shares := [g.share for g in found.values() if g.share is not None]:
        assert sum(shares) == pytest.approx(1)


def test_what_waits_counts_until_now_as_a_lower_bound():
    gateway = {"element_id": "join", "element_type": "parallelGateway"}
    work = {"element_id": "work", "element_type": "serviceTask"}
    performance = measured(
        *(token(f"j{n}", created_at=at(0), completed_at=at(10 * n), state="COMPLETED", **gateway) for n in (1, 2, 3)),
        token("waits", created_at=at(0), state="WAITING", **gateway),
        token("done", created_at=at(0), completed_at=at(100), state="COMPLETED", **work),
        token("fresh", created_at=at(3590), state="ACTIVE", **work),
        token("failed", created_at=at(0), completed_at=at(3000), state="FAILED", **work),
        token("cancelled", created_at=at(0), cancelled_at=at(9), state="CANCELLED", **work),
        token("untimed", created_at=None, state="WAITING", **gateway),
        token("future", created_at=at(4000), state="ACTIVE", element_id="later"),
        now=at(3600),
    )
    join, work, later = performance.groups()
    assert (join.element_id, join.live, join.open, join.so_far, join.spent) == ("join", 2, 1, 3_600_000, 3_660_000)
    assert (join.stats.p50, join.stats.max) == (20_000, 30_000)  # of what is over
    bounds = {name: join.bound(name) for name in ("mean", "p50", "p90", "p99", "min", "max")}
    assert bounds == {"mean": 915_000, "p50": None, "p90": 3.6e6, "p99": 3.6e6, "min": None, "max": 3.6e6}
    assert (work.open, work.so_far, work.spent) == (2, 610_000, 710_000)  # of what failed: the time since
    assert work.bound("p50") is None  # a young visit proves nothing
    assert (later.open, later.so_far) == (1, 0)
    assert (join.spent_share, join.share) == (3_660_000 / 4_370_000, 60 / 160)
    so_far = performance.breakdown_so_far()
    assert (so_far.processing, so_far.waiting, so_far.total) == (10_000, 4_200_000, 4_210_000)
    assert performance.breakdown().total == 160_000
    longest = performance.longest_open
    assert (longest.token_id, longest.duration_ms, longest.derived) == ("waits", 3_600_000, True)
    assert performance.slowest.token_id == "done"


def test_without_a_time_nothing_is_invented():
    performance = measured(token("waits", created_at=at(0), state="WAITING"))
    assert performance.total_and_count_so_far() == (0, 0)
    assert performance.longest_open is None
    (group,) = performance.groups()
    assert (group.live, group.open, group.spent, group.bound("max")) == (1, 0, 0, None)


def test_a_sub_process_has_no_share_beside_what_lies_in_it():
    took = {"execution_context": {"duration_ms": 4}, "state": "COMPLETED"}
    known = [
        token("s", element_id="s", element_type="subProcess", **took),
        token("a", element_id="a", element_type="task", **took),
        token(
            "b",
            element_id="b",
            element_type="task",
            state="COMPLETED",
            execution_context={"duration_ms": 4, "worker_id": "w"},
        ),
    ]
    shares = {group.element_id: group.share for group in measured(*known).groups()}
    assert shares == {"s": None, "a": 0.5, "b": 0.5}
    workers = {group.worker_id: (group.share, group.stats.total) for group in measured(*known, by=("worker",)).groups()}
    assert workers == {None: (0.5, 8), "w": (0.5, 4)}


@given(tokens=records_of)
def test_the_documented_figures(tokens):
    performance = measure(from_file(tokens))
    visits = [Visit.from_token(one) for one in tokens]
    done = [one for one in visits if one.state == COMPLETED]
    took = {
        one.instance_id + "\0" + one.token_id: one.duration.ms for one in done if one.duration and one.duration.ms >= 0
    }
    assert performance.retries == Counter(one.context.retries_used or 0 for one in done)
    assert _added(performance.counts()) == Counter((one.state, one.element_type) for one in visits)
    for sample, best in ((performance.fastest, min), (performance.slowest, max)):
        if not took:
            assert sample is None
            continue
        assert took[sample.instance_id + "\0" + sample.token_id] == sample.duration_ms == best(took.values())
    breakdown = performance.breakdown()
    kinds = Counter()
    for one in done:
        kinds[classify_time(one.element_type)] += took.get(one.instance_id + "\0" + one.token_id, 0)
    for kind in ("processing", "overhead", "unknown", "scope"):
        assert getattr(breakdown, kind) == pytest.approx(kinds[kind])
    assert breakdown.waiting == pytest.approx(kinds["waiting"] + breakdown.between)
    assert breakdown.between == pytest.approx(sum(g.waited for g in performance.groups()))


@given(
    records=st.lists(make_instances(few_names), max_size=3, unique_by=lambda i: i.instance_id),
    tokens=records_of,
    where=filters,
    by=orders_by,
    processes=st.sampled_from([(), ("a*",), ("?",)]),
    version=st.sampled_from([None, None, 3]),
)
def test_store_and_file_say_the_same(records, tokens, where, by, processes, version):
    look = InstanceFilter(processes=processes, version=version)
    found = [everything(measure(make([*records, *tokens]), by, where, look)) for make in ENGINES.values()]
    assert found[0] == found[1] == found[2]
    wanted = (
        [one for one in tokens if where.matches(Visit.from_token(one))] if not processes and version is None else None
    )
    if wanted is not None:
        assert sum(g.visits for g in found[0]["groups"]) == len(wanted)


@pytest.mark.parametrize("maker", sorted(ENGINES))
def test_one_instance(maker):
    engine = ENGINES[maker]([token("a", "i1"), token("b", "i2"), token("c", "i2")])
    assert sum(g.visits for g in measure(engine, instances="i2").groups()) == 2


@given(tokens=records_of, by=orders_by, random=st.randoms(use_true_random=False))
def test_the_order_of_tokens_leaves_no_trace(tokens, by, random):
    shuffled = random.sample(tokens, len(tokens))
    assert everything(measured(*tokens, by=by)) == everything(measured(*shuffled, by=by))


@given(st.integers(1, 9), st.integers(2, 40))
def test_neither_do_chunks(size, count):
    tokens = [
        token(f"t{n}", parent_token_id=f"t{n + 1}", created_at=at(count - n), completed_at=at(count - n + n % 3 / 10))
        for n in range(count)
    ]
    whole = measured(*tokens)
    cut = Performance()
    ((about, chunks),) = from_file(tokens).visit_batches(InstanceFilter())
    (visit_batches,) = chunks
    cut.add(
        about.instance_id,
        None,
        [
            type(visit_batches)(*(column and column[n : n + size] for column in visit_batches))
            for n in range(0, count, size)
        ],
    )
    assert everything(cut) == everything(whole)


# --- what counts as a duration ----------------------------------------------------------------------


def test_zero_counts():
    performance = measured(
        token("a", execution_context={"duration_ms": 0}),
        token("b", execution_context={"duration_ms": 10}),
        token("c", created_at=at(0), completed_at=at(0)),
    )
    (group,) = performance.groups()
    assert group.stats == compute_statistics([0, 0, 10])
    assert group.derived == 1
    assert performance.fastest.token_id == "c"  # of two that took nothing, the one whose beginning is known


def test_of_visits_that_are_alike_in_all_their_ids_decide():
    about = {"created_at": at(0), "completed_at": at(1)}
    several = [
        token("b", "i2", **about),
        token("b", "i1", **about),
        token("a", "i2", **about),
        token("a", "i1", **about),
    ]
    for tokens in (several, several[::-1]):
        performance = measured(*tokens)
        assert (performance.fastest.instance_id, performance.fastest.token_id) == ("i1", "a")
        assert performance.slowest == performance.fastest


@pytest.mark.parametrize("maker", sorted(ENGINES))
def test_the_edges_of_a_period(maker):
    engine = ENGINES[maker]([token("a", created_at=at(0), updated_at=at(9))])
    for where, count in [
        ({"since": at(9)}, 1),
        ({"since": at(9.001)}, 0),
        ({"until": at(0)}, 0),
        ({"until": at(0.1)}, 1),
    ]:
        assert measure(engine, where=TokenFilter(**where)).instances == count


def test_what_nobody_measured_is_counted_and_no_duration():
    (group,) = measured(
        token("a", created_at=at(0)),
        token("b", execution_context={"duration_ms": None}),
        token("c", execution_context=["no object"]),
        token("d", execution_context={"duration_ms": "soon"}),
    ).groups()
    assert (group.visits, group.completed, group.unmeasured, group.stats.count) == (4, 4, 4, 0)
    assert (group.stats.mean, group.share) == (None, None)


def test_what_ended_before_it_began_is_counted_and_no_figure():
    performance = measured(
        token("a", created_at=at(10), completed_at=at(5)),
        token("b", execution_context={"duration_ms": -4}),
        token("c", execution_context={"duration_ms": 7}),
    )
    (group,) = performance.groups()
    assert (group.negative, group.derived) == (2, 0)
    assert group.stats == compute_statistics([7])
    assert performance.fastest.token_id == "c"


def test_only_completed_visits_have_durations():
    times = {"created_at": at(0), "updated_at": at(60)}
    (group,) = measured(
        token("a", created_at=at(0), completed_at=at(1)),
        token("b", state="FAILED", **times),
        token("c", state="CANCELLED", **times),
        token("d", state="ACTIVE", **times),
        token("e", state="STUCK", **times),
    ).groups()
    assert group.stats == compute_statistics([1000])
    assert (group.visits, group.completed, group.live) == (5, 1, 3)
    assert group.states == {"ACTIVE": 1, "CANCELLED": 1, "FAILED": 1, "STUCK": 1}


def test_a_filter_leaves_parents_out_but_knows_when_they_ended():
    tokens = [
        token("a", element_id="first", created_at=at(0), completed_at=at(1)),
        token("b", element_id="second", parent_token_id="a", created_at=at(4), completed_at=at(5)),
    ]
    for make in ENGINES.values():
        performance = measure(make(tokens), where=TokenFilter(elements=("second",)))
        (group,) = performance.groups()
        assert (group.element_id, group.waited) == ("second", 3000)
        assert performance.breakdown().between == 3000


def test_the_same_element_of_two_processes_is_two():
    about = [instance("i1", process_id="p"), instance("i2", process_id="q")]
    tokens = [token("a", "i1", element_name="Pay"), token("b", "i2", element_name="Zahlen")]
    performance = measure(from_file([*about, *tokens]))
    assert {(g.process_id, g.element_name) for g in performance.groups()} == {("p", "Pay"), ("q", "Zahlen")}
    (group,) = measure(from_file([*about, *tokens]), by=("type",)).groups()
    assert (group.process_id, group.visits) == (None, 2)


# --- kinds of time ----------------------------------------------------------------------------------


def test_every_type_has_a_kind():
    kinds = defaultdict(set)
    for element_type in (*ELEMENT_TYPES, "robotTask", "fooGateway", "fooEvent", "robot", None):
        kinds[classify_time(element_type)].add(element_type)
    assert kinds == {
        "processing": {"task", "serviceTask", "scriptTask", "sendTask", "businessRuleTask", "robotTask"},
        "waiting": {
            "userTask",
            "manualTask",
            "receiveTask",
            "intermediateCatchEvent",
            "boundaryEvent",
            "eventBasedGateway",
            "parallelGateway",
            "inclusiveGateway",
            "complexGateway",
        },
        "overhead": {"startEvent", "endEvent", "intermediateThrowEvent", "exclusiveGateway", "fooGateway", "fooEvent"},
        "scope": {"subProcess", "transaction", "adHocSubProcess", "callActivity"},
        "unknown": {"robot", None},
    }


# --- throughput -------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(-(10**16), 10**16) | st.integers(0, 10**8), max_size=8), max_size=5))
@example([[0], [10**17 * 2]])
@example([[-(6 * 10**16), 25 * 10**16]])
def test_every_end_is_in_its_stretch(parts):
    throughput = Throughput()
    for part in parts:
        throughput.add(list(part))
    ends = [end for part in parts for end in part]
    buckets = throughput.buckets()
    assert len(buckets) <= Throughput.MAX_BUCKETS
    assert dict(buckets) == {b: sum(b <= end < b + throughput.width for end in ends) for b, _ in buckets}
    assert sum(number for _, number in buckets) == len(ends)
    assert [begin for begin, _ in buckets] == [buckets[0][0] + n * throughput.width for n in range(len(buckets))]
    together = Throughput()
    together.add(ends)
    assert (together.width, together.buckets()) == (throughput.width, buckets)


def test_stretches_are_as_short_as_they_fit():
    throughput = Throughput()
    throughput.add([at(0), at(47)])
    assert (throughput.width, len(throughput.buckets())) == (1_000_000, 48)
    throughput.add([at(48)])
    assert throughput.width == 5_000_000
    assert throughput.buckets()[0] == (to_micros(at(0)), 1)


# --- comparing --------------------------------------------------------------------------------------

samples = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=6)


@given(samples, samples)
def test_the_effect_is_counted_over_all_pairs(ours, theirs):
    delta, p = rank_test(ours, theirs)
    pairs = [(a > b) - (a < b) for a in ours for b in theirs]
    assert delta == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= p <= 1
    back, same = rank_test(theirs, ours)
    assert (back, same) == (pytest.approx(-delta), pytest.approx(p))


def won(one, two):
    return sum((a > b) + (a == b) / 2 for a in one for b in two)


def all_ways(pooled, size):
    """What one side of so many wins, for every way to part the values."""
    places = range(len(pooled))
    for chosen in combinations(places, size):
        yield won([pooled[n] for n in chosen], [pooled[n] for n in places if n not in chosen])


@pytest.mark.parametrize("shift", [0.0, 2.5, 4.5, 8.5])
def test_p_is_near_what_all_permutations_say(shift):
    ours = [n + shift for n in (0.0, 2.1, 3.3, 5.7, 6.2, 8.9, 9.4, 11.8)]
    theirs = [1.0, 1.9, 4.4, 5.1, 7.3, 7.7, 10.2, 10.9]
    far = abs(won(ours, theirs) - 32)
    extreme = sum(abs(ways - 32) >= far for ways in all_ways(ours + theirs, 8))
    assert rank_test(ours, theirs)[1] == pytest.approx(extreme / comb(16, 8), abs=0.02)


@pytest.mark.parametrize(
    ("ours", "theirs"), [([0, 0, 1, 1, 1, 1], [0, 0, 0, 1]), ([5, 6, 6, 7, 9], [1, 5, 5, 6, 7, 8])]
)
def test_ties_are_reckoned_with(ours, theirs):
    spread = pstdev(all_ways(ours + theirs, len(ours)))  # what the formula is for, the long way
    z = (abs(won(ours, theirs) - len(ours) * len(theirs) / 2) - 0.5) / spread
    assert rank_test(ours, theirs)[1] == pytest.approx(erfc(z / sqrt(2)))


def test_ties_make_a_difference_of_rank_less_certain():
    assert rank_test([1.0] * 20, [1.0] * 20) == (0, 1)
    assert rank_test([1.0] * 20, [2.0] * 20)[1] < 1e-6


class Sink:
    def __init__(self):
        self.records = []

    def put_definition(self, definition):
        pass

    def put(self, about, tokens):
        self.records += [about, *tokens]


def orders(seed, payment="4s", count=60):
    sink = Sink()
    scenario = f"""
        process: order-processing
        seed: {seed}
        instances: {count}
        variables: {{amount: {{range: [18.00, 990.00]}}, paymentMethod: {{choice: [credit, invoice]}},
                     accepted: true, paid: true}}
        tasks:
          default: {{takes: {{lognormal: {{median: 10s, sigma: 0.7}}}}}}
          process-payment: {{takes: {{lognormal: {{median: {payment}, sigma: 0.8}}}}}}
    """
    simulate(read_models([MODEL]), parse_scenario(scenario), sink, start=at(0))
    return from_file(sink.records)


@pytest.fixture(scope="module")
def usual():
    return measure(orders(1))


def verdicts(subject, base):
    return {g.element_id: g.comparison.verdict for g in compare(subject, base) if g.kind != "overhead"}


def test_a_slow_version_is_marked_and_its_neighbours_are_not(usual):
    found = verdicts(measure(orders(2, payment="12s")), usual)
    assert found.pop("process-payment") == "slower"
    assert set(found.values()) <= {"same", "few"}
    assert found["validate-order"] == found["pack-items"] == "same"


def test_and_the_other_way_round_it_is_faster(usual):
    assert verdicts(usual, measure(orders(2, payment="12s")))["process-payment"] == "faster"


@pytest.mark.parametrize("seed", range(2, 8))
def test_chance_alone_is_not_marked(usual, seed):
    assert set(verdicts(measure(orders(seed)), usual).values()) <= {"same", "few"}


def visits(prefix, *times, element="task"):
    return [
        token(f"{prefix}{n}", element_id=element, execution_context={"duration_ms": time})
        for n, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([200] * 10, [100] * 10, "slower"),
        ([100] * 10, [200] * 10, "faster"),
        ([200] * 9, [100] * 100, "few"),  # every one is slower, and they are too few to tell
        ([104] * 50, [100] * 50, "same"),  # certainly slower, and nobody minds
        ([1.9] * 50, [1] * 50, "same"),  # less than times are told to
        ([*range(100, 200), *range(110, 210)], [*range(100, 200), *range(90, 190)], "same"),  # within the spread
        ([0] * 20 + [9999] * 3, [0] * 23, "same"),  # a few that took for ever are no change of the usual
        ([10] * 10, [0] * 10, "slower"),
    ],
)
def test_what_matters(ours, theirs, verdict):
    (group,) = compare(measured(*visits("a", *ours)), measured(*visits("b", *theirs)))
    assert group.comparison.verdict == verdict
    assert group.comparison.base == compute_statistics(theirs)


def test_one_of_many_groups_has_to_be_more_certain():
    ours, theirs = [*range(5, 17)], [*range(12)]
    _, p = rank_test(ours, theirs)
    assert ALPHA / 20 < p < ALPHA
    one = compare(measured(*visits("a", *ours)), measured(*visits("b", *theirs)))
    assert [g.comparison.verdict for g in one] == ["slower"]
    others = [t for n in range(19) for t in visits(f"x{n}-", *range(12), element=f"e{n}")]
    many = compare(measured(*visits("a", *ours), *others), measured(*visits("b", *theirs), *others))
    assert {g.comparison.verdict for g in many} == {"same"}


def test_groups_of_one_side_only():
    ours, theirs = measured(*visits("a", 1, element="x")), measured(*visits("b", 1, element="y"))
    (group,) = compare(ours, theirs)
    assert (group.comparison.verdict, group.comparison.base.count) == ("new", 0)
    assert [g.element_id for g in find_groups_only_in(theirs, ours)] == ["y"]


def test_two_processes_are_compared_element_by_element():
    def of(process, *tokens):
        return measure(from_file([instance(process_id=process), *tokens]))

    (group,) = compare(of("order-a", *visits("a", *[200] * 10)), of("order-b", *visits("b", *[100] * 10)))
    assert group.comparison.verdict == "slower"
    mixed = measure(
        from_file(
            [
                instance("i1", process_id="p"),
                instance("i2", process_id="q"),
                token("a", "i1"),
                token("b", "i2"),
            ]
        )
    )
    assert {g.comparison.verdict for g in compare(mixed, of("r", token()))} == {"new"}


def test_huge_and_endless_durations():
    performance = measured(*visits("a", 1e308, 1e308))
    (group,) = performance.groups()
    assert group.stats.total == sys.float_info.max
    assert performance.total_and_count() == (sys.float_info.max, 2)
    assert performance.mean == 1e308
    endless = msgspec.structs.replace(
        Visit.from_token(token(created_at=at(0), completed_at=at(1))),
        context=msgspec.structs.replace(Visit.from_token(token()).context, duration_ms=inf),
    )
    (group,) = measure(FileEngine([[endless]], name="x")).groups()
    assert (group.stats, group.derived) == (compute_statistics([1000]), 1)
