"""The audit log of API tokens."""

from __future__ import annotations

from tokctl.api_tokens.audit import AuditEntry, ChainHead, encode_entry, encode_head
from tokctl.documents.audit import AuditEntries, AuditMeta
from tokctl.server import parameters as par
from tokctl.server.endpoint import DocumentResponse, Endpoint, Query, Response
from tokctl.server.request import API_TOKENS_PATH
from tokctl.server.services import Services
from tokctl.store.protocol import Store

MAX_LIMIT = 1000


async def _list_entries(services: Services, query: Query) -> Response:
    values = query.values

    def read(store: Store) -> tuple[list[AuditEntry], ChainHead]:
        entries = store.audit.entries(
            after=values["after"], token_id=values["tokenId"], limit=values["limit"], newest=values["newest"]
        )
        return list(entries), store.audit.head()

    entries, head = await services.readers.read(read)
    return DocumentResponse(
        AuditEntries(data=[encode_entry(entry) for entry in entries], meta=AuditMeta(head=encode_head(head)))
    )


AUDIT = Endpoint(
    path=f"{API_TOKENS_PATH}/audit",
    name="listAuditEntries",
    text="List the audit log of API tokens. The hash of each entry includes the hash of the previous one; "
    "meta.head is the end of this chain.",
    schema="AuditEntries",
    permissions=("api-tokens",),
    parameters=par.table(
        par.number("after", "Only entries after this entry number.", default=0),
        par.number("tokenId", "Only entries about this API token."),
        par.number("limit", "Maximum number of entries.", minimum=1, maximum=MAX_LIMIT, default=100),
        par.flag("newest", "Newest entries first.", default=False),
    ),
    handler=_list_entries,
)
