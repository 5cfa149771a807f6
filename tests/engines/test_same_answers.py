"""Every inspection command says of a server just what it says of the store behind it, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.builders import DOCUMENTED
from support.commandline import fill
from support.documented_server import DocumentedServer
from support.paths import FIXTURES, MODELS
from support.serving import Served, grant
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import read_models, simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

NOW = datetime(2025, 1, 11, 10, 40, tzinfo=UTC)
DURING = "2025-01-11T09:40:00Z"


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """Simulated instances of many models, and some that no engine would leave."""
    path = tmp_path_factory.mktemp("same") / "store.db"
    with open_store(str(path), write=True, create=True) as store, StoreSink(store, batch_size=10_000) as sink:
        models, scenario = load_demo()
        simulate(models, scenario, sink, end=NOW)
        for name in ("parallel", "subprocess", "boundary", "interrupted", "terminate"):
            simulate(read_models([MODELS / f"{name}.bpmn"]), None, sink, start=datetime(2025, 1, 2, tzinfo=UTC))
    fill(path, FIXTURES / "orders.ndjson", DOCUMENTED)
    return path


@pytest.fixture(scope="module")
def served(filled):
    server = Served(filled)
    yield server
    server.close()


@pytest.fixture(scope="module")
def modelless(filled) -> Path:
    """The same without process models: the document has no way to tell them."""
    path = filled.with_name("modelless.db")
    with open_store(str(filled)) as store:
        store.backup(path)
    with open_store(str(path), write=True) as store, store.write():
        store.connection.execute("DELETE FROM definition")
    return path


@pytest.fixture(scope="module")
def documented(modelless):
    servers = {
        kind: DocumentedServer(modelless, honours=kind != "bare", strict=kind == "strict")
        for kind in ("honours", "strict", "bare")
    }
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture(scope="module")
def ids(filled) -> dict[str, str]:
    """What the commands' placeholders stand for."""
    with open_store(str(filled)) as store:
        everyone = [one.instance.instance_id for one in store.instances(InstanceFilter(), SortOrder("started"))]
        live = [one.instance.instance_id for one in store.instances(InstanceFilter(live=True), SortOrder("started"))]
        waiting = next(store.tokens(live[-1], TokenFilter(live=True), SortOrder("created")))
        loop = next(one for one in everyone if len(list(store.tokens(one, ALL_TOKENS, SortOrder("created")))) > 8)
        step = next(store.tokens(loop, ALL_TOKENS, SortOrder("created")))
    named = {"done": everyone[0], "live": live[-1], "token": waiting.token_id, "stem": live[-1][:-2]}
    return named | {"loop": loop, "step": step.token_id}


ONE = (
    "tokens list {live}",
    "tokens list {stem}",
    "tokens list @latest",
    "tokens list {live} --live",
    "tokens list {loop} -s COMPLETED --sort -duration -n 3",
    "tokens list {loop} -n 2 --page 2",
    "tokens list {loop} -t task -t gateway",
    "tokens list {loop} -e *a* --no-completed",
    "tokens list {loop} --worker * --sort worker",
    "tokens list {live} --since 2025-01-10 --until 2025-01-11T10:00:00Z",
    "tokens list {live} --variables",
    "tokens list {live} --columns token_id,duration_ms",
    "tokens show {live} {token}",
    "tokens show {token}",
    "tokens tree {loop}",
    "tokens tree {live} --state WAITING",
    "tokens history {loop}",
    "tokens history {live} {token}",
    "tokens trace {loop}",
    "tokens trace {live} --variables",
    "tokens trace {live} --format summary",
    "tokens trace {loop} --since 2025-01-02T00:00:01Z -n 5",
    "instances show {live}",
    "instances show {done}",
    "explain {token}",
    "explain {live} {token}",
    "flow {loop}",
    "flow {live} --variables",
    "perf {live}",
    "perf {live} --compare {done}",
    "debug {live}",
    "debug {done} --all",
    "tokens wait {done} --for no-live --timeout 0s",
    "tokens wait {live} --for element=* --timeout 0s",
    "tokens wait {live} --for finding=HIGH --timeout 0s",
)
MANY = (
    "instances list",
    "instances list --live",
    "instances list --status COMPLETED --sort tokens",
    "instances list -p order* -n 5 --page 2",
    "instances list --since 2025-01-11T09:00:00Z --until 40m",
    "instances list --sort process -n 7",
    "instances list --failed -n 3",
    "instances list --var orderId=ORD-00004",
    "instances list --var orderId~ORD-0000[1-4] --var-like carrier=s*",
    "incidents list",
    "incidents list --by error",
    "incidents list --by process --since 2h",
    "tokens list -A --state FAILED,WAITING --sort -created -n 5 --page 2",
    "tokens list -t task --since 3h --sort updated --columns instance_id,token_id,variables",
    "perf",
    "perf --by worker,type",
    "perf -p order* --since 100m",
    "perf --compare 2025-01-01..2025-01-03",
    "debug",
    "debug --all",
    "debug --since 2h --severity high",
    "debug -r SLOWER_THAN_USUAL -T slow_visits=2 --all",
    "debug -e *pay*",
)
BY_THE_CLOCK = ("instances list --stuck",)
"""Our server compares with its own time, which is not that of these tests."""
BY_INSTANCE = ("tokens list -A", "tokens list --live --until 2025-01-11T10:00:00Z")
DEBUG = ("debug", "debug --all", "debug --since 2h --severity high")
AT = (
    "tokens list {live}",
    "tokens show {loop} {step}",
    "instances list",
    "instances list --live -n 5",
    "tokens tree {loop}",
    "debug",
    "perf",
    "flow {live}",
    "instances show {live}",
    "explain {live} {token}",
    "tokens history {loop}",
)


def unfold_headline(text: str) -> str:
    """Put the first lines, up to an empty one, on one line: where they fold depends on the length of an address."""
    head, gap, rest = text.partition("\n\n")
    return " ".join(head.split()) + gap + rest


@pytest.fixture
def same(tokctl, monkeypatch, tmp_path, ids):
    """Compare what a command line says of the store and of a server."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))

    def compare(server, line: str, *more: str, exactly: bool = True) -> None:
        words = [word.format(**ids) for word in line.split()]
        for output in (["-o", "json"], ["-o", "table"])[: 1 + isinstance(server, Served)]:
            monkeypatch.delenv("TOKCTL_SERVER", raising=False)
            monkeypatch.setenv("TOKCTL_STORE", str(server.path))
            expected = tokctl(*words, *more, *output, now=NOW)
            monkeypatch.delenv("TOKCTL_STORE")
            monkeypatch.setenv("TOKCTL_SERVER", server.url)
            monkeypatch.setenv("TOKCTL_API_KEY", getattr(server, "secret", ""))
            found = tokctl(*words, *more, *output, now=NOW)
            if not exactly:
                assert json.loads(found.out) == json.loads(expected.out)
                continue
            named = found.out.replace(server.url, server.path.name, 1)  # where it comes from
            told = unfold_headline(expected.out)
            assert (unfold_headline(named), found.code) == (told, expected.code), (found.err, expected.err)
            if not expected.out:  # "No tokens match."
                assert found.err == expected.err
            assert expected.out or expected.err, "nothing was compared"

    return compare


@pytest.mark.parametrize("line", [*ONE, *MANY, *BY_INSTANCE])
def test_of_our_server(same, served, line):
    same(served, line)


@pytest.fixture(scope="module")
def in_postgresql(filled, postgresql) -> str:
    """The same records, recorded in the same order."""
    place = postgresql.new_schema()
    with (
        open_store(str(filled)) as source,
        open_store(place, write=True, create=True) as store,
        store.write() as batch,
    ):
        for definition in source.definitions():
            batch.put_definition(definition)
        for one in source.scan_instances(InstanceFilter()):
            batch.put(one.instance, source.tokens(one.instance.instance_id, ALL_TOKENS, SortOrder("created")))
    return place


@pytest.mark.parametrize(
    "line",
    [
        *(f"{line} -o json" for line in (*ONE, *MANY, *BY_THE_CLOCK, *BY_INSTANCE)),
        *(f"{line} -o json --at {DURING}" for line in AT),
        *(f"export -f {name} {{live}} {{loop}}" for name in ("chrome-trace", "otlp", "xes", "csv")),
        "export -f mermaid {loop}",
        "diagram {loop}",
        "store export -o json",
        "store export -o ndjson",
    ],
)
def test_of_postgresql(filled, in_postgresql, tokctl, monkeypatch, ids, line):
    said = []
    for place in (filled, in_postgresql):
        monkeypatch.setenv("TOKCTL_STORE", str(place))  # with --store, the next commands would name it
        said.append(tokctl(*(word.format(**ids) for word in line.split()), now=NOW))
    assert said[0] == said[1]
    assert said[0].code != 2
    assert said[0].out or said[0].err


@pytest.mark.parametrize("line", AT)
def test_of_our_server_at_a_moment(same, served, line):
    same(served, line, "--at", DURING)


@pytest.mark.parametrize(
    ("kind", "line"),
    [("honours", line) for line in (*ONE, *MANY, *BY_THE_CLOCK)]
    + [(kind, line) for kind in ("strict", "bare") for line in (*ONE[::4], *MANY[::3])],
)
def test_of_a_server_that_knows_the_document_only(same, documented, kind, line):
    """It does not say which instance came to be known first: what other rules found stands in another order."""
    same(documented[kind], line, exactly=line not in DEBUG)


@pytest.mark.parametrize("line", AT[:3])
def test_of_such_a_server_at_a_moment(same, documented, line):
    same(documented["bare"], line, "--at", DURING)


def test_a_credential_for_processes_is_enough_for_what_names_an_instance(same, served, filled, ids, monkeypatch):
    monkeypatch.setattr(served, "secret", grant(filled, "process"))
    for line in ("tokens show {live} {token}", "explain {live} {token}", "debug {live}", "flow {live}", "perf"):
        same(served, line)


def test_few_requests(same, served, ids):
    served.asked.clear()
    same(served, "tokens list {live} --live")
    paths = [target for target, _ in served.asked]
    assert paths[0] == "/health"
    assert len(paths) == 1 + 2 * 2, paths  # once what it is; then, for each format, the instance and its tokens
    assert all("live=true" in target for target in paths if "/tokens" in target)
