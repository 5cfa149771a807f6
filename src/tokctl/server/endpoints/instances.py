"""Process instances: a list, and the status of one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from tokctl.documents.instances import MetricsDocument, encode_full_status, encode_instance_detail
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    INSTANCE_SORT_COLUMNS,
    RECORDED_ORDER,
    InstanceFilter,
    SortOrder,
    StuckLimits,
    TokenFilter,
)
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import COMPLETED
from tokctl.model.tokens import Token
from tokctl.server import parameters as par
from tokctl.server.endpoint import API_PREFIX, Endpoint, Query, StoreResponse
from tokctl.server.endpoints.common import (
    encode,
    encode_array,
    encode_members,
    get_definition,
    get_instance,
    is_small_instance,
    read_instance_tag,
    read_store_tag,
)
from tokctl.server.http_errors import invalid_parameter
from tokctl.store.protocol import Store

MAX_LIMIT = 1000
MAX_SMALL_LIMIT = 20
MAX_ACTIVITIES = 1000  # of each kind in a response
ACTIVITY_TYPES = ("task", "subProcess", "adHocSubProcess", "transaction", "callActivity")
COMPLETED_ACTIVITIES = TokenFilter(states=(COMPLETED,), types=ACTIVITY_TYPES)


# --- one instance ------------------------------------------------------------------------------------


def _read_instance(store: Store, query: Query) -> Iterator[bytes]:
    status = get_instance(store, query.id, live_elements=True)
    live = list(store.tokens(query.id, TokenFilter(live=True), SortOrder("created"), limit=MAX_ACTIVITIES))
    done = list(
        store.tokens(query.id, COMPLETED_ACTIVITIES, SortOrder("finished", descending=True), limit=MAX_ACTIVITIES)
    )
    finished = store.count_tokens(query.id, COMPLETED_ACTIVITIES)
    elapsed = status.elapsed(query.now)
    metrics = MetricsDocument(
        elapsed_time_seconds=None if elapsed is None else elapsed.total_seconds(),
        completed_activities_count=finished,
        active_activities_count=status.live_tokens,
        progress_percent=_compute_progress(status, done, finished, get_definition(store, status)),
    )
    yield encode(
        encode_instance_detail(
            status, live=live, completed=reversed(done), metrics=metrics, summary=store.summary(query.id)
        )
    )


def _compute_progress(
    status: InstanceStatus, done: list[Token], finished: int, definition: Definition | None
) -> float | None:
    """Return how many of the model's activities are completed, in percent; None if that is unknown."""
    if status.status == COMPLETED:
        return 100.0
    if definition is None or finished > len(done):
        return None
    activities = {
        element.id
        for element in definition.elements.values()
        if element.type in ACTIVITY_TYPES or element.type.endswith("Task")
    }
    completed = {token.element_id for token in done} & activities
    return round(100 * len(completed) / len(activities), 1) if activities else None


def _read_tag(store: Store, query: Query) -> str | None:
    """Return the instance's version; None while it runs, because its elapsed time changes."""
    tag = read_instance_tag(store, query.id)
    return f"{tag}.{store.revisions().process}" if get_instance(store, query.id).ended_at is not None else None


ONE = Endpoint(
    path=f"{API_PREFIX}/processes/{{instance_id}}",
    name="getProcessInstance",
    text="Get a process instance: its status, live tokens, completed activities and totals.",
    schema="InstanceDetail",
    permissions=("process",),
    errors=(404,),
    handler=StoreResponse(
        tag=_read_tag,
        is_small=is_small_instance,
        pieces=_read_instance,
    ),
)


_USUAL = StuckLimits(datetime.min.replace(tzinfo=UTC))

# --- list -------------------------------------------------------------------------------------------

_STUCK_LIMITS = ("long_running", "stuck_gateway")
_EXCLUSIVE = (
    *("status", "process", "version", "since", "until", "live", "open", "failed", "stuck", *_STUCK_LIMITS),
    *("business_key", "var", "sort", "offset"),
)


def _read_list_tag(store: Store, query: Query) -> str | None:
    """Return the store's version; None if the list depends on the time."""
    names = query.applied.split(", ")
    if "instance" in names and (others := [name for name in names if name in _EXCLUSIVE]):
        raise invalid_parameter(others[0], f"'instance' and '{others[0]}' cannot be used together.")
    if not query.values["stuck"] and (limits := [name for name in names if name in _STUCK_LIMITS]):
        raise invalid_parameter(limits[0], f"'{limits[0]}' is only valid with 'stuck=true'.")
    return None if query.values["stuck"] else read_store_tag(store, query)


def _make_filter(query: Query) -> InstanceFilter:
    values = query.values
    stuck = StuckLimits(query.now, values["long_running"], values["stuck_gateway"]) if values["stuck"] else None
    return InstanceFilter(
        statuses=values["status"],
        processes=values["process"],
        version=values["version"],
        since=values["since"],
        until=values["until"],
        live=values["live"],
        open=values["open"],
        failed=values["failed"],
        stuck=stuck,
        business_keys=values["business_key"],
        variables=values["var"],
    )


def _read_list(store: Store, query: Query) -> Iterator[bytes]:
    values = query.values
    limit, offset = values["limit"], values["offset"]
    total: int | None
    statuses: Iterator[InstanceStatus]
    if (prefix := values["instance"]) is not None:
        ids = store.instance_ids(prefix, limit + 1)
        more = len(ids) > limit
        statuses = map(store.instance, ids[:limit])
        total = None if more else len(ids)
    else:
        where = _make_filter(query)
        statuses = store.instances(where, values["sort"], limit=limit, offset=offset)
        total = store.count_instances(where)
        more = offset + limit < total
    yield b'{"instances":'
    yield from encode_array(map(encode_full_status, statuses))
    tail = {"total_count": total, "has_more": more, "limit": limit, "offset": offset}
    yield b"," + encode_members(tail) + b"}"


LIST = Endpoint(
    path=f"{API_PREFIX}/processes",
    name="listProcessInstances",
    text="List process instances. By default the newest come first. With 'instance', list those whose ids have this "
    "prefix, by id; total_count is then null if there are more.",
    schema="InstanceList",
    permissions=("process",),
    parameters=par.table(
        par.states("status", "Only instances with one of these statuses."),
        par.texts("process", "Only processes whose id matches one of these patterns (* ? [a-z])."),
        par.number("version", "Only this version of the processes.", minimum=-(1 << 53) + 1),
        par.moment("since", "Only instances updated at or after this time."),
        par.moment("until", "Only instances started before this time."),
        par.flag("live", "Only instances with a live token.", default=False),
        par.flag("open", "Only instances that have not ended, or have a live token.", default=False),
        par.flag("failed", "Only instances with a FAILED token.", default=False),
        par.flag(
            "stuck",
            "Only instances with a stuck token: its timeout has passed, or it has been ACTIVE or WAITING for a job for "
            "longer than 'long_running', or WAITING at a gateway for longer than 'stuck_gateway'.",
            default=False,
        ),
        par.duration("long_running", "For 'stuck', a duration such as 10m or 90s.", _USUAL.long_running),
        par.duration("stuck_gateway", "For 'stuck', a duration such as 5m or 90s.", _USUAL.stuck_gateway),
        par.texts("business_key", "Only instances whose business key matches one of these patterns."),
        par.variables(
            "var",
            "Only instances with this variable: NAME=VALUE, or NAME~PATTERN (* ? [a-z]). All have to match. Members of "
            "objects have paths such as customer.id; values of more than 255 characters are not found.",
        ),
        par.order(
            "sort",
            "Sort column; a leading '-' reverses the order. 'recorded' is the order in which they were recorded.",
            (*INSTANCE_SORT_COLUMNS, RECORDED_ORDER),
            "-started",
        ),
        par.number("limit", "Maximum number of instances.", minimum=1, maximum=MAX_LIMIT, default=100),
        par.number("offset", "Number of instances to skip.", default=0),
        par.text(
            "instance", "Prefix of the instance ids; empty for all. Cannot be combined with other filters.", minimum=0
        ),
    ),
    handler=StoreResponse(
        tag=_read_list_tag,
        is_small=lambda _, query: query.values["instance"] is not None and query.values["limit"] <= MAX_SMALL_LIMIT,
        pieces=_read_list,
    ),
)
