"""``tokctl incidents list``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from support.builders import at, instance, token
from tokctl.store import open_store

NOW = at(3600)


def incident(number: int, error: str | None, **fields):
    """Return a FAILED token of an instance of its own."""
    context = {"worker_id": f"worker-{number % 2}"} | ({} if error is None else {"error_message": error})
    return token(
        "t",
        f"i{number}",
        state="FAILED",
        created_at=at(number),
        updated_at=at(number + 10),
        execution_context=context,
        **fields,
    )


@pytest.fixture
def listed(tokctl, tmp_path):
    """Run the command over a store with five incidents; returns what it wrote."""
    path = tmp_path / "store.db"
    with open_store(str(path), write=True, create=True) as store, store.write() as batch:
        for number in range(1, 7):
            batch.put(instance(f"i{number}", process_id="order"))
        batch.put_tokens(
            [
                incident(3, "HTTP 500 for order 4711\nat line 3", element_id="invoice", element_name="Send Invoice"),
                incident(1, "HTTP 500 for order 12"),
                incident(2, "HTTP 404 for order 12"),
                incident(4, "HTTP 500 for order 13"),
                incident(5, None),
                token("done", "i5"),
                token("live", "i6", state="WAITING"),
            ]
        )

    def call(*words: str | Path, **options: bool):
        ran = tokctl("incidents", "list", *words, "--store", path, now=NOW, **options)
        assert ran.code == 0
        return ran

    call.store = path
    return call


@pytest.mark.parametrize("command", ["incidents", "tokens", "instances"])
def test_on_a_terminal_each_row_is_one_line(tokctl, tmp_path, command):
    """Ids are short, and an error is cut to the room; ``-o wide`` shows all of it."""
    path = tmp_path / "store.db"
    error = "Connection refused: connect to carrier-south.example.internal:8443 failed after 30000 ms"
    failed = [incident(n, error, element_name="Ship Order to the Customer") for n in range(1, 4)]
    with open_store(str(path), write=True, create=True) as store, store.write() as batch:
        for n, one in enumerate(failed, 1):
            named = msgspec.structs.replace(one, instance_id=f"{n}-instance-of-orders", token_id=f"{n}-token")
            batch.put(instance(named.instance_id, process_id="order-processing"))
            batch.put_tokens([named])
    words = (command, "list", *(["-A"] if command == "tokens" else []), "--store", path)
    ran = tokctl(*words, "--color", "never", tty=True, width=80, now=NOW)
    rows = [line for line in ran.out.splitlines() if "Connection" in line]
    assert sorted(row.split()[0] for row in rows) == ["1-instan", "2-instan", "3-instan"]
    assert all("Connection" in row and "…" in row and len(row) <= 80 for row in rows)
    assert "ms" not in "".join(rows)
    wide = tokctl(*words, "-o", "wide", "--color", "never", tty=True, width=80, now=NOW).out
    assert "…" not in wide.partition("\n\n")[2].partition("\n\n")[0].replace("…\n", "")


def test_the_first_line_has_the_number_of_incidents(listed):
    assert "  5 incidents\n" in listed("--limit", "2", "--color", "never", tty=True).out
    assert "  3 incidents\n" in listed("--worker", "worker-1", "--color", "never", tty=True).out


def test_incidents_are_listed_with_their_messages_the_oldest_first(listed):
    found = json.loads(listed("-o", "json").out)["incidents"]
    assert [one["instance_id"] for one in found] == ["i1", "i2", "i3", "i4", "i5"]
    assert found[2] == {
        "instance_id": "i3",
        "process_id": "order",
        "element_id": "invoice",
        "element_name": "Send Invoice",
        "error": "HTTP 500 for order 4711\nat line 3",
        "worker_id": "worker-1",
        "since": "2025-01-11T12:00:13.000Z",
        "retries_used": None,
        "token_id": "t",
    }
    table = listed().out
    assert "Send Invoice" in table
    assert "HTTP 500 for order 4711" in table


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["i2"], ["i2"]),
        (["--element", "Send*"], ["i3"]),
        (["--worker", "worker-0"], ["i2", "i4"]),
        (["--since", "2025-01-11T12:00:14Z"], ["i4", "i5"]),
        (["-n", "2", "--page", "2"], ["i3", "i4"]),
        (["i6"], []),
    ],
)
def test_incidents_are_filtered(listed, words, found):
    assert listed(*words, "-o", "id").out.split() == found


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (
            "error",
            [("HTTP 500 for order …", 3, "i1"), ("HTTP 404 for order …", 1, "i2"), (None, 1, "i5")],
        ),
        ("ELEMENT", [("task", 4, "i1"), ("Send Invoice", 1, "i3")]),
        ("worker", [("worker-1", 3, "i1"), ("worker-0", 2, "i2")]),
        ("process", [("order", 5, "i1")]),
    ],
)
def test_incidents_are_counted_by_what_they_have_in_common(listed, by, groups):
    found = json.loads(listed("--by", by, "-o", "json").out)
    assert found["by"] == by.lower()
    assert [(one["value"], one["incidents"], one["instance_id"]) for one in found["groups"]] == groups
    assert all(one["instances"] == one["incidents"] for one in found["groups"])


def test_without_incidents_there_is_a_message_and_no_error(listed):
    assert listed("--element", "nothing").err == "No incidents found.\n"
    assert listed("--element", "nothing", "--by", "error").err == "No incidents found.\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_incidents_are_one_line_below_the_source(listed, terminal):
    """Without the first line, as in a pipe with colours, nothing is above it."""
    ran = listed("--element", "nothing", "--color", "always", tty=terminal)
    lines = re.sub("\x1b\\[[0-9;]*m", "", ran.out).splitlines()
    assert lines[-1] == "No incidents found."
    assert [bool(line.strip()) for line in lines[:-1]] == ([True, False] if terminal else [])


def test_the_rows_left_out_are_counted(listed):
    assert "1 to 2 of 5 incidents" in listed("-n", "2").err
    assert "1 to 1 of 3 groups" in listed("-n", "1", "--by", "error").err


@pytest.mark.parametrize("words", [(), ("--by", "error")])
def test_a_terminal_names_the_next_command(listed, words):
    shown = " ".join(listed(*words, "--color", "never", tty=True).out.split())
    assert f"Next: tokctl --store {listed.store} explain i1" in shown
    assert "Next:" not in listed(*words).out + listed(*words).err
