"""What an export format is, and the instances and tokens that formats write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.forest import Forest, TreeRow, top_down
from tokctl.model.states import FAILED
from tokctl.model.tokens import Certainty
from tokctl.model.visits import Visit
from tokctl.services.export import ReadInstance

DERIVED, UNKNOWN = "derived", "unknown"


class TokenExport(Struct, frozen=True, kw_only=True):
    """A token, its parent in the tree of tokens, further parents if it is a join, and its times.

    ``end`` is when it was completed or cancelled, ``failed_at`` when it FAILED, which does not end it. ``certainty``
    has what was not recorded: ``start``, ``end``, ``failed_at``, ``state`` or ``parents``, with how it is known
    (``derived``, ``reconstructed``, ``ambiguous``, ``unknown``).
    """

    visit: Visit
    parent: str | None
    joined: tuple[str, ...]
    end: datetime | None
    failed_at: datetime | None
    certainty: dict[str, str]

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of all parents."""
        return (*(() if self.parent is None else (self.parent,)), *self.joined)

    @property
    def start(self) -> datetime | None:
        """When the token was created; None if unknown."""
        return self.visit.created_at

    @property
    def times(self) -> tuple[datetime | None, ...]:
        """Its times, those that are unknown included."""
        return self.start, self.end, self.failed_at

    @property
    def resource(self) -> str | None:
        """The worker or the user that the token is assigned to."""
        return self.visit.context.worker_id or self.visit.context.assignee

    @property
    def error(self) -> str | None:
        """The message of the incident; None if it has not failed, or without a message."""
        return self.visit.context.error if self.visit.state == FAILED else None

    def facts(self) -> dict[str, Any]:
        """Return what is known beside name, times and links; only known values."""
        visit, context = self.visit, self.visit.context
        hops = [hop for hop in visit.hops if hop.certainty is not Certainty.AMBIGUOUS and hop.via_flow]
        found = {
            "token_id": visit.token_id,
            "element_id": visit.element_id,
            "element_type": visit.element_type,
            "state": visit.state,
            "flows": [hop.via_flow for hop in hops] or None,
            "resource": self.resource,
            "job_type": context.job_type,
            "retries_used": context.retries_used,
            "retries_left": context.retries_left,
            "duration_ms": context.duration_ms,
            "called_instance_id": context.called_instance_id,
            "error": self.error,
            "open": True if visit.live else None,
        }
        return {name: value for name, value in found.items() if value is not None}


class InstanceExport(Struct, frozen=True):
    """An instance with its tokens, each after its parent."""

    read: ReadInstance
    tokens: list[TokenExport]

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.read.status.instance.instance_id

    def facts(self) -> dict[str, Any]:
        """Return what is known about the instance; only known values."""
        status, instance = self.read.status, self.read.status.instance
        found = {
            "instance_id": instance.instance_id,
            "process_id": instance.process_id,
            "version": instance.version,
            "status": status.status,
            "status_certainty": DERIVED if status.status_derived else None,
            "business_key": instance.business_key,
            "tenant_id": instance.tenant_id,
        }
        return {name: value for name, value in found.items() if value is not None}


class ExportFormat(Struct, frozen=True, kw_only=True):
    """A format: ``write`` yields its text for instances, with live tokens as they are at a time.

    ``omits`` tells of a token whether the format has no place for it: a span needs a time. ``is_single`` tells that it
    has one instance only, and ``is_json`` that control characters may be written as JSON escapes.
    """

    write: Callable[[Iterable[InstanceExport], datetime], Iterator[str]]
    omits: Callable[[TokenExport], bool] = lambda _: False
    is_single: bool = False
    is_json: bool = False


def prepare(read: ReadInstance) -> InstanceExport:
    """Return an instance as formats write it. Of a token that occurs twice, the first record counts."""
    forest = build_forest(map(TreeRow.from_token, read.visits), max_examples=0)
    visits: dict[str, Visit] = {}
    for visit in read.visits:
        visits.setdefault(visit.token_id, visit)
    return InstanceExport(
        read, [_describe(forest, node, visits, read) for node in top_down(forest.children, forest.size)]
    )


def _describe(forest: Forest, node: int, visits: Mapping[str, Visit], read: ReadInstance) -> TokenExport:
    visit, link = visits[forest.ids[node]], forest.certainties.get(node)
    parent, joined = forest.parent_id(node), forest.join_ids(node)
    certainty = {"state": DERIVED} if visit.token_id in read.derived_states else {}
    if link is not None and (parent or joined):
        certainty["parents"] = str(link)
    end = None if visit.live else visit.finished_at
    failed_at = None
    if visit.created_at is None:
        certainty["start"] = UNKNOWN
    is_recorded = visit.completed_at is not None or visit.cancelled_at is not None
    if not visit.live and not is_recorded:
        certainty["end"] = UNKNOWN if end is None else DERIVED
    if visit.state == FAILED:
        failed_at = visit.entered_at or visit.finished_at
        if visit.entered_at is None and not is_recorded:
            certainty["failed_at"] = UNKNOWN if failed_at is None else DERIVED
    return TokenExport(visit=visit, parent=parent, joined=joined, end=end, failed_at=failed_at, certainty=certainty)
