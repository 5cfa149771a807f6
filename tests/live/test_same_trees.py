"""The same model run on SpiffWorkflow, Operaton and Flowable gives the same tree, names of ids aside."""

from __future__ import annotations
