"""The tables, and the migration steps for older stores.

Times are microseconds since 1970-01-01 UTC. ``variables``, ``execution_context``, ``child_tokens``,
``flow_history`` and ``extra`` are JSON as received. The values that queries filter by are columns of their own,
read out of the execution context when a token is written. ``variable`` repeats the variables of instances that
can be searched by (``variables``). The ``instance`` table repeats what is
worked out from its tokens (``derived_status`` to ``live_tokens``), so that a list of instances need
not look at tokens; the end of each transaction brings it up to date.

``revision`` holds the number of the last transaction that changed process instances (``process``) or API
tokens (``access``; a use is not a change); an instance has the number of the last one that changed it. Of an
API token's secret only the digest is kept, with the pepper's id (``api_tokens.secrets``), and its mask. Of the key of
its creation only a digest is kept, too, and for a few minutes the salt from which the secret was derived
(``api_tokens.idempotency``). ``api_token_count`` is the number of API tokens that are not revoked, kept by triggers.
``audit`` is the chain of ``api_tokens.audit``, ``audit_head`` its end. ``identity`` is a random value that no other
store has, but copies of this one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from msgspec import Raw

from tokctl.model.variables import searchable_variables
from tokctl.store.sql.dialect import FAILED, LIVE, OPEN

SECTION_BITS = 12
SECTION = f"instance >> {SECTION_BITS}"
"""The section of the index ``token_by_id`` that has the tokens of an instance."""
TOKEN_KEY = f"{SECTION}, token_id, instance"
"""What identifies a token, as the index has it.

Ids of tokens are often random. So that new tokens are written into a few pages in memory, and not into pages all over
a large index, it has a section for each 4,096 instances. To find an id in all instances, each section is searched.
"""

APPLICATION_ID = 0x746F6B63  # "tokc", in the header of every store


def _fill_variables(connection: sqlite3.Connection) -> None:
    """Write the variables of every instance into the empty table."""
    instances = connection.execute("SELECT pk, variables FROM instance WHERE variables IS NOT NULL")
    for pk, variables in instances:
        rows = ((name, value, pk) for name, value in searchable_variables(Raw(variables.encode())))
        connection.executemany("INSERT OR IGNORE INTO variable (name, value, instance) VALUES (?, ?, ?)", rows)


MIGRATIONS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
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
    INSERT INTO audit_head VALUES (1, 0, '{"0" * 64}');
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;
    CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;
    """,
    f"""
    ALTER TABLE instance ADD COLUMN failed_tokens INTEGER NOT NULL DEFAULT 0;
    DROP INDEX token_live;
    CREATE INDEX token_live ON token (instance, created_at) WHERE {LIVE};
    CREATE INDEX token_failed ON token (instance, created_at) WHERE {FAILED};
    DROP INDEX instance_open;
    UPDATE revision SET number = number + 1 WHERE kind = 'process' AND EXISTS (SELECT 1 FROM token WHERE {FAILED});
    UPDATE instance SET
        failed_tokens = (SELECT count(*) FROM token WHERE token.instance = instance.pk AND {FAILED}),
        live_tokens = (SELECT count(*) FROM token WHERE token.instance = instance.pk AND {LIVE}),
        revision = (SELECT number FROM revision WHERE kind = 'process'),
        end_at = NULL
    WHERE pk IN (SELECT instance FROM token WHERE {FAILED});
    UPDATE instance SET derived_status = CASE WHEN live_tokens > failed_tokens THEN 'ACTIVE' ELSE 'FAILED' END
    WHERE failed_tokens > 0;
    CREATE INDEX instance_open ON instance (pk) WHERE {OPEN};
    CREATE INDEX instance_failed ON instance (pk) WHERE failed_tokens > 0;
    """,
    """
    ALTER TABLE instance ADD COLUMN business_key TEXT;
    UPDATE instance SET
        business_key = json_extract(extra, '$.businessKey'),
        extra = nullif(json_remove(extra, '$.businessKey'), '{}')
    WHERE extra LIKE '%"businessKey"%' AND json_valid(extra) AND json_type(extra, '$.businessKey') = 'text';
    CREATE INDEX instance_by_business_key ON instance (business_key) WHERE business_key IS NOT NULL;

    CREATE TABLE variable (
        name TEXT NOT NULL,
        value NOT NULL,
        instance INTEGER NOT NULL REFERENCES instance (pk) ON DELETE CASCADE,
        PRIMARY KEY (name, value, instance)
    ) WITHOUT ROWID;
    CREATE INDEX variable_by_instance ON variable (instance);
    """,
    _fill_variables,
    """
    CREATE TABLE identity (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        value TEXT NOT NULL
    );
    INSERT INTO identity VALUES (1, lower(hex(randomblob(16))));
    """,
    """
    ALTER TABLE api_token ADD COLUMN allowed_cidrs TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE api_token ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE api_token ADD COLUMN last_use TEXT;
    ALTER TABLE api_token ADD COLUMN creation_key BLOB;
    ALTER TABLE api_token ADD COLUMN creation_salt BLOB;
    CREATE UNIQUE INDEX api_token_by_creation_key ON api_token (creation_key) WHERE creation_key IS NOT NULL;
    CREATE INDEX api_token_with_salt ON api_token (created_at) WHERE creation_salt IS NOT NULL;
    CREATE INDEX api_token_by_pepper ON api_token (pepper) WHERE revoked_at IS NULL;

    CREATE TABLE api_token_count (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        number INTEGER NOT NULL
    );
    INSERT INTO api_token_count SELECT 1, count(*) FROM api_token WHERE revoked_at IS NULL;
    CREATE TRIGGER api_token_is_created AFTER INSERT ON api_token WHEN NEW.revoked_at IS NULL
        BEGIN UPDATE api_token_count SET number = number + 1; END;
    CREATE TRIGGER api_token_is_revoked AFTER UPDATE OF revoked_at ON api_token
        BEGIN UPDATE api_token_count SET number = number + (NEW.revoked_at IS NULL) - (OLD.revoked_at IS NULL); END;
    CREATE TRIGGER api_token_is_deleted AFTER DELETE ON api_token WHEN OLD.revoked_at IS NULL
        BEGIN UPDATE api_token_count SET number = number - 1; END;
    """,
    f"""
    DROP INDEX token_by_id;
    CREATE UNIQUE INDEX token_by_id ON token ({TOKEN_KEY});
    """,
)
"""Step n, statements or a function of the connection, brings a store of schema version n to n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)
