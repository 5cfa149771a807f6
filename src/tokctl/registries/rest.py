"""The API tokens of a server that has the documented API: ours, or one like XiverCMS, which can do less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache, partial
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tokctl.access.audit import AuditEntry, Head, decode_entry
from tokctl.access.model import TYPES, UNKNOWN, VALID, ApiToken
from tokctl.access.secret import PREFIX
from tokctl.client import Client, Connection, UnansweredError, check_url, json_of
from tokctl.client.answers import wrong_shape
from tokctl.config import Settings
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError
from tokctl.registries.base import Abilities, AnswerLostError, CannotError, Created, Verdict, Wanted
from tokctl.registries.restpages import every
from tokctl.registries.restwire import (
    MEMBERS,
    Document,
    Page,
    by_mask,
    differing,
    members,
    merged,
    read_created,
    read_one,
    read_page,
    read_verdict,
    shown,
)
from tokctl.vaults.credentials import account, registry_connection_of

API = ("api", "api-tokens")
INTROSPECT, AUDIT = "introspect", "audit"
"""What our server has where others have ids."""
ENTRIES = 1000  # of the audit, in an answer
LONGEST_REASON = 1000
_REFUSALS = range(400, 600)  # the answers of servers that do not know what is asked for, or whom
_LOOK = "'tokctl api-tokens show {}' tells what became of it."


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool,  # noqa: ARG001 - every kind has it
    warn: Callable[[str], object],
) -> RestRegistry:
    """Open the server's. It is asked nothing yet."""
    return RestRegistry(registry_connection_of(settings, warn=warn), clock, warn)


class _Meta(Struct):
    head: Head


class _Audit(Struct):
    data: list[Document]
    meta: _Meta


class Held(NamedTuple):
    """An API token as the server has it: read, as it came, and the ETag that it has, if any."""

    token: ApiToken
    document: Document
    etag: str | None


class RestRegistry:
    """Implements ``registries.base.Registry``."""

    def __init__(self, connection: Connection, clock: Callable[[], datetime], warn: Callable[[str], object]) -> None:
        self._connection = replace(connection, credential=cache(connection.credential))
        self._warn = warn
        self._abilities: Abilities | None = None
        self.client = Client(self._connection, warn=warn)
        self.clock = clock
        self.where = check_url(connection.url)
        self.origin = account(connection.url)

    def abilities(self) -> Abilities:
        """All of it on a server that tells which scopes there are, in the list; else no more than the document has."""
        if self._abilities is None:
            self._page(1, 1)
        assert self._abilities is not None  # noqa: S101 - each page tells
        return self._abilities

    # --- reading ---

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """A page; where the server does not keep to it, cut out of the whole list."""
        found = self._page(page, size)
        kept_to = (found.number or page, found.size or size) == (page, size) and len(found.tokens) <= size
        if kept_to and found.total is not None:
            return found.tokens, found.total
        tokens = [*self.list()]
        return tokens[(page - 1) * size : page * size], len(tokens)

    def list(self) -> Iterator[ApiToken]:
        """All of them, the newest first, as far as the server has them so."""
        return every(self._page)

    def named(self, name: str) -> Sequence[ApiToken]:
        """Those of that name."""
        if not name or not self.abilities().scopes:
            return [one for one in self.list() if one.name == name]
        return [one for one in every(partial(self._page, name=name)) if one.name == name]  # ours can look for it

    def get(self, token_id: str) -> ApiToken:
        """One by its id."""
        return self._held(token_id).token

    def _page(self, number: int, size: int, name: str | None = None) -> Page:
        about = {} if name is None else {"name": name}
        try:
            answer = self.client.get(API, {"page": str(number), "pageSize": str(size)} | about)
        except NotFoundError as error:
            raise NotFoundError(error.message, "Check the server's address: it has no API tokens there.") from None
        page = read_page(answer)
        if self._abilities is None:
            ours = page.tells_scopes
            self._abilities = Abilities(scopes=ours, clears=ours, keeps_audit=ours)
        return page

    def _held(self, token_id: str) -> Held:
        if token_id in {INTROSPECT, AUDIT}:
            raise self._missing(token_id)
        answer = self.client.get((*API, token_id), accept=() if token_id.isdecimal() else (400,), missing_ok=True)
        if answer.status in {400, 404}:
            raise self._missing(token_id)
        token, document = read_one(answer)
        if str(token.id) != token_id:  # servers read 01 and +1 as 1, which is another one's
            raise self._missing(token_id)
        etag = answer.headers.get("etag")
        return Held(token, document, etag if etag and etag.startswith('"') else None)

    def _missing(self, token_id: str) -> NotFoundError:
        return NotFoundError(
            f"there is no API token {token_id} in {self.where}.", "'tokctl api-tokens list' shows them."
        )

    # --- changing ---

    def create(self, wanted: Wanted) -> Created:
        """Create one. What is not as it was wanted, or has no secret that can be used, is revoked at once."""
        values: dict[str, Any] = {"type": wanted.type, "expires_at": wanted.expires_at}
        if wanted.scopes is not None:
            values["scopes"] = wanted.scopes
        self._check(values)
        body = {"name": wanted.name, "description": wanted.description} | members(values)
        with self._certain("'tokctl api-tokens list' shows whether it was created."):
            answer = self.client.post(API, {name: value for name, value in body.items() if value is not None})
        made = read_created(answer.body)
        if made.id is None:
            raise AnswerLostError(f"{answer.url}: what the server answered to the creation cannot be read.")
        if made.token is None or made.secret is None:
            raise self._withdrawn(made.id, wanted, "without a secret that can be used")
        if wrong := differing(values, made.token):
            told = [
                f"{name} {shown(name, getattr(made.token, name))} for {shown(name, values[name])}" for name in wrong
            ]
            raise self._withdrawn(made.id, wanted, f"otherwise than was asked ({'; '.join(told)})")
        return Created(made.token, made.secret)

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change members of one: it is read, merged and written as a whole."""
        held = self._held(token_id)
        self._check(changes)
        cleared = [name for name, value in changes.items() if not value and getattr(held.token, name)]
        if cleared and not self.abilities().clears:
            raise CannotError(f"{self.where} cannot take away what an API token has: {_names(cleared)}.",
                              "Nothing was changed. Give another value, or create a new one.")  # fmt: skip
        with self._certain(_LOOK.format(token_id)):
            answer = self.client.put(
                (*API, token_id), merged(held.document, changes), match=held.etag, accept=(404, 409, 412)
            )
        if answer.status == 404:
            raise self._missing(token_id)
        if answer.status >= 400:
            from tokctl.store.api_tokens import ChangedError

            raise ChangedError(f"API token {token_id} was changed in the meantime.", "Look at it, and try again.")
        try:
            after = read_one(answer)[0]
        except InputError as error:
            raise AnswerLostError(error.message, _LOOK.format(token_id)) from None
        if wrong := differing(changes, after):
            done = [name for name in changes if name not in wrong]
            also = f" Changed was: {_names(done)}." if done else ""
            raise CannotError(f"{self.where} did not heed it: {_names(wrong)} of API token {token_id} was not "
                              f"changed.{also}")  # fmt: skip
        return after

    def revoke(self, token_id: str, *, why: str = "") -> None:
        """Let one be valid no more. It is looked for first: some servers delete what is not there."""
        self._held(token_id)
        self._delete(token_id, why)

    def _delete(self, token_id: str, why: str) -> None:
        params = {"reason": why[:LONGEST_REASON]} if why and self.abilities().keeps_audit else {}
        with self._certain(_LOOK.format(token_id)):
            answer = self.client.delete((*API, token_id), params, accept=(404,))
        if answer.status == 404:
            raise self._missing(token_id)

    def _check(self, values: Mapping[str, Any]) -> None:
        """Refuse what servers are known to take and not to heed."""
        if values.get("type", TYPES[0]) not in TYPES:
            raise CannotError(f"API tokens of the type '{shown('type', values['type'])}' do not exist.",
                              f"Valid: {', '.join(TYPES)}.")  # fmt: skip
        if "scopes" in values and not self.abilities().scopes:
            raise CannotError(f"{self.where} knows no scopes: its API tokens open everything.",
                              "Nothing was changed. Leave the scopes out.")  # fmt: skip

    @contextmanager
    def _certain(self, hint: str) -> Iterator[None]:
        """Tell what may have been done from what was not."""
        try:
            yield
        except UnansweredError as error:
            raise AnswerLostError(f"{error.message}{self._explained(error.status)}", hint) from None

    def _explained(self, status: int | None) -> str:
        ours = self._abilities is not None and self._abilities.scopes
        if status != 500 or ours or not (self._connection.credential() or "").startswith(PREFIX):
            return ""
        return (" So XiverCMS answers where an API token creates another: log in as a user, with 'tokctl auth login "
                "--email EMAIL'.")  # fmt: skip

    def _withdrawn(self, token_id: str, wanted: Wanted, how: str) -> TokctlError:
        """Revoke what was created and must not be used; returns what to raise."""
        told = f"{self.where} created API token {token_id} {how}."
        try:
            if self._held(token_id).token.name != wanted.name:
                return AnswerLostError(f"{told} But it has given that id to another one.")
            self._delete(token_id, "it was not created as was asked")
        except NotFoundError:
            return CannotError(f"{told} It is gone already.")
        except TokctlError as error:
            return AnswerLostError(f"{told} It could not be revoked: {error.message}",
                                   f"Do so: 'tokctl api-tokens revoke {token_id}'.")  # fmt: skip
        return CannotError(f"{told} It was revoked at once.")

    # --- whose a secret is ---

    def verify(self, secret: str) -> Verdict:
        """Tell whose a secret is, by introspection; where there is none by using it, which counts as a use."""
        if not all("!" <= sign <= "~" for sign in secret):
            return Verdict(state=UNKNOWN)  # no header can carry it
        with suppress(NotAllowedError):
            self.abilities()
        # Every API token may ask about itself, and whoever asks, perhaps, only so.
        with Client(replace(self._connection, credential=lambda: secret), warn=self._warn) as itself:
            return (
                self._introspected(self.client, secret)
                or self._introspected(itself, secret)
                or self._tried(itself, secret)
            )

    def _introspected(self, client: Client, secret: str) -> Verdict | None:
        """What the server says; None where it has no introspection, or none for that client."""
        if self._abilities is not None and not self._abilities.scopes:
            return None
        answer = client.post((*API, INTROSPECT), {"token": secret, "use": False}, accept=_REFUSALS)
        document = json_of(answer, Document) if answer.status < 300 else {}
        verdict = read_verdict(document, secret)
        if verdict is not None and "id" in document:
            with suppress(NotFoundError, NotAllowedError):
                return replace(verdict, token=self.get(str(document["id"])))
        return verdict

    def _tried(self, itself: Client, secret: str) -> Verdict:
        """Whether the server lets it in, and the record that it seems to be of."""
        answer = itself.get(API, {"page": "1", "pageSize": "1"}, accept=(401, 403))
        if answer.status == 401:
            return Verdict(state=UNKNOWN)
        if answer.status == 200:
            read_page(answer)  # what lets everybody in is often something else
        with suppress(NotAllowedError):
            return Verdict(state=VALID, token=by_mask(self.list(), secret, self.clock()))
        return Verdict(state=VALID)

    # --- the audit ---

    def audit(
        self, *, after: int = 0, token_id: str | None = None, limit: int | None = None, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Entries of the audit; only our server keeps one."""
        self._check_audit()
        if token_id is not None and not (token_id.isascii() and token_id.isdigit()):
            return iter(())
        about = {} if token_id is None else {"tokenId": token_id}
        if newest and limit is not None and limit <= ENTRIES:
            about |= {"newest": "true", "limit": str(limit), "after": str(after)}
            return iter(self._entries(about) if limit > 0 else ())
        entries = self._following(after, about)
        return islice(reversed([*entries]) if newest else entries, limit)

    def audit_head(self) -> Head:
        """Where the audit ends."""
        self._check_audit()
        return self._audit({"limit": "1"})[1]

    def _check_audit(self) -> None:
        if not self.abilities().keeps_audit:
            raise CannotError(f"{self.where} keeps no audit of its API tokens.")

    def _following(self, after: int, about: Mapping[str, str]) -> Iterator[AuditEntry]:
        while entries := self._entries({**about, "after": str(after), "limit": str(ENTRIES)}):
            yield from entries
            if len(entries) < ENTRIES or entries[-1].number <= after:
                return
            after = entries[-1].number

    def _entries(self, params: Mapping[str, str]) -> Sequence[AuditEntry]:
        return self._audit(params)[0]

    def _audit(self, params: Mapping[str, str]) -> tuple[Sequence[AuditEntry], Head]:
        answer = self.client.get((*API, AUDIT), params)
        audit = json_of(answer, _Audit)
        try:
            return [decode_entry(one) for one in audit.data], audit.meta.head
        except msgspec.ValidationError as error:
            raise wrong_shape(answer.url, error) from None

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def _names(fields: Sequence[str]) -> str:
    return " and ".join(MEMBERS[field] for field in fields)
