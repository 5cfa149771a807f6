"""Every debug rule on recordings of real runs that get into that trouble, and on sound ones that do not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.examples import scaled
from support.recording import START, MemorySink, run
from tokctl.analysis.debug.rules import RULES
from tokctl.engines.file import FileEngine
from tokctl.services.debug import DebugQuery, run_debug
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("TOKCTL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def records(sink, *, damage=None):
    """What a sink has kept, as records; ``damage`` turns the tokens of an instance into others."""
    yield from sink.definitions.values()
    for instance_id, tokens in sink.tokens.items():
        yield sink.instances[instance_id]
        process_id = sink.instances[instance_id].process_id
        kept = [replace(token, process_id=process_id) for token in tokens.values()]
        yield from damage(kept) if damage else kept


def look(sink, rule=None, *, after=HOUR, damage=None, **question):
    """Return the elements of the tokens that each rule finds so long after the start."""
    engine = FileEngine(records(sink, damage=damage), name="recording")
    rules = (rule,) if rule else ()
    report = run_debug(engine, None, START + after, DebugQuery(rules=rules, ended=True, **question))
    return {finding.type: [hit.visit.element_id for hit in finding.matches] for finding in report.findings}


BAD = "tasks: {check: {fails: {times: 9}, retries: {max: 3, backoff: 1s}}}"
FINE = "tasks: {check: {fails: {times: 2}, retries: {max: 3, backoff: 1s}}}"
LAST = "tasks: {check: {takes: 10m, fails: {times: 3}, retries: {max: 3, backoff: 1s}}}\nuntil: "
HANGS = "until: 1h\ntasks: {approve: {hangs: true, timeout: %s}}"
FORK = "until: 1h\ntasks: {a: {%s}}"
MANY = "until: 2h\ninstances: {count: 31, rate: 1/min}\ncases: {%s: {tasks: {approve: {hangs: true}}}}"
CLEAN = {"sequence": "variables: {price: 2}", "loop": "variables: {n: 0, rounds: 0}"}

# rule → (models, scenario, elements found); the neighbours find nothing
RUNS = {
    "FAILED_TOKENS": [("sequence", BAD, ["check"]), ("sequence", FINE, [])],
    "RETRIES_EXHAUSTED": [("sequence", LAST + "35m", ["check"]), ("sequence", LAST + "25m", [])],
    "HIGH_RETRY_TOKENS": [("sequence", BAD, ["check"]), ("sequence", FINE, [])],
    "TIMED_OUT_TOKENS": [("sequence", HANGS % "59m", ["approve"]), ("sequence", HANGS % "2h", [])],
    "LONG_RUNNING_TOKENS": [
        ("sequence", HANGS % "2h", ["approve"]),
        ("sequence", "until: 1h\ntasks: {approve: {hangs: true, takes: 1s}, check: {takes: 51m}}", []),
    ],
    "STUCK_GATEWAY_TOKENS": [
        ("parallel", FORK % "fails: {times: 9}", ["join", "join"]),
        ("parallel", FORK % "hangs: true", []),
    ],
    "DEADLOCKED_JOIN": [
        ("parallel", FORK % "fails: {times: 9}", ["join"]),
        ("parallel", FORK % "hangs: true", []),
        ("parallel", FORK % "fails: {times: 1}, retries: {max: 1, backoff: 2h}", []),
    ],
    "SUSPENDED_TOKENS": [
        ("parallel", (FORK % "hangs: true") + "\nsuspend: {after: 30m}", ["a", "join", "join"]),
        ("parallel", (FORK % "hangs: true") + "\nsuspend: {after: 30m, lasts: 1m}", []),
    ],
    "LOOPING_TOKENS": [
        ("loop", "variables: {n: -20, rounds: 1}", ["enough", "try"]),
        ("loop", "variables: {n: -16, rounds: 1}", []),
    ],
    "SLOWER_THAN_USUAL": [("sequence", MANY % 7, ["approve"]), ("sequence", MANY.replace("31", "20") % 7, [])],
    "COMMON_CAUSE": [
        ("sequence", "until: 1h\ninstances: 3\ntasks: {approve: {hangs: true}}", ["approve"] * 3),
        ("sequence", "until: 1h\ninstances: 2\ntasks: {approve: {hangs: true}}", []),
    ],
}


def leave_out(element):
    def damage(tokens):
        return [token for token in tokens if token.element_id != element]

    return damage


def change(element, **fields):
    def damage(tokens):
        by_element = {token.element_id: token for token in tokens}
        given = {name: value(by_element) for name, value in fields.items()}
        return [replace(token, **given) if token.element_id == element else token for token in tokens]

    return damage


# What a sound engine cannot get into: a recording with a gap, a link to another, a clock that was set
# back, a token's end that was never recorded.
DAMAGED = {
    "ORPHANED_TOKENS": ("sequence", "", leave_out("check"), ["compute"]),
    "BROKEN_LINKS": ("sequence", "", change("approve", parent_token_id=lambda of: of["start"].token_id), ["approve"]),
    "TIME_ANOMALIES": (
        "sequence",
        "",
        change("approve", completed_at=lambda of: of["approve"].created_at - MINUTE),
        ["approve"],
    ),
    "ZOMBIE_TOKENS": ("sequence", "", change("approve", state=lambda _: "ACTIVE"), ["approve"]),
}


OTHER_ENGINES = {"JOB_NOT_TAKEN", "FAILED_CALLS"}
"""Troubles of engines that give jobs to workers, and that run a called process as an instance of its own."""


def test_every_rule_is_tried_on_a_real_run():
    assert RUNS.keys() | DAMAGED.keys() | OTHER_ENGINES == RULES.keys()


@pytest.mark.parametrize(
    ("rule", "models", "scenario", "found"), [(rule, *one) for rule, several in RUNS.items() for one in several]
)
def test_a_run_that_gets_into_trouble_and_one_that_nearly_does(rule, models, scenario, found):
    variables = CLEAN.get(models, "")
    sink = run(models, scenario if "variables" in scenario else f"{scenario}\n{variables}")
    assert (
        sorted(
            look(sink, rule, after=2 * HOUR if "2h" in scenario and rule == "SLOWER_THAN_USUAL" else HOUR).get(rule, [])
        )
        == found
    )


@pytest.mark.parametrize("rule", DAMAGED)
def test_a_recording_that_was_damaged(rule):
    models, scenario, damage, found = DAMAGED[rule]
    sink = run(models, f"{scenario}\n{CLEAN[models]}")
    assert sorted(look(sink, rule, damage=damage)[rule]) == found
    assert look(sink) == {}


def test_a_live_copy_below_a_sub_process_that_was_cancelled():
    sink = run("subprocess", "tasks: {work: {hangs: true}}\ncancel: 10m")
    assert "ZOMBIE_TOKENS" not in look(sink)
    alive = change("work", state=lambda _: "ACTIVE", cancelled_at=lambda _: None)
    [instance_id] = sink.instances
    sink.instances[instance_id] = replace(sink.instances[instance_id], status="ACTIVE", cancelled_at=None)
    assert look(sink, "ZOMBIE_TOKENS", damage=alive)["ZOMBIE_TOKENS"] == ["work"]


def test_a_path_that_a_boundary_event_began_outlives_the_activity():
    sink = run("boundary", "until: 70m\ntasks: {slow: {hangs: true}, nudge: {hangs: true}, charge: {hangs: true}}")
    states = {token.element_id: token.state for token in sink.of()}
    assert (states["slow"], states["nudge"]) == ("CANCELLED", "ACTIVE")
    assert "ZOMBIE_TOKENS" not in look(sink, after=70 * MINUTE)


BUSY = """
seed: {seed}
until: {minutes}m
instances: {{count: 5, rate: 1/min, arrival: poisson}}
variables: {{n: 0, rounds: 0, gift: {{choice: [true, false]}}, fast: {{choice: [true, false]}}, price: 2,
            amount: {{range: [0, 200]}}, items: [a, b]}}
tasks: {{default: {{takes: {{lognormal: {{median: 3m, sigma: 1}}}}, fails: 20%, retries: {{max: 2, backoff: 1m}},
         timeout: 5m, hangs: 5%, worker: [w1, w2]}},
         charge: {{throws: {{error: E-DECLINED, probability: 0.5}}}}}}
messages: {{open: {{after: {{exponential: 10m}}, probability: 90%}},
           paid: {{after: {{uniform: [1m, 2h]}}, sets: {{paid: true}}}}, shipped: 1m}}
cancel: {{after: 30m, probability: 15%}}
suspend: {{after: 4m, lasts: 7m, probability: 40%}}
"""
MODELS = [
    "sequence",
    "exclusive",
    "inclusive",
    "parallel",
    "subprocess",
    "calling called",
    "multiple",
    "loop",
    "boundary",
    "interrupted",
    "terminate",
    "events",
]
UNSOUND = tuple(DAMAGED)


@pytest.mark.parametrize("models", MODELS)
@settings(max_examples=scaled(0.06))
@given(seed=st.integers(0, 10**6), minutes=st.integers(1, 120))
def test_no_sound_run_is_said_to_contradict_itself(models, seed, minutes):
    sink = run(models, BUSY.format(seed=seed, minutes=minutes))
    found = look(sink, after=timedelta(minutes=minutes))
    assert not found.keys() & set(UNSOUND), found


@pytest.mark.parametrize("models", ["parallel", "inclusive", "loop", "boundary"])
@settings(max_examples=scaled(0.06))
@given(seed=st.integers(0, 10**6), minutes=st.integers(1, 40))
def test_a_deadlocked_join_never_fires(models, seed, minutes):
    scenario = BUSY.replace("cancel:", "# ").replace("max: 2", "max: 0").format(seed=seed, minutes=minutes)
    early, late = run(models, scenario), run(models, scenario.replace(f"until: {minutes}m", "until: 900m"))
    engine = FileEngine(records(early), name="recording")
    report = run_debug(engine, None, START + minutes * MINUTE, DebugQuery(rules=("DEADLOCKED_JOIN",), ended=True))
    for hit in (hit for finding in report.findings for hit in finding.matches):
        number = list(early.instances).index(hit.visit.instance_id)
        place = list(early.tokens[hit.visit.instance_id]).index(hit.visit.token_id)
        then = late.of(number)[place]  # the ids are others
        assert (then.element_id, then.created_at) == (hit.visit.element_id, hit.visit.created_at)
        assert then.live


class Both(MemorySink):
    """Hands everything on."""

    def __init__(self, *others):
        super().__init__()
        self.others = others

    def put_definition(self, definition):
        super().put_definition(definition)
        for other in self.others:
            other.put_definition(definition)

    def put(self, instance, tokens):
        tokens = list(tokens)
        super().put(instance, tokens)
        for other in self.others:
            other.put(instance, tokens)


def resolved(finding):
    """A finding with the texts that are computed when they are shown."""
    matches = tuple(replace(one, message=one.text, details=one.facts) for one in finding.matches)
    return replace(finding, matches=matches)


def test_a_store_says_the_same_of_a_simulation(tmp_path):
    scenario = BUSY.format(seed=3, minutes=6)
    store = open_store(str(tmp_path / "x.db"), write=True, create=True)
    with StoreSink(store) as writing:
        sink = run("parallel", scenario, sink=Both(writing))
    in_memory = FileEngine(records(sink), name="recording")
    for ended in (True, False):
        reports = [
            run_debug(engine, None, START + 6 * MINUTE, DebugQuery(ended=ended)) for engine in (store, in_memory)
        ]
        stored, held = ([resolved(finding) for finding in report.findings] for report in reports)
        assert stored == held != []
    store.close()
