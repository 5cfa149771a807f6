"""Which rules a query selects, and where the thresholds come from."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from support.builders import at, token
from tokctl.analysis.debug.rules.states import Failed
from tokctl.errors import UsageError
from tokctl.services.debug import DebugQuery, load_rules, resolve_thresholds, run_debug, select_rules
from tokctl.store import open_store
from tokctl.store.importing import import_records


@pytest.fixture
def store(tmp_path):
    opened = open_store(str(tmp_path / "s.db"), write=True, create=True)
    yield opened
    opened.close()


def test_a_given_threshold_goes_before_a_configured_one():
    values = resolve_thresholds(load_rules(), {"retries": "9"}, {"long_running": "30m", "retries": 7})
    assert (values["long_running"], values["retries"]) == (timedelta(minutes=30), 9)
    assert values["stuck_gateway"] == timedelta(minutes=5)


def test_an_error_in_the_configuration_names_it():
    with pytest.raises(UsageError, match="in the configuration, section debug: "):
        resolve_thresholds(load_rules(), {}, {"retries": "many"})


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            DebugQuery(rules=("LONG_RUNING_TOKENS",)),
            r"unknown rule 'LONG_RUNING_TOKENS' \(did you mean 'LONG_RUNNING_TOKENS'",
        ),
        (DebugQuery(skip=("X",)), "unknown rule 'X'. See 'tokctl debug --list-rules'."),
        (DebugQuery(rules=("FAILED_TOKENS",), skip=("FAILED_TOKENS",)), "exclude all rules"),
        (DebugQuery(rules=("SUSPENDED_TOKENS",), severity="HIGH"), "exclude all rules"),
    ],
)
def test_questions_that_mean_nothing(question, message):
    with pytest.raises(UsageError, match=message):
        select_rules(load_rules(), question)


@pytest.mark.parametrize(
    ("rules", "read"),
    [
        (("FAILED_TOKENS",), 3),
        (("FAILED_TOKENS", "LONG_RUNNING_TOKENS"), 43),
        ((), 43),  # what has ended is not read, even where a rule looks at finished tokens
    ],
)
def test_how_many_instances_of_a_store_are_read(store, rules, read):
    def number(state, count, **fields):
        return [token(f"{state}{n}", f"{state}{n}", state=state, **fields) for n in range(count)]

    failed, live, ended = number("FAILED", 3), number("ACTIVE", 40), number("COMPLETED", 200, completed_at=at(1))
    with store.write() as batch:
        import_records(batch, [*failed, *live, *ended], pytest.fail)
    statements = []
    store.connection.set_trace_callback(statements.append)
    report = run_debug(store, None, at(60), DebugQuery(rules=rules))
    assert (report.instances, report.tokens, report.live_tokens) == (43, 43, 43)
    assert report.severities == {"HIGH": 3}
    assert sum("FROM token WHERE" in statement for statement in statements) == read


def test_rules_get_the_present_in_utc_like_the_times_of_the_tokens(store, monkeypatch):
    with store.write() as batch:
        import_records(batch, [token("t", "a", state="FAILED")], pytest.fail)
    seen = []
    monkeypatch.setattr(Failed, "find", lambda _, context: seen.append(context.now) or ())

    run_debug(store, None, at(60).astimezone(timezone(timedelta(hours=2))), DebugQuery(rules=("FAILED_TOKENS",)))

    assert seen
    assert all(now == at(60) and now.tzinfo is UTC for now in seen)
