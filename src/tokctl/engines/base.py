"""What engines share: how much is to be read of tokens, and when there is no use in reading on."""

from __future__ import annotations

from enum import Enum

GIVE_UP = 20
"""Instances in a row that cannot be read: whatever stands in the way is not theirs alone."""


class Reading(Enum):
    """How much of each token a command needs."""

    TOKENS = "whole tokens"
    VISITS = "what the analyses read"
    VISITS_WITH_JOINS = "that, and the flow histories of tokens that several flows lead to"
    VISITS_WITH_FLOWS = "that, and flow histories"
