"""Collaborations: processes that run together and send messages and signals to each other."""

import pytest

from support.small_models import HEAD, chain, play
from tokctl.errors import InputError

CATCH = '<intermediateCatchEvent id="{}">{}</intermediateCatchEvent>'
THROW = '<intermediateThrowEvent id="{}">{}</intermediateThrowEvent>'
MESSAGE, SIGNAL = '<messageEventDefinition messageRef="m"/>', '<signalEventDefinition signalRef="g"/>'
NAMES = '<message id="m" name="Order"/><signal id="g" name="Go"/>'


def pools(*flows, rest=NAMES, **processes):
    """A collaboration: the content of each process, and the message flows (source, target)."""
    participants = "".join(f'<participant id="pool-{one}" processRef="{one}"/>' for one in processes)
    messages = "".join(f'<messageFlow id="{a}-{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in flows)
    inner = "".join(f'<process id="{name}">{body}</process>' for name, body in processes.items())
    return f'{HEAD}<collaboration id="c">{participants}{messages}</collaboration>{inner}{rest}</definitions>'


def run(model, scenario=""):
    return play(model, scenario, all_processes=True)


SENDER = f'<startEvent id="s"/><sendTask id="send"/>{chain("s", "send")}'
RECEIVER = f'<startEvent id="r"/><receiveTask id="get"/><task id="w"/>{chain("r", "get", "w")}'


def test_a_message_flow_delivers_to_an_element_that_waits():
    played = run(pools(("send", "get"), a=SENDER, b=RECEIVER))
    assert played.by_process == {"a": "s send", "b": "r get w"}
    assert played.seconds == 2


def test_without_a_message_flow_the_receiver_waits():
    played = run(pools(a=SENDER, b=RECEIVER))
    assert played.by_process["b"] == "r get?"
    assert "waits for message 'get'" in played.waiting["get"]


def test_a_message_that_comes_early_is_kept():
    late = f'<startEvent id="r"/><task id="t"/><receiveTask id="get"/>{chain("r", "t", "get")}'
    assert run(pools(("send", "get"), a=SENDER, b=late), "tasks: {t: {takes: 9s}}").by_process["b"] == "r t get"


def test_a_message_starts_a_process_once_for_each_message():
    started = '<startEvent id="r"><messageEventDefinition/></startEvent><task id="w"/>' + chain("r", "w")
    twice = f'<startEvent id="s"/><sendTask id="send"/><sendTask id="again"/>{chain("s", "send", "again")}'
    played = run(pools(("send", "r"), ("again", "r"), a=twice, b=started))
    assert played.by_process == {"a": "s send again", "b": "r w", "b.2": "r w"}
    assert play(pools(("send", "r"), a=twice, b=started), "process: a").by_process == {"a": "s send again"}


@pytest.mark.parametrize("kind", [MESSAGE, SIGNAL])
def test_messages_and_signals_go_by_their_names(kind):
    thrower = f'<startEvent id="s"/><task id="t"/>{THROW.format("x", kind)}{chain("s", "t", "x")}'
    catcher = f'<startEvent id="r"/>{CATCH.format("y", kind)}{chain("r", "y")}'
    assert run(pools(a=thrower, b=catcher)).by_process == {"a": "s t x", "b": "r y"}


def test_a_signal_reaches_all_and_a_message_one():
    catchers = {
        name: f'<startEvent id="r{name}"/>{CATCH.format(f"y{name}", "{}")}{chain(f"r{name}", f"y{name}")}'
        for name in "bc"
    }
    for kind, ended in ((SIGNAL, 2), (MESSAGE, 1)):
        thrower = f'<startEvent id="s"/><task id="t"/>{THROW.format("x", kind)}{chain("s", "t", "x")}'
        played = run(pools(a=thrower, **{name: body.format(kind) for name, body in catchers.items()}))
        assert sum(instance.status == "COMPLETED" for instance in played.sink.instances.values()) == 1 + ended


def test_a_conversation_goes_to_and_fro():
    client = f'<startEvent id="s"/><sendTask id="ask"/><receiveTask id="hear"/>{chain("s", "ask", "hear")}'
    server = (
        '<startEvent id="r"><messageEventDefinition/></startEvent><task id="think"/><endEvent id="answer">'
        f"<messageEventDefinition/></endEvent>{chain('r', 'think', 'answer')}"
    )
    played = run(pools(("ask", "r"), ("answer", "hear"), client=client, server=server), "instances: 3")
    assert {key.partition(".")[0] for key in played.by_process} == {"client", "server"}
    assert set(played.by_process.values()) == {"s ask hear", "r think answer"}
    assert played.result.instances == 6
    again = run(pools(("ask", "r"), ("answer", "hear"), client=client, server=server), "instances: 3")
    assert again.sink.tokens == played.sink.tokens


def test_processes_that_start_each_other_for_ever_are_stopped():
    one = (
        '<startEvent id="{0}"><messageEventDefinition/></startEvent>'
        '<endEvent id="{1}"><messageEventDefinition/></endEvent>'
    )
    first = f'<startEvent id="s"/><sendTask id="send"/>{chain("s", "send")}'
    model = pools(
        ("send", "r1"),
        ("e1", "r2"),
        ("e2", "r1"),
        a=first,
        b=one.format("r1", "e1") + chain("r1", "e1"),
        c=one.format("r2", "e2") + chain("r2", "e2"),
    )
    with pytest.raises(InputError, match="One collaboration has more than 1,000 instances"):
        run(model)


def test_a_collaboration_of_too_many_processes_is_refused_before_it_starts():
    model = pools(**{f"p{number}": f'<task id="t{number}"/>' for number in range(1001)})
    with pytest.raises(InputError, match="One collaboration has more than 1,000 instances"):
        run(model)


def test_a_message_flow_reaches_the_event_behind_a_gateway():
    ways = (
        '<startEvent id="s"/><sendTask id="o"/><eventBasedGateway id="g"/><intermediateCatchEvent id="got">'
        '<messageEventDefinition/></intermediateCatchEvent><intermediateCatchEvent id="late"><timerEventDefinition>'
        "<timeDuration>PT1H</timeDuration></timerEventDefinition></intermediateCatchEvent>"
        '<endEvent id="e"/><endEvent id="e2"/>' + chain("s", "o", "g", "got", "e") + chain("g", "late", "e2")
    )
    answer = '<startEvent id="bs"><messageEventDefinition/></startEvent><sendTask id="give"/>' + chain("bs", "give")
    model = (
        f'{HEAD}<collaboration id="c"><participant id="pa" processRef="A"/><participant id="pb" processRef="B"/>'
        '<messageFlow id="m1" sourceRef="o" targetRef="bs"/><messageFlow id="m2" sourceRef="give" targetRef="got"/>'
        f'</collaboration><process id="A">{ways}</process><process id="B">{answer}</process></definitions>'
    )
    played = play(model, all_processes=True)
    assert [token.element_id for token in played.sink.of()] == ["s", "o", "g", "got", "e"]
