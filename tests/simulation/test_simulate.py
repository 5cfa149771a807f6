"""Real models, run by the real engine on a virtual clock."""

import signal
import subprocess
import sys
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.recording import MODELS, START, MemorySink, run, validate_states
from tokctl.errors import NotFoundError, UsageError
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate, starts

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def variables(token):
    return msgspec.json.decode(token.variables)


def context(token):
    return msgspec.json.decode(token.execution_context)


def ways(tokens):
    return [hop.via_flow for token in tokens for hop in token.hops]


def test_without_a_scenario_every_task_takes_a_second():
    sink = MemorySink()
    simulate(read_models([MODELS / "parallel.bpmn"]), None, sink, start=START)
    assert sink.instance.status == "COMPLETED"
    assert sink.instance.completed_at == START + 2 * SECOND
    for token in sink.of():
        if token.element_id in {"a", "b", "c"}:
            assert (token.context.duration_ms, token.context.retries_used) == (1000, 0)


def test_sequence():
    sink = run("sequence", "variables: {price: 21}")
    assert [token.element_id for token in sink.of()] == ["start", "check", "compute", "approve", "end"]
    assert ways(sink.of()) == ["to-check", "to-compute", "to-approve", "to-end"]
    assert variables(sink.one("check")) == {"price": 21}
    assert variables(sink.one("compute")) == {"price": 21, "total": 42}
    approve = sink.one("approve")
    assert (approve.element_type, approve.element_name) == ("userTask", "Approve")
    assert (approve.created_at, approve.completed_at) == (START + 2 * SECOND, START + 3 * SECOND)
    assert sink.instance.process_id == "sequence"
    assert list(sink.definitions) == ["sequence"]


@pytest.mark.parametrize(
    ("amount", "flow", "condition"),
    [(500, "f-large", "${amount > 100}"), (50, "f-small", None), (0, "f-none", "= amount = 0")],
)
def test_exclusive_gateway(amount, flow, condition):
    sink = run("exclusive", f"variables: {{amount: {amount}}}")
    decision = context(sink.one("size"))["gateway_decision"]
    assert decision == {"condition_evaluated": condition, "selected_flow": flow, "evaluation_time_ms": 0.0}
    assert ways(sink.of())[1] == flow


@pytest.mark.parametrize(
    ("gift", "fast", "chosen"),
    [(True, True, ["f-gift", "f-fast"]), (False, True, ["f-fast"]), (False, False, ["f-plain"])],
)
def test_inclusive_gateway(gift, fast, chosen):
    sink = run("inclusive", f"variables: {{gift: {gift}, fast: {fast}}}")
    decision = context(sink.one("which"))["gateway_decision"]
    assert decision["selected_flow"] == chosen[0]
    assert decision.get("selected_flows", chosen) == chosen
    assert len(sink.at("all")) == len(chosen)
    assert sink.one("end").state == "COMPLETED"


def test_early_arrivals_wait_at_a_join_and_are_completed_when_it_fires():
    sink = run("parallel", "{variables: {v: 1}, tasks: {b: {takes: 5s}, c: {takes: 3s, sets: {c: 2}}}}")
    a, c, b = sink.at("join")
    assert [token.hops[0].from_element for token in (a, c, b)] == ["a", "c", "b"]
    assert [token.state for token in (a, c, b)] == ["COMPLETED"] * 3
    assert [token.created_at - START for token in (a, c, b)] == [SECOND, 3 * SECOND, 5 * SECOND]
    assert {token.completed_at - START for token in (a, c, b)} == {5 * SECOND}
    after = sink.one("after")
    assert [variables(token) for token in (a, c, b, after)] == [{"v": 1}, *[{"v": 1, "c": 2}] * 3]
    assert after.parent_token_id == b.token_id
    assert a.child_tokens == b.child_tokens == c.child_tokens == (after.token_id,)


def test_a_join_that_is_still_short_of_a_branch_waits():
    sink = run("parallel", "{tasks: {b: {hangs: true}, c: {takes: 3s}}}")
    assert [token.state for token in sink.at("join")] == ["WAITING", "WAITING"]
    assert sink.one("b").state == "ACTIVE"
    assert sink.at("after") == []
    assert sink.instance.status == "ACTIVE"


def test_waiting_arrivals_are_cancelled_with_their_process():
    sink = run("terminate", "{tasks: {quick: {takes: 5s}, slow: {hangs: true}, last: {takes: 2s}}}")
    assert [token.state for token in sink.at("join")] == ["CANCELLED", "CANCELLED"]
    assert sink.one("slow").cancelled_at == START + 5 * SECOND
    assert sink.one("stop").state == "COMPLETED"
    assert sink.at("never") == []
    assert sink.instance.status == "COMPLETED"


def test_sub_processes():
    sink = run("subprocess")
    outer, inner = sink.one("outer"), sink.one("inner")
    assert sink.one("o-start").parent_token_id == outer.token_id
    assert sink.one("i-start").parent_token_id == inner.token_id
    assert sink.one("after").parent_token_id == outer.token_id
    assert sink.one("o-end").parent_token_id == inner.token_id
    assert (outer.created_at, outer.completed_at) == (START, START + SECOND)


def test_call_activity_records_into_the_same_instance():
    sink = run("calling called")
    call = sink.one("call")
    inner = [token for token in sink.at("start") if token.parent_token_id == call.token_id]
    assert len(inner) == 1
    assert sink.one("serve").parent_token_id == inner[0].token_id
    assert [hop.via_flow for hop in sink.one("serve").hops] == ["c1"]
    assert sorted(sink.definitions) == ["called", "calling"]
    assert call.completed_at == START + SECOND


def test_multiple_instances():
    sink = run("multiple")
    for element, kind, count in (
        ("each", "parallel", 3),
        ("turn", "sequential", 2),
        ("again", "loop", 2),
        ("parts", "parallel", 2),
    ):
        body, *inner = sink.at(element)
        assert context(body)["multi_instance"] == kind
        assert [token.parent_token_id for token in inner] == [body.token_id] * count
        assert body.completed_at == max(token.completed_at for token in inner)
        assert len(body.hops) == 1
        assert all(not token.hops for token in inner)
    _, first, second = sink.at("turn")
    assert second.created_at == first.completed_at
    assert {token.element_type for token in sink.at("each")} == {"serviceTask"}


def test_a_loop_back_is_a_new_visit_each_time():
    sink = run("loop", "variables: {n: 0, rounds: 0}")
    assert [hop.via_flow for token in sink.at("try") for hop in token.hops] == [
        "f1",
        "f-back",
        "f-back",
        "f-again",
    ]
    assert [variables(token)["n"] for token in sink.at("try")] == [1, 2, 3, 4]
    joins = sink.at("join")
    assert len(joins) == 4
    assert joins[0].child_tokens == joins[1].child_tokens != joins[2].child_tokens == joins[3].child_tokens


def test_boundary_timers():
    sink = run("boundary", "{tasks: {slow: {takes: 3h}}}")
    slow = sink.one("slow")
    assert (slow.state, slow.cancelled_at) == ("CANCELLED", START + 60 * MINUTE)
    late, remind = sink.one("late"), sink.one("remind")
    assert late.parent_token_id == remind.parent_token_id == slow.token_id
    assert (late.created_at, late.state) == (START + 60 * MINUTE, "COMPLETED")
    assert [token.created_at - START for token in sink.at("nudge")] == [10 * MINUTE, 20 * MINUTE]
    assert {token.parent_token_id for token in sink.at("nudge")} == {remind.token_id}
    assert sink.one("pay").parent_token_id == late.token_id


def test_a_boundary_event_that_does_not_fire_is_no_token():
    sink = run("boundary", "{tasks: {slow: {takes: 12m}}}")
    assert sink.at("late") == []
    assert sink.one("remind").state == "CANCELLED"
    assert sink.one("slow").state == "COMPLETED"
    assert sink.at("unpaid") == sink.at("no-card") == []


def test_the_instances_of_an_interrupted_activity_are_cancelled_with_it():
    sink = run("interrupted", "{tasks: {each: {hangs: true}, part: {hangs: true}}}")
    tokens = [*sink.at("each"), *sink.at("parts"), *sink.at("part")]
    assert len(tokens) == 4 + 3 + 2
    assert {token.state for token in tokens} == {"CANCELLED"}
    assert sink.one("later").created_at == START + 2 * MINUTE
    assert sink.instance.status == "COMPLETED"
    sink = run("interrupted", "{tasks: {each: {takes: 90s}, part: {takes: 90s}, later: {takes: 5m}}}")
    assert {token.state for name in ("each", "parts", "part") for token in sink.at(name)} == {"CANCELLED"}
    assert sink.at("p-end") == []
    assert sink.one("end").created_at == START + 7 * MINUTE


def test_boundary_errors():
    sink = run("boundary", "{tasks: {charge: {throws: {error: E-DECLINED}}}}")
    charge, pay = sink.one("charge"), sink.one("pay")
    assert (charge.state, pay.state) == ("CANCELLED", "CANCELLED")
    assert sink.one("no-card").parent_token_id == charge.token_id
    assert sink.one("give-up").state == "COMPLETED"
    assert sink.one("unpaid").parent_token_id == pay.token_id
    assert ways(sink.at("dunned")) == ["u1"]
    assert sink.at("end") == []


def test_events():
    text = "messages: {open: 3s, paid: {after: 30m, sets: {paid: true}}, shipped: 4m}"
    sink = run("events", text)
    gateway = sink.one("which")
    assert (gateway.created_at, gateway.completed_at) == (START + 3 * SECOND, START + 3 * SECOND + 30 * MINUTE)
    assert context(gateway)["gateway_decision"]["selected_flow"] == "w1"
    assert variables(sink.one("arrived"))["paid"] is True
    assert sink.one("arrived").context.duration_ms == 240_000
    assert sink.one("pause").context.duration_ms == 300_000
    assert sink.instance.status == "COMPLETED"


def test_the_timer_behind_an_event_gateway():
    sink = run("events", "messages: {open: 3s}")
    assert sink.one("waited").created_at == START + 3 * SECOND + 60 * MINUTE
    assert sink.at("paid") == []
    assert ways(sink.at("given-up")) == ["f4"]


def test_what_waits_for_a_message_waits():
    sink = run("events")
    assert [token.state for token in sink.of()] == ["COMPLETED", "WAITING"]


def test_retries():
    text = "tasks: {check: {takes: 2s, fails: {times: 2}, retries: {max: 3, backoff: 10s}, worker: w}}"
    check = run("sequence", text + "\nvariables: {price: 1}").one("check")
    assert context(check).items() >= {"retries_used": 2, "worker_id": "w", "duration_ms": 26_000}.items()
    assert check.state == "COMPLETED"


def test_a_job_without_retries_left_is_failed_and_its_instance_stays_active():
    text = "tasks: {check: {fails: true, retries: {max: 2, backoff: 10s}, timeout: 1m}}"
    sink = run("sequence", text)
    check = sink.one("check")
    assert (check.state, check.context.retries_used) == ("FAILED", 2)
    assert check.updated_at == START + 23 * SECOND
    assert sink.instance.status == "ACTIVE"
    assert [token.element_id for token in sink.of()] == ["start", "check"]


def test_a_hanging_task_stays_active_with_its_job():
    text = "tasks: {check: {hangs: true, worker: [w1], timeout: 2m, retries: 3}}"
    sink = run("sequence", text)
    check = sink.one("check")
    assert check.state == "ACTIVE"
    fields = context(check)
    assert fields.pop("job_key").startswith("srv1-job-")
    assert fields == {"worker_id": "w1", "retries_left": 3, "timeout_at": "2025-01-11T10:02:00.000Z"}


def test_a_live_token_shows_the_retries_that_it_has_used():
    text = "until: 15s\ntasks: {check: {takes: 2s, fails: {times: 9}, retries: {max: 9, backoff: 5s}}}"
    check = run("sequence", text).one("check")
    assert context(check).items() >= {"retries_used": 2, "retries_left": 7}.items()


def test_an_operator_cancels_or_suspends():
    sink = run("parallel", "{tasks: {b: {hangs: true}}, cancel: 5s}")
    assert sink.instance.status == "CANCELLED"
    assert sink.instance.cancelled_at == sink.one("b").cancelled_at == START + 5 * SECOND
    assert {token.state for token in sink.at("join")} == {"CANCELLED"}
    assert sink.at("after") == []
    sink = run("parallel", "{tasks: {b: {hangs: true}}, suspend: 5s}")
    assert sink.instance.status == "SUSPENDED"
    assert {token.state for token in [*sink.at("join"), sink.one("b")]} == {"SUSPENDED"}


def test_a_suspension_may_end():
    sink = run("parallel", "{tasks: {b: {takes: 8s}}, suspend: {after: 5s, lasts: 10s}}")
    assert sink.one("b").completed_at == START + 15 * SECOND
    assert sink.instance.status == "COMPLETED"


def test_the_clock_stops():
    sink = run("sequence", "{until: 90s, tasks: {check: {takes: 1m}, compute: {takes: 1m}}}")
    assert [token.state for token in sink.of()] == ["COMPLETED", "COMPLETED", "ACTIVE"]
    assert sink.simulated.end == START + 90 * SECOND


def test_a_simulation_can_end_at_a_given_time():
    sink = run("parallel", "until: 10m", start=None, end=START)
    assert sink.instance.started_at == START - 10 * MINUTE
    with pytest.raises(UsageError, match="has no 'until'"):
        run("sequence", start=None, end=START)
    with pytest.raises(UsageError, match="requires a start time"):
        run("sequence", start=None)


@pytest.mark.parametrize(
    "scenario",
    ["until: 999999999d", "instances: {count: 3, rate: 1/999999999d}", "cases: {1: {starts: 9999999d}}"],
)
def test_the_clock_stays_within_the_calendar(scenario):
    with pytest.raises(UsageError, match="leaves the years 1 to 9999"):
        simulate(read_models([MODELS / "parallel.bpmn"]), parse_scenario(scenario), MemorySink(), start=START)


def test_arrivals():
    text = "instances: {count: 4, rate: 6/min}\ncases: {2: {starts: 25s}}"
    at = [(number, (time - START).total_seconds()) for number, time in starts(parse_scenario(text), START)]
    assert at == [(1, 0), (3, 20), (2, 25), (4, 30)]
    poisson = parse_scenario("instances: {count: 2000, rate: 6/min, arrival: poisson}")
    times = [time for _, time in starts(poisson, START)]
    assert times == sorted(times)
    assert 9 < (times[-1] - START).total_seconds() / 2000 < 11


BUSY = """
seed: {seed}
instances: {{count: 12, rate: 30/min, arrival: poisson}}
variables: {{n: 0, rounds: 0, gift: {{choice: [true, false]}}, fast: {{choice: [true, false]}}, price: 2,
            amount: {{range: [0, 200]}}, items: [a, b]}}
tasks: {{default: {{takes: {{lognormal: {{median: 3s, sigma: 1}}}}, fails: 20%, retries: {{max: 2, backoff: 1s}},
         hangs: 3%, worker: [w1, w2]}}, charge: {{throws: {{error: E-DECLINED, probability: 0.5}}}},
         slow: {{takes: {{uniform: [1m, 2h]}}}}}}
messages: {{open: {{after: {{exponential: 10s}}, probability: 90%}}, paid: {{after: {{uniform: [1m, 2h]}}}},
           shipped: 1s}}
cancel: {{after: 5s, probability: 10%}}
suspend: {{after: 7s, probability: 10%}}
"""
ALL = [
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


@settings(max_examples=scaled(0.4), deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_whatever_happens_the_recording_holds_together(models, seed):
    sink = run(models, BUSY.format(seed=seed))  # run checks every instance
    validate_states(sink)
    assert len(sink.instances) == 12
    assert len(sink.states) == sink.simulated.tokens


@pytest.mark.parametrize("models", ALL)
def test_the_same_seed_gives_the_same_tokens(models):
    first, again, other = (run(models, BUSY.format(seed=seed)) for seed in (7, 7, 8))
    assert (first.instances, first.tokens) == (again.instances, again.tokens)
    assert first.tokens != other.tokens
    assert not set(first.tokens) & set(other.tokens)


def test_another_scenario_or_model_gives_other_instances():
    """So that one store holds several simulations, and mixes no tokens of theirs."""
    base = run("parallel")
    assert set(run("parallel", "instances: 2").instances) > set(base.instances)
    for other in ("tasks: {default: {takes: 2s}}", "until: 1s", "seed: 2"):
        assert not run("parallel", other).instances.keys() & base.instances.keys()
    sink = MemorySink()
    files = [(name, xml.replace(b"</", b" </")) for name, xml in read_models([MODELS / "parallel.bpmn"])]
    simulate(files, None, sink, start=START)
    assert not sink.instances.keys() & base.instances.keys()


def test_of_two_flows_between_the_same_elements_the_one_that_was_taken_is_recorded():
    for x, way in ((1, "first"), (2, "second"), (3, "other")):
        sink = run("double", f"variables: {{x: {x}}}")
        assert ways(sink.at("a"))[0] == way
        assert context(sink.one("g"))["gateway_decision"]["selected_flow"] == way
    sink = run("double", "variables: {x: 12}")
    assert sorted(ways(sink.at("b"))) == ["both-1", "both-2"]
    assert context(sink.one("h"))["gateway_decision"]["selected_flows"] == ["both-1", "both-2"]
    sink = run("double", "variables: {x: 5}")
    assert ways(sink.at("b")) == ["both-2"]


def test_progress_and_memory_do_not_grow_with_the_instances():
    told = []
    sink = run("sequence", "instances: 5\nvariables: {price: 1}", progress=lambda *done: told.append(done))
    assert told == [(n, 5) for n in range(1, 6)]
    assert sink.simulated.instances == 5
    assert sink.simulated.newest == list(sink.instances)[-1]


def test_a_file_that_is_not_there():
    with pytest.raises(NotFoundError, match=r"none.bpmn does not exist"):
        read_models([MODELS / "none.bpmn"])


def test_ids_have_the_documented_shape_and_are_unique():
    sink = run("sequence", "instances: 300\nvariables: {price: 1}")
    tokens = [token for number in range(300) for token in sink.of(number)]
    assert len({token.token_id for token in tokens}) == len(tokens) == 1500
    for token in tokens:
        assert len(token.instance_id) == len("srv1-") + 18
        assert token.instance_id.removeprefix("srv1-").isalnum()
        assert len(token.token_id) == len("srv1-token-") + 12
        assert token.token_id.removeprefix("srv1-token-").isalnum()


def test_an_interrupt_stops_the_simulation():
    code = (
        "import signal, sys\n"
        "from datetime import datetime, UTC\n"
        "from tokctl.simulation.demo import load_demo\n"
        "from tokctl.simulation.scenario import parse_scenario\n"
        "from tokctl.simulation.simulate import simulate\n"
        "class Sink:\n"
        "    def put_definition(self, definition): print('begun', flush=True)\n"
        "    def put(self, instance, tokens): pass\n"
        "scenario = parse_scenario('{instances: 1000000, variables: {amount: 1, paymentMethod: credit}}')\n"
        "try: simulate(load_demo()[0], scenario, Sink(), start=datetime.now(UTC))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "interrupted\n"
