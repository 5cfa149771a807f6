"""The endpoints return what the store's engine returns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import at
from support.examples import scaled
from support.running_server import API, ENDED, LARGE, SMALL, WILD, path_of
from tokctl.analysis.encoding.trace import encode_trace
from tokctl.documents.base import decode_object
from tokctl.documents.instances import decode_status, encode_full_status
from tokctl.documents.tokens import encode_token
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    INSTANCE_SORT_COLUMNS,
    RECORDED_ORDER,
    TOKEN_SORT_COLUMNS,
    InstanceFilter,
    StuckLimits,
    TokenFilter,
    parse_sort_order,
)
from tokctl.model.states import STATES
from tokctl.model.times import format_time
from tokctl.model.variables import parse_variable_condition
from tokctl.store import open_store


@pytest.fixture(scope="module")
def engine(served_store):
    with open_store(str(served_store)) as store:
        yield store


def plain(value):
    """Return a value as it is after JSON encoding and decoding."""
    return json.loads(msgspec.json.encode(value))


def data_of(answer, applied=None):
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert [*document] == ["success", "data", "request_id"]
    assert document["success"] is True
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("x-query-applied") == applied
    return document["data"]


def fault_of(answer, status, code):
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert [*document] == ["success", "error", "request_id"]
    assert document["success"] is False
    assert [*document["error"]] == ["code", "message", "details"]
    assert document["error"]["code"] == code, document
    assert document["request_id"] == answer.headers["x-request-id"]
    return document["error"]["details"]


# --- tokens of an instance ---

words = {
    "states": st.lists(st.sampled_from(STATES), min_size=1, max_size=3),
    "types": st.lists(
        st.sampled_from(["task", "gateway", "serviceTask", "SERVICE_TASK", "robot"]), min_size=1, max_size=2
    ),
    "elements": st.lists(st.sampled_from(["e1", "e[2-4]", "Name 1*", "*", "user", "nobody"]), min_size=1, max_size=2),
    "workers": st.lists(st.sampled_from(["w1", "w[0-2]", "*"]), min_size=1, max_size=2),
    "since": st.integers(0, 600).map(at),
    "until": st.integers(0, 600).map(at),
    "live": st.booleans(),
    "include_completed": st.booleans(),
}
NAMES = {"states": "state", "types": "element_type", "elements": "element", "workers": "worker"}


def query_of(asked):
    query = {}
    for name, value in asked.items():
        text = format_time(value) if hasattr(value, "isoformat") else value
        query[NAMES.get(name, name)] = str(value).lower() if isinstance(value, bool) else text
    return query


@given(
    instance_id=st.sampled_from([SMALL, ENDED, LARGE]),
    asked=st.fixed_dictionaries({}, optional=words),
    sort=st.one_of(st.none(), st.sampled_from([s + o for o in TOKEN_SORT_COLUMNS for s in ("", "-")])),
    limit=st.one_of(st.none(), st.integers(1, 2000)),
    offset=st.one_of(st.none(), st.integers(0, 2000)),
    variables=st.booleans(),
)
@settings(max_examples=scaled(0.6))
def test_tokens_match_the_engine(served, secrets, engine, instance_id, asked, sort, limit, offset, variables):
    if "COMPLETED" in asked.get("states", ()):
        asked["include_completed"] = True
    query = query_of(asked)
    given = {"sort": sort, "limit": limit, "offset": offset}
    query |= {name: value for name, value in given.items() if value is not None}
    if not variables:
        query["include_variables"] = "false"
    answer = served.get(path_of("processes", instance_id, "tokens"), secrets["process"], params=query)
    data = data_of(answer, ", ".join(query) or None)
    where = TokenFilter(**{n: tuple(v) if isinstance(v, list) else v for n, v in asked.items()})
    order = parse_sort_order(sort or "created", TOKEN_SORT_COLUMNS)
    expected = plain(
        [encode_token(t) for t in engine.tokens(instance_id, where, order, limit=limit, offset=offset or 0)]
    )
    if not variables:
        expected = [one | {"variables": None} for one in expected]
    assert data["tokens"] == expected
    assert data["summary"] == plain(engine.summary(instance_id))
    assert data["instance_id"] == instance_id
    assert data["process_id"] == "p"
    if limit is None and offset is None:
        assert [*data] == ["instance_id", "process_id", "tokens", "summary"]
    else:
        total = engine.count_tokens(instance_id, where)
        assert (data["total_count"], data["has_more"]) == (total, limit is not None and (offset or 0) + limit < total)


def test_lists_may_be_comma_separated(served, secrets):
    path = path_of("processes", LARGE, "tokens")
    one = served.get(path, secrets["process"], params={"state": "ACTIVE,canceled", "element_type": "task,event"})
    two = served.get(
        path, secrets["process"], params={"state": ["ACTIVE", "CANCELLED"], "element_type": ["task", "event"]}
    )
    assert data_of(one, "state, element_type") == data_of(two, "state, element_type")
    assert one.json()["data"]["tokens"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("state=ACTIV", "state"),
        ("state=", "state"),
        ("state=,", "state"),
        ("stat=ACTIVE", "stat"),
        ("element_type=serviceTusk", "element_type"),
        ("include_completed=maybe", "include_completed"),
        ("include_completed=false&state=COMPLETED", "include_completed"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.0", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("offset=-1", "offset"),
        ("since=yesterday", "since"),
        ("since=1", "since"),
        ("until=", "until"),
        ("sort=age", "sort"),
        ("element=", "element"),
        ("worker=w1&worker=", "worker"),
        ("live=%FF", "live"),
        ("%FF=1", ""),
        ("limit=%D9%A1", "limit"),
        ("&".join(["a=1"] * 300), ""),
    ],
)
def test_an_invalid_parameter_is_named(served, secrets, query, parameter):
    answer = served.get(f"{path_of('processes', SMALL, 'tokens')}?{query}", secrets["process"])
    assert fault_of(answer, 400, "VALIDATION_ERROR") == {"parameter": parameter}
    assert answer.headers["cache-control"] == "no-store"


def test_the_nearest_parameter_is_suggested(served, secrets):
    answer = served.get(f"{path_of('processes', SMALL, 'tokens')}?elment=a", secrets["process"])
    assert "did you mean 'element'" in answer.json()["error"]["message"]
    assert (
        "did you mean 'ACTIVE'"
        in served.get(f"{path_of('processes', SMALL, 'tokens')}?state=ACTIV", secrets["process"]).json()["error"][
            "message"
        ]
    )


# --- ids ---


@pytest.mark.parametrize("name", WILD)
def test_ids_may_contain_any_character(served, secrets, engine, name):
    for end in ((), ("tokens",), ("tokens", "trace")):
        data = data_of(served.get(path_of("processes", name, *end), secrets["reader"]))
        assert data["instance_id"] == name
    token = data_of(served.get(path_of("tokens", name), secrets["reader"]))
    assert (token["token_id"], token["instance_id"]) == (name, name)
    shared = served.get(path_of("tokens", "shared"), secrets["reader"], params={"instance_id": name})
    assert data_of(shared, "instance_id") == plain(encode_token(engine.token(name, "shared"), instance=True))


@pytest.mark.parametrize(
    "name", ["nobody", "a%00b", "%00", "%FF", "a%2Fb%2F", "%2e%2e%2f", "small%00", "~", "x" * 4000]
)
def test_unknown_ids(served, secrets, name):
    for end in ("", "/tokens", "/tokens/trace"):
        details = fault_of(
            served.get(f"{API}/processes/{name}{end}", secrets["process"]), 404, "PROCESS_INSTANCE_NOT_FOUND"
        )
        assert quote(details["instance_id"], safe="") in {name, quote("�", safe=""), "a%2Fb%2F", "..%2F"}
    assert fault_of(served.get(f"{API}/tokens/{name}", secrets["token"]), 404, "TOKEN_NOT_FOUND")
    assert fault_of(served.get(f"{API}/tokens/{name}?instance_id=small", secrets["token"]), 404, "TOKEN_NOT_FOUND")
    assert fault_of(served.get(f"{API}/bpmn/processes/{name}", secrets["bpmn"]), 404, "DEFINITION_NOT_FOUND")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/api",
        API,
        f"{API}/",
        f"{API}/process",
        f"{API}/processes/",
        f"{API}/tokens/",
        f"{API}/processes//tokens",
        f"{API}/processes/small/token",
        "/health/",
    ],
)
def test_unknown_endpoints(served, secrets, path):
    fault_of(served.get(path, secrets["process"]), 404, "NOT_FOUND")
    fault_of(served.get(path), 401, "UNAUTHORIZED")


def test_a_token_of_several_instances(served, secrets):
    details = fault_of(served.get(path_of("tokens", "shared"), secrets["token"]), 409, "CONFLICT")
    assert details == {"token_id": "shared", "instances": sorted(WILD)}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_unsupported_methods(served, secrets, method):
    answer = served.client.request(method, path_of("processes", SMALL), headers={"X-API-Key": secrets["every"]})
    fault_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    asked = served.client.options(path_of("processes", SMALL), headers={"X-API-Key": secrets["process"]})
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, "GET, HEAD, OPTIONS", b"")


# --- instances ---

instance_words = {
    "statuses": st.lists(st.sampled_from(STATES), min_size=1, max_size=2),
    "processes": st.lists(st.sampled_from(["p", "order*", "*", "a?b*", "nobody"]), min_size=1, max_size=2),
    "version": st.integers(0, 2),
    "since": st.integers(-9000, 600).map(at),
    "until": st.integers(-9000, 600).map(at),
    "live": st.booleans(),
    "open": st.booleans(),
    "failed": st.booleans(),
    "business_keys": st.lists(st.sampled_from(["*", "nobody"]), min_size=1, max_size=2),
    "variables": st.lists(
        st.sampled_from(["orderId=ORD-1", "orderId~ORD-*", "x=1"]).map(parse_variable_condition), min_size=1, max_size=2
    ),
}


@given(
    asked=st.fixed_dictionaries({}, optional=instance_words),
    sort=st.sampled_from([s + o for o in (*INSTANCE_SORT_COLUMNS, RECORDED_ORDER) for s in ("", "-")]),
    limit=st.integers(1, 30),
    offset=st.integers(0, 20),
)
@settings(max_examples=scaled(0.5))
def test_instances_match_the_engine(served, secrets, engine, asked, sort, limit, offset):
    given_names = {"statuses": "status", "processes": "process", "business_keys": "business_key", "variables": "var"}
    query = {given_names.get(n, n): v for n, v in query_of(asked).items()}
    if "var" in query:
        query["var"] = [str(condition) for condition in query["var"]]
    query |= {"sort": sort, "limit": limit, "offset": offset}
    data = data_of(served.get(f"{API}/processes", secrets["process"], params=query), ", ".join(query))
    where = InstanceFilter(**{n: tuple(v) if isinstance(v, list) else v for n, v in asked.items()})
    order = parse_sort_order(sort, (*INSTANCE_SORT_COLUMNS, RECORDED_ORDER))
    expected = list(engine.instances(where, order, limit=limit, offset=offset))
    assert data["instances"] == plain([encode_full_status(one) for one in expected])
    assert [decode_status(decode_object(json.dumps(one))) for one in data["instances"]] == expected
    total = engine.count_instances(where)
    assert {n: v for n, v in data.items() if n != "instances"} == {
        "total_count": total,
        "has_more": offset + limit < total,
        "limit": limit,
        "offset": offset,
    }


def test_stuck_instances(served, secrets, engine):
    """They depend on the time: there is no ETag that could hold."""
    limits = StuckLimits(datetime.now(UTC))
    where = InstanceFilter(stuck=limits)
    found = served.get(f"{API}/processes", secrets["process"], params={"stuck": "true"})
    assert "etag" not in found.headers
    assert data_of(found, "stuck")["total_count"] == engine.count_instances(where) > 0
    longest = {"stuck": "true", "long_running": "900000d", "stuck_gateway": "900000d"}
    answer = served.get(f"{API}/processes", secrets["process"], params=longest)
    age = timedelta(days=900_000)
    timed_out = InstanceFilter(stuck=StuckLimits(limits.now, age, age))
    assert data_of(answer, ", ".join(longest))["total_count"] == engine.count_instances(timed_out)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("long_running=1h", "long_running"),
        ("stuck=true&long_running=soon", "long_running"),
        ("var=orderId", "var"),
        ("instance=a&var=a=b", "var"),
    ],
)
def test_an_invalid_search_for_instances_is_refused(served, secrets, query, parameter):
    answer = served.get(f"{API}/processes?{query}", secrets["process"])
    assert fault_of(answer, 400, "VALIDATION_ERROR")["parameter"] == parameter


@given(
    asked=st.fixed_dictionaries(
        {},
        optional={
            "states": st.lists(st.sampled_from(STATES), min_size=1, max_size=2),
            "elements": st.sampled_from([["*a*"], ["nobody"]]),
            "since": st.integers(-9000, 600).map(at),
            "live": st.booleans(),
        },
    ),
    sort=st.sampled_from([s + o for o in (*TOKEN_SORT_COLUMNS, RECORDED_ORDER) for s in ("", "-")]),
    limit=st.integers(1, 30),
    offset=st.integers(0, 20),
)
@settings(max_examples=scaled(0.3))
def test_tokens_of_all_instances_match_the_engine(served, secrets, engine, asked, sort, limit, offset):
    query = {{"states": "state", "elements": "element"}.get(n, n): v for n, v in query_of(asked).items()}
    query |= {"sort": sort, "limit": limit, "offset": offset}
    data = data_of(served.get(f"{API}/tokens", secrets["token"], params=query), ", ".join(query))
    where = TokenFilter(**{n: tuple(v) if isinstance(v, list) else v for n, v in asked.items()})
    order = parse_sort_order(sort, (*TOKEN_SORT_COLUMNS, RECORDED_ORDER))
    expected = engine.tokens(None, where, order, limit=limit, offset=offset)
    assert data["tokens"] == plain([encode_token(one, instance=True) for one in expected])
    total = engine.count_tokens(None, where)
    assert (data["total_count"], data["has_more"]) == (total, offset + limit < total)


def test_all_tokens_in_one_answer(served, secrets, engine):
    data = data_of(
        served.get(f"{API}/tokens", secrets["token"], params={"sort": "recorded", "limit": 0}), "sort, limit"
    )
    assert len(data["tokens"]) == data["total_count"] == engine.count_tokens(None, TokenFilter())


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("token=a&state=FAILED", "token"), ("limit=0", "limit"), ("token=a&limit=1001", "limit")],
)
def test_ids_and_filters_exclude_each_other(served, secrets, query, parameter):
    answer = served.get(f"{API}/tokens?{query}", secrets["token"])
    assert fault_of(answer, 400, "VALIDATION_ERROR")["parameter"] == parameter


def test_pages_cover_all_instances(served, secrets, engine):
    found, offset, more = [], 0, True
    while more:
        page = served.get(f"{API}/processes", secrets["process"], params={"limit": 4, "offset": offset}).json()["data"]
        found += [one["instance_id"] for one in page["instances"]]
        more, offset = page["has_more"], offset + 4
    assert len(found) == page["total_count"] == engine.count_instances(InstanceFilter())
    assert sorted(found) == sorted(engine.all_instance_ids())


@pytest.mark.parametrize("prefix", ["", "s", "a", "%", "\U0001f511", "nobody", "a/", "\U0010ffff"])
def test_instances_by_id_prefix(served, secrets, engine, prefix):
    data = data_of(
        served.get(f"{API}/processes", secrets["process"], params={"instance": prefix, "limit": 3}), "instance, limit"
    )
    ids = engine.instance_ids(prefix, 4)
    assert [one["instance_id"] for one in data["instances"]] == ids[:3]
    assert (data["has_more"], data["total_count"]) == (len(ids) > 3, None if len(ids) > 3 else len(ids))
    answer = served.get(f"{API}/processes", secrets["process"], params={"instance": prefix, "live": "true"})
    assert fault_of(answer, 400, "VALIDATION_ERROR") == {"parameter": "live"}


@pytest.mark.parametrize("instance_id", [SMALL, ENDED, LARGE])
def test_the_status_of_an_instance(served, secrets, engine, instance_id):
    data = data_of(served.get(path_of("processes", instance_id), secrets["process"]))
    status = engine.instance(instance_id)
    assert decode_status(decode_object(json.dumps(data))) == status
    live = list(
        engine.tokens(instance_id, TokenFilter(live=True), parse_sort_order("created", TOKEN_SORT_COLUMNS), limit=1000)
    )
    assert [one["token_id"] for one in data["current_activities"]] == [one.token_id for one in live]
    assert data["current_activity"] == (live[0].element_id if live else None)
    done = TokenFilter(states=("COMPLETED",), types=("task",))
    assert data["metrics"]["completed_activities_count"] == engine.count_tokens(instance_id, done)
    assert len(data["completed_activities"]) == engine.count_tokens(instance_id, done)
    ends = [one["completed_at"] for one in data["completed_activities"]]
    assert ends == sorted(ends)
    assert data["metrics"]["active_activities_count"] == status.live_tokens
    assert data["summary"] == plain(engine.summary(instance_id))


def test_progress_needs_a_model(served, secrets):
    progress = {
        name: data_of(served.get(path_of("processes", name), secrets["process"]))["metrics"]["progress_percent"]
        for name in (SMALL, ENDED, LARGE, "srv1-aB3dEf9hK2mN5pQ8uV")
    }
    assert progress == {SMALL: 100.0, ENDED: 100.0, LARGE: 0.0, "srv1-aB3dEf9hK2mN5pQ8uV": None}


# --- traces, tokens by prefix, models ---


@pytest.mark.parametrize("instance_id", [SMALL, ENDED, LARGE])
@pytest.mark.parametrize("form", ["detailed", "summary"])
@pytest.mark.parametrize("variables", [True, False])
def test_a_trace_matches_the_command_line(served, served_store, secrets, tokctl, instance_id, form, variables):
    ran = tokctl(
        "tokens",
        "trace",
        instance_id,
        "--format",
        form,
        *["--variables"] * variables,
        "--since",
        format_time(at(1)),
        "--until",
        format_time(at(300)),
        "-o",
        "json",
        "--store",
        served_store,
    )
    answer = served.get(
        path_of("processes", instance_id, "tokens", "trace"),
        secrets["process"],
        params={
            "format": form,
            "include_variables": str(variables).lower(),
            "start_time": format_time(at(1)),
            "end_time": format_time(at(300)),
        },
    )
    data, expected = data_of(answer, "format, include_variables, start_time, end_time"), json.loads(ran.out)
    assert [*data] == [*expected]
    for one in (data, expected):  # members that depend on the current time
        del one["trace_generated_at"]
        if instance_id != ENDED:
            del one["performance_analysis"]
            one.get("execution_paths", []).clear()
    assert data == expected


def test_the_complete_document_of_a_trace(served, secrets, engine):
    from tokctl.analysis.trace.report import build_trace
    from tokctl.model.filters import ALL_TOKENS, SortOrder

    data = data_of(served.get(path_of("processes", ENDED, "tokens", "trace"), secrets["process"]))
    made = build_trace(engine.instance(ENDED), engine.tokens(ENDED, ALL_TOKENS, SortOrder("created")), at(10))
    assert data | {"trace_generated_at": ""} == plain(encode_trace(made)) | {"trace_generated_at": ""}


@pytest.mark.parametrize("prefix", ["l1", "shared", "nobody", None])
def test_tokens_by_id_prefix(served, secrets, engine, prefix):
    query = {"limit": 12} if prefix is None else {"token": prefix, "limit": 12}
    data = data_of(served.get(f"{API}/tokens", secrets["token"], params=query), ", ".join(query))
    pairs = engine.token_ids(prefix or "", None, 13)
    assert [(one["instance_id"], one["token_id"]) for one in data["tokens"]] == pairs[:12]
    assert data["has_more"] == (len(pairs) > 12)


def test_definitions_and_durations(served, secrets, engine):
    for who in ("process", "bpmn"):
        answer = served.get(f"{API}/bpmn/processes/p", secrets[who])
        assert msgspec.convert(data_of(answer), Definition) == engine.definition("p", None)
    fault_of(served.get(f"{API}/bpmn/processes/p?version=7", secrets["bpmn"]), 404, "DEFINITION_NOT_FOUND")
    for query in ({}, {"element": ["e1", "task"]}, {"instances": 2}):
        answer = served.get(f"{API}/bpmn/processes/p/durations", secrets["bpmn"], params=query)
        elements = query.get("element")
        expected = engine.visit_durations("p", elements, query.get("instances", 1000))
        assert data_of(answer, ", ".join(query) or None)["durations"] == plain(list(expected))
    assert len(data_of(served.get(f"{API}/bpmn/processes/p/durations", secrets["process"]))["durations"]) == 258


# --- the server itself ---


def test_health_needs_no_credential(served):
    data = data_of(served.get("/health"))
    assert (data["status"], data["service"], data["checks"]) == ("healthy", "tokctl", {"server": "ok", "store": "ok"})
    fault_of(served.get("/health?verbose=1"), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("given", ["abc-1", "a/b:c=d@e~f._+", "x" * 128])
def test_a_valid_request_id_is_used(served, secrets, given):
    answer = served.get(path_of("processes", SMALL), secrets["process"], headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == (given, given)
    assert served.log(given)[0]["path"] == path_of("processes", SMALL)


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, "ключ".encode(), "xvc_" + "a" * 40])
def test_an_unsafe_request_id_is_replaced(served, given):
    answer = served.get("/health", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"].startswith("req_")


def test_generated_request_ids_are_unique(served):
    ids = {served.get("/health").headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


def test_metrics(served, secrets):
    served.get(path_of("processes", "nobody-at-all"), secrets["process"])
    answer = served.get("/metrics", secrets["metrics"])
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    template = f'{API}/processes/{{instance_id}}"'
    assert f'tokctl_http_requests_total{{method="GET",route="{template},status="404"}}' in answer.text
    assert "tokctl_build_info{version=" in answer.text
    assert "nobody-at-all" not in answer.text
    assert "tokctl_http_requests_in_flight 1.0" in answer.text
