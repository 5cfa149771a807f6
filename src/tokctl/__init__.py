# ruff: noqa: I001 - sorting would take a line for each name
"""tokctl inspects the tokens of BPMN process instances and manages API tokens.

The public Python API is what ``__all__`` lists; docs/python.md shows it. Each name is imported when it is first used,
so that ``import tokctl`` costs nothing. The command line is ``tokctl.cli``.
"""

from tokctl.version import __version__ as __version__

TYPE_CHECKING = False  # as in ``typing``, which takes longer to import than everything else that --version needs

if TYPE_CHECKING:
    from typing import Any

    from tokctl.analysis.debug.runner import DebugFinding as DebugFinding, DebugReport as DebugReport
    from tokctl.analysis.explain.explanation import Explanation as Explanation
    from tokctl.analysis.flow.critical_path import FlowAnalysis as FlowAnalysis
    from tokctl.analysis.history import Hop as Hop, InstanceHistory as InstanceHistory
    from tokctl.analysis.performance.durations import Performance as Performance
    from tokctl.analysis.performance.groups import VisitGroup as VisitGroup
    from tokctl.analysis.trace.report import InstanceTrace as InstanceTrace
    from tokctl.analysis.tree.forest import Forest as Forest
    from tokctl.api_tokens.registries.capabilities import RegistryCapabilities as RegistryCapabilities
    from tokctl.api_tokens.registries.protocol import (
        ApiTokenSpec as ApiTokenSpec,
        CreatedToken as CreatedToken,
        Registry as Registry,
        VerificationResult as VerificationResult,
    )
    from tokctl.engines.protocol import Engine as Engine
    from tokctl.errors import (
        AmbiguousIdError as AmbiguousIdError,
        InputError as InputError,
        NotAllowedError as NotAllowedError,
        NotFoundError as NotFoundError,
        NotSavedError as NotSavedError,
        StoreError as StoreError,
        TokctlError as TokctlError,
        UnreachableError as UnreachableError,
        UntrustedError as UntrustedError,
        UsageError as UsageError,
        WrongStoreError as WrongStoreError,
    )
    from tokctl.model.api_tokens import ApiToken as ApiToken
    from tokctl.model.definitions import Definition as Definition, Element as Element, SequenceFlow as SequenceFlow
    from tokctl.model.filters import (
        ALL_TOKENS as ALL_TOKENS,
        InstanceFilter as InstanceFilter,
        SortOrder as SortOrder,
        TokenFilter as TokenFilter,
    )
    from tokctl.model.instance_status import InstanceStatus as InstanceStatus
    from tokctl.model.instances import Instance as Instance, Summary as Summary
    from tokctl.model.tokens import Token as Token
    from tokctl.model.visits import Visit as Visit
    from tokctl.python_api import (
        debug as debug,
        explain as explain,
        flow as flow,
        history as history,
        open_engine as open_engine,
        open_registry as open_registry,
        open_store as open_store,
        perf as perf,
        snapshot as snapshot,
        trace as trace,
        tree as tree,
    )
    from tokctl.services.performance import ComparisonBase as ComparisonBase, PerformanceReport as PerformanceReport
    from tokctl.services.snapshot.run import SnapshotRow as SnapshotRow
    from tokctl.store.protocol import Store as Store, StoreInfo as StoreInfo

_MODULES = {
    "tokctl.analysis.debug.runner": ("DebugFinding", "DebugReport"),
    "tokctl.analysis.explain.explanation": ("Explanation",),
    "tokctl.analysis.flow.critical_path": ("FlowAnalysis",),
    "tokctl.analysis.history": ("Hop", "InstanceHistory"),
    "tokctl.analysis.performance.durations": ("Performance",),
    "tokctl.analysis.performance.groups": ("VisitGroup",),
    "tokctl.analysis.trace.report": ("InstanceTrace",),
    "tokctl.analysis.tree.forest": ("Forest",),
    "tokctl.api_tokens.registries.protocol": (
        "ApiTokenSpec",
        "CreatedToken",
        "Registry",
        "RegistryCapabilities",
        "VerificationResult",
    ),
    "tokctl.engines.protocol": ("Engine",),
    "tokctl.errors": (
        "AmbiguousIdError",
        "InputError",
        "NotAllowedError",
        "NotFoundError",
        "NotSavedError",
        "StoreError",
        "TokctlError",
        "UnreachableError",
        "UntrustedError",
        "UsageError",
        "WrongStoreError",
    ),
    "tokctl.model.api_tokens": ("ApiToken",),
    "tokctl.model.definitions": ("Definition", "Element", "SequenceFlow"),
    "tokctl.model.filters": ("ALL_TOKENS", "InstanceFilter", "SortOrder", "TokenFilter"),
    "tokctl.model.instance_status": ("InstanceStatus",),
    "tokctl.model.instances": ("Instance", "Summary"),
    "tokctl.model.tokens": ("Token",),
    "tokctl.model.visits": ("Visit",),
    "tokctl.python_api": (
        "debug",
        "explain",
        "flow",
        "history",
        "open_engine",
        "open_registry",
        "open_store",
        "perf",
        "snapshot",
        "trace",
        "tree",
    ),
    "tokctl.services.performance": ("ComparisonBase", "PerformanceReport"),
    "tokctl.services.snapshot.run": ("SnapshotRow",),
    "tokctl.store.protocol": ("Store", "StoreInfo"),
}
"""Module → the names that are imported from it on demand; type checkers read the imports above instead."""

if not TYPE_CHECKING:
    __all__ = ["__version__", *sorted(name for names in _MODULES.values() for name in names)]  # noqa: PLE0604

    def __getattr__(name: str) -> "Any":
        """Import a public name when it is first used."""
        for module, names in _MODULES.items():
            if name in names:
                from importlib import import_module

                value = getattr(import_module(module), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'tokctl' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
