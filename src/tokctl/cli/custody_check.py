"""The doctor's check of API tokens: whether runs that were interrupted left any without a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tokctl.cli.checks import Finding, note, ok, problem
from tokctl.config import Settings
from tokctl.errors import TokctlError

NAME = "api tokens"


def api_tokens(settings: Settings, clock: Callable[[], datetime]) -> Finding:
    """What the ledger tells of unfinished work, and what became of it. Raises as the registry does."""
    from tokctl.custody.ledger import DONE, Ledger
    from tokctl.custody.orphans import half_rotated, settle, unfinished
    from tokctl.registries import open_registry

    ledger = Ledger()
    left = unfinished(ledger)
    begun = [entry for entry in ledger.entries() if entry.replaces is not None and entry.step != DONE]
    if not left and not begun:
        return ok(NAME, "none that was created here is without its secret.")
    registry = open_registry(settings, clock, warn=lambda _: None)
    try:
        settled = settle(registry, ledger, clock())
        begun = half_rotated(ledger, registry.origin)
    finally:
        registry.close()
    facts = {
        "orphans": [{"id": one.token.id, "name": one.token.name} for one in settled.orphans],
        "rotations": [entry.replaces for entry in begun],
        "elsewhere": sorted({entry.origin for entry in settled.elsewhere}),
    }
    if settled.orphans:
        named = ", ".join(f"{one.token.id} '{one.token.name}'" for one in settled.orphans)
        return problem(NAME, f"{registry.where} has API tokens whose secret nobody has: {named}.",
                       "Run 'tokctl api-tokens revoke --orphans', and create them again.", **facts)  # fmt: skip
    if begun:
        return note(NAME, f"the rotation of API token {begun[0].replaces} '{begun[0].name}' is not over.",
                    f"Run 'tokctl api-tokens rotate {begun[0].replaces}' to finish it.", **facts)  # fmt: skip
    if settled.elsewhere:
        one = settled.elsewhere[0]
        return note(NAME, f"a run that was creating '{one.name}' at {one.origin} did not come to its end.",
                    "Ask the doctor there, with --server or --store.", **facts)  # fmt: skip
    return ok(NAME, "none that was created here is without its secret.")


def unable(error: TokctlError) -> Finding:
    """Nobody can tell."""
    return note(NAME, f"runs were interrupted, and what became of them nobody can tell: {error.message}", error.hint)
