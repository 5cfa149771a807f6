"""A server that speaks the documented API and nothing more: over a store, with the document's parameters or none.

It says nothing of what it honoured, knows no prefixes, no orders, no process models and no ETags.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote

import msgspec

from support.serving import Running
from tokctl.client import Client, Connection
from tokctl.documents.base import members
from tokctl.documents.instances import encode_instance
from tokctl.documents.tokens import encode_token
from tokctl.engines.projection import Projection
from tokctl.engines.rest import RestEngine
from tokctl.errors import NotFoundError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.store import open_store


class DocumentedServer(Running):
    """``honours``: whether it takes the documented parameters (state, element_type, include_completed; status,
    limit and offset of lists) for what they mean, or as nothing. ``strict``: it refuses others with 400.
    """

    def __init__(self, path: Path, *, honours: bool = True, strict: bool = False) -> None:
        self.path = path
        self.honours = honours
        self.strict = strict
        super().__init__(lambda: self._serve)

    def engine(self, reading: Projection = Projection.TOKENS) -> RestEngine:
        return RestEngine(Client(Connection(url=self.url)), self.url, reading)

    async def _serve(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        path = [unquote(part) for part in scope["raw_path"].decode().split("/")[1:]]
        given = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
        with open_store(str(self.path)) as store:
            try:
                status, document = 200, {"success": True, "data": self._answer(store, path, given), "request_id": "r"}
            except NotFoundError as error:
                code = "PROCESS_INSTANCE_NOT_FOUND" if path[2:3] == ["processes"] else "TOKEN_NOT_FOUND"
                status, document = 404, {"success": False, "error": {"code": code, "message": str(error)}}
            except LookupError:
                status, document = 404, None
            except ValueError as error:
                status, document = 400, {"success": False, "error": {"code": "VALIDATION_ERROR", "message": str(error)}}
        body = b"404 page not found" if document is None else msgspec.json.encode(document)
        kind = b"text/plain" if document is None else b"application/json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, store, path, given):
        known = {"processes": {"status", "process", "limit", "offset"}, "tokens": set()}
        match path:
            case ["api", "v1", "processes"]:
                self._check(given, known["processes"])
                statuses = given.get("status", "").split(",") if self.honours and "status" in given else ()
                limit, offset = int(given.get("limit", 100)), int(given.get("offset", 0))
                where = InstanceFilter(statuses=tuple(statuses))
                newest = SortOrder("started", descending=True)
                found = (
                    store.instances(where, newest, limit=limit, offset=offset)
                    if self.honours
                    else (store.instances(InstanceFilter(), newest))
                )
                data = {"instances": [encode_instance(one.instance) for one in found]}
                return data | ({"total_count": store.count_instances(where)} if self.honours else {})
            case ["api", "v1", "processes", instance_id]:
                self._check(given, set())
                status = store.instance(instance_id)
                live = [
                    token.element_id
                    for token in store.tokens(instance_id, TokenFilter(live=True), SortOrder("created"))
                ]
                return members(encode_instance(status.instance)) | {
                    "current_activity": live[0] if live else None,
                    "current_activities": live,
                    "metrics": {},
                }
            case ["api", "v1", "processes", instance_id, "tokens"]:
                self._check(given, {"state", "element_type", "include_completed"})
                where = ALL_TOKENS
                if self.honours:
                    where = TokenFilter(
                        states=(given["state"],) if "state" in given else (),
                        types=(given["element_type"],) if "element_type" in given else (),
                        include_completed=given.get("include_completed") != "false",
                    )
                tokens = store.tokens(instance_id, where, SortOrder("created"))
                return {
                    "instance_id": instance_id,
                    "process_id": store.instance(instance_id).instance.process_id,
                    "tokens": [encode_token(token) for token in tokens],
                    "summary": store.summary(instance_id),
                }
            case ["api", "v1", "tokens", token_id]:
                self._check(given, set())
                found = [one for one in store.token_ids(token_id, None, 9) if one[1] == token_id]
                if len(found) != 1:
                    raise NotFoundError("no such token")
                return encode_token(store.token(*found[0]), instance=True)
        raise LookupError

    def _check(self, given, known):
        if self.strict and (unknown := given.keys() - known):
            raise ValueError(f"unknown parameters {unknown}")
