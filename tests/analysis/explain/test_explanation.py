"""Why tokens wait: runs of the real engine that get into every kind of wait, and data that contradicts itself."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import at, instance, raw
from support.strategies import make_instances, moments, token_sets
from support.waiting import START, bpmn, model, play, timer, visit
from tokctl.analysis.explain.explanation import MAX_STEPS, VERDICTS, ChainStep, ExplainContext, explain
from tokctl.bpmn.element_details import TIMER, EventDefinition, compute_due_time, read_element_details
from tokctl.bpmn.parser import read_definitions
from tokctl.model.definitions import Definition
from tokctl.model.instance_status import derive_status
from tokctl.model.visits import Visit

FORK = "start>split split>a split>b a>join b>join join>end"
NESTED = "start>split split>split2 split>c split2>a split2>b a>join2 b>join2 join2>join c>join join>end"
HOUR = timedelta(hours=1)


def scene_of(sink, *xmls, now=START + HOUR):
    definitions = {one.process_id: one for xml in xmls for one in read_definitions(xml)}
    tokens = list(sink.tokens.values())
    return ExplainContext(
        status=derive_status(sink.instance, tokens),
        visits=[Visit.from_token(one, flows=True) for one in tokens],
        now=now,
        definition=definitions.get(sink.instance.process_id),
        find_definition=definitions.get,
        context_of=lambda token_id: msgspec.json.decode(sink.tokens[token_id].execution_context),
    )


def explained(xml, scenario, element, *called, now=START + HOUR, number=-1):
    """Simulate, and explain the last token of an element."""
    sink = play(xml, scenario, *called)
    context = scene_of(sink, xml, *called, now=now)
    found = [one.token_id for one in context.visits if one.element_id == element]
    return explain(found[number], context)


def words(found):
    return " ".join(found.sentences)


# --- every kind of wait -------------------------------------------------------------------------------------


def test_a_job_with_its_worker_its_time_and_its_retries():
    plan = "fails: {times: 2}, retries: {max: 3, backoff: 1m}, hangs: %s, timeout: 10m, worker: w-1"
    scenario = "{until: %s, tasks: {a: {" + plan + "}}}"
    xml = bpmn("start>a a>end")
    found = explained(xml, scenario % ("122s", "false"), "a", now=START + timedelta(seconds=130))
    assert (found.verdict, found.can_continue) == ("WAITS_FOR_JOB", True)
    assert "of the service task 'a', for 2m 10s. It is assigned to worker w-1." in words(found)
    assert "Its timeout is 2025-01-11T10:12:02.000Z (in 9m 52s)." in words(found)
    assert "It has been retried 2 times. 1 retry is left." in words(found)
    found = explained(xml, scenario % ("30m", "true"), "a")
    assert (found.verdict, found.can_continue) == ("JOB_TIMED_OUT", None)
    assert "Its timeout was 2025-01-11T10:10:00.000Z (50m ago)" in words(found)
    assert "tokctl tokens list" in "\n".join(found.next)


def test_a_person():
    late = timer("late", "user", "PT2H")
    found = explained(
        bpmn("start>user user>end late>b b>end2", late),
        "{until: 30m, tasks: {user: {hangs: true, worker: anna}}}",
        "user",
    )
    assert (found.verdict, found.can_continue, found.chain) == ("WAITS_FOR_PERSON", True, ())
    assert "a person, anna, to complete the user task 'user', for 1h." in words(found)
    assert "The timer 'late' interrupts it at 2025-01-11T12:00:00.000Z (in 1h), then continues to 'b'." in words(found)
    assert "timer at it, 'late'" in {fact.name for fact in found.evidence}


EVENTS = {
    '<intermediateCatchEvent id="catch"><messageEventDefinition messageRef="m-paid"/></intermediateCatchEvent>': (
        "WAITS_FOR_MESSAGE",
        "the message 'paid' at the catch event 'catch', for 1h.",
        True,
    ),
    '<receiveTask id="catch" messageRef="m-paid"/>': (
        "WAITS_FOR_MESSAGE",
        "the message 'paid' at the receive task 'catch', for 1h.",
        True,
    ),
    '<intermediateCatchEvent id="catch"><signalEventDefinition signalRef="s-go"/></intermediateCatchEvent>': (
        "WAITS_FOR_SIGNAL",
        "the signal 'go'",
        True,
    ),
    '<intermediateCatchEvent id="catch"><timerEventDefinition><timeDuration>PT90M</timeDuration>'
    "</timerEventDefinition></intermediateCatchEvent>": (
        "WAITS_FOR_TIMER",
        "the time 2025-01-11T11:30:00.000Z at the catch event 'catch', for 1h. That is in 30m.",
        True,
    ),
    '<intermediateCatchEvent id="catch"><timerEventDefinition><timeDate>2025-01-11T10:30:00Z</timeDate>'
    "</timerEventDefinition></intermediateCatchEvent>": (
        "WAITS_FOR_TIMER",
        "That was 30m ago: it should have continued.",
        None,
    ),
    '<intermediateCatchEvent id="catch"><timerEventDefinition><timeDuration>"PT" + "2H"</timeDuration>'
    "</timerEventDefinition></intermediateCatchEvent>": ("WAITS_FOR_TIMER", """its value is "PT" + "2H".""", None),
}


@pytest.mark.parametrize("declared", EVENTS)
def test_an_event(declared):
    verdict, phrase, can_continue = EVENTS[declared]
    found = explained(bpmn("start>catch catch>end", declared), "{until: 20m}", "catch")
    assert (found.verdict, found.can_continue) == (verdict, can_continue)
    assert phrase in words(found)
    unknown = ExplainContext(status=derive_status(instance(), []), visits=[found.token], now=START + HOUR)
    assert explain(found.token.token_id, unknown).verdict in {"WAITS_FOR_EVENT", "WAITS_FOR_MESSAGE"}


RACE = (
    '<eventBasedGateway id="which"/><receiveTask id="paid" messageRef="m-paid"/><intermediateCatchEvent id="waited">'
    "<timerEventDefinition><timeDuration>PT2H</timeDuration></timerEventDefinition></intermediateCatchEvent>"
)
RACE_WAYS = "start>which which>paid which>waited paid>end waited>end"


IN_AN_HOUR = "2025-01-11T12:00:00Z"
RECORDED = {
    "job:7": (
        "WAITS_FOR_JOB",
        True,
        "It waits for job 7 of type pay of the service task 'a'",
        "No worker has taken it.",
    ),
    "external_task:pay": ("WAITS_FOR_JOB", True, "It waits for job 7 of type pay", "No worker has taken it."),
    "retry:7": ("WAITS_FOR_RETRY", True, "the next attempt of job 7", "The last attempt failed: no stock. It is tried"),
    "timer:t": ("WAITS_FOR_TIMER", True, "It waits for the time 2025-01-11T12:00:00.000Z", "That is in 1h."),
    "message:paid": ("WAITS_FOR_MESSAGE", True, "It waits for the message 'paid'", "at the service task 'a'"),
    "signal:go": ("WAITS_FOR_SIGNAL", True, "It waits for the signal 'go'", ""),
    "user_task:a": ("WAITS_FOR_PERSON", True, "It waits for a person, anna, to complete", "It is due 2025-01-11T12:00"),
    "user_task:b": ("WAITS_FOR_PERSON", True, "to complete the task 'b' after the service task 'a'", ""),
    "call_activity:i2": (
        "WAITS_FOR_CALLED_INSTANCE",
        False,
        "the called instance i2 to end",
        "In it, 'x' (t9) FAILED.",
    ),
}


@pytest.mark.parametrize("waiting_for", RECORDED)
def test_what_the_engine_says_that_a_token_waits_for(waiting_for):
    verdict, can_continue, *phrases = RECORDED[waiting_for]
    kind = waiting_for.partition(":")[0]
    members = {
        "waiting_for": waiting_for,
        "job_key": "7",
        "job_type": "pay",
        **({"error_message": "no stock", "retry_at": IN_AN_HOUR} if kind == "retry" else {}),
        **({"due_at": IN_AN_HOUR, "assignee": "anna"} if kind in {"timer", "user_task"} else {}),
    }
    one = visit("t1", "a", state="WAITING", element_type="serviceTask", execution_context=raw(members))
    inside = ChainStep(1, None, visit("t9", "x", state="FAILED"), "FAILED", "FAILED", can_continue=False)
    (definition,) = read_definitions(bpmn("start>a a>b b>end"))
    found = explain(
        "t1",
        ExplainContext(
            status=derive_status(instance(), [one]),
            visits=[one],
            now=START + HOUR,
            definition=definition,
            explain_called=lambda called: [inside] if called == "i2" else [],
        ),
    )
    assert (found.verdict, found.can_continue) == (verdict, can_continue)
    for phrase in phrases:
        assert phrase in words(found)
    assert ("waiting_for", waiting_for) in [(fact.name, fact.value) for fact in found.evidence]


def test_one_of_several_events():
    race = RACE.replace(
        '<receiveTask id="paid" messageRef="m-paid"/>',
        '<intermediateCatchEvent id="paid"><messageEventDefinition messageRef="m-paid"/></intermediateCatchEvent>',
    )
    found = explained(bpmn(RACE_WAYS, race), "{until: 20m}", "which")
    assert (found.verdict, found.can_continue) == ("WAITS_FOR_ONE_OF_SEVERAL_EVENTS", True)
    assert "'paid' (the message 'paid'), 'waited' (the time 2025-01-11T12:00:00.000Z)" in words(found)


def test_an_event_that_another_one_may_forestall():
    tokens = [
        visit("g", "which", state="COMPLETED", element_type="eventBasedGateway"),
        visit("p", "paid", state="WAITING", element_type="receiveTask", parent_token_id="g"),
        visit("t", "waited", state="WAITING", element_type="intermediateCatchEvent", parent_token_id="g"),
    ]
    context = ExplainContext(
        status=derive_status(instance(), tokens), visits=tokens, now=at(3600), definition=model(RACE_WAYS, RACE)
    )
    assert "continues with the first event: this one or 'waited' (t)." in words(explain("p", context))


def test_a_sub_process_waits_for_what_lies_in_it():
    sub = (
        '<subProcess id="sub"><startEvent id="s"/><userTask id="w"/><endEvent id="e"/>'
        '<sequenceFlow id="s-w" sourceRef="s" targetRef="w"/><sequenceFlow id="w-e" sourceRef="w" targetRef="e"/>'
        "</subProcess>"
    )
    found = explained(bpmn("start>sub sub>end", sub), "{until: 30m, tasks: {w: {hangs: true}}}", "sub")
    assert (found.verdict, found.can_continue) == ("WAITS_FOR_INNER_TOKENS", True)
    assert [(step.token.element_id, step.verdict) for step in found.chain] == [("w", "WAITS_FOR_PERSON")]


def test_what_comes_after_a_sub_process_lies_beside_it():
    inner = (
        '<subProcess id="in"><startEvent id="i"/><endEvent id="o"/>'
        '<sequenceFlow id="io" sourceRef="i" targetRef="o"/></subProcess>'
    )
    sub = (
        f'<subProcess id="sub"><startEvent id="s"/>{inner}<userTask id="w"/><endEvent id="e"/>'
        '<sequenceFlow id="f1" sourceRef="s" targetRef="in"/><sequenceFlow id="f2" sourceRef="in" targetRef="w"/>'
        '<sequenceFlow id="f3" sourceRef="w" targetRef="e"/></subProcess>'
    )
    found = explained(bpmn("start>sub sub>end", sub), "{until: 30m, tasks: {w: {hangs: true}}}", "sub")
    assert [step.token.element_id for step in found.chain] == ["w"]


def test_the_worst_blocker_comes_first():
    inside = [
        visit("s", "sub", element_type="subProcess"),
        visit("u", "user", parent_token_id="s"),
        visit("f", "a", state="FAILED", parent_token_id="s"),
        visit("z", "b", state="SUSPENDED", parent_token_id="s"),
    ]
    found = explain("s", ExplainContext(status=derive_status(instance(), inside), visits=inside, now=at(60)))
    assert [step.token.token_id for step in found.blockers] == ["f", "z", "u"]
    assert found.can_continue is False


@pytest.mark.parametrize("runs", [1, 2])
def test_what_is_inside_a_sub_process_of_tokens_without_parents(runs):
    """As of an engine that keeps no history: the model tells, unless there are several runs."""
    sub = (
        '<subProcess id="sub"><startEvent id="s"/><userTask id="w"/><endEvent id="e"/>'
        '<sequenceFlow id="s-w" sourceRef="s" targetRef="w"/><sequenceFlow id="w-e" sourceRef="w" targetRef="e"/>'
        "</subProcess>"
    )
    [definition] = read_definitions(bpmn("start>sub sub>end", sub))
    visits = [visit(f"run{number}", "sub", element_type="subProcess") for number in range(runs)]
    visits.append(visit("t", "w", element_type="userTask"))
    status = derive_status(instance(), visits)
    found = explain("run0", ExplainContext(status=status, visits=visits, now=at(60), definition=definition))
    if runs == 1:
        assert [step.token.token_id for step in found.chain] == ["t"]
        assert "Still live: 'w' (t)." in words(found)
    else:
        assert found.chain == ()
        assert "It is unknown which of its live runs these tokens are in: 'w' (t)." in words(found)
    assert "No live token inside it is recorded" not in words(found)


def test_several_instances_of_an_activity():
    each = (
        '<serviceTask id="a"><multiInstanceLoopCharacteristics><loopCardinality>3</loopCardinality>'
        "</multiInstanceLoopCharacteristics></serviceTask>"
    )
    xml = bpmn("start>a a>end", each)
    found = explained(xml, "{until: 30m, tasks: {a: {hangs: true}}}", "a", number=0)
    assert "0 of 3 started instances have completed." in words(found)
    assert len(found.blockers) == 3
    found = explained(xml, "{until: 30m, tasks: {a: {fails: true}}}", "a", number=0)
    assert found.can_continue is False
    assert {step.verdict for step in found.blockers} == {"FAILED"}


def test_what_waits_in_a_called_process():
    called = bpmn(FORK).replace('id="p"', 'id="sub"')
    xml = bpmn("start>call call>end", '<callActivity id="call" calledElement="sub"/>')
    scenario = "{process: p, until: 30m, tasks: {b: {hangs: true}}}"
    found = explained(xml, scenario, "call", called)
    assert "(it calls the process 'sub')" in words(found)
    assert [step.token.element_id for step in found.blockers] == ["b"]
    found = explained(xml, scenario, "join", called)
    assert (found.verdict, found.can_continue) == ("WAITS_AT_JOIN", True)
    assert [step.flow for step in found.chain] == ["b-join"]


# --- joins ------------------------------------------------------------------------------------------------------


def test_a_join_is_followed_to_the_blocker():
    found = explained(bpmn(NESTED), "{until: 30m, tasks: {a: {hangs: true, worker: w, timeout: 5m}}}", "join")
    assert (found.verdict, found.can_continue) == ("WAITS_AT_JOIN", None)
    assert [(step.depth, step.flow, step.token.element_id, step.again) for step in found.chain] == [
        (1, "join2-join", "join2", False),
        (2, "a-join2", "a", False),
        (1, "join2-join", "a", True),
    ]
    (blocker,) = found.blockers
    assert blocker.summary.endswith("assigned to worker w; its timeout was 55m ago")
    assert "Arrived: c-join. Missing: join2-join, from 'join2'. It can still arrive" in words(found)
    assert found.next[0].endswith(blocker.token.token_id)


def test_a_join_that_can_never_go_on_and_why():
    found = explained(
        bpmn(FORK + " late>end2", timer("late", "a", "PT1M")), "{until: 30m, tasks: {a: {hangs: true}}}", "join"
    )
    assert (found.verdict, found.can_continue, found.blockers) == ("DEADLOCKED_JOIN", False, ())
    assert "It can no longer arrive: there is no live token upstream. The last one, at 'a'" in words(found)
    assert "was CANCELLED 59m ago and continued to 'late'" in words(found)
    assert found.sentences[-1] == "It cannot continue without an intervention."


def test_where_the_last_one_turned_off_is_told_of_the_same_run():
    each = (
        '<subProcess id="each"><serviceTask id="a"/><serviceTask id="b"/><parallelGateway id="j"/>'
        '<sequenceFlow id="a-j" sourceRef="a" targetRef="j"/><sequenceFlow id="b-j" sourceRef="b" targetRef="j"/>'
        "</subProcess>"
    )
    runs = [
        visit("r1", "each", element_type="subProcess"),
        visit("a1", "a", state="CANCELLED", parent_token_id="r1"),
        visit("b1", "b", state="COMPLETED", parent_token_id="r1"),
        visit("j1", "j", "b-j", "WAITING", parent_token_id="b1", element_type="parallelGateway"),
        visit("r2", "each", element_type="subProcess"),
        visit("a2", "a", state="CANCELLED", seconds=9, parent_token_id="r2"),
    ]
    known = model("start>each each>end", each)
    found = explain(
        "j1", ExplainContext(status=derive_status(instance(), runs), visits=runs, now=at(60), definition=known)
    )
    assert "The last one, at 'a' (a1), was CANCELLED 59s ago." in words(found)


@pytest.mark.parametrize(("state", "lead"), [("FAILED", "The error"), ("WAITING", "The last attempt failed")])
def test_the_whole_error_is_told_without_stack_frames(state, lead):
    error = "The order was refused.\n\tat app.Order.check(Order.java:7)\nCaused by: no stock.\n\t... 12 more"
    context = {"waiting_for": "job:7", "error_message": error}
    one = visit("t1", "a", state=state, element_type="serviceTask", execution_context=raw(context))
    status = derive_status(instance(), [one])
    found = explain("t1", ExplainContext(status=status, visits=[one], now=at(60), definition=None))
    assert f"{lead}: The order was refused. Caused by: no stock." in found.sentences


def test_a_compensation_waits_for_its_handlers():
    handler = (
        '<serviceTask id="undo" isForCompensation="true"/>'
        '<intermediateThrowEvent id="throw"><compensateEventDefinition/></intermediateThrowEvent>'
    )
    tokens = [
        visit("t1", "throw", state="WAITING", element_type="intermediateThrowEvent"),
        visit("t2", "undo", state="FAILED", element_type="serviceTask", parent_token_id="t1"),
    ]
    definition = model("start>throw throw>end", handler)
    status = derive_status(instance(), tokens)
    found = explain("t1", ExplainContext(status=status, visits=tokens, now=at(60), definition=definition))
    assert (found.verdict, found.can_continue) == ("WAITS_FOR_COMPENSATION", False)
    assert "Still live: 'undo' (t2)." in words(found)
    found = explain("t1", ExplainContext(status=status, visits=tokens[:1], now=at(60), definition=definition))
    assert (found.verdict, found.can_continue) == ("WAITS_FOR_COMPENSATION", None)


def test_an_incident_holds_up_the_joins_behind_it():
    xml, scenario = bpmn(NESTED), "{until: 30m, tasks: {a: {fails: true, retries: {max: 1, backoff: 1s}}}}"
    found = explained(xml, scenario, "join")
    assert (found.verdict, found.can_continue) == ("DEADLOCKED_JOIN", False)
    assert [(step.token.element_id, step.again) for step in found.chain] == [
        ("join2", False),
        ("a", False),
        ("a", True),
    ]
    assert [step.verdict for step in found.blockers] == ["FAILED"]
    found = explained(xml, scenario, "a")
    assert (found.verdict, found.can_continue) == ("FAILED", False)
    assert "It FAILED at the service task 'a' after 2 attempts" in words(found)
    assert "The error: no retries left." in words(found)
    assert "Other tokens wait for it: " in words(found)
    assert "'join2'" in words(found)


def test_a_join_whose_tokens_cannot_go_on_is_not_told_that_they_can_arrive():
    sub = (
        '<subProcess id="sub"><startEvent id="s"/><serviceTask id="in"/><endEvent id="e"/>'
        '<sequenceFlow id="s-i" sourceRef="s" targetRef="in"/><sequenceFlow id="i-e" sourceRef="in" targetRef="e"/>'
        "</subProcess>"
    )
    xml = bpmn("start>split split>sub split>b sub>join b>join join>end", sub)
    found = explained(xml, "{until: 30m, tasks: {in: {fails: true, retries: {max: 0}}}}", "join")
    assert found.can_continue is False
    assert [flow.possible for flow in found.join.missing] == [False]
    assert "Missing: sub-join, from 'sub'. It cannot arrive without an intervention: upstream, 'sub' (" in words(found)
    assert "can still arrive" not in words(found)
    found = explained(xml, "{until: 30m, tasks: {in: {hangs: true}}}", "join")
    assert ([flow.possible for flow in found.join.missing], found.can_continue) == ([True], True)
    assert "Missing: sub-join, from 'sub'. It can still arrive, from 'sub' (" in words(found)


def test_an_inclusive_join_need_not_wait_for_what_was_not_taken():
    xml = bpmn(
        "start>or or>a or>b or>c a>or2 b>or2 c>or2 or2>end", conditions={"or-a": "True", "or-b": "True", "or-c": "more"}
    )
    found = explained(xml, "{until: 30m, variables: {more: false}, tasks: {a: {hangs: true}}}", "or2")
    assert (found.verdict, found.can_continue) == ("WAITS_AT_JOIN", True)
    assert "It does not wait for c-or2: no live token can arrive there." in words(found)


def test_without_the_model_nothing_is_said_of_flows():
    waiting = [visit("w", "join", "b-join", "WAITING"), visit("a", "a")]
    found = explain("w", ExplainContext(status=derive_status(instance(), waiting), visits=waiting, now=at(60)))
    assert (found.verdict, found.can_continue, found.join) == ("WAITS_AT_JOIN", None, None)
    assert "the process model is unknown" in words(found)
    other = ExplainContext(
        status=derive_status(instance(), waiting), visits=waiting, now=at(60), definition=model("start>x")
    )
    assert "its element is not in the known process model" in words(explain("w", other))


def test_a_chain_of_waits_ends_where_it_is_a_circle():
    ways = "start>split split>a split>b a>join1 join2>join1 b>join2 join1>join2 join1>end join2>end2"
    waiting = [visit("w1", "join1", "a-join1", "WAITING"), visit("w2", "join2", "b-join2", "WAITING")]
    found = explain(
        "w1",
        ExplainContext(status=derive_status(instance(), waiting), visits=waiting, now=at(60), definition=model(ways)),
    )
    assert (found.verdict, found.can_continue) == ("DEADLOCKED_JOIN", False)
    assert [(step.token.token_id, step.again) for step in found.chain] == [("w2", False), ("w1", True)]


def test_a_chain_has_an_end():
    tokens = [visit("w", "join", "b-join", "WAITING")] + [visit(f"a{n}", "a") for n in range(MAX_STEPS + 5)]
    found = explain(
        "w", ExplainContext(status=derive_status(instance(), tokens), visits=tokens, now=at(60), definition=model(FORK))
    )
    assert (len(found.chain), found.more) == (MAX_STEPS, 5)


# --- states -----------------------------------------------------------------------------------------------------


def test_what_is_suspended_does_not_move():
    found = explained(bpmn(FORK), "{until: 40m, suspend: 20m, tasks: {a: {hangs: true}}}", "join")
    assert (found.verdict, found.can_continue) == ("SUSPENDED", False)
    assert found.sentences[:2] == (
        "It is SUSPENDED, for 40m. It does not continue until it is resumed.",
        "In addition, it waits at the join for a-join.",
    )
    assert [step.verdict for step in found.chain] == ["SUSPENDED"]


def test_what_is_left_of_an_ended_instance_is_a_zombie():
    left = [visit("z", "a", seconds=0)]
    over = instance(status="COMPLETED", completed_at=at(10))
    found = explain("z", ExplainContext(status=derive_status(over, left), visits=left, now=at(60)))
    assert (found.verdict, found.can_continue) == ("ZOMBIE", False)
    assert "live, but its instance is COMPLETED" in words(found)


def test_what_has_ended_does_not_wait():
    found = explained(bpmn(FORK), "{until: 30m, tasks: {a: {takes: 10s}}}", "a")
    assert (found.verdict, found.can_continue) == ("COMPLETED", None)
    assert "It does not wait: it completed the service task 'a' after 10s" in words(found)
    assert "It continued to 'join'" in words(found)
    found = explained(
        bpmn(FORK + " late>end2", timer("late", "a", "PT1M")), "{until: 30m, tasks: {a: {hangs: true}}}", "a"
    )
    assert found.verdict == "CANCELLED"
    assert "'late'" in words(found)
    assert "occurred at it." in words(found)


def test_a_retry_is_named():
    tries = [
        visit("f", "a", state="FAILED", parent_token_id="s", element_name="Pay"),
        visit("g", "a", seconds=9, parent_token_id="s", element_name="Pay"),
        visit("s", "start", state="COMPLETED"),
    ]
    found = explain("f", ExplainContext(status=derive_status(instance(), tries), visits=tries, now=at(60)))
    assert "It was retried as 'Pay' (g)." in words(found)
    assert found.can_continue is None


def test_what_lies_in_an_activity_does_not_follow_it():
    several = (
        '<serviceTask id="a"><multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality>'
        "</multiInstanceLoopCharacteristics></serviceTask>"
    )
    sub = (
        '<subProcess id="sub"><startEvent id="s"/><userTask id="w"/><endEvent id="e"/>'
        '<sequenceFlow id="s-w" sourceRef="s" targetRef="w"/><sequenceFlow id="w-e" sourceRef="w" targetRef="e"/>'
        "</subProcess>"
    )
    xml = bpmn("start>a a>sub sub>end late>end2", several, sub, timer("late", "sub", "PT1M"))
    each = explained(xml, "{until: 30m, tasks: {w: {takes: 5s}}}", "a")
    assert "It was one of the instances of 'a'" in each.sentences[-1]
    body = explained(xml, "{until: 30m, tasks: {w: {takes: 5s}}}", "a", number=0)
    assert body.sentences[1].startswith("Tokens started inside it: 'a' (")
    assert body.sentences[2].startswith("It continued to 'sub' (")
    whole = explained(xml, "{until: 30m, tasks: {w: {takes: 5s}}}", "sub")
    assert [line.split("'")[:2] for line in whole.sentences[1:]] == [
        ["Tokens started inside it: ", "s"],
        ["It continued to ", "end"],
    ]
    late = "{until: 30m, tasks: {w: {hangs: true}}}"
    assert [line.partition(" (")[0] for line in explained(xml, late, "sub").sentences[1:]] == [
        "'late'",
        "Tokens started inside it: 's'",
    ]
    assert explained(xml, late, "w").sentences[1].startswith("The activity that contains it was also cancelled: 'sub'")


def test_without_a_model_times_tell_what_lies_in_an_activity():
    known = [
        visit("s", "sub", state="COMPLETED", element_type="subProcess", updated_at=at(9)),
        visit("i", "a", state="COMPLETED", seconds=3, parent_token_id="s"),
        visit("n", "b", seconds=9, parent_token_id="s"),
    ]
    found = explain("s", ExplainContext(status=derive_status(instance(), known), visits=known, now=at(60)))
    assert found.sentences[1:] == ("Tokens started inside it: 'a' (i).", "It continued to 'b' (n).")


def test_why_something_was_cancelled():
    ways = "start>gw gw>c gw>d c>a a>end"
    events = (
        '<eventBasedGateway id="gw"/>',
        '<intermediateCatchEvent id="c"><messageEventDefinition messageRef="m-paid"/></intermediateCatchEvent>',
        timer("d", "", "PT1M").replace("boundaryEvent", "intermediateCatchEvent").replace(' attachedToRef=""', ""),
        timer("late", "a", "PT1M").replace("attached", 'cancelActivity="false" attached'),
    )
    known = [
        visit("g", "gw", state="COMPLETED", element_type="eventBasedGateway"),
        visit("c", "c", state="COMPLETED", parent_token_id="g"),
        visit("d", "d", state="CANCELLED", parent_token_id="g"),
        visit("a", "a", state="CANCELLED", parent_token_id="c"),
        visit("l", "late", state="COMPLETED", parent_token_id="a", element_type="boundaryEvent"),
    ]
    over = ExplainContext(
        status=derive_status(instance(status="CANCELLED"), known),
        visits=known,
        now=at(60),
        definition=model(ways, *events),
    )
    assert explain("d", over).sentences[1:] == ("Another event occurred first: 'c' (c).",)
    assert explain("a", over).sentences[1:] == ("'late' (l) occurred at it.", "The whole instance was cancelled.")


def test_what_failed_in_an_ended_instance_is_an_incident_unless_it_was_caught_or_cancelled():
    xml = bpmn("start>split split>a split>b a>join b>join join>end")
    scenario = "{until: 30m, cancel: 20m, tasks: {a: {fails: true, retries: {max: 0}}, b: {hangs: true}}}"
    assert explained(xml, scenario, "a").token.state == "CANCELLED"
    left = [visit("f", "a", state="FAILED")]
    ended = derive_status(instance(status="COMPLETED"), left)
    found = explain("f", ExplainContext(status=ended, visits=left, now=at(60)))
    assert found.sentences[-1].startswith("Its instance is COMPLETED, but this token was not retried")
    assert found.can_continue is False
    caught = [visit("f", "a", state="FAILED"), visit("e", "err", parent_token_id="f", element_type="boundaryEvent")]
    found = explain("f", ExplainContext(status=derive_status(instance(), caught), visits=caught, now=at(60)))
    assert (found.sentences[-1], found.can_continue) == ("'err' (e) occurred at it.", None)


def test_a_suspended_timer_should_not_have_gone_on():
    xml = bpmn(
        "start>catch catch>end",
        timer("catch", "", "PT10M").replace("boundaryEvent", "intermediateCatchEvent").replace(' attachedToRef=""', ""),
    )
    assert "That was 50m ago." in explained(xml, "{until: 50m, suspend: 5m}", "catch").sentences
    assert "That was 50m ago: it should have continued." in explained(xml, "{until: 5m}", "catch").sentences


def test_of_one_moment_the_one_that_turned_off_is_told():
    xml = bpmn("start>xor xor>a xor>b a>join b>join join>end", conditions={"xor-a": "True"}, defaults={"xor": "xor-b"})
    assert "The last one, at 'xor' (" in words(explained(xml, "{until: 10m}", "join"))


# --- timers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        ("timeDuration", "PT1H30M", 5400),
        ("timeDuration", "P1DT0.5S", 86400.5),
        ("timeDuration", ' = "P1W" ', 604800),
        ("timeDuration", "P1M", 31 * 86400),
        ("timeDuration", "P1Y", 365 * 86400),
        ("timeCycle", "R3/PT10M", 600),
        ("timeCycle", "R/2025-01-11T12:00:30Z/PT10M", 30),
        ("timeDate", "2025-01-11T13:00:00+00:30", 1800),
        *[("timeDuration", text, None) for text in ("P", "PT", "wait", "", "-PT1H", "P9999999999D", "P9999Y")],
        *[("timeCycle", text, None) for text in ("PT1H", "0 0 * * *", "R/", "Rx/PT1H", "R/a/b")],
        ("timeDate", "tomorrow", None),
    ],
)
def test_when_a_timer_is_due(kind, text, seconds):
    assert compute_due_time(EventDefinition(TIMER, timer=kind, expression=text), at(0)) == (
        None if seconds is None else at(seconds)
    )


def test_a_month_has_its_own_length():
    event = EventDefinition(TIMER, timer="timeDuration", expression="P1M")
    assert compute_due_time(event, at(20 * 86400)) == at((20 + 28) * 86400)  # 31 January, 28 February
    assert compute_due_time(event, None) is None


@pytest.mark.parametrize("xml", [None, "", "<", "<a/>", "<!DOCTYPE a><a/>", "<definitions/>"])
def test_a_document_that_cannot_be_read_tells_nothing(xml):
    assert read_element_details(Definition(process_id="p", xml=xml)) == {}


# --- data that contradicts itself ---------------------------------------------------------------------------------


@given(token_sets(), make_instances(st.just("i1")), moments.filter(bool), st.booleans())
def test_any_token_is_explained(tokens, about, now, with_model):
    known = model("start>split split>a split>b a>b b>a ab>b") if with_model else None
    visits = [Visit.from_token(one, flows=True) for one in tokens]
    context = ExplainContext(status=derive_status(about, tokens), visits=visits, now=now, definition=known)
    for one in visits:
        found = explain(one.token_id, context)
        assert found.verdict in VERDICTS
        assert all(sentence.endswith(".") for sentence in found.sentences)
        assert one.live or found.verdict in {"COMPLETED", "CANCELLED", "FAILED"}
        assert len({step.token.token_id for step in found.blockers}) == len(found.blockers)


def test_a_long_ancestry_and_a_circle_of_parents():
    chain = [visit(f"t{n}", "a", state="COMPLETED", parent_token_id=f"t{n - 1}") for n in range(20_000)]
    chain.append(visit("last", "a", parent_token_id="t19999"))
    circle = [visit("c1", "a", parent_token_id="c2"), visit("c2", "a", parent_token_id="c1")]
    calls = model("start>call call>a a>end", '<callActivity id="call" calledElement="x"/>')
    for known in (None, calls):
        tokens = chain + circle
        context = ExplainContext(status=derive_status(instance(), tokens), visits=tokens, now=at(60), definition=known)
        assert explain("last", context).verdict == "WAITS_FOR_JOB"
        assert explain("c1", context).verdict == "WAITS_FOR_INNER_TOKENS"  # of itself, in the end
