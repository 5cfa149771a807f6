"""``tokctl incidents list``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.filters import build_token_filter, page_range
from tokctl.cli.progress import report_unread_afterwards
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine
from tokctl.errors import UsageError
from tokctl.model.filters import RECORDED_ORDER, SortOrder, TokenFilter
from tokctl.model.states import FAILED
from tokctl.render.result import Cell, Listing
from tokctl.render.views.incidents import incident_group_listing, incident_listing
from tokctl.services.incidents import GROUPINGS, create_incident, group_incidents
from tokctl.text import count, suggest


def _complete_grouping(incomplete: str) -> list[str]:
    return [name for name in GROUPINGS if name.startswith(incomplete.lower())]


def list_incidents(
    app: App,
    instance: Annotated[
        str | None,
        opt.argument(
            "[INSTANCE]",
            "Instance id, the beginning of one, or @latest (default: all instances).",
            complete=complete_instance,
        ),
    ] = None,
    by: Annotated[
        str | None,
        opt.option(
            "WHAT", "Count incidents by error, element, worker or process, most first.", complete=_complete_grouping
        ),
    ] = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    since: Annotated[
        str | None,
        opt.option("TIME", "Only incidents since this time (RFC 3339, or an age such as 1h).", panel=opt.FILTER_PANEL),
    ] = None,
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing:
    """List incidents: FAILED tokens with their error messages, the oldest first.

    With --by error, numbers and ids in messages are masked, so that equal errors are counted together.
    """
    if by is not None and (by := by.strip().lower()) not in GROUPINGS:
        raise UsageError(f"invalid --by '{by}'{suggest(by, GROUPINGS)}.", f"Valid: {', '.join(GROUPINGS)}.")
    where = build_token_filter(app, state=[FAILED], elements=element, workers=worker, since=since)
    shown = page_range(limit, page, app.out)
    engine = app.engine
    instance_id = None if instance is None else resolve_instance(engine, instance)
    if by is not None:
        order = SortOrder(RECORDED_ORDER if instance_id is None else "created")
        tokens = engine.tokens(instance_id, where, order, projection=Projection.VISITS)
        groups = group_incidents(map(create_incident, tokens), by)
        end = None if shown.limit is None else shown.offset + shown.limit
        listing = incident_group_listing(groups[shown.offset : end], by, app.out)
        listing.notes = shown.notes(lambda: len(groups), "group")
    else:
        tokens = engine.tokens(
            instance_id,
            where,
            SortOrder("finished"),
            limit=shown.limit,
            offset=shown.offset,
            projection=Projection.VISITS,
        )
        listing = incident_listing(
            map(create_incident, tokens),
            app.out,
            headline=lambda: _totals(app, instance_id, where),
            notes=shown.notes(lambda: engine.count_tokens(instance_id, where), "incident"),
            empty=shown.empty,
        )
    if instance_id is None:
        listing.notes = _with_limitations(engine, listing.notes)
    report_unread_afterwards(app, engine, listing)
    return listing


def _with_limitations(engine: Engine, notes: Callable[[int], list[str]]) -> Callable[[int], list[str]]:
    """Return notes with the incidents that no instance has; they are known once the others were read."""
    return lambda shown: [*notes(shown), *engine.limitations]


def _totals(app: App, instance_id: str | None, where: TokenFilter) -> tuple[Cell, ...]:
    """Return the number of incidents, for people; a store has it at once."""
    if not app.reads_store_for_people:
        return ()
    number = app.engine.count_tokens(instance_id, where)
    return (Cell(count(number, "incident"), "bold red"),) if number else ()


app = command(
    list_incidents,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl incidents list",
        "tokctl incidents list --by error",
        "tokctl incidents list --since 1h --worker 'invoice-*'",
        "tokctl incidents list -o id | sort -u | xargs -n1 tokctl explain",
    ),
)
