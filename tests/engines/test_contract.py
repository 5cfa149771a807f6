"""What every engine answers: one suite over the store and a file, against plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tokctl.api_tokens.registries
import tokctl.api_tokens.vaults
import tokctl.engines
import tokctl.exports
import tokctl.kinds
import tokctl.render.formats
import tokctl.store
from support.builders import FIXTURES, at, instance, token, token_json, tokens
from support.engine_makers import MAKERS, each_but_bare, each_engine
from support.examples import scaled
from support.strategies import (
    few_names,
    filters,
    instance_filters,
    instance_orders,
    limits,
    make_instances,
    make_tokens,
    names,
    offsets,
    orders,
    token_sets,
)
from tokctl.analysis.tree.forest import TreeRow
from tokctl.api_tokens.vault_kinds import VAULTS
from tokctl.config import Settings, default_store, resolve_settings
from tokctl.documents.base import members
from tokctl.documents.instances import encode_instance
from tokctl.engines import ENGINES, open_engine
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.engines.protocol import Engine
from tokctl.errors import AmbiguousIdError, InputError, NotFoundError, StoreError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter, sort_tokens
from tokctl.model.instance_status import InstanceStatus, derive_status
from tokctl.model.instances import Instance, summarize
from tokctl.model.tokens import Token
from tokctl.store import open_store

CREATED = SortOrder("created")
STARTED = SortOrder("started")


def test_every_engine_is_in_this_suite():
    """Engines of other products cannot be filled with any records: they have suites of their own."""
    assert set(ENGINES) <= {*MAKERS, "atomd", "camunda7", "flowable"}


@pytest.fixture(params=sorted(MAKERS))
def make(request) -> Callable[[list], Engine]:
    return MAKERS[request.param]


def page(items: list, limit: int | None, offset: int) -> list:
    return items[offset:][:limit]


# --- tokens ---


@given(several=token_sets(), where=filters, order=orders, limit=limits, offset=offsets)
@settings(max_examples=scaled(0.6))
@each_engine
def test_tokens_are_what_plain_python_says(make, several, where, order, limit, offset):
    engine = make([instance("i1"), *several])
    expected = sort_tokens((one for one in several if where.matches(one)), order)
    assert list(engine.tokens("i1", where, order)) == expected
    assert list(engine.tokens("i1", where, order, limit=limit, offset=offset)) == page(expected, limit, offset)
    assert engine.count_tokens("i1", where) == len(expected)
    engine.close()


def test_corners_of_filters(make):
    several = [token("a", element_name="", element_type="serviceTask"), token("b", element_name="task")]
    engine = make([*several, token("c", element_id="x", state="STUCK", execution_context={"worker_id": ""})])
    for where, expected in (
        ({"types": ("SERVICE_TASK",)}, "a"),
        ({"types": ("",)}, ""),
        ({"elements": ("",)}, ""),
        ({"elements": ("task",)}, "ab"),
        ({"elements": ("[!t]*",)}, "c"),
        ({"workers": ("",)}, "c"),
        ({"include_completed": False}, "c"),
        ({"live": True}, "c"),
        ({"states": ("COMPLETED", "STUCK"), "include_completed": False}, "c"),
        ({"workers": ("*",)}, "c"),
    ):
        found = engine.tokens("i1", TokenFilter(**where), CREATED)
        assert "".join(one.token_id for one in found) == expected, where


@given(several=token_sets(), about=make_instances(st.just("i1")))
@settings(max_examples=scaled(0.4))
@each_engine
def test_summary_tree_rows_and_single_tokens(make, several, about):
    engine = make([about, *several])
    assert engine.summary("i1") == summarize((one.state, one.element_type, 1) for one in several)
    assert engine.instance("i1") == derive_status(about, several)
    ranked = sort_tokens(several, CREATED)
    for row, one in zip(engine.tree_rows("i1"), ranked, strict=True):
        hops = len(one.hops) or row.hops  # a history that cannot be read has as many as the engine counts
        assert msgspec.structs.replace(row, hops=hops) == msgspec.structs.replace(TreeRow.from_token(one), hops=hops)
    for one in several:
        found = engine.token("i1", one.token_id)
        assert msgspec.structs.replace(found, process_id=None) == one
    engine.close()


@given(records=st.lists(make_tokens(few_names, st.sampled_from(["i1", "i2"])), max_size=8))
@settings(max_examples=scaled(0.4))
@each_engine
def test_a_token_that_comes_again(make, records):
    """The later one counts, unless it says that it is older."""
    kept: dict[tuple[str, str], Token] = {}
    for one in records:
        old = kept.get((one.instance_id, one.token_id))
        if not (old and old.updated_at and one.updated_at and one.updated_at < old.updated_at):
            kept[one.instance_id, one.token_id] = one
    engine = make(records)
    for instance_id in {one.instance_id for one in records}:
        ours = sort_tokens((one for one in kept.values() if one.instance_id == instance_id), CREATED)
        assert list(engine.tokens(instance_id, ALL_TOKENS, CREATED)) == ours
    engine.close()


# --- instances ---


@given(case=st.sampled_from([("PO[12]", ["i1", "i2"]), ("PO[[]12]", ["i1"]), ("PO[3]", [])]))
@settings(max_examples=3)
@each_engine
def test_a_business_key_with_brackets_is_found_as_it_is_and_as_a_pattern(make, case):
    key, expected = case
    several = [instance("i1", business_key="PO[12]"), instance("i2", business_key="PO1"), instance("i3")]
    engine = make([*several, *(token(f"t{one.instance_id}", one.instance_id) for one in several)])
    found = engine.scan_instances(InstanceFilter(business_keys=(key,)))
    assert sorted(one.instance.instance_id for one in found) == expected
    engine.close()


def expected_instances(held: list[InstanceStatus], where: InstanceFilter, order: SortOrder) -> list[InstanceStatus]:
    def matches(one: InstanceStatus) -> bool:
        process, key = one.instance.process_id, one.instance.business_key
        return (
            (not where.statuses or one.status in where.statuses)
            and (not where.processes or (process is not None and any(fnmatchcase(process, p) for p in where.processes)))
            and (not where.live or one.live_tokens > 0)
            and (not where.failed or one.failed_tokens > 0)
            and (not where.business_keys or (key is not None and any(fnmatchcase(key, k) for k in where.business_keys)))
            and all(condition.matches(one.instance.variables) for condition in where.variables)
            and (where.since is None or (one.updated_at is not None and one.updated_at >= where.since))
            and (where.until is None or (one.started_at is not None and one.started_at < where.until))
        )

    def key(one: InstanceStatus) -> tuple:
        value = {
            "started": one.started_at,
            "updated": one.updated_at,
            "status": one.status,
            "process": one.instance.process_id,
            "tokens": one.total_tokens,
            "live": one.live_tokens,
        }[order.column]
        return (value is not None, value if value is not None else 0)

    found = sorted(filter(matches, held), key=lambda one: one.instance.instance_id)
    return sorted(found, key=key, reverse=order.descending)


@given(
    abouts=st.lists(make_instances(), max_size=5, unique_by=lambda one: one.instance_id),
    several=st.lists(token_sets(2), min_size=5, max_size=5),
    where=instance_filters.map(lambda where: msgspec.structs.replace(where, stuck=None)),
    order=instance_orders,
    limit=limits,
    offset=offsets,
)
@settings(max_examples=scaled(0.4))
@each_engine
def test_instances_are_what_plain_python_says(make, abouts, several, where, order, limit, offset):
    records: list[Instance | Token] = []
    held = []
    for about, theirs in zip(abouts, several, strict=False):
        mine = [msgspec.structs.replace(one, instance_id=about.instance_id) for one in theirs]
        records += [about, *mine]
        held.append(derive_status(about, mine))
    engine = make(records)
    expected = expected_instances(held, where, order)
    assert list(engine.instances(where, order)) == expected
    assert list(engine.instances(where, order, limit=limit, offset=offset)) == page(expected, limit, offset)
    assert engine.count_instances(where) == len(expected)
    latest = expected_instances(held, InstanceFilter(), STARTED)
    assert engine.latest_instance_id() == (latest[-1].instance.instance_id if latest else None)
    engine.close()


@given(about=make_instances(st.just("i1")), more=make_instances(st.just("i1")))
@settings(max_examples=scaled(0.4))
@each_engine
def test_an_instance_that_is_told_of_twice(make, about, more):
    older = about.updated_at and more.updated_at and more.updated_at < about.updated_at
    said = {
        name: value
        for name in Instance.__struct_fields__
        if (value := getattr(more, name)) not in (None, instance().variables, {})
    }
    engine = make([about, more])
    assert engine.instance("i1").instance == (about if older else msgspec.structs.replace(about, **said))
    engine.close()


# --- ids ---


@given(ids=st.sets(names, max_size=7), prefix=st.one_of(names, st.just("")), limit=st.integers(0, 6))
@settings(max_examples=scaled(0.4))
@each_but_bare
def test_ids_by_prefix(make, ids, prefix, limit):
    engine = make([record for name in ids for record in (instance(name), token(name, name))])
    found = sorted(name for name in ids if name.startswith(prefix))
    assert engine.instance_ids(prefix, limit) == found[:limit]
    assert engine.token_ids(prefix, None, limit) == [(name, name) for name in found][:limit]
    for name in list(ids)[:1]:
        assert engine.token_ids(prefix, name, limit) == [(name, name)][:limit] * name.startswith(prefix)
    engine.close()


def test_an_instance_by_what_people_type(make):
    engine = make([*tokens(1, "order"), *tokens(2, "order-1"), *tokens(1, "order-2"), *tokens(1, "zebra")])
    assert resolve_instance(engine, "order") == "order"  # exact beats a longer one
    assert resolve_instance(engine, "order-1") == "order-1"
    assert resolve_instance(engine, "z") == "zebra"
    with pytest.raises(AmbiguousIdError) as caught:
        resolve_instance(engine, "ord")
    assert caught.value.candidates == ["order", "order-1", "order-2"]
    assert caught.value.exit_code == 3
    assert "order, order-1, order-2." in str(caught.value)
    for unknown in ("x", "", "order-3", "zebra "):
        with pytest.raises(NotFoundError):
            resolve_instance(engine, unknown)
    with pytest.raises(UsageError, match="no process instance given"):
        resolve_instance(engine, None)


def test_many_candidates_are_cut(make):
    engine = make([instance(f"i{n}") for n in range(9)])
    with pytest.raises(AmbiguousIdError, match=r"i0, i1, i2, i3, i4 …\."):
        resolve_instance(engine, "i")


def test_the_latest_instance(make):
    engine = make([instance("a", started_at=at(5)), instance("b", started_at=at(9)), instance("c")])
    assert resolve_instance(engine, "@latest") == "b"
    by_tokens = make([*tokens(1, "a"), *tokens(1, "b", created_at=at(5))])
    assert resolve_instance(by_tokens, "@latest") == "b"
    assert resolve_instance(make([instance("a"), instance("b")]), "@latest") == "b"


def test_where_there_is_just_one_instance_or_none(make):
    assert resolve_instance(make([instance("only")]), None) == "only"
    for given_id in (None, "@latest"):
        with pytest.raises(NotFoundError, match="no process instances"):
            resolve_instance(make([]), given_id)


def test_a_token_by_what_people_type(make):
    engine = make([token("t", "i1"), token("t-1", "i1"), token("t-2", "i2"), token("same", "i1"), token("same", "i2")])
    assert resolve_token(engine, "t") == ("i1", "t")
    assert resolve_token(engine, "t-2") == ("i2", "t-2")
    assert resolve_token(engine, "t", "i2") == ("i2", "t-2")
    assert resolve_token(engine, "sa", "i2") == ("i2", "same")
    with pytest.raises(AmbiguousIdError) as caught:
        resolve_token(engine, "t-")
    assert caught.value.candidates == ["t-1", "t-2"]
    with pytest.raises(AmbiguousIdError, match="same of i1, same of i2"):
        resolve_token(engine, "same")
    for unknown in ("x", "", "t-3"):
        with pytest.raises(NotFoundError):
            resolve_token(engine, unknown)
    with pytest.raises(NotFoundError):
        resolve_token(engine, "t", "none")


def test_an_unknown_instance_is_not_found_by_any_question(make):
    engine = make(tokens(1))
    for ask in (
        lambda: engine.instance("none"),
        lambda: engine.summary("none"),
        lambda: list(engine.tokens("none", ALL_TOKENS, CREATED)),
        lambda: engine.count_tokens("none", TokenFilter()),
        lambda: engine.token_ids("t", "none", 5),
        lambda: engine.token("none", "t0"),
        lambda: engine.token("i1", "none"),
        lambda: list(engine.tree_rows("none")),
    ):
        with pytest.raises(NotFoundError):
            ask()


@pytest.mark.parametrize("maker", sorted(MAKERS.keys() - {"bare"}))  # whose server has no way to tell of models
def test_definitions(maker):
    first, second = Definition(process_id="p"), Definition(process_id="p", version=2)
    engine = MAKERS[maker]([second, first])
    assert engine.definition("p", None) == second
    assert engine.definition("p", 1) == first
    assert engine.definition("p", 3) is None
    assert engine.definition("q", None) is None


# --- opening ---


def test_the_settings_name_the_engine(tmp_path: Path):
    path = tmp_path / "tokctl.db"
    with pytest.raises(StoreError, match="no store found"):
        open_engine(Settings(store=str(path)))
    store = open_store(str(path), write=True, create=True)
    with store.write() as batch:
        batch.put_tokens(tokens(2))
    store.close()
    engine = open_engine(Settings(store=str(path)))
    assert engine.summary("i1").total_tokens == 2
    engine.close()
    saved = open_engine(Settings(store=str(path), file=str(FIXTURES / "documented_tokens.json")))
    assert saved.instance_ids("", 5) == ["srv1-aB3dEf9hK2mN5pQ8uV"]
    assert saved.summary("srv1-aB3dEf9hK2mN5pQ8uV").total_tokens == 3


def test_tokens_of_a_file_that_name_no_instance(tmp_path: Path):
    path = tmp_path / "saved.answer.json"
    path.write_text(f"[{token_json(token('t'), alone=False)}]")
    assert open_engine(Settings(file=str(path))).token_ids("", None, 5) == [("saved", "t")]


def test_a_file_with_anything_but_tokens_is_refused(tmp_path: Path):
    path = tmp_path / "x.ndjson"
    path.write_text(token_json(token()) + '\n{"token_id":"t"}\n')
    with pytest.raises(InputError, match=r"line 2: state: missing or empty.*--rejects"):
        open_engine(Settings(file=str(path)))
    with pytest.raises(NotFoundError, match="does not exist"):
        open_engine(Settings(file=str(tmp_path / "none")))


def test_a_flag_wins_over_the_environment():
    environ = {"TOKCTL_STORE": "env.db", "TOKCTL_OUTPUT": "json"}
    settings_ = resolve_settings({"store": "flag.db", "output": None}, environ)
    assert (settings_.store, settings_.output, settings_.store_location) == ("flag.db", "json", "flag.db")
    assert resolve_settings({}, environ).store == "env.db"
    assert resolve_settings({}, {"TOKCTL_STORE": ""}).store_location == str(default_store())
    assert default_store().name == "tokctl.db"


# --- registries ---


@pytest.mark.parametrize(
    ("package", "registry", "shared"),
    [
        (
            tokctl.engines,
            tokctl.engines.ENGINES,
            {
                "rest_responses",
                "query_params",
                "capabilities",
                "definition_cache",
                "detection",
                "documented_api",
                "etag_cache",
                "failed_starts",
                "ids",
                "ordered_pool",
                "connect",
                "as_of",
                "projection",
                "protocol",
                "remote",
                "instance_tokens",
            },
        ),
        (
            tokctl.store,
            tokctl.store.STORES,
            {"copying", "exporting", "importing", "new_store", "protocol", "seen_heads", "sink", "sql"},
        ),
        (tokctl.exports, tokctl.kinds.EXPORT_FORMATS, {"export_format"}),
        (tokctl.render.formats, tokctl.kinds.FORMATS, {"junit", "layout", "mermaid", "plain", "sarif", "terminal"}),
        (
            tokctl.api_tokens.registries,
            tokctl.api_tokens.registries.REGISTRIES,
            {"capabilities", "detection", "documents", "http", "protocol", "server", "server_kind"},
        ),
        (
            tokctl.api_tokens.vaults,
            {name: kind.module for name, kind in VAULTS.items()},
            {"protocol", "credentials"},
        ),
    ],
)
def test_every_implementation_is_in_its_registry(package, registry, shared):
    folder = Path(package.__file__).parent
    found = {path.stem for path in folder.glob("[!_]*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    named = {module.removeprefix(f"{package.__name__}.") for module in registry.values()}
    assert found - shared - named == set(), "no registry names these modules"
    assert named <= found
    for module in registry.values():
        import_module(module)
    assert all(re.fullmatch(r"[a-z]+[0-9]*(-[a-z]+)?", name) for name in registry)


def test_an_instance_document_holds_what_an_engine_says():
    about = instance("i1", process_id="p", started_at=at(0))
    assert members(encode_instance(derive_status(about, []).instance))["started_at"] == "2025-01-11T12:00:00.000Z"
