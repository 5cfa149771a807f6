"""Every result in every format says the same, and each format keeps its own rules."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.builders import DOCUMENTED
from support.commandline import NOW, Stream
from tokctl.kinds import FORMATS
from tokctl.render import emit
from tokctl.render.formats.csv import format_cell
from tokctl.render.result import Column, Detail, Listing, Output

LISTS = {
    "instances": ["instances", "list"],
    "tokens": ["tokens", "list", "ord-1002"],
    "tree": ["tokens", "tree", "pay"],
    "history": ["tokens", "history", "ord-1001"],
    "problems": ["store", "check"],
}
DETAILS = {
    "instance": ["instances", "show", "ord-1002"],
    "token": ["tokens", "show", "b3"],
    "info": ["store", "info"],
}
TOKEN_KEYS = [
    "token_id",
    "element_id",
    "element_type",
    "element_name",
    "state",
    "created_at",
    "updated_at",
    "completed_at",
    "cancelled_at",
    "variables",
    "execution_context",
    "parent_token_id",
    "child_tokens",
    "flow_history",
]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@pytest.fixture
def say(tokctl, known):
    """Run a command over the known store in a format; returns what it writes."""

    def call(words, form, *options, **how):
        ran = tokctl(*words, "-o", form, *options, "--store", known, **how)
        assert ran.code in {0, 1}  # store check finds something
        return ran.out

    return call


def output(form="table", **fields):
    """Return an output into memory."""
    settings = {"tty": False, "color": False, "unicode": True, "width": 100, "now": NOW}
    return Output(stream=Stream(), errors=Stream(), format=form, **(settings | fields))


# --- the same in each ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize("name", LISTS)
def test_json_yaml_and_ndjson_agree(say, name, tty):
    document = json.loads(say(LISTS[name], "json", tty=tty))
    assert document[name]
    assert yaml.safe_load(say(LISTS[name], "yaml", tty=tty)) == document
    lines = [json.loads(line) for line in say(LISTS[name], "ndjson", tty=tty).splitlines()]
    if name == "tokens":  # a token that stands alone says which instance it is of
        assert all(
            (line.pop("instance_id"), line.pop("process_id")) == ("ord-1002", "order-processing") for line in lines
        )
    assert lines == document[name]


@pytest.mark.parametrize("tty", [False, True])
def test_a_list_beside_the_items_is_written_as_it_is_read(tty):
    made = []

    def numbers():
        for number in range(5000):
            made.append(number)
            yield {"n": number}

    def listing(lists):
        return Listing(
            key="items",
            items=[1],
            columns=(),
            ident=str,
            document=lambda item: {"item": item},
            tail=lambda: {"a": lists(numbers()), "b": {"none": lists(iter(())), "more": lists(numbers()), "x": 1}},
        )

    class Noting(Stream):
        def write(self, text):
            seen.append(len(made))
            return super().write(text)

    seen, out = [], output("json", tty=tty)
    out.stream = Noting()
    emit(listing(iter), out)
    assert len(set(seen)) > 10, "it was in memory as a whole"
    for form in ("json", "yaml"):
        whole, streamed = output(form, tty=tty), output(form, tty=tty)
        emit(listing(list), whole)
        emit(listing(iter), streamed)
        assert streamed.stream.written() == whole.stream.written()
    found = output("json", tty=tty, query="length(b.more)")
    emit(listing(iter), found)
    assert found.stream.written() == "5000\n"


@pytest.mark.parametrize("name", DETAILS)
def test_one_thing_agrees(say, name):
    document = json.loads(say(DETAILS[name], "json"))
    assert yaml.safe_load(say(DETAILS[name], "yaml")) == document
    assert json.loads(say(DETAILS[name], "ndjson")) == document
    header, row = csv.reader(io.StringIO(say(DETAILS[name], "csv")))
    assert header == list(document)
    assert len(row) == len(header)


def test_json_is_one_line_in_a_pipe_and_indented_on_a_terminal(say):
    assert say(LISTS["tokens"], "json").count("\n") == 1
    assert say(LISTS["tokens"], "json", tty=True).startswith('{\n  "instance_id": "ord-1002",\n')
    assert say(LISTS["tokens"], "json", "--state", "CANCELLED", tty=True).count('"tokens": []') == 1


@pytest.mark.parametrize("name", LISTS)
def test_csv_has_a_row_for_each_item(say, name):
    rows = list(csv.reader(io.StringIO(say(LISTS[name], "csv"))))
    items = json.loads(say(LISTS[name], "json"))[name]
    assert len(rows) == len(items) + 1
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("name", [*LISTS, *DETAILS])
def test_ids_are_one_a_line(say, name):
    out = say((LISTS | DETAILS)[name], "id")
    assert out.endswith("\n")
    assert all(line.strip() == line for line in out.splitlines())


def test_a_list_of_nothing(say):
    words = [*LISTS["tokens"], "-s", "CANCELLED"]
    assert json.loads(say(words, "json"))["tokens"] == []
    assert say(words, "ndjson") == ""
    assert say(words, "id") == ""
    assert say(words, "csv").count("\n") == 1
    assert yaml.safe_load(say(words, "yaml"))["tokens"] == []


# --- the documented names ----------------------------------------------------------------------------------


def test_a_list_of_tokens_has_the_documented_names(say):
    document = json.loads(say(LISTS["tokens"], "json"))
    assert list(document) == ["instance_id", "process_id", "tokens", "summary"]
    assert {tuple(token) for token in document["tokens"]} == {tuple(TOKEN_KEYS)}
    assert list(document["summary"]) == [
        "total_tokens",
        "active_tokens",
        "completed_tokens",
        "cancelled_tokens",
        "token_states",
        "element_types",
    ]


def test_the_documented_answer_comes_out_as_it_went_in(tokctl):
    ran = tokctl("tokens", "list", "--file", DOCUMENTED, "-o", "json")
    said = json.loads(DOCUMENTED.read_bytes())["data"]
    found = json.loads(ran.out)
    assert {token["token_id"]: token for token in found["tokens"]} == {
        token["token_id"]: token for token in said["tokens"]
    }


def test_the_names_of_other_lists(say):
    assert {tuple(item) for item in json.loads(say(LISTS["instances"], "json"))["instances"]} == {
        (
            "instance_id",
            "process_id",
            "process_key",
            "version",
            "status",
            "business_key",
            "tenant_id",
            "started_at",
            "updated_at",
            "completed_at",
            "cancelled_at",
            "variables",
            "status_derived",
            "total_tokens",
            "live_tokens",
            "failed_tokens",
            "live_elements",
        ),
    }
    tree = json.loads(say(LISTS["tree"], "json"))
    assert list(tree) == ["instance_id", "process_id", "tree", "contradictions", "summary"]
    assert list(tree["contradictions"]) == ["total", "counts", "examples"]
    history = json.loads(say(LISTS["history"], "json"))
    assert list(history) == ["instance_id", "process_id", "history", "unreadable_entries", "contradictions"]


def test_json_contains_what_the_table_shows(say):
    """Every word of an id, name, type, state or worker in a table stands in the JSON, too."""
    for name in ("tokens", "tree", "history"):
        lines = say(LISTS[name], "wide", width=500).splitlines()[3:]
        text = say(LISTS[name], "json").replace("_", " ")
        text += text.lower()
        for line in lines:
            for word in line.split():
                if word.isalpha() and word.isascii() and word != "UTC":
                    assert word in text, (name, word)


# --- --columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_columns_in_the_order_asked_for(say, form):
    out = say(LISTS["tokens"], form, "--columns", "state, worker_id,token_id")
    if form in {"table", "wide"}:
        assert out.splitlines()[0].split() == ["STATE", "WORKER", "TOKEN"]
    elif form == "id":
        assert out.startswith("b1-start\n")
    elif form == "csv":
        assert out.splitlines()[:2] == ["state,worker_id,token_id", "COMPLETED,,b1-start"]
    elif form == "ndjson":
        assert json.loads(out.splitlines()[2]) == {"state": "ACTIVE", "worker_id": "picker-03", "token_id": "b3-pick"}
    else:
        document = yaml.safe_load(out)  # JSON is YAML
        assert document["tokens"][2] == {"state": "ACTIVE", "worker_id": "picker-03", "token_id": "b3-pick"}
        assert list(document["tokens"][2]) == ["state", "worker_id", "token_id"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_unknown_column_is_told_before_anything_is_written(tokctl, known, form):
    ran = tokctl(*LISTS["tokens"], "-o", form, "--columns", "state,stat", "--store", known)
    assert (ran.code, ran.out) == (2, "")
    assert "unknown column 'stat' (did you mean 'state'?)" in ran.err


def test_computed_columns(say):
    rows = csv.DictReader(
        io.StringIO(say(LISTS["tokens"], "csv", "--columns", "token_id,age_seconds,duration_ms,retries_used"))
    )
    assert list(rows)[2:4] == [
        {"token_id": "b3-pick", "age_seconds": "2100.0", "duration_ms": "", "retries_used": "4"},
        {"token_id": "b4-bill", "age_seconds": "2099.0", "duration_ms": "9000.0", "retries_used": "0"},
    ]


def test_every_column_is_named_when_one_is_unknown(tokctl, known):
    for words in LISTS.values():
        ran = tokctl(*words, "--columns", "?", "--store", known)
        names = ran.err.partition("Valid: ")[2].rstrip(".\n").split(", ")
        assert tokctl(*words, "--columns", ",".join(names), "-o", "csv", "--store", known).out.startswith(
            ",".join(names)
        )


# --- --query -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "form", "expected"),
    [
        ("tokens[0].state", "table", "COMPLETED\n"),
        ("tokens[0].state", "json", '"COMPLETED"\n'),
        ("tokens[0].state", "yaml", "COMPLETED\n...\n"),
        ("length(tokens)", "table", "6\n"),
        ("length(tokens)", "csv", "6\n"),
        ("tokens[?state=='ACTIVE'].token_id", "table", "b3-pick\n"),
        ("tokens[:2].token_id", "id", "b1-start\nb2-split\n"),
        ("tokens[:2].token_id", "ndjson", '"b1-start"\n"b2-split"\n'),
        ("tokens[:2].token_id", "json", '["b1-start","b2-split"]\n'),
        (
            "tokens[2:4].[token_id, execution_context.worker_id]",
            "csv",
            "b3-pick,picker-03\nb4-bill,invoice-worker-01\n",
        ),
        ("tokens[2].variables", "json", '{"shelf":"東-7","items":[{"sku":"A-1","n":2},{"sku":"B-9","n":1}]}\n'),
        ("summary.token_states | {live: ACTIVE, done: COMPLETED}", "csv", "live,done\n1,3\n"),
        ("summary.token_states | {live: ACTIVE, done: COMPLETED}", "table", "LIVE  DONE\n1     3\n"),
        ("nothing", "table", ""),
        ("nothing", "json", "null\n"),
        ("tokens[?state=='X']", "json", "[]\n"),
        ("tokens[?state=='X']", "table", ""),
        ("tokens[0].completed_at == null", "json", "false\n"),
    ],
)
def test_queries(say, query, form, expected):
    if form == "yaml":
        assert yaml.safe_load(say(LISTS["tokens"], form, "--query", query)) == "COMPLETED"
    else:
        assert say(LISTS["tokens"], form, "--query", query) == expected


def test_a_query_for_objects_is_a_table(say):
    out = say(LISTS["tokens"], "table", "--query", "tokens[].{id: token_id, s: state}")
    assert out.splitlines()[0].split() == ["ID", "S"]
    assert out.splitlines()[3].split() == ["b3-pick", "ACTIVE"]


@pytest.mark.parametrize("form", FORMATS)
def test_columns_pick_from_what_a_query_finds(say, form):
    out = say(LISTS["tokens"], form, "--query", "tokens[?state=='ACTIVE']", "--columns", "state,token_id")
    expected = {
        "table": ["STATE   TOKEN_ID", "ACTIVE  b3-pick"],
        "csv": ["state,token_id", "ACTIVE,b3-pick"],
        "id": ["ACTIVE"],
        "json": ['[{"state":"ACTIVE","token_id":"b3-pick"}]'],
        "ndjson": ['{"state":"ACTIVE","token_id":"b3-pick"}'],
        "yaml": ["- state: ACTIVE", "  token_id: b3-pick"],
    }
    assert out.splitlines() == expected["table" if form == "wide" else form]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--query", "["], ["invalid --query: "]),
        (["--query", "nix(a)"], ["invalid --query: ", "nix"]),
        (["--query", "a b"], ["invalid --query: "]),
        (["--query", ""], ["invalid --query: "]),
        (["--query", "length(`1`)"], ["invalid --query: "]),
        (["--query", "tokens[].state", "--columns", "state"], ["--columns needs objects"]),
        (["--query", "tokens", "--columns", "stat"], ["unknown column 'stat' (did you mean 'state'?)"]),
    ],
)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_queries_that_cannot_be_answered(tokctl, known, options, parts, form):
    ran = tokctl(*LISTS["tokens"], *options, "-o", form, "--store", known)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert ".." not in ran.err
    assert all(part in ran.err for part in parts)


# --- CSV is safe to open --------------------------------------------------------------------------------------------


wild = st.one_of(st.text(), st.sampled_from(FORMULA).flatmap(lambda sign: st.text().map(sign.__add__)))


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.lists(st.one_of(wild, st.integers(), st.none()), min_size=2, max_size=2), max_size=5), wild)
def test_no_cell_starts_a_formula(rows, key):
    columns = tuple(
        Column(key=f"{key}{place}", title="X", value=lambda row, place=place: row[place]) for place in range(2)
    )
    out = output("csv")
    emit(Listing(key="rows", items=rows, columns=columns, ident=str, document=dict), out)
    header, *found = rows_of(out.stream.written())
    assert not any(text.startswith(FORMULA) for text in header)
    for row, got in zip(rows, found, strict=True):
        for value, text in zip(row, got, strict=True):
            if isinstance(value, str):
                assert not text.startswith(FORMULA)
                assert text.removeprefix("'") == value.removeprefix("'") or not value.isprintable()
            else:
                assert text == ("" if value is None else str(value))


@given(st.dictionaries(st.text(), wild, min_size=1, max_size=3))
def test_no_cell_of_one_thing_starts_a_formula(document):
    out = output("csv")
    emit(Detail(ident="x", document=document, title=()), out)
    assert not any(text.startswith(FORMULA) for row in rows_of(out.stream.written()) for text in row)


@given(wild)
def test_no_answer_to_a_query_starts_a_formula(text):
    for query in ("a", "[a]", "[[a, a]]", "{b: a}"):
        out = output("csv", query=query)
        emit(Detail(ident="x", document={"a": text}, title=()), out)
        assert not any(value.startswith(FORMULA) for row in rows_of(out.stream.written()) for value in row)


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_text(text):
    assert format_cell(text) == f"'{text}"
    assert format_cell(-1) == "-1"


def test_a_formula_in_a_token(tokctl, tmp_path):
    file = tmp_path / "f.json"
    file.write_text(
        json.dumps(
            [
                {
                    "instance_id": "i",
                    "token_id": "t",
                    "element_id": "e",
                    "element_name": "=cmd()",
                    "state": "ACTIVE",
                    "+key": "@x",
                }
            ]
        )
    )
    assert "'=cmd()" in tokctl("tokens", "list", "--file", file, "-o", "csv").out
    header, row = rows_of(tokctl("tokens", "show", "t", "--file", file, "-o", "csv").out)
    assert "'+key" in header
    assert "'@x" in row


def test_every_format_is_tested():
    folder = Path(emit.__code__.co_filename).parent / "formats"
    modules = {module.rpartition(".")[2] for module in FORMATS.values()}
    assert modules <= {path.stem for path in folder.glob("*.py")}
    assert set(FORMATS) == {"table", "wide", "json", "ndjson", "yaml", "csv", "id"}
