"""The debug rules themselves: what each looks for, and from which thresholds on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tokctl.process.rules.base import Rule
from tokctl.process.rules.words import spell
from tokctl.render.result import Column, Listing
from tokctl.render.views.debug import severity_cell


def rule_listing(rules: Sequence[type[Rule]], limits: Mapping[str, Any], *, unicode: bool) -> Listing:
    """A list of the rules with their thresholds as they are set."""

    def value(threshold: str) -> Any:
        limit = limits[threshold]
        return (spell(limit) if limit else "0s") if isinstance(limit, timedelta) else limit

    def settings(rule: type[Rule]) -> dict[str, Any]:
        return {threshold.name: value(threshold.name) for threshold in rule.thresholds}

    def in_words(rule: type[Rule]) -> str:
        return "; ".join(f"{t.name}={value(t.name)}: {t.meaning}" for t in rule.thresholds)

    return Listing(
        key="rules",
        items=rules,
        columns=(
            Column(key="type", title="RULE", value=lambda r: r.name),
            Column(key="severity", title="SEVERITY", value=lambda r: r.severity,
                   show=lambda r: severity_cell(r.severity, unicode=unicode)),
            Column(key="meaning", title="MEANING", value=lambda r: r.meaning, fold=True, least=24),
            Column(key="thresholds", title="THRESHOLDS", value=in_words, fold=True, least=20),
        ),
        ident=lambda rule: rule.name,
        document=lambda rule: {
            "type": rule.name,
            "severity": rule.severity,
            "meaning": rule.meaning,
            "thresholds": settings(rule),
            "threshold_meanings": {t.name: t.meaning for t in rule.thresholds},
        },
    )  # fmt: skip
