"""Explanations that follow called instances."""

from __future__ import annotations

import pytest

from support.builders import NOON, instance, token
from support.engine_makers import from_store
from tokctl.model.states import FAILED
from tokctl.services.inspection import MAX_CALL_LEVELS, explain_instance


def calling(levels: int, state: str) -> list:
    """Return instances ``i0`` … that each call the next, and in the last one a task that FAILED."""
    records = []
    for number in range(levels):
        called = {"waiting_for": f"call_activity:i{number + 1}", "called_instance_id": f"i{number + 1}"}
        about = {"element_id": f"call{number}", "element_type": "callActivity", "state": state}
        records += [instance(f"i{number}"), token("t", f"i{number}", execution_context=called, **about)]
    context = {"error_message": "no stock"}
    return [*records, instance(f"i{levels}"), token("t", f"i{levels}", state=FAILED, execution_context=context)]


@pytest.mark.parametrize("state", ["ACTIVE", FAILED])
def test_the_cause_is_found_in_the_innermost_called_instance(state):
    (found,) = explain_instance(from_store(calling(3, state)), "i0", NOON)
    assert "in which 'call2'" in " ".join(found.sentences)
    assert "the called instance i3, in which 'task' FAILED: no stock" in " ".join(found.sentences)
    assert found.can_continue is False


def test_so_many_calls_are_followed():
    (found,) = explain_instance(from_store(calling(MAX_CALL_LEVELS + 1, "ACTIVE")), "i0", NOON)
    assert "no stock" not in " ".join(found.sentences)
    assert found.can_continue is None
