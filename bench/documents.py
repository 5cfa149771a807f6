"""The documents of the benchmark: tokens as NDJSON, and one documented answer with a long-running instance.

Chance is seeded: the same numbers give the same bytes.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
SMALL = 100  # tokens of an ordinary instance
_ALPHABET = string.ascii_letters + string.digits


def token_lines(path: Path, count: int) -> None:
    """Write tokens as NDJSON: one instance with all of them but the last 1,000, those ten of SMALL each.

    They are linked as an engine links them: sequences, and every tenth token a split in two.
    """
    chance = random.Random(1)
    kinds = ("serviceTask", "exclusiveGateway", "userTask", "parallelGateway", "scriptTask")
    big = count - 10 * SMALL
    with path.open("w") as stream:
        ids: list[str] = []
        for number in range(count):
            inside = number if number < big else (number - big) % SMALL
            instance = "big" if number < big else f"small{(number - big) // SMALL:06d}"
            if inside == 0:
                ids = []
            ids.append("srv1-token-" + "".join(chance.choices(_ALPHABET, k=12)))
            back = 2 if inside % 10 == 1 and inside > 1 else 1
            live = inside % SMALL == SMALL - 1
            second = number % 86_000
            day, clock = 11 + number // 86_000 % 20, f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            began = f"2025-01-{day:02d}T{clock}"
            kind = kinds[inside % len(kinds)]
            token = {
                "instance_id": f"srv1-{instance}",
                "process_id": "order-processing",
                "token_id": ids[-1],
                "element_id": f"{kind}-{inside % 40}",
                "element_type": kind,
                "element_name": f"Step {inside % 40}",
                "state": "ACTIVE" if live else "COMPLETED",
                "created_at": f"{began}.123Z",
                "updated_at": f"{began}.789Z",
                "completed_at": None if live else f"{began}.789Z",
                "cancelled_at": None,
                "variables": {"orderId": f"ORD-{number:06d}", "amount": 299.99, "paymentMethod": "credit"},
                "execution_context": {
                    "job_key": f"srv1-job-{number}",
                    "worker_id": f"worker-{inside % 7}",
                    "retries_used": inside % 4,
                    "duration_ms": 666,
                },
                "parent_token_id": ids[-1 - back] if inside >= back else None,
                "child_tokens": [],
                "flow_history": [
                    {"from_element": "before", "via_flow": f"flow_{inside % 41}", "timestamp": f"{began}.123Z"}
                ],
            }
            stream.write(json.dumps(token) + "\n")


# --- the documented answer --------------------------------------------------------------------------

# A pass of a loop, ten tokens: what each is, after which of the pass it comes (-1: the last of the pass before).
_PASS = (
    ("next", "exclusiveGateway", (-1,)),
    ("split", "parallelGateway", (0,)),
    ("charge", "serviceTask", (1,)),
    ("review", "userTask", (1,)),
    ("remind", "", (1,)),  # it leads nowhere, and one in ten is still under way
    ("join", "parallelGateway", (2, 3)),
    ("book", "serviceTask", (5,)),
    ("count", "scriptTask", (6,)),
    ("notify", "sendTask", (7,)),
    ("more", "exclusiveGateway", (8,)),
)
_REMINDERS = ("serviceTask", "intermediateCatchEvent", "eventBasedGateway", "receiveTask")
_AT_ONCE = len(_REMINDERS)  # the model has four such loops, one after the other
_TOOK_MS = {
    "serviceTask": (200, 6_000),
    "userTask": (900, 20_000),
    "scriptTask": (1, 40),
    "sendTask": (50, 900),
    "receiveTask": (200, 9_000),
    "intermediateCatchEvent": (200, 9_000),
}


def answer(path: Path, passes: int, *, troubled: bool = False) -> None:
    """Write the documented answer for an instance that has gone through a loop so many times, ten tokens each.

    Few of its tokens have problems; if ``troubled``, half of them have, because they have not ended.
    """
    counts: dict[str, dict[str, int]] = {"state": {}, "element_type": {}}
    with path.open("w") as stream:
        stream.write('{"success":true,"data":{"instance_id":"srv1-big","process_id":"order-processing","tokens":[')
        for number, token in enumerate(_tokens(passes, troubled=troubled)):
            for field, counted in counts.items():
                counted[token[field]] = counted.get(token[field], 0) + 1
            stream.write("," * (number > 0) + json.dumps(token, separators=(",", ":")))
        states = {state: counts["state"].get(state, 0) for state in ("ACTIVE", "COMPLETED", "CANCELLED", "WAITING")}
        summary = {
            "total_tokens": 10 * passes,
            **{f"{state.lower()}_tokens": states[state] for state in ("ACTIVE", "COMPLETED", "CANCELLED")},
            "token_states": states,
            "element_types": counts["element_type"],
        }
        stream.write(f'],"summary":{json.dumps(summary)}}},"request_id":"req_1641998402200"}}')


def _tokens(passes: int, *, troubled: bool) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    ids = _ids(chance)
    mine, following = ids(), ids()
    before, ended = None, 0  # the token that led to the pass, and when it ended (ms)
    for turn in range(passes):
        ends: list[int] = []
        loop = turn % _AT_ONCE
        for place, (name, fixed, sources) in enumerate(_PASS):
            kind = fixed or _REMINDERS[loop]
            live = (name == "remind" and chance.random() < 0.1) or (troubled and place % 2 == 0)
            gateway = kind.endswith("Gateway")
            began = max(ended if source < 0 else ends[source] for source in sources)
            took = chance.randint(*_TOOK_MS.get(kind, (0, 0)))
            ends.append(began + took)
            done = None if live else _time(began + took)
            context: dict[str, Any] = {}
            if gateway:
                context["gateway_decision"] = {
                    "condition_evaluated": None,
                    "selected_flow": f"after_{name}_{loop}",
                    "evaluation_time_ms": chance.randrange(9),
                }
            else:
                used = chance.choices((0, 1, 2, 3, 4), (900, 70, 22, 6, 2))[0]
                context |= {
                    "job_key": f"srv1-job-{10 * turn + place}",
                    "worker_id": f"{name}-{chance.randrange(7)}",
                    "retries_used": used,
                }
            if not live:
                context["duration_ms"] = took
            followers = [mine[n] for n, (_, _, others) in enumerate(_PASS) if place in others]
            if place == len(_PASS) - 1 and turn < passes - 1:
                followers.append(following[0])
            came_from = [(f"{_PASS[source][0]}-{loop}", ends[source]) for source in sources] if place else []
            if not place and turn:
                came_from = [(f"{_PASS[-1][0]}-{(turn - 1) % _AT_ONCE}", ended)]
            yield {
                "token_id": mine[place],
                "element_id": f"{name}-{loop}",
                "element_type": kind,
                "element_name": f"{name.capitalize()} {loop + 1}",
                "state": ("WAITING" if gateway else "ACTIVE") if live else "COMPLETED",
                "created_at": _time(began),
                "updated_at": done or _time(began),
                "completed_at": done,
                "cancelled_at": None,
                "variables": {
                    "orderId": f"ORD-{turn:06d}",
                    "amount": 299.99,
                    "paymentMethod": "credit",
                    "validationResult": {"isValid": True, "validatedAt": _time(ended)},
                },
                "execution_context": context,
                "parent_token_id": mine[sources[0]] if place else before,
                "child_tokens": followers,
                "flow_history": [
                    {"from_element": element, "via_flow": f"{element}_{name}", "timestamp": _time(left)}
                    for element, left in came_from
                ],
            }
        before, ended = mine[-1], ends[-1]
        mine, following = following, ids()


def _ids(chance: random.Random) -> Any:
    return lambda: ["srv1-token-" + "".join(chance.choices(_ALPHABET, k=12)) for _ in _PASS]


def _time(ms: int) -> str:
    """A time so many ms after the beginning of 2025."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
