"""The tables, and the steps that bring an older store to them.

Times are microseconds since 1970-01-01 UTC. ``variables``, ``execution_context``, ``child_tokens``,
``flow_history`` and ``extra`` are JSON as it came. What the questions ask by is a column of its own,
read out of the execution context when a token is written. The ``instance`` table repeats what is
worked out from its tokens (``derived_status`` to ``live_tokens``), so that a list of instances need
not look at tokens; the end of each transaction brings it up to date.

``revision`` holds the number of the last transaction that changed process instances (``process``) or API
tokens (``access``; their use is no change); an instance keeps that of the last one which changed it. Of an
API token's secret only the digest is kept, with the pepper's id (``access.secret``), and its mask. ``audit`` is
the chain of ``access.audit``, ``audit_head`` its end.
"""

from __future__ import annotations

from tokctl.access.audit import START
from tokctl.process.model import FINAL_STATES

APPLICATION_ID = 0x746F6B63  # "tokc", in the header of every store
FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL_STATES))
LIVE = f"state NOT IN ({FINAL})"
"""The condition of the partial index over live tokens: a query that repeats it can use the index."""
OPEN = f"(live_tokens > 0 OR coalesce(status, derived_status, 'COMPLETED') NOT IN ({FINAL}))"
"""The same for instances that have not come to their end, or have a live token all the same."""

MIGRATIONS = (
    f"""
    CREATE TABLE definition (
        process_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (process_id, version)
    ) WITHOUT ROWID;

    CREATE TABLE instance (
        pk INTEGER PRIMARY KEY,
        instance_id TEXT NOT NULL UNIQUE,
        process_id TEXT,
        process_key TEXT,
        version INTEGER,
        status TEXT,
        tenant_id TEXT,
        started_at INTEGER,
        updated_at INTEGER,
        completed_at INTEGER,
        cancelled_at INTEGER,
        variables TEXT,
        extra TEXT,
        derived_status TEXT,
        first_at INTEGER,
        last_at INTEGER,
        end_at INTEGER,
        total_tokens INTEGER NOT NULL DEFAULT 0,
        live_tokens INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX instance_by_start ON instance (coalesce(started_at, first_at), instance_id);
    CREATE INDEX instance_by_process ON instance (process_id);
    CREATE INDEX instance_by_end ON instance (coalesce(completed_at, cancelled_at, end_at))
        WHERE live_tokens = 0;
    CREATE INDEX instance_live ON instance (pk) WHERE live_tokens > 0;

    CREATE TABLE token (
        pk INTEGER PRIMARY KEY,
        instance INTEGER NOT NULL REFERENCES instance (pk) ON DELETE CASCADE,
        token_id TEXT NOT NULL,
        element_id TEXT NOT NULL,
        element_type TEXT,
        element_name TEXT,
        state TEXT NOT NULL,
        created_at INTEGER,
        updated_at INTEGER,
        completed_at INTEGER,
        cancelled_at INTEGER,
        finished_at INTEGER,
        parent_token_id TEXT,
        worker_id TEXT,
        retries_used INTEGER,
        retries_left INTEGER,
        timeout_at INTEGER,
        duration_ms REAL,
        variables TEXT,
        execution_context TEXT,
        child_tokens TEXT,
        flow_history TEXT,
        extra TEXT
    );
    CREATE UNIQUE INDEX token_by_id ON token (token_id, instance);
    CREATE INDEX token_by_creation ON token (instance, created_at, pk, state, element_type);
    CREATE INDEX token_live ON token (instance, created_at) WHERE {LIVE};
    CREATE INDEX token_retried ON token (retries_used) WHERE retries_used > 0;
    """,
    f"""
    DROP INDEX token_retried;
    CREATE INDEX instance_open ON instance (pk) WHERE {OPEN};
    """,
    """
    CREATE TABLE revision (
        kind TEXT PRIMARY KEY,
        number INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO revision VALUES ('process', 0), ('access', 0);
    ALTER TABLE instance ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

    CREATE TABLE api_token (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        description TEXT,
        type TEXT NOT NULL,
        scopes TEXT NOT NULL,
        token TEXT NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        pepper TEXT NOT NULL,
        created_by TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used_at INTEGER,
        revoked_at INTEGER
    );
    CREATE INDEX api_token_by_name ON api_token (name);
    """,
    f"""
    CREATE INDEX api_token_listed ON api_token (created_at, id) WHERE revoked_at IS NULL;

    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        token INTEGER NOT NULL,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    CREATE INDEX audit_by_token ON audit (token);
    CREATE TABLE audit_head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        number INTEGER NOT NULL,
        hash TEXT NOT NULL
    );
    INSERT INTO audit_head VALUES (1, 0, '{START}');
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;
    CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;
    """,
)
"""Step n brings a store of schema version n to n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)
COUNT_CHANGE = """UPDATE revision
    SET number = max(number + 1, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)) WHERE kind = ?"""
"""What every transaction does that changes something of a kind: its number is a new one, the time in ms if it can be.

So a copy that takes the place of the store does not give the numbers once more that clients have seen already."""
