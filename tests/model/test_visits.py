"""Reading only what the analyses need: the same tokens, instances and faults as reading all of it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import DOCUMENTED, answer, at, instance, ndjson, pieces, token, tokens
from support.examples import scaled
from support.strategies import contexts, few_names, json_values, make_tokens, names, states, types
from tokctl.errors import InputError
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.model.visits import FlowHistoryMode, Visit, decode_visits
from tokctl.readers import stream as reader
from tokctl.readers.stream import RejectedRecord, read_records, read_visit_records

JOIN = {"parallelGateway", "inclusiveGateway", "complexGateway", None}


def seen(visit, *, flows=True):
    """All that can be told of a visit, its times as they stand there."""
    fields = {name: getattr(visit, name) for name in Visit.__struct_fields__ if name != "flow_history"}
    context = msgspec.structs.asdict(visit.context)  # of another class
    return fields | {"context": context, "hops": visit.hops if flows else None}


def without_layout(text):
    """JSON without the spaces between its parts, which are not always kept; other text as it is."""
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.DecodeError:
        return text


def gist(records, *, flows=True):
    """What a store or an engine would make of records, and the error that they end with."""
    told, found, rejects, definitions, error = {}, [], [], [], None
    try:
        for record in records:
            if isinstance(record, Instance):
                new = {n: v for n in Instance.__struct_fields__ if (v := getattr(record, n)) not in (None, NULL, {})}
                told[record.instance_id] = told.get(record.instance_id, {}) | new
            elif isinstance(record, RejectedRecord):
                rejects.append(msgspec.structs.replace(record, text=without_layout(record.text)))
            elif isinstance(record, Definition):
                definitions.append(record)
            else:
                several = [Visit.from_token(record, flows=True)] if isinstance(record, Token) else record
                for visit in several:
                    told.setdefault(visit.instance_id, {"instance_id": visit.instance_id})
                    found.append(seen(visit, flows=flows))
    except InputError as fault:
        error = str(fault)
    return {"tokens": found, "instances": told, "rejects": rejects, "definitions": definitions, "error": error}


def both(data, *, size=None, window=None, batch=None, single=None, flows=FlowHistoryMode.ALL):
    """Read bytes in both ways."""
    parts = [data] if size is None else pieces(data, size)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("MAX_VALUE_CHARACTERS", window),
            ("BATCH_CHARACTERS", batch),
            ("_SINGLE_READS_AFTER_FAILURE", single),
        ):
            if value is not None:
                patch.setattr(reader, name, value)
        lean = gist(
            read_visit_records(parts, name="in", instance_id="in", flows=flows), flows=flows is FlowHistoryMode.ALL
        )
        return lean, gist(read_records(parts, name="in", instance_id="in"), flows=flows is FlowHistoryMode.ALL)


# --- any layout ---

nasty = st.sampled_from(
    ['},{"token_id":"x"', '"}, {"token_id"', "}\n,\n{", "\\", "\n", "}]}", '{"token_id":', "\u2028", "é", "𝄞"]
)
ids = st.one_of(names, few_names, few_names, nasty)
times = st.sampled_from(
    [
        None,
        "2025-01-11T10:31:30.789Z",
        "2025-01-11T10:31:30Z",
        "2025-01-11T10:31:30.5+02:00",
        "2025-01-11T10:31:30",
        "2025-01-11T10:31:30.123456789-05:30",
        1736591490,
        1736591490789.5,
        "",
        "yesterday",
    ]
)
objects = st.fixed_dictionaries(
    {
        "token_id": ids,
        "element_id": ids,
        "state": st.one_of(st.sampled_from(["ACTIVE", "COMPLETED", "completed", "TERMINATED"]), states),
    },
    optional={
        "element_type": st.one_of(types, st.sampled_from(["SERVICE_TASK", "", "parallelGateway"])),
        "element_name": st.one_of(st.none(), ids, st.just("")),
        "created_at": times,
        "updated_at": times,
        "completed_at": times,
        "cancelled_at": times,
        "variables": json_values | nasty,
        "execution_context": contexts | contexts | json_values,
        "parent_token_id": st.one_of(st.none(), ids, st.just("")),
        "child_tokens": st.one_of(st.none(), st.lists(ids, max_size=3), st.just("x"), st.just([1])),
        "flow_history": st.one_of(
            st.none(),
            st.lists(
                st.fixed_dictionaries({}, optional={"from_element": ids, "via_flow": ids, "timestamp": times}),
                max_size=3,
            ),
            json_values,
        ),
    },
)
oddities = st.dictionaries(
    st.sampled_from(
        [
            "instance_id",
            "process_id",
            "process_instance_id",
            "id",
            "status",
            "current_element_id",
            "note",
            "(unread)",
            "(undocumented)",
            "tokens",
            "data",
        ]
    ),
    st.one_of(few_names, st.none(), json_values),
    max_size=2,
)


@st.composite
def token_objects(draw):
    """A token's object: mostly as documented, its keys in any order."""
    fields = draw(objects)
    if draw(st.integers(0, 3)) == 0:
        fields |= draw(oddities)
    if draw(st.integers(0, 9)) == 0:
        fields.pop(draw(st.sampled_from(sorted(fields))))
    if draw(st.integers(0, 19)) == 0:
        fields["token_id"] = draw(st.sampled_from(["a\0b", "", None, 5]))
    order = draw(st.sampled_from(["given", "shuffled"]))
    items = list(fields.items())
    if order == "shuffled":
        random.Random(draw(st.integers(0, 99))).shuffle(items)
    return dict(items)


plain = make_tokens().map(lambda one: json.loads(msgspec.json.encode(_plain(one))))


def _plain(one):
    from tokctl.documents.base import members
    from tokctl.documents.tokens import encode_token

    return {k: v for k, v in members(encode_token(one)).items() if not k.startswith("x-")}


@st.composite
def documents(draw):
    """An input of tokens in one of the forms that there are."""
    several = draw(st.lists(st.one_of(token_objects(), plain, plain), max_size=7))
    indent = draw(st.sampled_from([None, None, 0, 2]))
    head = draw(st.sampled_from([{}, {"instance_id": "i1"}, {"instance_id": "i1", "process_id": "p"}]))
    form = draw(st.sampled_from(["list", "data", "envelope", "lines", "documents", "mixed lines"]))

    def text(value):
        return json.dumps(value, indent=indent, ensure_ascii=indent is None)

    if form == "list":
        return text(several).encode()
    if form == "data":
        return text(head | {"tokens": several}).encode()
    if form == "envelope":
        return text({"success": True, "data": head | {"tokens": several, "summary": {}}}).encode()
    if form == "documents":
        cut = draw(st.integers(0, len(several)))
        parts = [{"data": head | {"tokens": several[:cut]}}, {"instance_id": "i2", "tokens": several[cut:]}]
        return "\n".join(map(text, parts)).encode()
    lines = [json.dumps(one) for one in several]
    if form == "mixed lines":
        others = ['{"instance_id": "i9", "status": "ACTIVE"}', "", "nonsense", '{"instance_id": "i8", "tokens": []}']
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(others)))
    return "\n".join(lines).encode()


sizes = st.sampled_from([1, 2, 7, 64, 500, None])


@settings(max_examples=scaled(5))
@given(
    documents(),
    sizes,
    st.sampled_from([1, 40, 300, 1000, None]),
    st.sampled_from([1, 60, 400, 2000, None]),
    st.sampled_from([0, 1, None]),
)
def test_the_same_is_read_of_any_input(data, size, window, batch, single):
    lean, whole = both(data, size=size, window=window, batch=batch, single=single)
    assert lean == whole


@pytest.mark.parametrize(
    "odd",
    [
        '"token_id":"a\\u0000"',
        '"process_instance_id":"x"',
        '"process_instance_id":null',
        '"instance_id":"x"',
        '"instance_id":""',
        '"process_id":"q"',
        '"process_id":""',
        '"state":"completed"',
        '"state":"STUCK"',
        '"element_type":"SERVICE_TASK"',
        '"element_type":"robot"',
        '"element_name":""',
        '"parent_token_id":""',
        '"child_tokens":null',
        '"execution_context":null',
        '"execution_context":[1]',
        '"execution_context":{"timeout_at":"2025-01-11T10:31:30","worker_id":5}',
        '"execution_context":{"timeout_at":"2025-01-11T10:31:30+02:00"}',
        '"execution_context":{"retries_used":1e30}',
        '"execution_context":{"retries_left":99999999999999999999}',
        '"execution_context":{"duration_ms":1e400}',
        '"status":"FAILED"',
        '"id":"x"',
        '"note":{"deep":[1]}',
        '"(unread)":[1]',
        '"flow_history":5',
        *(
            f'"{name}":"2025-01-11T10:31:30{zone}"'
            for name in ("created_at", "updated_at", "completed_at", "cancelled_at")
            for zone in ("", "+02:00", "Z")
        ),
        '"created_at":1736591490',
        '"created_at":""',
        '"created_at":"soon"',
    ],
)
@pytest.mark.parametrize("form", ["list", "lines", "of a process", "of none"])
def test_one_oddity_among_many_tokens(form, odd):
    usual = '"element_id":"e","state":"ACTIVE","created_at":"2025-01-11T10:31:30Z"'
    objects = [f'{{"token_id":"t{n}",{usual}{"," + odd if n == 3 else ""}}}' for n in range(8)]
    array = f"[{','.join(objects)}]"
    head = {"of a process": '{"instance_id":"i1","process_id":"p",', "of none": '{"instance_id":"i1",'}.get(form)
    data = "\n".join(objects) if form == "lines" else f'{head}"tokens":{array}}}' if head else array
    lean, whole = both(data.encode(), window=200, batch=2000, single=0)
    assert lean == whole


@pytest.mark.parametrize("batch", [50, 700, 5000])
@pytest.mark.parametrize("window", [64, 1000])
@pytest.mark.parametrize("size", [1, 100, None])
def test_the_documented_example_beyond_the_window(size, window, batch):
    data = json.loads(DOCUMENTED.read_bytes())
    for form in (json.dumps(data), json.dumps(data, indent=3), json.dumps(data["data"]["tokens"])):
        lean, whole = both(form.encode(), size=size, window=window, batch=batch)
        assert lean == whole
        assert len(lean["tokens"]) == 3


def test_a_long_document_is_decoded_many_tokens_at_a_time():
    many = tokens(400, process_id="p", execution_context={"worker_id": "w"})
    for data in (answer(instance(process_id="p"), many), ndjson(many)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "MAX_VALUE_CHARACTERS", 8000)
            patch.setattr(reader, "BATCH_CHARACTERS", 8000)
            records = list(read_visit_records([data], name="in"))
        several = [record for record in records if not isinstance(record, Instance)]
        assert sum(map(len, several)) == 400
        assert max(map(len, several)) > 10
        lean, whole = both(data, window=1000, batch=8000)
        assert lean == whole


def test_one_odd_token_among_many_costs_nothing_but_itself():
    many = tokens(300)
    many[150] = token("t150", state="STUCK", created_at=at(150))
    many[151] = token("t151", element_type="robot", created_at=at(151))
    lean, whole = both(answer(instance(), many), window=1000, batch=4000, single=5)
    assert lean == whole
    assert lean["tokens"][150]["state"] == "STUCK"


# --- flow histories ---


@pytest.mark.parametrize("kind", ["task", "parallelGateway", None])
@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize("batched", [True, False])
def test_which_flow_histories_are_kept(kind, hops, batched):
    history = [{"from_element": "a", "via_flow": f"f{n}"} for n in range(hops)]
    one = token(element_type=kind, flow_history=history)
    data = answer(instance(), [one, *tokens(3)])
    options = {"MAX_VALUE_CHARACTERS": 64, "BATCH_CHARACTERS": len(data)} if batched else {}

    def kept(flows):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in options.items():
                patch.setattr(reader, name, value)
            records = read_visit_records([data], name="in", flows=flows)
            return next(r for r in records if not isinstance(r, Instance))[0].hops

    assert kept(FlowHistoryMode.NONE) == []
    assert len(kept(FlowHistoryMode.ALL)) == hops
    if not batched or hops > 1 or kind in JOIN:
        assert len(kept(FlowHistoryMode.JOINS)) == hops
    else:
        assert kept(FlowHistoryMode.JOINS) == []


# --- visits themselves ---


@settings(max_examples=scaled(2))
@given(make_tokens())
def test_a_visit_says_what_its_token_says(one):
    visit = Visit.from_token(one, flows=True)
    for name in ("token_id", "element_id", "state", "context", "live", "hops", "name", "finished_at", "child_tokens"):
        assert getattr(visit, name) == getattr(one, name)
    assert Visit.from_token(one).hops == []


def test_times_are_told_in_utc_whatever_zone_they_came_in():
    from tokctl.model.times import format_time

    text = '[{"token_id":"a","element_id":"e","state":"ACTIVE","created_at":"2025-01-11T12:00:00+02:00"}]'
    [visit] = decode_visits(text, lines=False, instance_id="i")
    assert visit.created_at == datetime(2025, 1, 11, 10, tzinfo=UTC)
    assert format_time(visit.created_at) == "2025-01-11T10:00:00.000Z"


@pytest.mark.parametrize("name", ["created_at", "completed_at"])
def test_a_time_of_year_1_is_unknown_to_both(name):
    text = json.dumps(
        [{"token_id": "t", "element_id": "e", "state": "ACTIVE", "instance_id": "i"} | {name: "0001-01-01T00:00:00Z"}]
    )
    with pytest.raises(msgspec.MsgspecError):
        decode_visits(text, lines=False, instance_id="i")
    for size in (10, 1000):
        ((visit,),) = read_visit_records(pieces(text.encode(), size), name="x")
        assert getattr(visit, name) is None
