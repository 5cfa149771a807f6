"""Token records written by hand: the tokens of an instance, separated by semicolons or line ends.

::

    start 0-0               completed: from second 0 to second 0
    task 0-3x <start f1     cancelled; came from the token `start` by the flow f1
    task#2 3- <start f1     a second token of the element; still WAITING
    inner 0-1 <sub          in the activity `sub`
    late 2-2 <task *        a boundary event: it came from `task`, by no flow
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

START = datetime(2025, 1, 1, tzinfo=UTC)


class Hop(NamedTuple):
    """A step of a token: from an element, by a sequence flow."""

    from_element: str
    via_flow: str | None


class Record(NamedTuple):
    """What is recorded of a token."""

    token_id: str
    element_id: str
    element_type: str
    state: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    cancelled_at: datetime | None
    parent_token_id: str | None
    hops: tuple[Hop, ...]


def definitions(process: str) -> bytes:
    """Return a BPMN file with the content of the process ``p``."""
    namespace = "http://www.omg.org/spec/BPMN/20100524/MODEL"
    head = f'<definitions xmlns="{namespace}" targetNamespace="t">'
    return f'{head}<process id="p">{process}</process></definitions>'.encode()


def flows(text: str) -> str:
    """Return sequence flows: each word is ``id:source>target``; with a ``?`` at its end it has a condition."""
    found = ""
    for word in text.split():
        name, _, ends = word.rstrip("?").partition(":")
        source, _, target = ends.partition(">")
        condition = "<conditionExpression>x</conditionExpression>" if word.endswith("?") else ""
        found += f'<sequenceFlow id="{name}" sourceRef="{source}" targetRef="{target}">{condition}</sequenceFlow>'
    return found


def records(model: bytes, text: str) -> list[Record]:
    """Read tokens that are written as above; their types are those of the elements."""
    types = {one.get("id"): one.tag.partition("}")[2] for one in ET.fromstring(model).iter()}
    return [_read(line.split(), types) for line in text.replace(";", "\n").strip().splitlines()]


def _read(words: list[str], types: dict[str | None, str]) -> Record:
    name, times, *rest = words
    element = name.partition("#")[0]
    created, ended = times.rstrip("x").split("-")
    state = "WAITING" if not ended else "CANCELLED" if times.endswith("x") else "COMPLETED"
    at = START + timedelta(seconds=float(created))
    end = START + timedelta(seconds=float(ended or created))
    parent = rest[0].lstrip("<") if rest else None
    hops: tuple[Hop, ...] = ()
    if len(rest) > 1 and parent is not None:
        hops = (Hop(parent.partition("#")[0], None if rest[1] == "*" else rest[1]),)
    return Record(
        token_id=name,
        element_id=element,
        element_type=types[element],
        state=state,
        created_at=at,
        updated_at=end,
        completed_at=end if state == "COMPLETED" else None,
        cancelled_at=end if state == "CANCELLED" else None,
        parent_token_id=parent,
        hops=hops,
    )
