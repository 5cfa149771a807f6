"""Reads the data for an analysis of one instance from an engine, and runs it: flow, explain, history, trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tokctl.engines.protocol import Engine
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instances import Instance
from tokctl.model.json_values import decode_value

if TYPE_CHECKING:  # each command imports the one analysis that it runs
    from tokctl.analysis.explain.context import ChainStep, ExplainContext
    from tokctl.analysis.explain.explanation import Explanation
    from tokctl.analysis.flow.critical_path import FlowAnalysis
    from tokctl.analysis.history import InstanceHistory
    from tokctl.analysis.trace.report import InstanceTrace
    from tokctl.analysis.tree.forest import TreeRow
    from tokctl.model.tokens import Token
    from tokctl.model.visits import Visit

_CREATED = SortOrder("created")
MAX_CALLED_INSTANCES = 1_000
"""Maximum number of instances in a tree that follows calls."""
MAX_CALL_LEVELS = 5
"""Maximum number of called instances, one within the other, that an explanation follows."""


def find_definition(engine: Engine, instance: Instance) -> Definition | None:
    """Return the process model of an instance; None if it is unknown."""
    if not instance.process_id:
        return None
    return engine.definition(instance.process_id, instance.version)


def analyze_flow(engine: Engine, instance_id: str, now: datetime) -> FlowAnalysis:
    """Analyze how an instance flowed: begin, end and slack of each token, and the critical path.

    Raises:
        NotFoundError: there is no such instance.
    """
    from tokctl.analysis.flow.critical_path import FlowAnalysis

    return FlowAnalysis(engine.visits(instance_id, flows=True), now)


def explain_token(
    engine: Engine, instance_id: str, token_id: str, now: datetime, *, prefix: str = "tokctl"
) -> Explanation:
    """Explain why a token waits, and on what. ``prefix`` starts the command lines that the explanation suggests.

    Raises:
        NotFoundError: there is no such instance.
        KeyError: the instance has no such token.
    """
    from tokctl.analysis.explain.explanation import explain

    return explain(token_id, _read_explain_context(engine, instance_id, now), prefix)


def explain_instance(engine: Engine, instance_id: str, now: datetime, *, prefix: str = "tokctl") -> list[Explanation]:
    """Explain why each live token of an instance waits, causes first. Raises NotFoundError."""
    from tokctl.analysis.explain.explanation import explain_live_tokens

    return explain_live_tokens(_read_explain_context(engine, instance_id, now), prefix)


def _read_explain_context(
    engine: Engine, instance_id: str, now: datetime, *, levels: int = MAX_CALL_LEVELS
) -> ExplainContext:
    """Read what explains the tokens of an instance, and of as many ``levels`` of called instances as are needed."""
    from tokctl.analysis.explain.context import ExplainContext

    def read_context(other_id: str) -> dict[str, Any]:
        context = decode_value(engine.token(instance_id, other_id).execution_context)
        return context if isinstance(context, dict) else {}

    def explain_called(called_id: str) -> Sequence[ChainStep]:
        from tokctl.analysis.explain.explanation import summarize_live_tokens

        try:
            return summarize_live_tokens(_read_explain_context(engine, called_id, now, levels=levels - 1))
        except NotFoundError:
            return ()

    status = engine.instance(instance_id)
    return ExplainContext(
        status=status,
        visits=list(engine.visits(instance_id, flows=True)),
        now=now,
        definition=find_definition(engine, status.instance),
        find_definition=lambda process_id: engine.definition(process_id, None),
        context_of=read_context,
        explain_called=explain_called if levels else lambda _: (),
    )


def read_tree_rows(engine: Engine, instance_id: str, *, follow_calls: bool = False) -> Iterator[TreeRow]:
    """Yield the fields of each token that a tree needs; with ``follow_calls`` also those of called instances.

    The tokens of a called instance are below the call activity. A called instance that the source does not have is
    left out; at most MAX_CALLED_INSTANCES are read. Raises NotFoundError.
    """
    if not follow_calls:
        yield from engine.tree_rows(instance_id)
        return
    from tokctl.analysis.tree.forest import TreeRow

    pending: list[tuple[str, str | None]] = [(instance_id, None)]
    known = {instance_id}
    for one, caller in pending:  # grows while it is read
        try:
            visits = list(engine.visits(one, flows=True))
        except NotFoundError:
            if caller is None:
                raise
            continue
        for visit in visits:
            row = TreeRow.from_token(visit)
            called = visit.context.called_instance_id
            if called is not None and called not in known and len(known) < MAX_CALLED_INSTANCES:
                known.add(called)
                pending.append((called, row.token_id))
                row = replace(row, child_tokens=None)  # it does not list those
            yield row if row.parent_token_id is not None else replace(row, parent_token_id=caller)


def read_history(engine: Engine, instance_id: str, token_id: str | None = None) -> InstanceHistory:
    """Read the path of an instance through its model, hop by hop; with a token, the path that led to it.

    Raises:
        NotFoundError: there is no such instance or token.
    """
    from tokctl.analysis.history import build_history

    definition = find_definition(engine, engine.instance(instance_id).instance)
    tokens = engine.tokens(instance_id, ALL_TOKENS, _CREATED)
    return build_history(tokens, token_id=token_id, definition=definition)


def read_trace(
    engine: Engine,
    instance_id: str,
    now: datetime,
    *,
    detailed: bool = True,
    variables: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
) -> InstanceTrace:
    """Read everything that happened to the tokens of an instance, event by event, with paths, times and totals.

    With ``variables`` the engine has to read whole tokens. Without ``detailed`` there are no events, only their totals.
    ``since`` and ``until`` (exclusive) bound the events; totals are always those of the whole instance. Raises
    NotFoundError.
    """
    from tokctl.analysis.trace.report import build_trace

    status = engine.instance(instance_id)
    tokens: Iterable[Token | Visit] = (
        engine.tokens(instance_id, ALL_TOKENS, _CREATED) if variables else engine.visits(instance_id, flows=True)
    )
    return build_trace(
        status,
        tokens,
        now,
        detailed=detailed,
        variables=variables,
        since=since,
        until=until,
        definition=find_definition(engine, status.instance),
    )
