"""The functions of the public Python API. ``tokctl`` exports them; docs/python.md shows how to use them.

Functions that read an instance take its id, a unique prefix of it, or ``@latest``; None is the only instance.
Ages are measured from ``now``, which is the present unless given. Times have a time zone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tokctl.config import Settings, default_store
from tokctl.engines.ids import resolve_instance, resolve_instances, resolve_token
from tokctl.engines.projection import Projection
from tokctl.errors import UsageError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, TokenFilter
from tokctl.model.rates import parse_rate
from tokctl.services.inspection import analyze_flow, explain_token, read_history, read_trace

if TYPE_CHECKING:  # each function imports what it uses
    from tokctl.analysis.debug.runner import DebugReport
    from tokctl.analysis.explain.explanation import Explanation
    from tokctl.analysis.flow.critical_path import FlowAnalysis
    from tokctl.analysis.history import InstanceHistory
    from tokctl.analysis.trace.report import InstanceTrace
    from tokctl.analysis.tree.forest import Forest
    from tokctl.api_tokens.registries.protocol import Registry
    from tokctl.engines.protocol import Engine
    from tokctl.services.performance import PerformanceReport
    from tokctl.services.snapshot.run import SnapshotRow
    from tokctl.store.protocol import Store


def _now() -> datetime:
    return datetime.now(UTC)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


def _reject_several(**sources: str | None) -> None:
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} cannot be used together.", "Use one of them.")


def _check_rate(rate: str | None) -> str | None:
    return None if rate is None else str(parse_rate(rate))


# --- sources ----------------------------------------------------------------------------------------------


def open_engine(
    *,
    store: str | None = None,
    file: str | None = None,
    server: str | None = None,
    kind: str | None = None,
    credential: str | None = None,
    ca_file: str | None = None,
    insecure: bool = False,
    timeout: float = 30.0,
    connect_timeout: float = 5.0,
    rate: str | None = None,
    at: datetime | None = None,
) -> Engine:
    """Open a source of process tokens: a store, a saved API response, or a server.

    Args:
        store: the path of a store. Without ``store``, ``file`` and ``server`` it is the user's default store.
        file: the path of a file with JSON or NDJSON; ``-`` reads standard input.
        server: the URL of a server.
        kind: the kind of the server, such as ``rest`` or ``camunda7``; detected unless given.
        credential: where the server's credential is: ``env:NAME``, ``file:PATH``, ``keyring`` or ``command:WORDS``.
            Without it ``TOKCTL_API_KEY`` and the keyring are tried.
        ca_file: a PEM file with the certificates to trust.
        insecure: do not verify TLS certificates.
        timeout: for each response of the server, in seconds.
        connect_timeout: for a connection to the server, in seconds.
        rate: the maximum rate of requests to the server: N/s, N/min or N/h, such as ``60/min``.
        at: show the instances as they were at this time.

    Raises:
        UsageError: more than one source is given, the kind is unknown, or the rate is invalid.
        StoreError, InputError, UnreachableError, UntrustedError, NotAllowedError: the source cannot be opened.
    """
    _reject_several(store=store, file=file, server=server)
    settings = Settings(
        store=store,
        file=file,
        server=server,
        engine_kind=kind,
        credential=credential,
        ca_file=ca_file,
        insecure=insecure,
        timeout=timeout,
        connect_timeout=connect_timeout,
        rate=_check_rate(rate),
    )
    if at is not None:
        from tokctl.engines.as_of import open_as_of

        return open_as_of(settings, Projection.TOKENS, at)
    from tokctl.engines import open_engine

    return open_engine(settings, Projection.TOKENS)


def open_store(path: str | None = None, *, write: bool = False, create: bool = False) -> Store:
    """Open a store. It is also an engine and a context manager.

    Args:
        path: the path of the store, or a ``postgresql://`` URL; the user's default store unless given.
        write: open it for writing.
        create: create it if it does not exist.

    Raises:
        StoreError: it does not exist, or cannot be opened.
    """
    from tokctl.store import open_store

    return open_store(str(default_store()) if path is None else path, write=write, create=create)


def open_registry(
    *,
    store: str | None = None,
    server: str | None = None,
    kind: str | None = None,
    credential: str | None = None,
    ca_file: str | None = None,
    insecure: bool = False,
    timeout: float = 30.0,
    connect_timeout: float = 5.0,
    rate: str | None = None,
    write: bool = False,
    clock: Callable[[], datetime] = _now,
    warn: Callable[[str], object] = _warn,
) -> Registry:
    """Open a registry of API tokens: that of a store, or that of a server.

    Args:
        store: the path of a store; the user's default store unless ``server`` is given.
        server: the URL of a server.
        kind: the kind of the server: ``tokctl``, ``xivercms`` or ``strapi``; detected if it is not given.
        credential: where the server's credential is; see ``open_engine``.
        ca_file: a PEM file with the certificates to trust.
        insecure: do not verify TLS certificates.
        timeout: for each response of the server, in seconds.
        connect_timeout: for a connection to the server, in seconds.
        rate: the maximum rate of requests to the server; see ``open_engine``.
        write: open it for changes; a store is created if it does not exist.
        clock: returns the time.
        warn: receives warnings for the user; the default issues a Python warning.

    Raises:
        UsageError: more than one registry is given, the kind is unknown, or the rate is invalid.
        StoreError: the store cannot be opened.
        UnreachableError: the kind of the server must be detected, but the server does not respond.
    """
    from tokctl.api_tokens.registries import open_registry

    _reject_several(store=store, server=server)
    settings = Settings(
        store=store,
        server=server,
        registry_kind=kind,
        credential=credential,
        ca_file=ca_file,
        insecure=insecure,
        timeout=timeout,
        connect_timeout=connect_timeout,
        rate=_check_rate(rate),
    )
    return open_registry(settings, clock, write=write, warn=warn)


# --- analyses ---------------------------------------------------------------------------------------------


def debug(
    engine: Engine,
    instance: str | None = None,
    *,
    rules: Iterable[str] = (),
    skip: Iterable[str] = (),
    severity: str = "LOW",
    thresholds: Mapping[str, Any] | None = None,
    elements: Iterable[str] = (),
    since: datetime | None = None,
    ended: bool = False,
    limit: int | None = None,
    now: datetime | None = None,
) -> DebugReport:
    """Run the debug rules over one instance, or over all.

    Args:
        engine: where the instances are read from.
        instance: the instance; None checks all that have not ended.
        rules: names of the rules to run; all unless given.
        skip: names of rules to leave out.
        severity: the lowest severity to report: LOW, MEDIUM or HIGH.
        thresholds: thresholds by name, such as ``{"long_running": "30m"}``.
        elements: patterns of element ids or names to report.
        since: report only problems that began at or after this time.
        ended: also check instances that have ended.
        limit: the maximum number of tokens listed per finding.
        now: the moment that ages are measured from.

    Raises:
        UsageError: a rule, a severity or a threshold is unknown.
        NotFoundError: there is no such instance.
    """
    from tokctl.analysis.debug.runner import DebugLimits, parse_severity
    from tokctl.services.debug import DebugQuery, run_debug

    query = DebugQuery(
        rules=tuple(rules),
        skip=tuple(skip),
        severity=parse_severity(severity),
        thresholds=thresholds or {},
        elements=tuple(elements),
        since=since,
        ended=ended,
    )
    instance_id = None if instance is None else resolve_instance(engine, instance)
    return run_debug(engine, instance_id, now or _now(), query, limits=DebugLimits(matches=limit))


def perf(
    engine: Engine,
    instance: str | None = None,
    *,
    by: Iterable[str] = ("element",),
    instances: InstanceFilter = InstanceFilter(),  # noqa: B008 - it is frozen
    where: TokenFilter = ALL_TOKENS,
    compare_with: str | None = None,
    now: datetime | None = None,
) -> PerformanceReport:
    """Measure how long elements take, in milliseconds, in one instance or in all.

    Args:
        engine: where the instances are read from.
        instance: the instance; None measures all that ``instances`` selects.
        by: what to group by: ``element``, ``type``, ``worker``, ``process``.
        instances: which instances.
        where: which tokens.
        compare_with: the base of a comparison: an instance, a version (``v3``) or a period (``7d..1d``).
        now: the moment that ages in a period are measured from.

    Raises:
        UsageError: the dimension or the base is invalid.
        NotFoundError: there is no such instance, or nothing to compare with.
    """
    from tokctl.analysis.performance.groups import DIMENSIONS
    from tokctl.services.performance import PerformanceQuery, analyze_performance

    dimensions = tuple(by)
    if not dimensions or set(dimensions) - set(DIMENSIONS):
        raise UsageError(f"cannot group by {', '.join(dimensions) or 'nothing'}.", f"Valid: {', '.join(DIMENSIONS)}.")
    query = PerformanceQuery(
        by=dimensions,
        instance_id=None if instance is None else resolve_instance(engine, instance),
        instances=instances,
        where=where,
        compare_with=compare_with,
    )
    return analyze_performance(engine, query, now or _now())


def flow(engine: Engine, instance: str | None = None, *, now: datetime | None = None) -> FlowAnalysis:
    """Analyze the flow of an instance: its path, its critical path and its bottlenecks. Raises NotFoundError."""
    return analyze_flow(engine, resolve_instance(engine, instance), now or _now())


def explain(engine: Engine, token: str, instance: str | None = None, *, now: datetime | None = None) -> Explanation:
    """Explain why a token waits, and on what.

    Args:
        engine: where the token is read from.
        token: the id of the token, or a unique prefix of it.
        instance: the instance, if several have such a token.
        now: the moment that ages are measured from.

    Raises:
        NotFoundError: there is no such token; AmbiguousIdError: there are several.
    """
    within = None if instance is None else resolve_instance(engine, instance)
    instance_id, token_id = resolve_token(engine, token, within)
    return explain_token(engine, instance_id, token_id, now or _now())


def history(engine: Engine, instance: str | None = None, *, token: str | None = None) -> InstanceHistory:
    """Read the path of an instance through its model; with ``token``, the path that led to it. Raises NotFoundError."""
    instance_id, token_id = resolve_instance(engine, instance), None
    if token is not None:
        instance_id, token_id = resolve_token(engine, token, instance_id)
    return read_history(engine, instance_id, token_id)


def tree(engine: Engine, instance: str | None = None) -> Forest:
    """Build the tree of an instance's tokens: each below the token that it came from. Raises NotFoundError."""
    from tokctl.analysis.tree.builder import build_forest

    return build_forest(engine.tree_rows(resolve_instance(engine, instance)))


def trace(
    engine: Engine,
    instance: str | None = None,
    *,
    variables: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime | None = None,
) -> InstanceTrace:
    """List all events of the tokens of an instance, with paths, times and totals.

    Args:
        engine: where the tokens are read from.
        instance: the instance.
        variables: include the variables of the tokens.
        since: the time of the first event.
        until: the time before which the last event is.
        now: the moment that ages are measured from.

    Raises:
        NotFoundError: there is no such instance.
    """
    instance_id = resolve_instance(engine, instance)
    return read_trace(engine, instance_id, now or _now(), variables=variables, since=since, until=until)


def snapshot(
    engine: Engine,
    store: Store,
    instances: Iterable[str] | None = None,
    *,
    redact: Iterable[str] = (),
    source: str | None = None,
) -> list[SnapshotRow]:
    """Copy instances into a store, each completely or not at all.

    Args:
        engine: where the instances are read from.
        store: the target store, open for writing.
        instances: which ones; None copies all that have not ended.
        redact: patterns of the values to remove, such as ``variables.*`` or ``**.password``.
        source: the origin to record (default: the URL of the server, or the name of the file).

    Returns:
        The outcome for each instance; ``error`` says why one could not be read.

    Raises:
        UsageError: a pattern is invalid.
        StoreError: the store cannot be written.
        TokctlError: no instance could be read.
    """
    from tokctl.analysis.redaction import Redactor
    from tokctl.services.snapshot.run import SnapshotRun, list_live_instances
    from tokctl.services.snapshot.writer import SnapshotWriter, describe_source

    origin = describe_source(engine)
    ids = list_live_instances(engine) if instances is None else resolve_instances(engine, instances)
    writer = SnapshotWriter(store, source=source or origin.name, kind=origin.kind, redaction=Redactor(redact))
    run = SnapshotRun(writer, ids, clock=_now, all_live=instances is None, remote=origin.remote)
    run.take_all(engine, ids)
    return list(run.rows.values())
