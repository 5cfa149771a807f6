"""Variables of tokens by scope: the activity instance, those around it, and the process instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import msgspec
from msgspec import Raw

from tokctl.engines.camunda7.documents import ActivityRow, VariableRow
from tokctl.engines.camunda7.work import InstanceRows
from tokctl.model.tokens import NULL


class VariableScopes:
    """The variables of one instance."""

    def __init__(self, rows: InstanceRows) -> None:
        self._rows = rows

    @cached_property
    def _scopes(self) -> dict[str | None, list[VariableRow]]:
        """The variables by their scope: an activity instance, or the execution of one instance of a multi-instance."""
        bodies = {row.id: row.execution_id for row in self._rows.activities if row.is_body}
        scopes: dict[str | None, list[VariableRow]] = defaultdict(list)
        for one in self._rows.variables or ():
            scope = one.activity_instance_id
            is_inner = scope in bodies and one.execution_id != bodies[scope]
            scopes[one.execution_id if is_inner else scope].append(one)
        return scopes

    @cached_property
    def _by_id(self) -> dict[str, ActivityRow]:
        return {row.id: row for row in self._rows.activities}

    def of_instance(self) -> Raw:
        """Return the variables of the instance."""
        return encode_variables(self._scopes.get(self._rows.instance.instance_id, ()))

    def of_visit(self, row: ActivityRow) -> Raw:
        """Return the variables that a live token sees, or the local ones of an ended one: others may have changed."""
        if not self._rows.variables:
            return NULL
        scope: ActivityRow | None = row
        found: list[list[VariableRow]] = []
        while scope is not None:
            found.append(self._scopes.get(scope.id, []))
            above = self._by_id.get(scope.parent_activity_instance_id or "")
            if above is not None and above.is_body:
                found.append(self._scopes.get(scope.execution_id, []))
            scope = above if row.end_time is None else None
        if row.end_time is None:
            found.append(self._scopes.get(self._rows.instance.instance_id, []))
        return encode_variables(one for several in reversed(found) for one in several)


def encode_variables(variables: Iterable[VariableRow]) -> Raw:
    """Return variables as a JSON object, later ones over earlier ones of the same name; NULL without any."""
    found = {one.name: one.decode_value() for one in variables}
    return Raw(msgspec.json.encode(found)) if found else NULL
