"""The engines are where the scenarios want them: what the other tests expect holds by the engines' own answers."""

from __future__ import annotations

from live.scenarios import CALLED, CASES


def test_there_are_enough_cases():
    assert len(CASES) + len(CALLED) >= 60
    assert len({case.process for case in CASES.values()}) >= 15


def test_instances_have_the_status_of_their_case(live):
    assert {name: live.instances[live.cases[name]].status for name in CASES} == {
        name: case.status for name, case in CASES.items()
    }


def test_all_instances_belong_to_cases(live):
    assert set(live.instances) == set(live.cases.values())


def test_elements_of_failed_tokens(live):
    """By incidents and dead letters."""
    called = {f"{name}/called": tokens for name, tokens in CALLED.items()}
    expected = sorted(
        (live.cases[name], element)
        for name, tokens in ({name: case.live_on(live.name) for name, case in CASES.items()} | called).items()
        for element, state in tokens
        if state == "FAILED"
    )
    assert sorted((trouble.instance, trouble.element) for trouble in live.raw.troubles()) == expected


def test_visits_that_have_not_ended_are_at_live_elements(live):
    """But for scopes, jobs before their first run, and Flowable's joins, whose rows end when a token arrives."""
    scopes = {"inspect", "prepare", "change", "recall"}
    for name, case in CASES.items():
        open_visits = {
            visit.element for visit in live.raw.visits(live.cases[name]).values() if visit.ended_at is None
        } - scopes
        elements = {element for element, _ in case.live_on(live.name)}
        assert open_visits | {"compute", "join", "meet", "all"} >= elements, name
        assert open_visits <= elements, name
