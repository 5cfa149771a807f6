"""The Trace Event Format of Chrome, which Perfetto opens: a process for each instance, a slice for each token.

Tokens that are open at the same time are on different tracks ("threads"). A token that has not ended is a slice that
begins and does not end (``B`` without ``E``); so is one that ended at an unknown time. One that began at an unknown
time is an instant. Times are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

import msgspec

from tokctl.exports.export_format import ExportFormat, InstanceExport, TokenExport
from tokctl.model.states import FAILED
from tokctl.model.times import format_time, to_micros
from tokctl.version import __version__

_FOREVER = float("inf")


def write(instances: Iterable[InstanceExport], now: datetime) -> Iterator[str]:
    """Yield the document, one event on each line."""
    about = {"generator": f"tokctl {__version__}", "exported_at": format_time(now)}
    yield f'{{"displayTimeUnit":"ms","otherData":{_encode(about)},"traceEvents":['
    comma = ""
    for number, instance in enumerate(instances, start=1):
        for event in _list_events(instance, number):
            yield f"{comma}\n{_encode(event)}"
            comma = ","
    yield "\n]}\n"


def _list_events(instance: InstanceExport, pid: int) -> Iterator[dict[str, Any]]:
    name = " ".join(filter(None, (instance.read.status.instance.process_id, instance.instance_id)))
    yield _metadata("process_name", pid, 0, {"name": name})
    yield _metadata("process_labels", pid, 0, {"labels": instance.read.status.status or "status unknown"})
    tracks = _Tracks()
    timed = [(begin, token) for token in instance.tokens if (begin := to_micros(token.start)) is not None]
    for begin, token in sorted(timed, key=lambda pair: pair[0]):
        end = to_micros(token.end)
        track, is_new = tracks.choose(begin, _FOREVER if end is None else end)
        if is_new:
            yield _metadata("thread_name", pid, track, {"name": f"track {track}"})
        place = {"pid": pid, "tid": track}
        args = _args(token)
        span = {"ph": "B"} if end is None else {"ph": "X", "dur": max(0, end - begin)}
        if end is not None and end < begin:
            args["ended_before_start_at"] = format_time(token.end)
        yield _describe(token) | span | place | {"ts": begin, "args": args}
        if token.visit.state == FAILED and token.failed_at is not None:
            yield (
                _describe(token)
                | _instant(token.failed_at)
                | place
                | {
                    "name": "incident",
                    "args": {"error": token.error, "certainty": token.certainty},
                }
            )
    for token in instance.tokens:
        if token.start is None and (time := token.end or token.failed_at) is not None:
            yield _describe(token) | _instant(time) | {"pid": pid, "tid": 0, "args": _args(token)}


def _metadata(name: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": pid, "tid": tid, "args": args}


def _instant(time: datetime) -> dict[str, Any]:
    return {"ph": "i", "s": "t", "ts": to_micros(time)}


def _describe(token: TokenExport) -> dict[str, Any]:
    return {"name": token.visit.name, "cat": token.visit.element_type or "unknown"}


def _args(token: TokenExport) -> dict[str, Any]:
    return token.facts() | {"parents": token.parents, "certainty": token.certainty}


class _Tracks:
    """Numbers of tracks, from 1, on which no two slices overlap. Slices come in order of their begin."""

    def __init__(self) -> None:
        self._count = 0
        self._busy: list[tuple[float, int]] = []
        self._free: list[int] = []

    def choose(self, begin: int, end: float) -> tuple[int, bool]:
        """Return the first free track, and whether it is new."""
        while self._busy and self._busy[0][0] <= begin:
            heappush(self._free, heappop(self._busy)[1])
        is_new = not self._free
        self._count += is_new
        track = self._count if is_new else heappop(self._free)
        heappush(self._busy, (end, track))
        return track, is_new


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


FORMAT = ExportFormat(write=write, omits=lambda token: not any(token.times), is_json=True)
