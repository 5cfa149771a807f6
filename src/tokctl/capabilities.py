"""What a kind of server, store or file can do: one capability for each feature.

Engines and registries of API tokens declare their capabilities as tables of these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Support(StrEnum):
    """How far a feature goes."""

    YES = "yes"
    """The server records it, or its API does it."""
    DERIVED = "derived"
    """tokctl works it out from what the server records, and marks it where it may be wrong."""
    PARTLY = "partly"
    """Only in the cases that the note names; otherwise it is shown as unknown, or is an error."""
    NO = "no"
    """The server cannot do it, and cannot tell it."""


class Capability(Struct, frozen=True):
    """One feature of a kind. The note is a phrase without a full stop; '' if there is nothing to add.

    It is true unless the support is NO.
    """

    support: Support
    note: str = ""

    def __bool__(self) -> bool:
        return self.support is not Support.NO


NOT_TOLD = Capability(Support.NO)


class Feature(NamedTuple):
    """What an operator may ask for: in a few words, which fit into a table of 80 columns, and in full."""

    label: str
    text: str = ""

    @property
    def meaning(self) -> str:
        """The feature in full."""
        return self.text or self.label
