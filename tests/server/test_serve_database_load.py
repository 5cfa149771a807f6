"""Two servers of one database under load, while one of them is killed, or the database fails over to its replica.

What was accepted is there, what was revoked is not accepted any more, and the rest goes on without a restart.
"""

from __future__ import annotations

import os
import signal
import threading

import psycopg
import pytest

from support.builders import instance, tokens
from support.managing import Manager
from support.postgresql_replica import replicated_servers
from support.postgresql_server import PostgreSQLServer
from support.running_server import make_secret, serving
from support.server_load import PROBED, Load
from tokctl.store import open_store

ROUNDS = min(int(os.environ.get("TOKCTL_TEST_KILLS", "4")), 60)
"""Changes of each kind before and after the fault."""


def prepare(place: str) -> str:
    """Create a store with an instance; return the secret of an administrator."""
    with open_store(place, write=True, create=True) as store, store.write() as batch:
        batch.put(instance("i1", status="ACTIVE"), tokens(3))
    return make_secret(place, "manager", "*", type_="full-access")[0]


def test_a_server_is_killed(postgresql):
    place = postgresql.new_schema()
    secret = prepare(place)
    with serving(place) as first, serving(place, "--workers", "2") as second:
        load = Load([first, second], place, secret)
        with load.running():
            load.wait_for(ROUNDS)
            os.kill(first.process.pid, signal.SIGKILL)
            first.process.wait()
            load.wait_for(ROUNDS)
        load.check()


@pytest.mark.parametrize("fault", ["failover", *(["restart"] if "TOKCTL_TEST_KILLS" in os.environ else [])])
def test_the_database_fails_over_or_restarts(fault):
    with replicated_servers() as databases:
        place = databases.url()
        secret = prepare(place)
        with serving(place) as first, serving(place) as second:
            load = Load([first, second], place, secret)
            with load.running():
                load.wait_for(ROUNDS)
                if fault == "failover":
                    databases.fail_over()
                else:
                    databases.primary.restart("fast")
                load.wait_for(ROUNDS)
            load.check()


def test_a_standby_rejects_what_the_primary_has_revoked():
    """With ``remote_apply``, an answered revocation counts on the standby, too."""
    with replicated_servers(synchronous_commit="remote_apply") as databases:
        secret = prepare(databases.url())
        with serving(databases.url()) as primary, serving(databases.replica.url(), "--read-only") as standby:
            manager = Manager(primary, databases.url(), secret)
            made = manager.make(scopes=["process", "token"])
            assert standby.get(PROBED, made["token"]).status_code == 200
            run_statement(databases.replica, "SELECT pg_wal_replay_pause()")
            revoking = threading.Thread(target=manager, args=["DELETE", f"/{made['id']}"])
            revoking.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            while run_statement(databases.primary, waiting) == 0:
                assert revoking.is_alive(), "it was answered before the standby had it"
            run_statement(databases.replica, "SELECT pg_wal_replay_resume()")
            revoking.join()
            assert standby.get(PROBED, made["token"]).status_code == 401
            databases.primary.stop()
            assert standby.get(PROBED, secret).status_code == 200


def run_statement(server: PostgreSQLServer, statement: str) -> object:
    """Run a statement at a server; return the value of its row."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        return connection.execute(statement).fetchone()[0]
