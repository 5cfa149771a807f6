"""What is to be read of tokens, where an engine has to decide it beforehand."""

from __future__ import annotations

from enum import Enum


class Reading(Enum):
    """How much of each token a command needs."""

    TOKENS = "whole tokens"
    VISITS = "what the analyses read"
    VISITS_WITH_JOINS = "that, and the flow histories of tokens that several flows lead to"
    VISITS_WITH_FLOWS = "that, and flow histories"
