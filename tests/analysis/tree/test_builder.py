"""The tree of an instance's tokens: the documented example, drawings, and arbitrary contradictory links."""

from __future__ import annotations

from array import array
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.paths import FIXTURES
from tokctl.analysis.tree import folding as fold
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.drawing import ASCII, MAX_INDENT_LEVELS, HiddenLine, LoopPosition, TreeLine, draw_forest
from tokctl.analysis.tree.forest import ANOMALY_MESSAGES, Forest, NodeLists, TreeRow
from tokctl.model.durations import Duration
from tokctl.model.tokens import Token

FIXTURE = FIXTURES / "documented_tokens.json"
TASK = "srv1-token-aB3dEf9hK2mN"
VALIDATE = "srv1-token-cD4eF8gH1jK3"
GATEWAY = "srv1-token-eF5gH9iJ2kL4"


def row(token_id, parent=None, children=None, element=None, state="COMPLETED", **fields):
    return TreeRow(
        token_id=token_id,
        element_id=element or token_id,
        state=state,
        parent_token_id=parent,
        child_tokens=None if children is None else tuple(children),
        **fields,
    )


def rows_of(text: str) -> list[TreeRow]:
    """Read "id parent element [state]" lines, in order of creation; "-" is no parent."""
    rows = []
    for position, line in enumerate(text.strip().splitlines()):
        token_id, parent, element, *state = line.split()
        rows.append(
            row(
                token_id,
                None if parent == "-" else parent,
                None,
                element,
                state[0] if state else "COMPLETED",
                created_us=position * 1000,
                finished_us=None if state else position * 1000 + 500,
            )
        )
    return rows


def picture(forest: Forest, **options) -> str:
    """Draw prefix, name, count, loop, live state, joins."""
    lines = []
    for line in draw_forest(forest, **options):
        if isinstance(line, HiddenLine):
            lines.append(f"{line.prefix}… {line.count} below, {line.live} live")
            continue
        text = line.prefix + line.token.name
        if line.loop:
            text += f" ↻{line.loop.step + 1}/{line.loop.steps}"
        if line.count > 1:
            text += f" ×{line.count}"
        if line.token.state != "COMPLETED":
            text += f" {line.token.state}"
        if line.joins:
            text += f" ⇠{','.join(line.joins)}"
        if line.context:
            text += " (context)"
        lines.append(text)
    return "\n".join(lines)


def found(forest: Forest) -> set[tuple[str, str, str | None]]:
    return {(anomaly.kind, anomaly.token_id, anomaly.other_id) for anomaly in forest.anomalies.examples}


def documented() -> list[TreeRow]:
    data = msgspec.json.decode(FIXTURE.read_bytes())["data"]
    tokens = [msgspec.json.encode(token | {"instance_id": data["instance_id"]}) for token in data["tokens"]]
    return [TreeRow.from_token(msgspec.json.decode(token, type=Token)) for token in tokens]


# --- the documented example ---------------------------------------------------------------------


class TestDocumentedExample:
    def test_nothing_is_lost(self):
        assert picture(build_forest(documented())) == (
            f"Validate Order\n├─ Payment Method?\n└─ Process Payment ACTIVE ⇠{GATEWAY}"
        )

    def test_every_contradiction_is_reported(self):
        forest = build_forest(documented())
        assert found(forest) == {
            ("PARENT_MISSING", TASK, "srv1-token-parent123"),
            ("CONFLICTING_PARENT", TASK, GATEWAY),
            ("UNLISTED_CHILD", GATEWAY, VALIDATE),
        }
        assert forest.anomalies.counts == {"PARENT_MISSING": 1, "CONFLICTING_PARENT": 1, "UNLISTED_CHILD": 1}
        assert forest.anomalies.total == 3

    def test_every_line_knows_its_links(self):
        lines = list(draw_forest(build_forest(documented())))
        assert [(line.token.token_id, line.depth, line.level, line.parent_id) for line in lines] == [
            (VALIDATE, 0, 0, None),
            (GATEWAY, 1, 1, VALIDATE),
            (TASK, 1, 1, VALIDATE),
        ]
        assert [line.linked_by for line in lines] == [None, "parent_token_id", "child_tokens"]
        assert lines[2].anomalies == ("PARENT_MISSING", "CONFLICTING_PARENT")

    def test_a_row_comes_back_as_it_was(self):
        rows = documented()
        forest = build_forest(rows)
        assert [forest.row(node) for node in range(3)] == rows
        assert rows[1].duration == Duration(29889, derived=False)
        assert rows[2].duration == Duration(5111, derived=True)
        assert rows[0].duration is None
        assert rows[0].worker_id == "payment-worker-02"


# --- contradictions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("a", "gone")], {("PARENT_MISSING", "a", "gone")}),
        ([row("a", None, ["gone"])], {("CHILD_MISSING", "a", "gone")}),
        ([row("a", "a")], {("SELF_PARENT", "a", "a")}),
        ([row("a", None, ["a"])], {("SELF_PARENT", "a", "a")}),
        ([row("a"), row("a")], {("DUPLICATE_ID", "a", "a")}),
        ([row("a", None, []), row("b", "a")], {("UNLISTED_CHILD", "b", "a")}),
        ([row("a", None, None), row("b", "a")], set()),  # unknown children contradict nothing
        ([row("a", None, ["b"]), row("b", "a", [])], set()),
        ([row("a", None, ["b", "b"]), row("b", "a", [])], set()),
        ([row("a", None, ["b"]), row("b")], set()),  # a source that names no parents at all
        (
            [row("a", None, ["b"]), row("b"), row("c", "a")],
            {("PARENT_UNNAMED", "b", "a"), ("UNLISTED_CHILD", "c", "a")},
        ),
        (
            [row("a", None, ["c"]), row("b", None, ["c"]), row("c", "a")],
            {("CONFLICTING_PARENT", "c", "b")},
        ),
        ([row("a", "b"), row("b", "a")], {("CYCLE", "a", "b")}),
    ],
)
def test_contradictions(rows, expected):
    forest = build_forest(rows)
    assert found(forest) == expected
    assert {line.token.token_id for line in draw_forest(forest, expand=True)} == {r.token_id for r in rows}
    assert {kind for line in draw_forest(forest, expand=True) for kind in line.anomalies} == {k for k, *_ in expected}


def test_an_early_arrival_at_a_join_may_list_the_token_that_goes_on():
    def kinds(element_type):
        early = row("early", None, ["next"], element_type=element_type)
        rows = [row("last", None, ["next"], element_type=element_type), early, row("next", "last", [])]
        return build_forest(rows).anomalies.counts

    assert kinds("parallelGateway") == {}
    assert kinds("exclusiveGateway") == {"CONFLICTING_PARENT": 1}


@pytest.mark.parametrize(
    ("element_type", "hops", "is_contradiction"),
    [
        ("parallelGateway", 1, False),
        ("PARALLEL_GATEWAY", 1, False),
        ("inclusiveGateway", 0, False),
        ("gateway", 0, False),
        ("exclusiveGateway", 1, True),  # passes each token on by itself
        ("serviceTask", 1, True),
        ("serviceTask", 2, False),  # came in over two flows
        (None, 0, True),
    ],
)
def test_what_is_a_proper_join(element_type, hops, is_contradiction):
    forest = build_forest(
        [
            row("a", None, ["j"]),
            row("b", None, ["j"]),
            row("j", "a", [], element_type=element_type, hops=hops),
        ]
    )
    assert forest.anomalies.counts == ({"CONFLICTING_PARENT": 1} if is_contradiction else {})
    assert picture(forest) == "├─ a\n│  j ⇠b\n└─ b"


def test_a_cycle_is_cut_at_its_first_token():
    rows = [row("a", "c", created_us=3), row("b", "a", created_us=1), row("c", "b", created_us=2)]
    forest = build_forest(rows)
    assert picture(forest) == "b ⇠a\nc\na"
    assert found(forest) == {("CYCLE", "b", "a")}


def test_a_cycle_is_cut_where_only_a_list_closes_it():
    # "a" names no parent, so it is the root, though it was created last
    rows = [row("a", created_us=3), row("b", "a", ["a"], created_us=1)]
    forest = build_forest(rows)
    assert picture(forest) == "a ⇠b\nb"
    assert found(forest) == {("CYCLE", "a", "b"), ("PARENT_UNNAMED", "a", "b")}


def test_the_first_lister_is_the_first_created():
    rows = [row("late", None, ["c"], created_us=2), row("early", None, ["c"], created_us=1), row("c", "gone")]
    assert picture(build_forest(rows)) == "├─ early\n│  c ⇠late\n└─ late"


def test_examples_are_capped_and_counts_exact():
    forest = build_forest((row(f"t{n}", f"gone{n}") for n in range(50)), max_examples=3)
    assert forest.anomalies.counts == {"PARENT_MISSING": 50}
    assert len(forest.anomalies.examples) == 3
    assert all(line.anomalies == ("PARENT_MISSING",) for line in draw_forest(forest, expand=True))


# --- drawings -----------------------------------------------------------------------------------

ORDER = """
1 - start
2 1 validate
3 2 split
4 3 pack
5 4 label
6 3 invoice
7 6 mail ACTIVE
8 5 join WAITING
"""


def test_a_sequence_does_not_indent_and_a_split_does():
    assert picture(build_forest(rows_of(ORDER))) == (
        """
start
validate
split
├─ pack
│  label
│  join WAITING
└─ invoice
   mail ACTIVE"""
    ).lstrip("\n")


def test_ascii():
    assert picture(build_forest(rows_of(ORDER)), glyphs=ASCII) == (
        """
start
validate
split
|- pack
|  label
|  join WAITING
`- invoice
   mail ACTIVE"""
    ).lstrip("\n")


def test_depth_counts_levels_as_drawn():
    forest = build_forest(rows_of(ORDER))
    assert picture(forest, depth=1) == "start\nvalidate\nsplit\n└─ … 5 below, 2 live"
    assert picture(forest, depth=0) == "… 8 below, 2 live"
    assert picture(forest, depth=2) == picture(forest)
    hidden = list(draw_forest(forest, depth=1))[-1]
    assert isinstance(hidden, HiddenLine)
    assert hidden.states == {"COMPLETED": 3, "ACTIVE": 1, "WAITING": 1}
    assert (hidden.level, hidden.depth) == (1, 3)


def test_keep_leaves_the_way_to_what_matches():
    forest = build_forest(rows_of(ORDER))
    assert picture(forest, predicate=lambda token: token.state == "ACTIVE") == (
        "start (context)\nvalidate (context)\nsplit (context)\ninvoice (context)\nmail ACTIVE"
    )
    assert picture(forest, predicate=lambda _: False) == ""


def test_a_match_never_folds_with_what_only_leads_to_one():
    forest = build_forest(rows_of("0 - s\n1 0 w\n2 1 x\n3 0 w\n4 3 x"))
    assert picture(forest, predicate=lambda token: token.token_id in {"1", "2", "4"}) == (
        "s (context)\n├─ w\n│  x\n└─ w (context)\n   x"
    )


def test_a_loop_folds_to_one_pass():
    text = "0 - start\n" + "\n".join(f"{n} {n - 1} {'try' if n % 2 else 'check'}" for n in range(1, 9))
    forest = build_forest(rows_of(text + "\n9 8 try ACTIVE"))
    assert picture(forest) == "start\ntry ↻1/2 ×4\ncheck ↻2/2 ×4\ntry ACTIVE"
    line = list(draw_forest(forest))[1]
    assert isinstance(line, TreeLine)
    assert line.loop == LoopPosition(0, 2, 4)
    assert (line.token.token_id, line.last_token_id, line.count) == ("1", "7", 4)
    assert line.durations is not None
    assert (line.durations.known, line.durations.min_ms, line.durations.total_ms) == (4, 0.5, 2.0)
    assert len(list(draw_forest(forest, expand=True))) == 10


def test_what_splits_is_no_part_of_a_loop():
    text = "1 - a\n2 1 b\n3 2 a\n4 3 b\n5 4 x\n6 4 y"
    assert picture(build_forest(rows_of(text))) == "a\nb\na\nb\n├─ x\n└─ y"


BODIES = "0 - each\n" + "\n".join(f"{n}a 0 work\n{n}b {n}a done{'' if n != 3 else ' FAILED'}" for n in range(1, 6))


def test_equal_siblings_fold_and_others_do_not():
    forest = build_forest(rows_of(BODIES))
    assert picture(forest) == "each\n├─ work ×4\n│  done ×4\n└─ work\n   done FAILED"
    line = list(draw_forest(forest))[1]
    assert isinstance(line, TreeLine)
    assert (line.token.token_id, line.last_token_id) == ("1a", "5a")


def test_equal_subtrees_with_splits_fold_whatever_their_order():
    text = "0 - s\n1 0 w\n2 0 w\n3 1 x\n4 1 y\n5 2 y\n6 2 x"
    assert picture(build_forest(rows_of(text))) == "s\n└─ w ×2\n   ├─ x ×2\n   └─ y ×2"


def test_joins_and_contradictions_fold_only_with_their_like():
    rows = [row("s", element="s", created_us=0)]
    for n in range(3):  # in two of three bodies the join has two parents
        further = [f"j{n}"] if n else []
        rows += [
            row(f"f{n}", "s", [f"p{n}", f"q{n}"], "fork", created_us=n * 10 + 1),
            row(f"p{n}", f"f{n}", [f"j{n}"], "p", created_us=n * 10 + 2),
            row(f"q{n}", f"f{n}", further, "q", created_us=n * 10 + 3),
            row(f"j{n}", f"p{n}", [], "join", element_type="parallelGateway", created_us=n * 10 + 4),
        ]
    forest = build_forest(rows)
    assert forest.anomalies.counts == {}
    assert picture(forest) == (
        """
s
├─ fork
│  ├─ p
│  │  join
│  └─ q
└─ fork ×2
   ├─ p ×2
   │  join ×2 ⇠q1
   └─ q ×2"""
    ).lstrip("\n")


def test_several_roots_are_drawn_as_branches():
    assert picture(build_forest(rows_of("1 - a\n2 1 b\n3 - c"))) == "├─ a\n│  b\n└─ c"
    assert picture(build_forest(rows_of("1 - a\n2 - a"))) == "a ×2"
    assert picture(build_forest([])) == ""


def test_prefixes_stay_short_however_deep_the_splits():
    rows = [row("n0")]
    for n in range(1, 100):
        rows += [row(f"leaf{n}", f"n{n - 1}"), row(f"n{n}", f"n{n - 1}")]
    lines = list(draw_forest(build_forest(rows)))
    assert max(len(line.prefix) for line in lines) == 3 * MAX_INDENT_LEVELS
    assert max(line.level for line in lines) == 99
    assert {len(line.prefix) for line in lines if line.level > MAX_INDENT_LEVELS} == {3 * MAX_INDENT_LEVELS}
    assert all(("⋯" in line.prefix) == (line.level > MAX_INDENT_LEVELS) for line in lines)


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ring", [False, True])
def test_two_hundred_thousand_in_a_row(ring):
    size = 200_000
    forest = build_forest(
        row(f"t{n}", f"t{(n - 1) % size}" if n or ring else None, element=f"e{n % 3}", created_us=n)
        for n in range(size)
    )
    assert forest.anomalies.counts == ({"CYCLE": 1} if ring else {})
    expanded = list(draw_forest(forest, expand=True))
    assert [line.token.token_id for line in expanded] == [f"t{n}" for n in range(size)]
    assert expanded[-1].depth == size - 1
    assert expanded[-1].prefix == ""
    folded = list(draw_forest(forest))
    assert sum(line.count for line in folded) == size
    assert len(folded) < 10


@pytest.mark.slow
def test_deep_splits_neither_recurse_nor_slow_down():
    size = 50_000
    rows = [row("n0", element="n")]
    for n in range(1, size):
        rows += [row(f"leaf{n}", f"n{n - 1}", element="leaf"), row(f"n{n}", f"n{n - 1}", element="n")]
    assert sum(line.count for line in draw_forest(build_forest(rows))) == 2 * size - 1
    assert sum(line.count for line in draw_forest(build_forest(rows), depth=2)) == 2 * size - 1


# --- arbitrary links ----------------------------------------------------------------------------

ids = st.sampled_from([f"t{n}" for n in range(8)] + ["gone1", "gone2"])


@st.composite
def forests(draw_, unique=False):
    """Draw tokens with few ids, so that their links contradict each other in every way."""
    names = draw_(st.lists(st.sampled_from([f"t{n}" for n in range(8)]), max_size=12, unique=unique))
    times = draw_(st.permutations(range(len(names)))) if unique else None
    return [
        row(
            name,
            draw_(st.none() | ids),
            draw_(st.none() | st.lists(ids, max_size=4)),
            draw_(st.sampled_from("xy")),
            draw_(st.sampled_from(["COMPLETED", "ACTIVE"])),
            element_type=draw_(st.sampled_from([None, "serviceTask", "parallelGateway"])),
            created_us=times[position] if times else draw_(st.none() | st.integers(0, 3)),
            duration_ms=draw_(st.none() | st.just(1.0)),
        )
        for position, name in enumerate(names)
    ]


@st.composite
def plain_trees(draw_):
    """Draw true trees of few elements, so that much of them is equal."""
    size = draw_(st.integers(1, 24))
    parents = [draw_(st.integers(max(0, n - 4), n - 1)) for n in range(1, size)]
    elements = draw_(st.lists(st.sampled_from("xxy"), min_size=size, max_size=size))
    return [row(f"t{n}", f"t{parents[n - 1]}" if n else None, None, elements[n], created_us=n) for n in range(size)]


def first_of_each(rows):
    kept: dict[str, TreeRow] = {}
    for token in rows:
        kept.setdefault(token.token_id, token)
    return kept


any_rows = forests() | plain_trees()


@given(any_rows)
def test_every_token_is_drawn_once(rows):
    lines = list(draw_forest(build_forest(rows), expand=True))
    assert Counter(line.token.token_id for line in lines) == Counter(first_of_each(rows).keys())
    above: dict[str | None, int] = {None: -1}
    for line in lines:  # a parent stands above its children, one edge higher
        assert above[line.parent_id] == line.depth - 1
        above[line.token.token_id] = line.depth


@given(any_rows)
def test_parents_are_those_that_the_reading_asks_for(rows):
    tokens = first_of_each(rows)
    in_order = sorted(tokens.values(), key=lambda t: (t.created_us is None, t.created_us or 0))
    for line in draw_forest(build_forest(rows), expand=True):
        token = line.token
        listers = [
            other.token_id
            for other in in_order
            if token.token_id in (other.child_tokens or ()) and other.token_id != token.token_id
        ]
        named = token.parent_token_id
        if named in tokens and named != token.token_id:
            expected = named, "parent_token_id"
        elif listers:
            expected = listers[0], "child_tokens"
        else:
            expected = None, None
        if "CYCLE" in line.anomalies:
            assert (line.parent_id, line.linked_by) == (None, None)
            assert expected[0] in line.joins
        else:
            assert (line.parent_id, line.linked_by) == expected
        assert set(line.joins) | {line.parent_id} >= set(listers)
        assert len(set(line.joins)) == len(line.joins)
        assert line.parent_id not in line.joins


@given(any_rows)
def test_every_contradiction_is_reported_and_nothing_else(rows):
    tokens = first_of_each(rows)
    forest = build_forest(rows)
    parents = {line.token.token_id: line for line in draw_forest(forest, expand=True)}
    names_parents = any(token.parent_token_id for token in tokens.values())
    expected: set[tuple[str, str, str]] = set()
    for name, token in tokens.items():
        named, line = token.parent_token_id, parents[name]
        if name == named or name in (token.child_tokens or ()):
            expected.add(("SELF_PARENT", name, name))
        if named and named not in tokens:
            expected.add(("PARENT_MISSING", name, named))
        if named in tokens and named != name:
            siblings = tokens[named].child_tokens
            if siblings is not None and name not in siblings:
                expected.add(("UNLISTED_CHILD", name, named))
        listers = [n for n, t in tokens.items() if n != name and name in (t.child_tokens or ())]
        if "CYCLE" in line.anomalies:
            cut = next(a for a in forest.anomalies.examples if (a.kind, a.token_id) == ("CYCLE", name))
            expected.add(("CYCLE", name, cut.other_id or ""))
            under = cut.other_id
        else:
            under = line.parent_id
        if listers and named is None and names_parents:
            expected.add(("PARENT_UNNAMED", name, under or ""))
        if token.element_type != "parallelGateway":
            expected |= {
                ("CONFLICTING_PARENT", name, other)
                for other in listers
                if other != under and tokens[other].element_type != "parallelGateway"
            }
        expected |= {("CHILD_MISSING", name, c) for c in token.child_tokens or () if c not in tokens}
    repeated = {name for name, count in Counter(t.token_id for t in rows).items() if count > 1}
    expected |= {("DUPLICATE_ID", name, name) for name in repeated}
    assert found(forest) == expected
    assert set(forest.anomalies.counts) <= set(ANOMALY_MESSAGES)
    for name, line in parents.items():
        assert set(line.anomalies) == {kind for kind, token_id, _ in expected if token_id == name}


@given(any_rows, st.integers(0, 4), st.booleans())
def test_counts_add_up_whatever_is_hidden(rows, depth, expand):
    forest = build_forest(rows)
    tokens = first_of_each(rows).values()
    by_state = Counter(token.state for token in tokens)
    for options in ({}, {"depth": depth}):
        shown: Counter[str] = Counter()
        for line in draw_forest(forest, expand=expand, **options):
            shown.update(line.states if isinstance(line, HiddenLine) else {line.token.state: line.count})
            assert line.level <= depth or not options
        assert shown == by_state


@given(any_rows, st.none() | st.sets(st.sampled_from([f"t{n}" for n in range(24)])))
def test_folding_keeps_what_is_said_of_each_element(rows, wanted):
    forest = build_forest(rows)
    predicate = None if wanted is None else (lambda token: token.token_id in wanted)
    expanded = {line.token.token_id: line for line in draw_forest(forest, expand=True, predicate=predicate)}
    for line in draw_forest(forest, predicate=predicate):
        assert line.depth == expanded[line.token.token_id].depth
        assert line.level <= expanded[line.token.token_id].level  # what follows a folded loop is not indented by it

    def said(expand):
        total: Counter[object] = Counter()
        for line in draw_forest(forest, expand=expand, predicate=predicate):
            token = line.token
            key = (token.element_id, token.state, line.anomalies, len(line.joins), line.context)
            total[key] += line.count
        return total

    assert said(expand=False) == said(expand=True)


@given(any_rows)
def test_folded_durations_are_those_of_the_tokens(rows):
    forest = build_forest(rows)
    known = sum(token.duration_ms is not None for token in first_of_each(rows).values())
    shown = 0
    for line in draw_forest(forest):
        if line.durations:
            assert line.durations.total_ms == line.durations.known
            shown += line.durations.known
        elif line.count == 1:
            shown += line.token.duration_ms is not None
    assert shown == known


@given(any_rows, st.sets(ids))
def test_keep_shows_the_matches_and_the_ways_to_them(rows, wanted):
    forest = build_forest(rows)
    parents = {line.token.token_id: line.parent_id for line in draw_forest(forest, expand=True)}
    expected: set[str | None] = set()
    for token_id in wanted & parents.keys():
        above: str | None = token_id
        while above is not None:
            expected.add(above)
            above = parents[above]
    lines = list(draw_forest(forest, expand=True, predicate=lambda token: token.token_id in wanted))
    assert [line.token.token_id for line in lines] == [t for t in parents if t in expected]
    assert all(line.context == (line.token.token_id not in wanted) for line in lines)
    folded = draw_forest(forest, predicate=lambda token: token.token_id in wanted)
    assert sum(line.count for line in folded) == len(expected)


@given(forests(unique=True), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter_where_times_differ(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)
    for expand in (False, True):
        assert list(draw_forest(build_forest(shuffled), expand=expand)) == list(
            draw_forest(build_forest(rows), expand=expand)
        )
    assert found(build_forest(shuffled)) == found(build_forest(rows))


@given(any_rows)
def test_rows_come_back_as_they_were(rows):
    forest = build_forest(rows)
    assert [forest.row(node) for node in range(forest.size)] == list(first_of_each(rows).values())


@given(plain_trees())
def test_subtrees_share_a_shape_if_and_only_if_they_are_equal(rows):
    forest = build_forest(rows)

    def nested(node):
        return rows[node].element_id, tuple(sorted(nested(child) for child in forest.children.of(node)))

    shapes = fold.number_shapes(fold.number_labels(forest, None), forest.children)
    for first in range(forest.size):
        for second in range(forest.size):
            if shapes[first] and shapes[second]:
                assert (shapes[first] == shapes[second]) == (nested(first) == nested(second))
    for node in range(forest.size + 1):
        siblings = forest.children.of(node)
        assert len(siblings) < 2 or all(shapes[child] for child in siblings)


@given(st.lists(st.integers(0, 2), max_size=40))
def test_loops_cover_a_sequence_and_repeat_truly(codes):
    position = 0
    for steps, passes in fold.divide_into_runs(array("i", codes)):
        once = codes[position : position + steps]
        assert codes[position : position + steps * passes] == once * passes
        assert steps == 1 or passes > 1
        if passes == 1:  # nothing that repeats at once is left unfolded
            assert codes[position + 1 : position + 2] != once
        position += steps * passes
    assert position == len(codes)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(2, 6))
def test_a_pure_loop_is_one_run(once, passes):
    runs = list(fold.divide_into_runs(array("i", once * passes)))
    assert len(runs) == 1
    assert runs[0][0] * runs[0][1] == len(once) * passes


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=20))
def test_groups_keep_order(pairs):
    groups = NodeLists.from_pairs([key for key, _ in pairs], [value for _, value in pairs], 5)
    for key in range(5):
        assert list(groups.of(key)) == [value for k, value in pairs if k == key]
