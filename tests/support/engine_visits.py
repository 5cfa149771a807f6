"""Visits for reconstruction: from recorded answers of engines, and from simulated instances."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from uuid import UUID

from support.paths import FIXTURES
from support.random_models import RandomModel, make_scenario
from support.recording import START, MemorySink
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.bpmn.reconstruction import UNKNOWN_SCOPE, EngineVisit
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

RECORDINGS = FIXTURES / "recordings"


def time(text):
    return text and datetime.fromisoformat(text)


def read_camunda_models(engine):
    files = sorted((RECORDINGS / engine).glob("xml_*.json"))
    answers = [json.loads(file.read_bytes()) for file in files]
    return {answer["id"]: ProcessGraph(read_definitions(answer["bpmn20Xml"])[0]) for answer in answers}


def read_camunda_visits(engine, case):
    return [
        EngineVisit(
            visit_id=row["id"],
            element_id=row["activityId"].removesuffix("#multiInstanceBody"),
            scope_id=None
            if row["parentActivityInstanceId"] == row["processInstanceId"]
            else row["parentActivityInstanceId"],
            started_at=time(row["startTime"]),
            ended_at=time(row["endTime"]),
            cancelled=row["canceled"],
            definition=row["processDefinitionId"],
        )
        for row in json.loads((RECORDINGS / engine / f"{case}_activities.json").read_bytes())
    ]


def list_cases(engine):
    files = sorted((RECORDINGS / engine).glob("*_activities.json"))
    return [name for file in files if (name := file.name.removesuffix("_activities.json")) != "missing"]


def read_flowable_case(case):
    """Return the model of an instance, its visits without flows, and the recorded flow of each visit that has one."""
    rows = json.loads((RECORDINGS / "flowable" / f"{case}_activities.json").read_bytes())["data"]
    rows.sort(key=lambda row: UUID(row["id"]).time)
    key, version, _ = rows[0]["processDefinitionId"].split(":")
    graph = ProcessGraph(read_definitions((RECORDINGS / "flowable" / f"xml_{key}{version}.xml").read_bytes())[0])
    visits, flows, pending = [], {}, []
    for row in rows:
        if row["activityType"] == "sequenceFlow":
            pending.append(row)
            continue
        visits.append(
            EngineVisit(
                visit_id=row["id"],
                element_id=row["activityId"],
                scope_id=UNKNOWN_SCOPE,
                started_at=time(row["startTime"]),
                ended_at=time(row["endTime"]),
            )
        )
        into = [one for one in pending if graph.flows[one["activityId"]].target == row["activityId"]]
        same = [one for one in into if one["executionId"] == row["executionId"]] or into
        if same:
            pending.remove(same[0])
            flows[row["id"]] = same[0]["activityId"]
    return graph, visits, flows


def simulate_random_model(seed, takes="1s", blocks=None):
    """Return the graph of a random model, and the tokens of each of its instances by their ids."""
    xml = RandomModel(seed, blocks=blocks).xml
    sink = MemorySink()
    simulate([("model", xml)], parse_scenario(make_scenario(seed, takes)), sink, start=START)
    return ProcessGraph(read_definitions(xml)[0]), list(sink.tokens.values())


def find_scopes(tokens):
    """Return the scope of each simulated token: its parent if no hop led to it, or else the scope of its parent."""
    scopes = {}
    for token in tokens.values():
        parent = token.parent_token_id
        scopes[token.token_id] = None if parent is None else scopes[parent] if token.hops else parent
    return scopes


def takes_exits_once(graph, tokens):
    """Whether no exit led to two tokens; SpiffWorkflow begins a task again that it had to predict twice."""

    def exit_of(token):
        hop = token.hops[0]
        exclusive = graph.elements[hop.from_element].type == "exclusiveGateway"
        return token.parent_token_id, None if exclusive else hop.via_flow

    used = Counter(exit_of(token) for token in tokens.values() if token.hops)
    return max(used.values()) == 1


def hide_flows(tokens, *, scopes=None):
    """Return the visits of simulated tokens as an engine tells them: no flows, and times in milliseconds.

    Without scopes, a multi-instance activity has no visit as a whole.
    """
    recorded = find_scopes(tokens)
    element = {token.token_id: token.element_id for token in tokens.values()}
    bodies = {scope for token_id, scope in recorded.items() if scope and element[scope] == element[token_id]}
    return [
        EngineVisit(
            visit_id=token.token_id,
            element_id=token.element_id,
            scope_id=UNKNOWN_SCOPE if scopes == "hidden" else recorded[token.token_id],
            started_at=cut(token.created_at),
            ended_at=cut(token.completed_at or token.cancelled_at),
            cancelled=token.state == "CANCELLED",
        )
        for token in tokens.values()
        if scopes != "hidden" or token.token_id not in bodies
    ]


def cut(at):
    return at and at.replace(microsecond=at.microsecond // 1000 * 1000)
