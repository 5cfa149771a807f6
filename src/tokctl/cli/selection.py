"""Selects the instances that a command reads whole: by their ids, or by filters."""

from __future__ import annotations

from tokctl.cli.app import App
from tokctl.cli.filters import check_patterns
from tokctl.engines.ids import resolve_instances
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.filters import InstanceFilter
from tokctl.model.time_expressions import parse_period
from tokctl.services.export import select_instances


def build_instance_filter(
    app: App, process: list[str] | None, since: str | None, until: str | None, version: int | None = None
) -> InstanceFilter:
    """Return a filter by process, period and version. Raises UsageError: an option is invalid."""
    begin, end = parse_period(since, until, app.now)
    return InstanceFilter(processes=check_patterns(process, "--process"), version=version, since=begin, until=end)


def select_ids(
    app: App,
    instances: list[str] | None,
    process: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    troubled: bool,
    version: int | None = None,
) -> list[str]:
    """Return the ids of the given instances, or of those that match; without both, the only instance.

    Raises:
        NotFoundError: none matches.
        UsageError: both are given, or a filter is invalid.
    """
    has_filter = bool(process or since is not None or until is not None or version is not None or troubled)
    if not has_filter:
        return resolve_instances(app.engine, instances or [None])
    if instances:
        raise UsageError(
            "INSTANCE cannot be used with --process, --since, --until or --troubled.", "Use only one of them."
        )
    where = build_instance_filter(app, process, since, until, version)
    ids = select_instances(app.engine, where, app.now, troubled=troubled, thresholds=app.settings.debug)
    if not ids:
        raise NotFoundError("no process instance matches.", "See 'tokctl instances list'.")
    return ids
