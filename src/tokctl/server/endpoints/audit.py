"""What was done to the API tokens, by whom, and from where."""

from __future__ import annotations

from tokctl.access.audit import AuditEntry, Head, entry_document
from tokctl.server import parameters as par
from tokctl.server.operations import Call, Operations, Reply
from tokctl.server.routes import API_TOKENS, Operation, Resource
from tokctl.store.base import Store

MOST = 1000


async def _audit(operations: Operations, call: Call) -> Reply:
    values = call.values

    def read(store: Store) -> tuple[list[AuditEntry], Head]:
        entries = store.audit.entries(
            after=values["after"], token_id=values["tokenId"], limit=values["limit"], newest=values["newest"]
        )
        return list(entries), store.audit.head()

    entries, head = await operations.read(read)
    return Reply({
        "data": [entry_document(entry) for entry in entries],
        "meta": {"head": {"number": head.number, "hash": head.hash}},
    })  # fmt: skip


AUDIT = Resource(
    path=f"{API_TOKENS}/audit",
    operations={
        "GET": Operation(
            name="listAuditEntries",
            text="What was done to API tokens. Each entry is hashed together with the hash of the one before; "
            "meta.head is where this chain ends.",
            schema="AuditEntries",
            parameters=par.table(
                par.number("after", "Only entries behind the one of this number.", default=0),
                par.number("tokenId", "Only entries about this API token."),
                par.number("limit", "At most so many entries.", least=1, most=MOST, default=100),
                par.flag("newest", "Whether to begin with the last.", default=False),
            ),
            run=_audit,
        )
    },
)
