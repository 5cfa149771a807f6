"""Kinds of something and what each can do, as lists and tables: of engines and of registries of API tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Protocol

from tokctl.capabilities import Capability, Feature, Support
from tokctl.documents.kinds import CapabilityDocument, EngineDocument, RegistryDocument
from tokctl.errors import UsageError
from tokctl.render.result import Cell, Column, Detail, Listing, Section, table
from tokctl.text import suggest

_STYLES = {Support.YES: "green", Support.DERIVED: "cyan", Support.PARTLY: "yellow", Support.NO: "dim"}


KindDocument = EngineDocument | RegistryDocument


class Capabilities(Protocol):
    """What a kind can do, by feature."""

    def __getitem__(self, feature: str) -> Capability:
        """Return the capability of a feature."""
        ...


def check_kind(kind: str, known: Mapping[str, str], what: str) -> None:
    """Raise UsageError if a kind is not known; ``what`` names such kinds."""
    if kind not in known:
        raise UsageError(f"unknown {what} kind '{kind}'{suggest(kind, known)}.", f"Valid: {', '.join(known)}.")


def encode_capabilities(found: Capabilities, features: Mapping[str, Feature]) -> list[CapabilityDocument]:
    """Return what a kind can do, as JSON."""
    return [
        CapabilityDocument(
            feature=name, meaning=feature.meaning, support=found[name].support, note=found[name].note or None
        )
        for name, feature in features.items()
    ]


def list_kinds(key: str, product: str, found: Sequence[KindDocument], features: Mapping[str, Feature]) -> Listing:
    """Return a list of kinds, and a table of features with a column for each kind.

    ``key`` is the name of the list in JSON, ``product`` that of the member with the product.
    """
    supports = [of for of in Support if any(able.support == of for one in found for able in one.capabilities)]
    return Listing(
        key=key,
        items=found,
        columns=(
            Column("kind", "KIND"),
            Column(product, product.upper(), fold=True),
            *(Column(of, of.upper(), partial(_names_of, support=of), fold=True) for of in supports),
        ),
        ident=lambda one: one.kind,
        document=lambda one: one,
        sections=lambda: (Section(listing=_compare(found, features)),),
    )


def show_kind(found: KindDocument, title: str) -> Detail:
    """Return a kind with the support and the note of each feature."""
    columns = (
        Column("meaning", "FEATURE", fold=True, min_width=20),
        Column("support", "SUPPORT", form=_support_cell),
        Column("note", "NOTE", fold=True, min_width=20),
    )
    return Detail(
        ident=found.kind,
        document=found,
        title=(Cell(found.kind, "bold"), Cell(f"  {title}")),
        sections=(Section(listing=table(found.capabilities, columns)),),
    )


def _support_cell(support: str) -> Cell:
    return Cell(support, _STYLES[Support(support)])


def _names_of(one: KindDocument, support: str) -> str:
    """Return the names of the features with some support."""
    return ", ".join(able.feature for able in one.capabilities if able.support == support)


def _compare(found: Sequence[KindDocument], features: Mapping[str, Feature]) -> Listing:
    rows = [
        {"feature": feature.label, **{one.kind: one.capabilities[number].support for one in found}}
        for number, feature in enumerate(features.values())
    ]
    kinds = (Column(one.kind, one.kind.upper(), itemgetter(one.kind), form=_support_cell) for one in found)
    return table(rows, (Column("feature", "FEATURE", itemgetter("feature"), fold=True, min_width=20), *kinds))
