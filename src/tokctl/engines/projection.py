"""How much of each token is read."""

from __future__ import annotations

from enum import Enum


class Projection(Enum):
    """How much of each token a command needs."""

    TOKENS = "whole tokens"
    VISITS = "what the analyses read"
    VISITS_WITH_JOINS = "that, and the flow histories of tokens that several flows lead to"
    VISITS_WITH_FLOWS = "the above, and flow histories"
