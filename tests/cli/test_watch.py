"""``tokctl tokens watch``: events and the picture, in a terminal, against a store that another process writes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import DOCUMENTED, at, instance, raw, token
from commandline import NOW, Stream, clean_environment
from strategies import few_names, make_tokens
from terminal import Terminal
from tokctl.__main__ import run
from tokctl.cli import watching
from tokctl.cli.screen import Screen
from tokctl.errors import StoreError, UnreachableError, WrongStoreError
from tokctl.process.model import Token
from tokctl.process.monitor import Event, Watched
from tokctl.process.status import derive
from tokctl.render.result import Output
from tokctl.render.views.watch import Board, Look
from tokctl.store import open_store
from watchers import live, put, task

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture
def watch(clock, store_path, monkeypatch):
    """Run ``tokens watch`` in this process; returns exit code, events, and stderr."""

    def call(*words: object, store: Path = store_path) -> tuple[int, list[dict], str]:
        out, err = Stream(), Stream()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            where = () if "--file" in words else ("--store", store)
            code = run([*map(str, ("tokens", "watch", *words, *where))], clock=clock)
        return code, [json.loads(line) for line in out.written().splitlines()], err.written()

    return call


def short(events: list[dict]) -> list[str]:
    """Events in few words: their name, and the tokens by list."""
    said = []
    for event in events:
        words = [event["event"]]
        for name, sign in (("added", "+"), ("changed", "~"), ("finished", "*"), ("removed", "-"), ("tokens", "!")):
            words += [sign + (one if isinstance(one, str) else one["token_id"]) for one in event.get(name, ())]
        said.append(" ".join(words))
    return said


# --- events ---------------------------------------------------------------------------------------------


def test_what_happens_is_told_as_it_happens(watch, clock, store_path):
    put(store_path, token("a"), live("b"))
    clock.at(5, lambda: put(store_path, live("b", variables={"x": 1}), live("c")))
    clock.at(10, lambda: put(store_path, token("b", variables={"x": 1}), token("c", state="FAILED"), token("d")))
    clock.at(20, lambda: put(store_path, status="COMPLETED", completed_at=at(20)))
    code, events, err = watch("i1")
    assert (code, err) == (0, "")
    assert short(events) == [
        "watching", "tokens_updated +a +b",
        "tokens_updated +c ~b",
        "tokens_updated +d *b *c",
        "instance_updated", "ended",
    ]  # fmt: skip
    assert events[2]["changed"] == [{"token_id": "b", "before": {"variables": None}, "after": {"variables": {"x": 1}}}]
    assert events[3]["finished"][1]["after"]["state"] == "FAILED"
    assert [event["at"][14:19] for event in events] == ["40:00", "40:00", "40:05", "40:10", "40:20", "40:20"]
    assert {event["instance_id"] for event in events} == {"i1"}
    assert events[-1]["summary"]["total_tokens"] == 4
    assert clock.waits == [5.0] * 4


def test_timeouts_are_told_as_they_pass_and_once(watch, clock, store_path):
    def due(token_id: str, seconds: float, **fields) -> Token:
        return live(token_id, execution_context={"timeout_at": clock.moment(seconds)}, **fields)

    put(store_path, due("old", -60), due("a", 3.5), due("b", 7), due("far", 99))
    clock.at(15, lambda: put(store_path, due("a", 16, updated_at=at(1))))
    _, events, _ = watch("--until", "21s")
    timeouts = [event for event in events if event["event"] == "tokens_timeout"]
    assert short(timeouts) == [f"tokens_timeout !{name}" for name in ("old", "a", "b", "a")]
    assert [event["at"][14:21] for event in timeouts] == ["40:00.0", "40:03.5", "40:07.0", "40:17.0"]
    assert timeouts[1]["tokens"][0]["execution_context"] == {"timeout_at": clock.moment(3.5)}


def test_nothing_changed_nothing_told_and_nothing_asked(watch, clock, store_path, monkeypatch):
    put(store_path, live("a"))
    asked = []
    from tokctl.store.queries import Questions

    ask = Questions.ask

    def counting(self, sql, values=()):
        asked.append((len(clock.waits), sql))
        return ask(self, sql, values)

    monkeypatch.setattr(Questions, "ask", counting)
    clock.at(2, lambda: put(store_path, live("a")))  # written again as it was
    _, events, _ = watch("--until", "30s", "--interval", "1s")
    assert short(events) == ["watching", "tokens_updated +a"]
    assert len(clock.waits) == 30
    assert {number for number, _ in asked} <= {0, 1, 2}  # at the start, and when someone had written


def test_a_store_that_goes_away_and_comes_back(watch, clock, store_path):
    put(store_path, live("a"))
    away = store_path.with_name("away.db")
    clock.at(5, lambda: store_path.rename(away))

    def back() -> None:
        away.rename(store_path)
        put(store_path, token("a"))

    clock.at(70, back)
    code, events, _ = watch("i1", "--until", "120s")
    assert code == 0
    assert short(events) == ["watching", "tokens_updated +a", "error", "recovered", "tokens_updated *a"]
    assert events[2]["message"] == f"there is no store at {store_path}."
    assert events[2]["retry_in_ms"] == 1000
    assert clock.waits[:9] == [5, 1, 2, 4, 8, 16, 30, 30, 5]  # ever more seldom, but not for ever
    assert events[3]["after_ms"] == 91_000


def test_a_store_that_is_made_anew_is_found_again(watch, clock, store_path):
    put(store_path, live("a"), live("b"))

    def remake(*tokens: Token, instance_id: str = "i1") -> None:
        for file in store_path.parent.iterdir():
            file.unlink()
        put(store_path, *tokens, instance_id=instance_id)

    clock.at(5, lambda: remake(live("x", "other"), instance_id="other"))
    clock.at(15, lambda: remake(token("a"), live("c")))
    _, events, _ = watch("i1", "--until", "30s")
    assert short(events) == [
        "watching", "tokens_updated +a +b", "error", "recovered", "tokens_updated +c *a -b",
    ]  # fmt: skip
    assert events[2]["instance_id"] == "i1"
    assert "no process instance 'i1'" in events[2]["message"]
    assert (events[3]["instance_id"], events[3]["after_ms"]) == ("i1", 10_000)


def test_what_no_waiting_mends_ends_it(watch, clock, store_path):
    put(store_path, live("a"))

    def outgrow() -> None:
        with open_store(str(store_path), write=True) as store:
            store.connection.execute("PRAGMA user_version = 99")
        copy = store_path.with_name("copy.db")
        copy.write_bytes(store_path.read_bytes())
        copy.replace(store_path)

    clock.at(5, outgrow)
    code, events, err = watch("i1")
    assert code == 6
    assert "written by a newer tokctl" in err
    assert short(events) == ["watching", "tokens_updated +a"]


def test_several_end_when_the_last_of_them_ends(watch, clock, store_path):
    put(store_path, live("a"))
    put(store_path, live("b", "i2"), instance_id="i2")
    put(store_path, live("c", "i3"), instance_id="i3")
    clock.at(1, lambda: put(store_path, token("a"), status="COMPLETED"))
    clock.at(2, lambda: put(store_path, token("b", "i2"), instance_id="i2", status="CANCELLED"))
    code, events, _ = watch("i1", "i2", "--interval", "1s")
    assert code == 0
    ended = [(event["instance_id"], event["status"]) for event in events if event["event"] == "ended"]
    assert ended == [("i1", "COMPLETED"), ("i2", "CANCELLED")]
    assert len(clock.waits) == 2


def test_without_a_name_all_that_is_open_is_watched(watch, clock, store_path):
    put(store_path, live("a"))
    put(store_path, token("z", "i0"), instance_id="i0", status="COMPLETED")
    put(store_path, live("p", "pay"), instance_id="pay", process_id="payment", started_at=at(9))
    clock.at(1, lambda: put(store_path, live("b", "i2"), instance_id="i2"))
    clock.at(2, lambda: put(store_path, token("a"), status="COMPLETED"))
    _, events, err = watch("--until", "5s", "--interval", "1s")
    assert [(event["event"], event["instance_id"]) for event in events] == [
        ("watching", "pay"), ("tokens_updated", "pay"), ("watching", "i1"), ("tokens_updated", "i1"),
        ("watching", "i2"), ("tokens_updated", "i2"),
        ("tokens_updated", "i1"), ("instance_updated", "i1"), ("ended", "i1"),
    ]  # fmt: skip
    assert err == ""
    clock.plan.clear()
    _, events, _ = watch("--process", "pay*", "--until", "1s")
    assert {event["instance_id"] for event in events} == {"pay"}


def test_no_more_than_the_limit_are_watched_at_a_time(watch, clock, store_path):
    for number in range(4):
        put(store_path, live(f"t{number}", f"i{number}"), instance_id=f"i{number}", started_at=at(number))
    clock.at(1, lambda: put(store_path, token("t3", "i3"), instance_id="i3", status="COMPLETED"))
    _, events, err = watch("--limit", "2", "--until", "3s", "--interval", "1s")
    assert [event["instance_id"] for event in events if event["event"] == "watching"] == ["i3", "i2", "i1"]
    assert err == "2 more open instances not watched: raise --limit, or name some.\n"


def test_zombies_do_not_keep_it_from_ending(watch, clock, store_path):
    put(store_path, live("a"), status="COMPLETED")
    code, events, _ = watch("i1")
    assert code == 0
    assert short(events) == ["watching", "tokens_updated +a", "ended"]
    assert len(clock.waits) == 1  # it might have been about to finish


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["i1", "--file", DOCUMENTED], 2, "a file is read once"),
        (["i1", "--file", "-"], 2, "a file is read once"),
        (["i1", "--interval", "0s"], 2, "no time at all"),
        (["i1", "--interval", "soon"], 2, "no span of time"),
        (["i1", "--until", "2020-01-01"], 2, "passed already"),
        (["i1", "--process", "x"], 2, "Leave one out"),
        (["nope"], 3, "no process instance"),
    ],
)
def test_what_cannot_be_watched(watch, store_path, words, code, said):
    put(store_path, live("a"))
    ran = watch(*words)
    assert ran[:2] == (code, [])
    assert said in ran[2]
    assert ran[2].count("\n") == 1


def test_no_store(watch):
    code, events, err = watch("i1")
    assert (code, events) == (6, [])
    assert "there is no store" in err


# --- any engine: exactness, errors ---------------------------------------------------------------------------


@given(
    writes=st.lists(st.lists(make_tokens(few_names, st.sampled_from(["i1", "i2"])), max_size=4), min_size=1, max_size=6)
)
@settings(max_examples=25)
def test_following_the_events_gives_what_the_store_holds(writes, tmp_path_factory):
    from tokctl.cli.tokens_watch import Watch
    from tokctl.process.query import EVERYTHING, InstanceFilter, Order
    from tokctl.process.wire import token_document

    path = tmp_path_factory.mktemp("store") / "s.db"
    with open_store(str(path), write=True, create=True) as writer, writer.write() as batch:
        batch.put(instance("i1", status="ACTIVE"))
        batch.put(instance("i2", status="ACTIVE"))
    poll = watching.Poll(FakeApp(path), None, interval=1)
    watch = Watch(["i1", "i2"], InstanceFilter(), limit=9, clock=lambda: NOW)
    state: dict[tuple[str, str], dict] = {}
    with open_store(str(path), write=True) as writer:
        for tokens in [[], *writes]:
            with writer.write() as batch:
                batch.put_tokens(tokens)
            changed = bool(batch.report.added + batch.report.updated)
            events = [event for event in watch.look(poll) if event.event == "tokens_updated"]
            assert changed or not events
            for document in [d for event in events for d in event.documents()]:
                follow(state, json.loads(msgspec.json.encode(document)))
            held = {
                (instance_id, one.token_id): json.loads(msgspec.json.encode(token_document(one)))
                for instance_id in ("i1", "i2")
                for one in writer.tokens(instance_id, EVERYTHING, Order("created"))
            }
            assert state == held
    poll.close()


def follow(state: dict[tuple[str, str], dict], document: dict) -> None:
    mine = document["instance_id"]
    for one in document["added"]:
        state[mine, one["token_id"]] = one
    for change in (*document["changed"], *document["finished"]):
        one = state[mine, change["token_id"]]
        for name in change["before"]:
            del one[name]
        one |= change["after"]
    for token_id in document["removed"]:
        del state[mine, token_id]


class FakeApp:
    """What Poll asks of an App."""

    def __init__(self, path: Path) -> None:
        from tokctl.config import Settings

        self.settings = Settings(store=str(path))
        self.clock = lambda: NOW


class Remote:
    """An engine that cannot tell whether anything has changed, and breaks down at times."""

    def __init__(self, errors: list[Exception | None], opened: list[int]) -> None:
        self.errors, self.closed = errors, False
        opened.append(1)

    def refresh(self) -> bool:
        assert not self.closed
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return True

    def rest(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_an_engine_that_broke_down_is_opened_anew(monkeypatch, tmp_path):
    opened: list[int] = []
    errors = [None, UnreachableError("no answer."), StoreError("locked."), None, None, WrongStoreError("too new.")]
    monkeypatch.setattr(watching, "open_engine", lambda *_: Remote(errors, opened))
    poll = watching.Poll(FakeApp(tmp_path), None, interval=5)
    looks: list[bool] = []

    def look() -> bool:
        return poll.look(lambda _, changed: looks.append(changed))

    assert look()
    assert (len(opened), poll.next(NOW)) == (1, NOW + timedelta(seconds=5))
    assert not look()
    assert (str(poll.error), poll.failures, poll.next(NOW)) == ("no answer.", 1, NOW + timedelta(seconds=1))
    assert not look()
    assert (str(poll.error), poll.failures, poll.next(NOW)) == ("locked.", 2, NOW + timedelta(seconds=2))
    assert look()
    assert (poll.error, poll.failures, poll.next(NOW)) == (None, 0, NOW + timedelta(seconds=5))
    assert len(opened) == 3
    assert look()
    with pytest.raises(WrongStoreError):
        look()
    assert looks == [True, True, True]


# --- processes -------------------------------------------------------------------------------------------------


@contextmanager
def piped(store_path: Path, *words: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "tokens", "watch", *words, "--store", str(store_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_into_a_pipe_each_event_is_there_at_once(store_path, writer):
    writer.put(task("a"))
    with piped(store_path, "i1", "--interval", "50ms") as process:
        assert [json.loads(process.stdout.readline())["event"] for _ in range(2)] == ["watching", "tokens_updated"]
        writer.put(task("a", "COMPLETED"), task("b"))
        event = json.loads(process.stdout.readline())
        assert [event["finished"][0]["token_id"], event["added"][0]["token_id"]] == ["a", "b"]
        writer.put(task("b", "COMPLETED"), status="COMPLETED")
        assert [json.loads(line)["event"] for line in process.stdout][-1] == "ended"
        assert process.wait() == 0


@pytest.mark.parametrize("interval", ["1h", "999w"])
def test_a_pipe_that_nobody_reads_ends_it_though_nothing_happens(store_path, writer, interval):
    writer.put(task("a"))
    with piped(store_path, "i1", "--interval", interval) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""


def test_an_interruption_ends_events(store_path, writer):
    writer.put(task("a"))
    with piped(store_path, "i1") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == "tokctl: interrupted.\n"


# --- a terminal --------------------------------------------------------------------------------------------------


def terminal(store_path: Path, *words: str, **more) -> Terminal:
    return Terminal("tokens", "watch", *words, "--interval", "100ms", "--store", store_path, **more)


def test_the_picture_follows_what_another_process_writes(store_path, writer):
    writer.put(task("tok-a"))
    with terminal(store_path) as seen:
        seen.until("tok-a  Pick goods  ● ACTIVE")
        assert seen.screen.alternate
        writer.put(task("tok-a", "WAITING", execution_context={"retries_used": 1}), task("tok-b"))
        seen.until("ACTIVE → WAITING")
        screen = seen.until(lambda text: "+  tok-b" in text)
        assert "~  tok-a  Pick goods  ◌ WAITING" in screen
        soon = (datetime.now().astimezone() + timedelta(seconds=0.6)).isoformat()
        writer.put(task("tok-b", execution_context={"timeout_at": soon}))
        seen.until("timed out")
        seen.until(lambda text: re.search(r"! +tok-b .*ago", text))
        writer.put(task("tok-a", "COMPLETED"), task("tok-b", "CANCELLED"), status="CANCELLED")
        assert seen.end() == 0
        assert seen.as_it_was
        assert seen.text.count("timed out") == 1
        assert "i1 has ended  ⊘ CANCELLED" in seen.text  # the last picture stays


def test_the_picture_takes_the_size_that_there_is(store_path, writer):
    writer.put(*(task(f"tok-{number:02}") for number in range(40)))
    with terminal(store_path, lines=24) as seen:
        screen = seen.until("more live tokens")
        rows, more = screen.count("tok-"), int(re.search(r"… and (\d+) more live", screen)[1])
        assert rows + more == 40
        assert rows >= 10
        seen.resize(50, 12)
        screen = seen.until(lambda text: re.search(r"and 3\d more live", text))
        assert all(len(line) <= 50 for line in screen.splitlines())
        assert len(screen.splitlines()) <= 12
        seen.resize(120, 60)
        screen = seen.until(lambda text: text.count("tok-") == 40)
        assert "more live" not in screen


def test_the_picture_says_that_the_store_has_gone_and_come_back(store_path, writer):
    writer.put(task("tok-a"))
    away = store_path.with_name("away")
    with terminal(store_path, columns=200) as seen:
        seen.until("tok-a")
        store_path.rename(away)
        screen = seen.until("Trying again in")
        assert "tok-a  Pick goods" in screen  # what was known is still shown
        away.rename(store_path)
        screen = seen.until("there again, after")
        assert "Trying again" not in screen
        writer.put(task("tok-b"))
        seen.until("+  tok-b")


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("q", 0)])
def test_whoever_ends_it_gets_a_clean_terminal(store_path, writer, key, code):
    writer.put(task("tok-a"))
    with terminal(store_path) as seen:
        seen.until("tok-a")
        assert not seen.as_it_was
        seen.type("ls\r" + key)
        assert seen.end() == code
        assert seen.as_it_was
        assert "tok-a" in seen.text
        assert "ls" not in seen.text.split()
        assert ("tokctl: interrupted." in seen.text) is (code == 130)
        assert b"Traceback" not in seen.raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_termination_leaves_a_clean_terminal(store_path, writer, number):
    writer.put(task("tok-a"))
    with terminal(store_path) as seen:
        seen.until("tok-a")
        seen.process.send_signal(number)
        assert seen.end() == 128 + number
        assert seen.as_it_was


SHELL = """
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
program = os.fork()
if not program:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
while True:
    _, status = os.waitpid(program, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    open(sys.argv[1], "w").close()
    while os.path.exists(sys.argv[1]):
        time.sleep(0.05)
    os.kill(program, signal.SIGCONT)
"""


def test_a_stop_leaves_a_clean_terminal_and_it_goes_on(store_path, writer, tmp_path):
    """As a shell with jobs does it: Ctrl-Z, then fg."""
    writer.put(task("tok-a"))
    stopped = tmp_path / "stopped"
    with terminal(store_path, shell=["-c", SHELL, str(stopped)]) as seen:
        seen.until("tok-a")
        seen.type("\x1a")
        seen.until(lambda _: stopped.exists() and seen.as_it_was)
        stopped.unlink()
        seen.until(lambda text: "tok-a" in text and seen.screen.alternate)
        seen.type("q")
        assert seen.end() == 0
        assert seen.as_it_was


def test_a_stop_that_comes_while_something_is_written_waits():
    """A buffered stream cannot be written to from within its own write, where a signal may find it."""
    written = []

    class Stream(io.StringIO):
        def write(self, text):
            written.append(text)
            if len(written) == 1:
                screen._stop(signal.SIGTSTP, None)
            assert len(written) < 2, "written to while it is being written to"
            return len(text)

    screen = Screen(Stream())
    screen.paint(["one"])
    assert len(written) == 1


def test_without_a_keyboard_there_is_a_picture_all_the_same(store_path, writer):
    writer.put(task("tok-a"))
    shell = (
        "import os, sys; os.dup2(os.open(os.devnull, 0), 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    with terminal(store_path, shell=["-c", shell]) as seen:
        seen.until("tok-a")
        writer.put(task("tok-a", "COMPLETED"), status="COMPLETED")
        assert seen.end() == 0
        assert seen.as_it_was


def test_a_dumb_terminal_gets_events(store_path, writer):
    writer.put(task("tok-a", "COMPLETED"), status="COMPLETED")
    with terminal(store_path, env={"TERM": "dumb"}) as seen:
        assert seen.end() == 0
        assert b'"event":"ended"' in seen.raw
        assert b"\x1b" not in seen.raw


def test_text_from_data_cannot_steer_the_terminal(store_path, writer):
    writer.put(task("tok\x1b[2J-a", element_name="\x1b]0;gotcha\x07\u202e"))
    with terminal(store_path) as seen:
        seen.until("tok\\u001b[2J-a")
        assert b"\x1b]0;" not in seen.raw
        assert "\u202e".encode() not in seen.raw
        writer.put(task("tok\x1b[2J-a", variables={"x": "\x1b[31m"}))
        seen.until("→")
        assert b"\x1b[31m" not in seen.raw


# --- the picture -------------------------------------------------------------------------------------------------


def story() -> tuple[Board, Look]:
    """Two instances after some minutes, with everything that the picture can show."""
    began = NOW - timedelta(minutes=4)
    board = Board(began, unicode=True)
    first, second = Watched("srv1-aB3dEf9hK2mN5pQ8uV"), Watched("pay-2001")

    def busy(token_id: str, name: str, minutes: float, **fields) -> Token:
        made = NOW - timedelta(minutes=minutes)
        context = {"worker_id": "worker-7", "retries_used": 1}
        if "due" in fields:
            context["timeout_at"] = (NOW + timedelta(seconds=fields.pop("due"))).isoformat()
        more = {"execution_context": context, "created_at": made, "updated_at": made, "element_name": name}
        return token(token_id, state="ACTIVE", element_id=name.lower().replace(" ", "-"), **more | fields)

    def look(one: Watched, minutes_ago: float, *tokens: Token, status: str = "ACTIVE") -> None:
        about = instance(one.instance_id, process_id="order-processing", status=status, started_at=began)
        board.take(one.look(derive(about, tokens), tokens, NOW - timedelta(minutes=minutes_ago)))

    pick = busy("srv1-token-aB3dEf9hK2mN", "Pick goods", 4, due=-65)
    pay = busy("srv1-token-cD4eF8gH1jK3", "Take payment from the customer", 3.9, due=90)
    ship = busy("srv1-token-eF5gH9iJ2kL4", "Ship", 0.2)
    look(first, 4, pick)
    look(second, 4, busy("pay-token-1", "Reserve", 4))
    look(first, 3, pick, pay)
    board.take(first.rest(NOW - timedelta(seconds=65)))
    board.take([Event(event="error", at=NOW - timedelta(minutes=1), facts={"message": "there is no store at x.db."})])
    board.take([Event(event="recovered", at=NOW - timedelta(seconds=40), facts={"after_ms": 20_000.0})])
    look(first, 0.1, pick, replaced(pay, state="WAITING", variables=raw({"amount": 12.5})), ship)
    done = token("pay-token-1", element_id="reserve", element_name="Reserve", created_at=began, completed_at=NOW)
    look(second, 0.05, done, status="COMPLETED")
    shown = Look(
        watched=(first, second), now=NOW, looked_at=NOW - timedelta(seconds=3), interval=5, more=3,
        error="the server api.example.com does not answer.", next_look=NOW + timedelta(seconds=8),
    )  # fmt: skip
    return board, shown


def replaced(one: Token, **fields) -> Token:
    return msgspec.structs.replace(one, **fields)


def output(room: int) -> Output:
    return Output(stream=Stream(), errors=Stream(), format="table", tty=True, color=False, unicode=True, width=room,
                  now=NOW)  # fmt: skip


@pytest.mark.parametrize("room", [80, 120])
def test_the_picture_is_as_it_was(room):
    board, look = story()
    text = "".join(line + "\n" for line in board.frame(look, output(room), 40))
    path = GOLDEN / f"watch-{room}.txt"
    if os.environ.get("TOKCTL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@given(room=st.integers(20, 200), height=st.integers(1, 60), some=st.lists(make_tokens(), max_size=9))
@settings(max_examples=30)
def test_the_picture_fits_any_terminal(room, height, some):
    from rich.cells import cell_len

    board, look = story()
    one = Watched("i1")
    board.take(one.look(derive(instance(), some), some, NOW))
    for shown in (look, replaced_look(look, one)):
        lines = board.frame(shown, output(room), height)
        assert len(lines) <= height
        assert all(cell_len(line) <= room for line in lines)
        assert all("\n" not in line for line in lines)


def replaced_look(look: Look, one: Watched) -> Look:
    return msgspec.structs.replace(look, watched=(one,), more=0, error="")


def test_rates_are_those_of_the_last_minutes():
    board = Board(NOW, unicode=True)
    one = Watched("i1")
    tokens: list[Token] = []
    about = instance(status="ACTIVE")
    board.take(one.look(derive(about, tokens), tokens, NOW))
    for minute in range(20):
        tokens = [*tokens, token(f"t{minute}"), token(f"u{minute}", state="ACTIVE")]
        board.take(one.look(derive(about, tokens), tokens, NOW + timedelta(minutes=minute, seconds=1)))
        now = NOW + timedelta(minutes=minute, seconds=30)
        look = Look(watched=(one,), now=now, looked_at=now, interval=60)
        screen = " ".join(board.frame(look, output(150), 30))
        if minute == 0:
            assert "finished 1, begun 2 in 30s" in screen
    assert "finished 1.0/min, begun 2.0/min in 5m" in screen


def test_rates_count_what_an_instance_did_before_it_was_seen_first_and_nothing_older():
    board, one = Board(NOW, unicode=True), Watched("i1")
    times = [NOW - timedelta(hours=1), NOW, NOW + timedelta(seconds=1)]
    tokens = [token(f"t{n}", created_at=times[0], completed_at=end) for n, end in enumerate(times)]
    tokens += [token(f"u{n}", state="ACTIVE", created_at=begin) for n, begin in enumerate(times)]
    board.take(one.look(derive(instance(status="ACTIVE"), tokens), tokens, NOW + timedelta(seconds=2)))
    look = Look(watched=(one,), now=NOW + timedelta(seconds=2), looked_at=NOW, interval=5)
    assert "finished 1, begun 1 in 2s" in " ".join(board.frame(look, output(150), 30))
