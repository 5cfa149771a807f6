"""Why a token waits at a join: which flows are missing, what can still arrive, and where the last token went."""

from __future__ import annotations

from datetime import datetime

from tokctl.analysis.explain.context import TokenRelations
from tokctl.analysis.explain.reasons import DependencyGroup, WaitReason
from tokctl.analysis.joins import PARALLEL, MissingFlow, WaitingJoin
from tokctl.model.visits import Visit


class JoinReasons:
    """Explains the joins of one instance. Searches that several joins need are made once."""

    def __init__(self, tokens: TokenRelations) -> None:
        self.tokens = tokens
        self._last_upstream: dict[tuple[str, str, str | None], Visit | None] = {}

    def explain(self, visit: Visit) -> WaitReason:
        """Return why a token waits at a join that was analysed."""
        tokens = self.tokens
        join = tokens.joins[visit.token_id]
        element, needed = join.element, join.needed
        here = f"It waits at {tokens.describe_stay(visit)}"
        these = "" if element.type == PARALLEL else " that can still be reached"
        sentences = [f"{here}, until a token arrives on each of its {len(element.incoming)} incoming flows{these}."]
        arrived = [arrival.flow or "an unknown flow" for arrival in join.arrived]
        sentences.append(f"Arrived: {', '.join(arrived)}.")
        sentences += [self.describe_missing_flow(join, flow) for flow in needed]
        not_needed = [flow.flow for flow in join.missing if flow not in needed]
        if not_needed:
            sentences.append(f"It does not wait for {', '.join(not_needed)}: no live token can arrive there.")
        if join.unknown:
            sentences.append(f"Some details are unknown: {join.unknown}.")
        if join.deadlocked:
            dead = join.dead
            return WaitReason(
                "DEADLOCKED_JOIN",
                f"can never continue: no token can arrive on {', '.join(flow.flow for flow in dead)}",
                sentences,
                can_continue=False,
                depends_on=[
                    DependencyGroup(flow.flow, flow.upstream + flow.failed)
                    for flow in dead
                    if flow.upstream or flow.failed
                ],
                join=join,
            )
        if not needed:
            sentences.append("All required tokens have arrived: the engine should continue.")
            summary = "has all required tokens: the engine should continue"
            return WaitReason("JOIN_COMPLETE", summary, sentences, join=join)
        return WaitReason(
            "WAITS_AT_JOIN",
            f"waits at the join for {', '.join(flow.flow for flow in needed)}",
            sentences,
            depends_on=[DependencyGroup(flow.flow, flow.upstream) for flow in needed if flow.upstream],
            join=join,
        )

    def describe_missing_flow(self, join: WaitingJoin, flow: MissingFlow) -> str:
        """Return a sentence on a missing flow: whether a token can still arrive, and from where."""
        tokens = self.tokens
        head = f"Missing: {flow.flow}, from '{flow.source_name}'"
        if flow.possible:
            if flow.upstream:
                return f"{head}. It can still arrive, from {tokens.format_tokens(flow.upstream)}."
            return f"{head}. It can still arrive: an upstream element can still start."
        if flow.possible is None:
            before = f". Upstream: {tokens.format_tokens(flow.upstream)}" if flow.upstream else ""
            return f"{head}. It is unknown whether it can still arrive{before}."
        if flow.failed:
            failed = tokens.format_tokens(flow.failed)
            return f"{head}. It cannot arrive without an intervention: upstream, {failed} FAILED."
        if flow.upstream:
            upstream = tokens.format_tokens(flow.upstream)
            return f"{head}. It cannot arrive without an intervention: upstream, {upstream} cannot continue to it."
        lost = self._describe_lost_token(join, flow)
        return f"{head}. It can no longer arrive: there is no live token upstream.{lost}"

    def _describe_lost_token(self, join: WaitingJoin, flow: MissingFlow) -> str:
        """Return a sentence on the last token before a flow on which no token can arrive: where it went instead."""
        tokens = self.tokens
        last = self._find_last_upstream(join, flow.flow)
        if last is None or last.finished_at is None:
            return ""
        upstream_elements = self._upstream_elements(join, flow.flow)
        elsewhere = [one for one in tokens.successors(last) if one.element_id not in upstream_elements]
        went = f" and continued to {tokens.format_tokens(elsewhere)}" if elsewhere else ""
        ended = tokens.format_relative(last.finished_at)
        return f" The last one, at '{last.name}' ({last.token_id}), was {last.state} {ended}{went}."

    def _upstream_elements(self, join: WaitingJoin, flow: str) -> frozenset[str]:
        return self.tokens.frame(join.token).graph.upstream_elements(join.element.id, flow)

    def _find_last_upstream(self, join: WaitingJoin, flow: str) -> Visit | None:
        """Return the token before a flow that ended last, in the run of the sub-process that the join belongs to."""
        tokens, level = self.tokens, join.element.parent
        run_id = self._run_id(join.token, level)
        key = join.element.id, flow, run_id
        if key not in self._last_upstream:
            upstream_elements, frame = self._upstream_elements(join, flow), tokens.frame(join.token)

            def end_order(visit: Visit) -> tuple[datetime | None, bool]:
                """Sort by end; of tokens that ended at the same time, one that left the path to the join is last."""
                return visit.finished_at, not any(s.element_id in upstream_elements for s in tokens.successors(visit))

            ended = [
                visit
                for visit in tokens.context.visits
                if visit.element_id in upstream_elements
                and visit.finished_at is not None
                and tokens.frame(visit) is frame
            ]
            ended.sort(key=end_order, reverse=True)
            same_run = (visit for visit in ended if self._run_id(visit, level) == run_id)
            self._last_upstream[key] = next(same_run, None)
        return self._last_upstream[key]

    def _run_id(self, visit: Visit, level: str | None) -> str | None:
        """Return the id of the token that a sub-process runs under; None for the process itself."""
        if level is None:
            return None
        ancestors = self.tokens.ancestry.ancestors(visit)
        return next((one.token_id for one in ancestors if one.element_id == level), None)


def explain_unknown_join(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the reason of a token at a join that could not be analysed."""
    if not tokens.frame(visit).is_known:
        why = "the process model is unknown"
    elif tokens.element(visit) is None:
        why = "its element is not in the known process model"
    else:
        why = "the process model does not match the tokens"
    sentences = [
        f"It waits at {tokens.describe_stay(visit)}.",
        f"It is unknown which incoming flows are missing: {why}.",
    ]
    return WaitReason("WAITS_AT_JOIN", "waits at a join, for unknown flows", sentences)
