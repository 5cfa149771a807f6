"""What stores in SQL databases have in common beside the queries: API tokens, totals, checks and pruning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from tokctl.model.times import from_micros, to_micros
from tokctl.store.protocol import StoreInfo, StoreLevels, ignore_step
from tokctl.store.sql.batch import SqlBatch
from tokctl.store.sql.database import Database
from tokctl.store.sql.dialect import LIVE
from tokctl.store.sql.pruning import Pruning
from tokctl.store.sql.queries import TokenQueries
from tokctl.store.sql.variables import find_stale_variables

if TYPE_CHECKING:
    from tokctl.store.sql.api_tokens import PageStarts, SqlApiTokens
    from tokctl.store.sql.audit import SqlAudit
    from tokctl.store.sql.copying import SqlCopying


class SqlStore(TokenQueries):
    """A store in an SQL database."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._starts: PageStarts | None = None

    @abstractmethod
    def _batch(self) -> SqlBatch:
        """Return a batch of the transaction that has begun."""

    @abstractmethod
    def _pruning(self, moment: datetime, *, incidents: bool) -> Pruning:
        """Return what removes the instances that ended before a moment."""

    @abstractmethod
    def _facts(self) -> tuple[str, int, int]:
        """Return the kind of the database, the version of the schema, and the size in bytes."""

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[SqlBatch]:
        with self.database.transaction("process", keep=keep):
            batch = self._batch()
            yield batch
            batch.finish()

    @property
    def api_tokens(self) -> SqlApiTokens:
        from tokctl.store.sql.api_tokens import PageStarts, SqlApiTokens

        if self._starts is None:
            self._starts = PageStarts()
        return SqlApiTokens(self.database, self._starts)

    @property
    def audit(self) -> SqlAudit:
        from tokctl.store.sql.audit import SqlAudit

        return SqlAudit(self.database)

    @property
    def copying(self) -> SqlCopying:
        from tokctl.store.sql.copying import SqlCopying

        return SqlCopying(self.database)

    def info(self) -> StoreInfo:
        ((instances, tokens, live, oldest, newest),) = self.database.fetch(
            "SELECT count(*), CAST(coalesce(sum(total_tokens), 0) AS BIGINT),"
            " CAST(coalesce(sum(live_tokens), 0) AS BIGINT), min(coalesce(started_at, first_at)),"
            " max(coalesce(updated_at, last_at)) FROM instance"
        )
        ((definitions,),) = self.database.fetch("SELECT count(*) FROM definition")
        kind, version, size = self._facts()
        return StoreInfo(
            location=self.database.location,
            kind=kind,
            schema_version=version,
            size_bytes=size,
            instances=instances,
            tokens=tokens,
            live_tokens=live,
            definitions=definitions,
            oldest=from_micros(oldest),
            newest=from_micros(newest),
        )

    def levels(self, now: datetime) -> StoreLevels:
        """Count in the partial indexes, whose conditions are repeated here."""
        ((instances, live),) = self.database.fetch(
            "SELECT count(*), CAST(coalesce(sum(live_tokens), 0) AS BIGINT) FROM instance WHERE live_tokens > 0"
        )
        ((failed,),) = self.database.fetch(
            "SELECT CAST(coalesce(sum(failed_tokens), 0) AS BIGINT) FROM instance WHERE failed_tokens > 0"
        )
        ((expiry,),) = self.database.fetch(
            "SELECT min(expires_at) FROM api_token WHERE revoked_at IS NULL AND disabled = 0 AND expires_at > ?",
            [to_micros(now)],
        )
        _, version, size = self._facts()
        return StoreLevels(
            schema_version=version,
            size_bytes=size,
            revisions=self.revisions(),
            open_instances=instances,
            live_tokens=live,
            failed_tokens=failed,
            api_tokens=self.api_tokens.count(),
            next_expiry=from_micros(expiry),
        )

    def find_problems(self) -> Iterator[str]:
        """Yield wrong totals, and searchable variables that differ from the variables."""
        self.set_query_limit(None)
        live = f"count(t.pk) FILTER (WHERE t.{LIVE})"
        wrong = self.database.rows(
            f"""SELECT i.instance_id, i.total_tokens, i.live_tokens, count(t.pk), {live}
                FROM instance i LEFT JOIN token t ON t.instance = i.pk GROUP BY i.pk
                HAVING count(t.pk) != i.total_tokens OR {live} != i.live_tokens"""
        )
        for instance_id, total, alive, real_total, real_live in wrong:
            yield (
                f"instance {instance_id}: the counters say {total} tokens, {alive} live; "
                f"found {real_total}, {real_live} live"
            )
        ((kept,),) = self.database.fetch(self.database.dialect.count_unrevoked)
        ((counted,),) = self.database.fetch("SELECT count(*) FROM api_token WHERE revoked_at IS NULL")
        if kept != counted:
            yield f"the counter says {kept} API tokens; found {counted}"
        for instance_id in find_stale_variables(self.database):
            yield f"instance {instance_id}: the searchable variables differ from its variables"

    def count_prunable(self, moment: datetime, *, incidents: bool = False) -> tuple[int, int]:
        return self._pruning(moment, incidents=incidents).count()

    def prune(
        self, moment: datetime, *, incidents: bool = False, step: Callable[[float], None] = ignore_step
    ) -> tuple[int, int]:
        return self._pruning(moment, incidents=incidents).run(step)
