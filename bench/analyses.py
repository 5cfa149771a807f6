"""debug, perf and flow of one documented answer, beside the documented JavaScript and jq.

Before anything is measured, both sides have to come to the same results.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import TOKCTL, Line, Side

from documents import answer

HERE = Path(__file__).parent
NODE = ["/usr/bin/env", "node", str(HERE / "peer.js")]
JQ = ["/usr/bin/env", "jq", "-c", "-f", str(HERE / "peer.jq")]
RULES = {"LONG_RUNNING_TOKENS": "runningTime", "HIGH_RETRY_TOKENS": "retries", "STUCK_GATEWAY_TOKENS": "waitingTime"}
FEW = 3  # measured runs of a peer that takes ten seconds


def prepare(folder: Path, tokens: int, *, troubled: bool = False) -> Path:
    """Write the answer, and see that all sides read the same in it; if ``troubled``, half of its tokens have problems.

    Of a troubled answer only what debug finds is compared.
    """
    path = folder / "answer.json"
    answer(path, tokens // 10, troubled=troubled)
    modes = [("debug", _agree_on_debug), ("perf", _agree_on_perf), ("flow", _agree_on_flow)]
    for mode, agree in modes[:1] if troubled else modes:
        ours = _results([*TOKCTL, mode, "--file", str(path), "-o", "json"])
        peers = {
            "peer.js": _results([*NODE, mode, str(path)]),
            "peer.jq": _results([*JQ, "--arg", "mode", mode, str(path)]),
        }
        for name, theirs in peers.items():
            try:
                agree(ours, theirs)
            except AssertionError as error:
                raise SystemExit(f"tokctl {mode} and {name} do not agree: {error}") from None
    return path


def lines(path: Path, tokens: int, rounds: int) -> list[Line]:
    """What is measured."""
    form = ("-o", "json")
    found = [front_page(path, tokens, rounds, "few")]
    for mode in ("debug", "perf", "flow"):
        for source, options, peer in (
            (path, (), "node"),
            (path, form, "node"),
            ("-", form, "node"),
            (path, form, "jq"),
        ):
            found.append(_line(path, tokens, rounds, mode, str(source), options, peer))
    return found


def front_page(path: Path, tokens: int, rounds: int, share: str) -> Line:
    """The worst of what debug finds in a document of which a share of the tokens has problems."""
    line = _line(path, tokens, rounds, "debug", str(path), ("--limit", "5"), "node")
    return replace(line, title=f"{line.title}, {share} with problems", aim="0.4" if share == "few" else "0.7")


def _line(path: Path, tokens: int, rounds: int, mode: str, source: str, options: tuple[str, ...], peer: str) -> Line:
    title = f"`{' '.join((mode, '--file', 'FILE' if source != '-' else '-', *options))}`, {tokens:,} tokens"
    stdin = str(path) if source == "-" else os.devnull
    ours = Side([*TOKCTL, mode, "--file", source, *options], stdin=stdin)
    command = [*NODE, mode] if peer == "node" else [*JQ, "--arg", "mode", mode]
    theirs = Side([*command, *([source] if source != "-" else [])], stdin=stdin)
    return Line(title, "0.4, 0.6" if peer == "node" else "", ours, theirs, peer, rounds if peer == "node" else FEW)


def _results(command: list[str]) -> Any:
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _same(what: str, one: Any, other: Any) -> None:
    if one != other:
        shown = [text if len(text := repr(value)) < 200 else f"{text[:200]}…" for value in (one, other)]
        raise AssertionError(f"{what}: {shown[0]} and {shown[1]}")


def _near(what: str, one: float, other: float) -> None:
    if not math.isclose(one, other, rel_tol=1e-9):
        raise AssertionError(f"{what}: {one} and {other}")


def _agree_on_debug(ours: Any, theirs: Any) -> None:
    found, known = ({issue["type"]: issue for issue in side["issues"]} for side in (ours, theirs))
    _same("what was found", sorted(found.keys() & RULES.keys()), sorted(known))
    for rule in known:
        for field in ("severity", "count"):
            _same(f"{field} of {rule}", found[rule][field], known[rule][field])
        tokens, others = ({t["id"]: t for t in side[rule]["tokens"]} for side in (found, known))
        _same(f"tokens of {rule}", tokens.keys(), others.keys())
        _same(f"elements of {rule}", *({i: t["element"] for i, t in side.items()} for side in (tokens, others)))
        most = max(abs(t[RULES[rule]] - others[i][RULES[rule]]) for i, t in tokens.items())
        if most > (0 if rule == "HIGH_RETRY_TOKENS" else 2):  # minutes, and one was later
            raise AssertionError(f"{RULES[rule]} of {rule} differs by {most}")


def _agree_on_perf(ours: Any, theirs: Any) -> None:
    for field in ("totalTokens", "retryAnalysis"):
        _same(field, ours[field], theirs[field])
    _near("avgExecutionTime", ours["avgExecutionTime"], theirs["avgExecutionTime"])
    for field in ("fastestToken", "slowestToken"):  # several may have taken as long
        _same(field, *(side[field]["execution_context"]["duration_ms"] for side in (ours, theirs)))
    _same("typePerformance", *({k: n for k, n in s["typePerformance"].items() if n} for s in (ours, theirs)))


def _agree_on_flow(ours: Any, theirs: Any) -> None:
    analysis = theirs["analysis"]
    _same("activeTokens", *({t["token_id"] for t in s["activeTokens"]} for s in (ours, analysis)))
    _same("completedPath", *([t["completedAt"] for t in s["completedPath"]] for s in (ours, analysis)))
    _same("durations", *(sum(t["duration"] for t in s["completedPath"]) for s in (ours, analysis)))
    if "tokenTree" not in theirs:  # jq leaves the tree and all that is measured along it
        return
    _same("tokens", ours["summary"]["total_tokens"], theirs["tokenTree"]["tokens"])
    known = {b["element_id"]: b["visits"] for b in ours["currentBottlenecks"]}
    _same("currentBottlenecks", known, {b["element"]: b["visits"] for b in analysis["currentBottlenecks"]})
    most, parallel = ours["parallelExecution"]["max_concurrent_tokens"], analysis["parallelExecution"]
    _same("parallelExecution", most, parallel["most"])
    _same("stretches", len(ours["parallelExecution"]["stretches"]), len(parallel["stretches"]))
