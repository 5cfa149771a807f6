"""Reads the documented API's answers: what is not as it should be is an InputError with the address and the path.

Small answers only, whole in memory; large ones are streamed through ``process.reader``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.client import Answer
from tokctl.client.answers import no_json
from tokctl.engines.remote import Found
from tokctl.errors import InputError
from tokctl.process.answers import decode_status
from tokctl.process.model import NULL, Instance, Summary, Token
from tokctl.process.reader import Reject
from tokctl.process.visit import Flows, Visit, decode_visits
from tokctl.process.wire import Fault, decode_instance, decode_object, decode_token, shorten

APPLIED = "x-query-applied"
_TOTALS = frozenset({"total_tokens", "live_tokens", "derived"})
_items = msgspec.json.Decoder(list[Raw])


class Part(Struct, frozen=True, kw_only=True):
    """Tokens or instances of an answer; ``total`` is how many there are, None where the server does not say."""

    items: Sequence[Any]
    total: int | None = None
    more: bool = False
    summary: Summary | None = None


def applied(headers: Mapping[str, str]) -> frozenset[str] | None:
    """Return the query parameters that a server says it honoured; None where it says nothing of the kind."""
    named = headers.get(APPLIED)
    return None if named is None else frozenset(name.strip() for name in named.split(","))


class Reading:
    """Reads one answer: ``url`` is what it is called in messages.

    Raises:
        InputError: it is no JSON object, or one that tells of an error.
    """

    def __init__(self, answer: Answer) -> None:
        body, url = answer.body, answer.url
        self.url = url
        try:
            fields = decode_object(body)
        except Fault as fault:
            raise no_json(answer) if fault.reason.startswith("not JSON") else self.fault("$", fault) from None
        if bytes(fields.get("success", NULL)) == b"false":
            text = bytes(fields.get("error", b"")).decode(errors="replace")
            raise InputError(f"{url}: an error, for all that the status is 200: {shorten(text, 200)}")
        self.paged_beside = "meta" in fields and "pagination" in fields  # which atomd does, and the document does not
        self.path = "$.data" if "data" in fields else "$"
        self.data = fields["data"] if "data" in fields else Raw(body)

    def wrong(self, path: str, reason: str) -> InputError:
        """What to raise of a field."""
        return InputError(f"{self.url}: {path}: {reason}.")

    def members(self, raw: Raw | bytes, path: str) -> dict[str, Raw]:
        """Read an object."""
        try:
            return decode_object(raw)
        except Fault as fault:
            raise self.wrong(path, fault.reason) from None

    def value(self, fields: Mapping[str, Raw], name: str, kind: Any, default: Any = None) -> Any:
        """Read a member of the data; what is null or left out is the default."""
        try:
            found = msgspec.json.decode(fields.get(name, NULL), type=kind | None)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise self.wrong(f"{self.path}.{name}", str(error)) from None
        return default if found is None else found

    def array(self, raw: Raw, path: str) -> list[Raw]:
        """Read an array one level deep."""
        try:
            return _items.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise self.wrong(path, "expected an array") from None

    def fault(self, path: str, fault: Fault) -> InputError:
        """The same of what a decoder says."""
        return self.wrong(f"{path}.{fault.field}" if fault.field else path, fault.reason)

    # --- instances ---

    def found(self, raw: Raw, path: str) -> Found:
        """Read an instance: with all that is known of it, where the server says that."""
        fields = self.members(raw, path)
        try:
            return decode_status(fields) if fields.keys() >= _TOTALS else decode_instance(fields)
        except Fault as fault:
            raise self.fault(path, fault) from None

    def instances(self) -> Part:
        """Read a list of instances: ``data.instances``, or ``data`` itself."""
        fields: dict[str, Raw] = {}
        items, path = self.data, self.path
        if bytes(items)[:1] != b"[":
            fields, path = self.members(items, path), f"{path}.instances"
            if "instances" not in fields:
                raise self.wrong(path, "missing; this is no list of instances")
            items = fields["instances"]
        found = [self.found(raw, f"{path}[{index}]") for index, raw in enumerate(self.array(items, path))]
        return Part(items=found, total=self.value(fields, "total_count", int),
                    more=self.value(fields, "has_more", bool, False))  # fmt: skip

    # --- tokens ---

    def list_of_tokens(self) -> tuple[Raw, dict[str, Raw], str]:
        """Return the array of tokens, what stands beside it, and its path."""
        if bytes(self.data)[:1] == b"[":
            return self.data, {}, self.path
        fields = self.members(self.data, self.path)
        path = f"{self.path}.tokens"
        if "tokens" not in fields:
            raise self.wrong(path, "missing; this is no list of tokens")
        return fields["tokens"], fields, path

    def tokens(self, instance: Instance) -> Part:
        """Read tokens of an instance, and what stands beside them."""
        items, fields, path = self.list_of_tokens()
        found = [self.token(raw, f"{path}[{index}]", instance) for index, raw in enumerate(self.array(items, path))]
        return self._part(found, fields)

    def _part(self, items: Sequence[Token | Visit], fields: Mapping[str, Raw]) -> Part:
        return Part(
            items=items,
            total=self.value(fields, "total_count", int),
            more=self.value(fields, "has_more", bool, False),
            summary=self.value(fields, "summary", Summary) if "summary" in fields else None,
        )

    def token(self, raw: Raw, path: str, instance: Instance | None) -> Token:
        """Read a token, which has to be one of this instance; None: one that names its own."""
        try:
            token = decode_token(raw, instance.instance_id, instance.process_id) if instance else decode_token(raw)
        except Fault as fault:
            raise self.fault(path, fault) from None
        if instance is not None:
            self.check(token, path, instance)
        return token

    def check(self, token: Token | Visit, path: str, instance: Instance) -> None:
        """Refuse a token of another instance."""
        if token.instance_id != instance.instance_id:
            raise self.wrong(f"{path}.instance_id", f"'{shorten(token.instance_id)}' was not asked for")

    def visits(self, instance: Instance, flows: Flows) -> Part:
        """Read of tokens what the analyses read."""
        items, fields, path = self.list_of_tokens()
        try:
            visits = decode_visits(
                bytes(items).decode(), lines=False, flows=flows,
                instance_id=instance.instance_id, process_id=instance.process_id,
            )  # fmt: skip
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            tokens = self.tokens(instance)
            visits = [Visit.of(token, flows=flows is not Flows.NONE) for token in tokens.items]
        for index, visit in enumerate(visits):
            self.check(visit, f"{path}[{index}]", instance)
        return self._part(visits, fields)


def refused(reject: Reject, url: str) -> InputError:
    """What to raise of something in a streamed answer that is no token."""
    where = "" if reject.where.startswith("document") else f".{reject.where}"
    field = f".{reject.field}" if reject.field else ""
    return InputError(f"{url}: ${where}{field}: {reject.reason}.")
