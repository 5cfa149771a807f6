"""What debug reads of many instances: their unfinished visits, and the whole history of suspects.

A suspect is an instance with an incident, or with a token at a join: only the visits that have ended show whether
other tokens can still arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from tokctl.engines.camunda7.models import ModelLoader
from tokctl.engines.camunda7.reader import InstanceReader, is_ended
from tokctl.engines.camunda7.work import InstanceRows
from tokctl.model.instances import Instance

MAX_SINGLE_JOINS = 100
"""Maximum number of instances whose histories are requested one by one because of a join alone."""


def find_suspects(
    reader: InstanceReader,
    models: ModelLoader,
    instances: Sequence[Instance],
    limitations: list[str],
    *,
    failed_only: bool = False,
) -> Iterator[InstanceRows]:
    """Yield the rows of instances, in order: whole for the suspects.

    ``limitations`` gets a sentence if too many instances wait at joins. With ``failed_only``, of the others nothing is
    read.
    """
    incidents = reader.all_incidents()
    if failed_only:
        reader.check_rights(one for one in instances if one.instance_id not in incidents)
        failed = [one for one in instances if one.instance_id in incidents]
        read = {rows.instance.instance_id: rows for rows in reader.read_many(failed)}
        yield from (read.get(one.instance_id) or InstanceRows(instance=one, whole=False) for one in instances)
        return
    live = {one.instance_id: one for one in instances if not is_ended(one)}
    ended = {
        rows.instance.instance_id: rows
        for rows in reader.read_many([one for one in instances if one.instance_id not in live])
    }
    several = list(reader.read_many(list(live.values()), unfinished=True))
    joining = {rows.instance.instance_id for rows in several if not rows.whole and _waits_at_join(rows, models)}
    suspects = [
        rows.instance
        for rows in several
        if not rows.whole and (rows.instance.instance_id in incidents or rows.instance.instance_id in joining)
    ]
    histories = reader.read_histories(suspects) if suspects else {}
    if histories is None:
        failed = [one for one in suspects if one.instance_id in incidents]
        others = [one for one in suspects if one.instance_id not in incidents]
        if len(others) > MAX_SINGLE_JOINS:
            limitations.append(
                f"{len(others) - MAX_SINGLE_JOINS:,} instances wait at a join; whether the join can complete "
                "was checked only for the other ones. Use 'tokctl debug INSTANCE' for them."
            )
        histories = reader.read_single_histories([*failed, *others[:MAX_SINGLE_JOINS]])
    found = ended | {rows.instance.instance_id: rows for rows in several}
    for one in instances:
        rows, history = found[one.instance_id], histories.get(one.instance_id)
        yield rows if rows.whole or history is None else replace(rows, activities=history, whole=True)


def _waits_at_join(rows: InstanceRows, models: ModelLoader) -> bool:
    graphs = models.graphs({row.process_definition_id for row in rows.activities if row.process_definition_id})
    return any(
        row.end_time is None and row.process_definition_id and row.element_id in graphs[row.process_definition_id].joins
        for row in rows.activities
    )
