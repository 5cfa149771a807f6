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
from rich.segment import Segment

from support.builders import DOCUMENTED, at, instance, raw, token
from support.commandline import NOW, Stream, clean_environment
from support.examples import scaled
from support.paths import GOLDEN
from support.strategies import make_tokens
from support.terminal import Terminal
from support.watchers import live, put, task
from tokctl.__main__ import run
from tokctl.analysis.changes import InstanceWatch, WatchEvent
from tokctl.cli.screen import Screen
from tokctl.model.instance_status import derive_status
from tokctl.model.tokens import Token
from tokctl.render.result import Output
from tokctl.render.views.watch import Dashboard, DashboardState
from tokctl.store import open_store

pytestmark = pytest.mark.slow  # starts programs, or waits for them


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


# --- filters ---------------------------------------------------------------------------------------------


def test_only_tokens_that_match_or_have_matched(watch, clock, store_path):
    put(store_path, token("a"), live("b", element_id="pick"), live("c", element_id="pack"))
    clock.at(5, lambda: put(store_path, live("c", element_id="pack", state="FAILED"), live("d", element_id="pack")))
    clock.at(10, lambda: put(store_path, token("b", element_id="pick"), token("d", element_id="pack")))
    _, events, _ = watch("i1", "--until", "12s", "--live", "--element", "p*", "--state", "ACTIVE")
    assert short(events) == [
        "watching",
        "tokens_updated +b +c",
        "tokens_updated +d ~c",
        "tokens_updated *b *d",
    ]
    assert events[0]["summary"]["total_tokens"] == 3  # totals are about all tokens


@pytest.mark.parametrize("words", [["-w"], ["--watch"]])
def test_a_list_is_followed(clock, store_path, monkeypatch, words):
    put(store_path, token("a"), live("b"), live("c"))
    clock.at(5, lambda: put(store_path, token("b"), token("c"), status="COMPLETED", completed_at=at(20)))
    out = Stream()
    monkeypatch.setattr(sys, "stdout", out)
    line = ["tokens", "list", "i1", *words, "--state", "ACTIVE", "--store", str(store_path)]
    assert run(line, clock=clock) == 0
    events = [json.loads(line) for line in out.written().splitlines()]
    assert short(events) == ["watching", "tokens_updated +b +c", "tokens_updated *b *c", "instance_updated", "ended"]


@pytest.mark.parametrize(
    "option",
    [
        ["--until", "1h"],
        ["--sort", "type"],
        ["-n", "5"],
        ["--page", "2"],
        ["--variables"],
        ["--at", "1m"],
        ["--columns", "state"],
        ["--query", "tokens"],
    ],
)
def test_what_a_followed_list_cannot_do(tokctl, store_path, option):
    put(store_path, live("b"))
    ran = tokctl("tokens", "list", "i1", "--watch", *option, "--store", store_path)
    assert (ran.code, ran.out) == (2, "")
    assert "does not apply to --watch" in ran.err


# --- events ---------------------------------------------------------------------------------------------


def test_what_happens_is_told_as_it_happens(watch, clock, store_path):
    put(store_path, token("a"), live("b"))
    clock.at(5, lambda: put(store_path, live("b", variables={"x": 1}), live("c")))
    clock.at(10, lambda: put(store_path, token("b", variables={"x": 1}), live("c", state="FAILED"), token("d")))
    clock.at(20, lambda: put(store_path, status="COMPLETED", completed_at=at(20)))
    code, events, err = watch("i1")
    assert (code, err) == (0, "")
    assert short(events) == [
        "watching",
        "tokens_updated +a +b",
        "tokens_updated +c ~b",
        "tokens_updated +d ~c *b",
        "instance_updated",
        "ended",
    ]
    assert events[2]["changed"] == [{"token_id": "b", "before": {"variables": None}, "after": {"variables": {"x": 1}}}]
    assert events[3]["changed"][0]["after"]["state"] == "FAILED"
    times = [event["at"][14:19] for event in events]  # once more at the end: a FAILED token may still be corrected
    assert times == ["40:00", "40:00", "40:05", "40:10", "40:20", "40:25"]
    assert {event["instance_id"] for event in events} == {"i1"}
    assert events[-1]["summary"]["total_tokens"] == 4
    assert clock.waits == [5.0] * 5


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
    from tokctl.store.sql.queries import TokenQueries

    ask = TokenQueries.query

    def counting(self, sql, values=()):
        asked.append((len(clock.waits), sql))
        return ask(self, sql, values)

    monkeypatch.setattr(TokenQueries, "query", counting)
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
    assert events[2]["message"] == f"no store found at {store_path}."
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
        "watching",
        "tokens_updated +a +b",
        "error",
        "recovered",
        "tokens_updated +c *a -b",
    ]
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
        ("watching", "pay"),
        ("tokens_updated", "pay"),
        ("watching", "i1"),
        ("tokens_updated", "i1"),
        ("watching", "i2"),
        ("tokens_updated", "i2"),
        ("tokens_updated", "i1"),
        ("instance_updated", "i1"),
        ("ended", "i1"),
    ]
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
    assert err == "2 more open instances not watched. Increase --limit, or give instances.\n"


def test_zombies_do_not_keep_it_from_ending(watch, clock, store_path):
    put(store_path, live("a"), status="COMPLETED")
    code, events, _ = watch("i1")
    assert code == 0
    assert short(events) == ["watching", "tokens_updated +a", "ended"]
    assert len(clock.waits) == 1  # it might have been about to finish


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["i1", "--file", DOCUMENTED], 2, "a file does not change"),
        (["i1", "--file", "-"], 2, "a file does not change"),
        (["i1", "--interval", "0s"], 2, "must be greater than 0"),
        (["i1", "--interval", "soon"], 2, "invalid duration"),
        (["i1", "--until", "2020-01-01"], 2, "is in the past"),
        (["i1", "--process", "x"], 2, "cannot be used together"),
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
    assert "no store found" in err


# --- processes -------------------------------------------------------------------------------------------------


@contextmanager
def piped(store_path: Path, *words: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "tokens", "watch", *words, "--store", str(store_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
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
        screen = seen.until("Retrying in")
        assert "tok-a  Pick goods" in screen  # what was known is still shown
        away.rename(store_path)
        screen = seen.until("available again after")
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

    class Reentered(io.StringIO):
        writing = False

        def write(self, text):
            assert not self.writing, "written to while it is being written to"
            self.writing = True
            if signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
                signal.raise_signal(signal.SIGTSTP)
            self.writing = False
            return super().write(text)

    stream = Reentered()
    with Screen(msgspec.structs.replace(output(80), stream=stream)) as screen:
        screen.paint([[Segment("one")]])
    assert "one" in stream.getvalue()


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
        assert b"(TERM=dumb) cannot show the dashboard. Events follow as JSON lines." in seen.raw
    with terminal(store_path, "-q", env={"TERM": "dumb"}) as seen:
        assert seen.end() == 0
        assert b"dumb" not in seen.raw


def test_text_from_data_cannot_steer_the_terminal(store_path, writer):
    writer.put(task("tok\x1b[2J-a", element_name="\x1b]0;gotcha\x07\u202e"))
    with terminal(store_path) as seen:
        seen.until("tok\\u001b[2J-")
        assert b"\x1b]0;" not in seen.raw
        assert "\u202e".encode() not in seen.raw
        writer.put(task("tok\x1b[2J-a", variables={"x": "\x1b[31m"}))
        seen.until("→")
        assert b"\x1b[31m" not in seen.raw


# --- the picture -------------------------------------------------------------------------------------------------


def story() -> tuple[Dashboard, DashboardState]:
    """Two instances after some minutes, with everything that the picture can show."""
    began = NOW - timedelta(minutes=4)
    board = Dashboard(began, output(120))
    first, second = InstanceWatch("srv1-aB3dEf9hK2mN5pQ8uV"), InstanceWatch("pay-2001")

    def busy(token_id: str, name: str, minutes: float, **fields) -> Token:
        made = NOW - timedelta(minutes=minutes)
        context = {"worker_id": "worker-7", "retries_used": 1}
        if "due" in fields:
            context["timeout_at"] = (NOW + timedelta(seconds=fields.pop("due"))).isoformat()
        more = {"execution_context": context, "created_at": made, "updated_at": made, "element_name": name}
        return token(token_id, state="ACTIVE", element_id=name.lower().replace(" ", "-"), **more | fields)

    def look(one: InstanceWatch, minutes_ago: float, *tokens: Token, status: str = "ACTIVE") -> None:
        about = instance(one.instance_id, process_id="order-processing", status=status, started_at=began)
        board.add_events(one.update(derive_status(about, tokens), tokens, NOW - timedelta(minutes=minutes_ago)))

    pick = busy("srv1-token-aB3dEf9hK2mN", "Pick goods", 4, due=-65)
    pay = busy("srv1-token-cD4eF8gH1jK3", "Take payment from the customer", 3.9, due=90)
    ship = busy("srv1-token-eF5gH9iJ2kL4", "Ship", 0.2)
    look(first, 4, pick)
    look(second, 4, busy("pay-token-1", "Reserve", 4))
    look(first, 3, pick, pay)
    board.add_events(first.tick(NOW - timedelta(seconds=65)))
    board.add_events(
        [WatchEvent(event="error", at=NOW - timedelta(minutes=1), facts={"message": "there is no store at x.db."})]
    )
    board.add_events([WatchEvent(event="recovered", at=NOW - timedelta(seconds=40), facts={"after_ms": 20_000.0})])
    look(first, 0.1, pick, replaced(pay, state="WAITING", variables=raw({"amount": 12.5})), ship)
    done = token("pay-token-1", element_id="reserve", element_name="Reserve", created_at=began, completed_at=NOW)
    look(second, 0.05, done, status="COMPLETED")
    shown = DashboardState(
        watched=(first, second),
        now=NOW,
        polled_at=NOW - timedelta(seconds=3),
        interval=5,
        more=3,
        error="the server api.example.com does not respond.",
        next_poll_at=NOW + timedelta(seconds=8),
    )
    return board, shown


def replaced(one: Token, **fields) -> Token:
    return msgspec.structs.replace(one, **fields)


def output(room: int) -> Output:
    return Output(
        stream=Stream(), errors=Stream(), format="table", tty=True, color=False, unicode=True, width=room, now=NOW
    )


def picture(board: Dashboard, look: DashboardState, out: Output, height: int) -> list[str]:
    return ["".join(segment.text for segment in line) for line in board.render_lines(look, out, height)]


@pytest.mark.parametrize("room", [80, 120])
def test_the_picture_is_as_it_was(room):
    board, look = story()
    text = "".join(line + "\n" for line in picture(board, look, output(room), 40))
    path = GOLDEN / f"watch-{room}.txt"
    if os.environ.get("TOKCTL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@given(room=st.integers(20, 200), height=st.integers(1, 60), some=st.lists(make_tokens(), max_size=9))
@settings(max_examples=scaled(0.3))
def test_the_picture_fits_any_terminal(room, height, some):
    from rich.cells import cell_len

    board, look = story()
    one = InstanceWatch("i1")
    board.add_events(one.update(derive_status(instance(), some), some, NOW))
    for shown in (look, replaced_look(look, one)):
        lines = picture(board, shown, output(room), height)
        assert len(lines) <= height
        assert all(cell_len(line) <= room for line in lines)
        assert all("\n" not in line for line in lines)


def replaced_look(look: DashboardState, one: InstanceWatch) -> DashboardState:
    return msgspec.structs.replace(look, watched=(one,), more=0, error="")


def test_failed_tokens_are_the_most_urgent():
    board, one = Dashboard(NOW, output(150)), InstanceWatch("i1")
    late = {"execution_context": {"timeout_at": at(-9000).isoformat()}, "created_at": at(-9000)}
    tokens = [token(f"late{n}", state="ACTIVE", **late) for n in range(50)] + [token("broken", state="FAILED")]
    board.add_events(one.update(derive_status(instance(status="ACTIVE"), tokens), tokens, NOW))
    look = DashboardState(watched=(one,), now=NOW, polled_at=NOW, interval=5)
    assert any("broken" in line and "FAILED" in line for line in picture(board, look, output(150), 24))


def test_rates_are_those_of_the_last_minutes():
    board = Dashboard(NOW, output(150))
    one = InstanceWatch("i1")
    tokens: list[Token] = []
    about = instance(status="ACTIVE")
    board.add_events(one.update(derive_status(about, tokens), tokens, NOW))
    for minute in range(20):
        tokens = [*tokens, token(f"t{minute}"), token(f"u{minute}", state="ACTIVE")]
        board.add_events(one.update(derive_status(about, tokens), tokens, NOW + timedelta(minutes=minute, seconds=1)))
        now = NOW + timedelta(minutes=minute, seconds=30)
        look = DashboardState(watched=(one,), now=now, polled_at=now, interval=60)
        screen = " ".join(picture(board, look, output(150), 30))
        if minute == 0:
            assert "finished 1, started 2 in 30s" in screen
    assert "finished 1.0/min, started 2.0/min in 5m" in screen


def test_rates_count_what_an_instance_did_before_it_was_seen_first_and_nothing_older():
    board, one = Dashboard(NOW, output(150)), InstanceWatch("i1")
    times = [NOW - timedelta(hours=1), NOW, NOW + timedelta(seconds=1)]
    tokens = [token(f"t{n}", created_at=times[0], completed_at=end) for n, end in enumerate(times)]
    tokens += [token(f"u{n}", state="ACTIVE", created_at=begin) for n, begin in enumerate(times)]
    board.add_events(one.update(derive_status(instance(status="ACTIVE"), tokens), tokens, NOW + timedelta(seconds=2)))
    look = DashboardState(watched=(one,), now=NOW + timedelta(seconds=2), polled_at=NOW, interval=5)
    assert "finished 1, started 1 in 2s" in " ".join(picture(board, look, output(150), 30))
