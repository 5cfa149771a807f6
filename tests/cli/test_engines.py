"""``tokctl engines``: the kinds of engines, and what each can tell."""

from __future__ import annotations

import json

from tokctl.engines import ENGINES
from tokctl.engines.capabilities import FEATURES


def test_all_features_fit_on_a_small_terminal(tokctl):
    """One line each, below the headings, and above the prompt: at 80x24 no pager is needed."""
    shown = tokctl("engines", "--color", "never", tty=True, width=80).out.splitlines()
    assert len(shown) == 1 + len(FEATURES) <= 23
    assert all(feature.label in line for feature, line in zip(FEATURES.values(), shown[1:], strict=True))
    assert all(len(line) <= 80 for line in shown)


def test_one_kind_has_each_feature_in_full(tokctl):
    found = json.loads(tokctl("engines", "flowable", "-o", "json").out)
    assert [one["meaning"] for one in found["capabilities"]] == [one.meaning for one in FEATURES.values()]
    assert found["kind"] in ENGINES
