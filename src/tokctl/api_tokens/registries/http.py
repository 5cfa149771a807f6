"""The API tokens of a server that has the documented API. What differs between servers is in ``server_kind``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple

from msgspec.structs import replace

from tokctl.api_tokens.audit import AuditEntry, ChainHead
from tokctl.api_tokens.registries.documents import (
    FIELD_NAMES,
    ApiTokenPage,
    Document,
    decode_created,
    decode_page,
    decode_token,
    encode_fields,
    find_by_mask,
    find_differences,
    format_differences,
    merge_changes,
)
from tokctl.api_tokens.registries.protocol import (
    ApiTokenSpec,
    CreatedToken,
    CreationOutcomeUnknownError,
    UnsupportedChangeError,
    VerificationResult,
    check_fields,
)
from tokctl.api_tokens.registries.server import SHOW_HINT, ServerRegistry
from tokctl.api_tokens.registries.server_kind import TOKENS_PATH, AuditLog
from tokctl.client import Client
from tokctl.client.json_responses import WRONG_ADDRESS_HINT
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.model.api_tokens import UNKNOWN, VALID, ApiToken

MAX_REASON_LENGTH = 1000  # characters
PAGE_SIZE = 100
MAX_PASSES = 5
MAX_TOKENS = 1_000_000  # API tokens on one server


class FetchedToken(NamedTuple):
    """An API token as a server has it: decoded, as the JSON object, and its ETag if the server sent a strong one."""

    token: ApiToken
    document: Document
    etag: str | None


class HttpRegistry(ServerRegistry):
    """A server with the documented API, of a known kind."""

    _meta: Mapping[str, Any] | None = None
    """That of the last page of the list that was read."""

    def identity(self) -> str | None:
        """Return the identity that pages of the list name; requests a page if none was read."""
        meta = self._fetch_page(1, 1).meta if self._meta is None else self._meta
        found = meta.get("store")
        return found if isinstance(found, str) else None

    # --- reading ---

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """Return a page; one that the server cuts differently is taken out of the whole list."""
        found = self._fetch_page(page, size)
        is_as_requested = (found.number or page, found.size or size) == (page, size) and len(found.tokens) <= size
        if is_as_requested and found.total is not None:
            return found.tokens, found.total
        return super().page(page, size)

    def list(self) -> Iterator[ApiToken]:
        """Yield all API tokens, in the order of the server: the newest first by the documented API."""
        return fetch_all(self._fetch_page)

    def find_by_name(self, name: str) -> Sequence[ApiToken]:
        """Return the API tokens with exactly this name; the server filters them if it can."""
        if not name or not self._kind.filters_by_name:
            return super().find_by_name(name)
        return [one for one in fetch_all(partial(self._fetch_page, name=name)) if one.name == name]

    def get(self, token_id: str) -> ApiToken:
        """Return an API token by its id."""
        return self._fetch_token(token_id).token

    def _fetch_page(self, number: int, size: int, name: str | None = None) -> ApiTokenPage:
        query = {} if name is None else {"name": name}
        try:
            answer = self.client.get(TOKENS_PATH, {"page": str(number), "pageSize": str(size)} | query)
        except NotFoundError as error:
            raise self._no_tokens_error(error) from None
        page = decode_page(answer)
        if not self._kind.matches(page):
            raise self._wrong_kind_error()
        self._meta = page.meta
        return page._replace(tokens=[self._kind.complete(token) for token in page.tokens])

    def _fetch_token(self, token_id: str) -> FetchedToken:
        if not (token_id.isascii() and token_id.isdecimal()):  # a path has numbers only, never a name
            raise self._not_found_error(token_id)
        answer = self.client.get((*TOKENS_PATH, token_id), missing_ok=True)
        if answer.status == 404:
            raise self._not_found_error(token_id)
        token, document = decode_token(answer)
        if str(token.id) != token_id:  # servers read 01 and +1 as 1, which is another API token
            raise self._not_found_error(token_id)
        etag = answer.headers.get("etag")
        return FetchedToken(self._kind.complete(token), document, etag if etag and etag.startswith('"') else None)

    # --- changing ---

    def create(self, spec: ApiTokenSpec) -> CreatedToken:
        """Create an API token. One that differs from the request, or has no usable secret, is revoked at once.

        After a lost response, a server that supports it is asked again for the same API token.
        """
        values = _list_values(spec)
        self._check_supported(values)
        body: Document = {"name": spec.name, "description": spec.description} | encode_fields(values)
        if spec.replaces is not None and self.identity() is not None:  # our server, which has an audit of rotations
            body["replaces"] = int(spec.replaces)
        with self._translate_lost_answers("Check with 'tokctl api-tokens list' whether it was created."):
            answer = self.client.post(
                TOKENS_PATH,
                {name: value for name, value in body.items() if value is not None},
                idempotency_key=token_hex(16) if self._accepts_repetitions() else None,
            )
        created = decode_created(answer.body)
        if created.id is None:
            raise CreationOutcomeUnknownError(f"{answer.url}: cannot read the server's response to the creation.")
        if created.token is None or created.secret is None:
            raise self._revoke_unusable(created.id, spec, "without a usable secret")
        if wrong := find_differences(values, created.token):
            how = f"that differs from the request ({format_differences(wrong, values, created.token)})"
            raise self._revoke_unusable(created.id, spec, how)
        return CreatedToken(created.token, created.secret)

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change fields of an API token: the whole object is read, merged with the changes and written."""
        self._check_supported(changes)
        fetched = self._fetch_token(token_id)
        cleared = [
            name for name, value in changes.items() if not value and name != "disabled" and getattr(fetched.token, name)
        ]
        if cleared and not self.capabilities().clear_fields:
            raise UnsupportedChangeError(
                f"{self.where} cannot clear fields of an API token: {_format_names(cleared)}.",
                "Nothing was changed. Set another value, or create a new API token.",
            )
        with self._translate_lost_answers(SHOW_HINT.format(token_id)):
            answer = self.client.put(
                (*TOKENS_PATH, token_id),
                merge_changes(fetched.document, changes),
                match=fetched.etag,
                accept=(404, 409, 412),
            )
        if answer.status == 404:
            raise self._not_found_error(token_id)
        if answer.status >= 400:
            from tokctl.store.protocol import ChangedError

            raise ChangedError(f"API token {token_id} was changed by another process.", "Check it and try again.")
        try:
            updated = decode_token(answer)[0]
        except InputError as error:
            raise CreationOutcomeUnknownError(error.message, SHOW_HINT.format(token_id)) from None
        if wrong := find_differences(changes, updated):
            done = [name for name in changes if name not in wrong]
            also = f" Changed: {_format_names(done)}." if done else ""
            raise UnsupportedChangeError(
                f"{self.where} did not change {_format_names(wrong)} of API token {token_id}.{also}"
            )
        return updated

    def revoke(self, token_id: str, *, reason: str = "") -> None:
        """Revoke an API token. It is fetched first, as some servers report success for an unknown id."""
        self._fetch_token(token_id)
        self._delete(token_id, reason)

    def _delete(self, token_id: str, reason: str) -> None:
        params = {"reason": reason[:MAX_REASON_LENGTH]} if reason and self.capabilities().audit else {}
        with self._translate_lost_answers(SHOW_HINT.format(token_id)):
            answer = self.client.delete((*TOKENS_PATH, token_id), params, accept=(404,))
        if answer.status == 404:
            raise self._not_found_error(token_id)

    def _check_supported(self, values: Mapping[str, Any]) -> None:
        """Refuse values that servers are known to accept and then ignore."""
        if "type" in values:
            self.check_type(values["type"])
        check_fields(self, values)

    def _accepts_repetitions(self) -> bool:
        """Return whether the server supports idempotency keys. Older ones do not name their store."""
        return bool(self.capabilities().idempotent_creation) and self.identity() is not None

    # --- verifying secrets ---

    def verify(self, secret: str) -> VerificationResult:
        """Return the state of a secret: by introspection, or else by using it, which counts as a use."""
        if not all("!" <= sign <= "~" for sign in secret):
            return VerificationResult(state=UNKNOWN)  # cannot be sent in a header
        # Every API token may introspect itself; the credential of this registry may lack the right to do so.
        with self._client_of(secret) as own_client:
            return (
                self._introspect(self.client, secret)
                or self._introspect(own_client, secret)
                or self._try_secret(own_client, secret)
            )

    def caller_id(self) -> str | None:
        """Return the API token of the credential, as far as the server tells."""
        secret = self._connection.credential()
        token = self.verify(secret).token if secret else None
        return None if token is None else str(token.id)

    def _introspect(self, client: Client, secret: str) -> VerificationResult | None:
        """Ask about a secret; None if the server has no introspection, or none for this client."""
        found = self._kind.introspect(client, secret)
        if found is None:
            return None
        if found.token_id is not None:
            with suppress(NotFoundError, NotAllowedError):
                return replace(found.result, token=self.get(found.token_id))
        return found.result

    def _try_secret(self, own_client: Client, secret: str) -> VerificationResult:
        """Return whether the server accepts the secret, and the API token that has its mask."""
        answer = own_client.get(TOKENS_PATH, {"page": "1", "pageSize": "1"}, accept=(401, 403))
        state = VALID
        if answer.status == 401:
            from tokctl.client.failures import parse_error_body

            detail = parse_error_body(answer.body, answer.headers, answer.mask_secrets).message
            state = self._kind.state_of_rejected(detail)
        if answer.status == 200:
            decode_page(answer)  # a server that accepts everybody is often something else
        if state == UNKNOWN:
            return VerificationResult(state=UNKNOWN)
        with suppress(NotAllowedError):
            return VerificationResult(state=state, token=find_by_mask(self.list(), secret, state, self.clock()))
        return VerificationResult(state=state)

    def audit(
        self, *, after: int = 0, token_id: str | None = None, limit: int | None = None, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Yield audit entries."""
        return self._audit_log().entries(after=after, token_id=token_id, limit=limit, newest=newest)

    def audit_head(self) -> ChainHead:
        """Return the end of the audit's hash chain."""
        return self._audit_log().head()

    def _audit_log(self) -> AuditLog:
        log = self._kind.audit_log(self.client)
        if log is None:
            raise self._no_audit_error()
        return log


def _list_values(spec: ApiTokenSpec) -> dict[str, Any]:
    """Return the fields of an API token that the registry must give it, without those that it may choose."""
    values: dict[str, Any] = {"type": spec.type, "expires_at": spec.expires_at}
    if spec.scopes is not None:
        values["scopes"] = spec.scopes
    if spec.allowed_cidrs:
        values["allowed_cidrs"] = spec.allowed_cidrs
    return values


def _format_names(fields: Sequence[str]) -> str:
    return " and ".join(FIELD_NAMES[field] for field in fields)


# --- pages ---


def fetch_all(fetch: Callable[[int, int], ApiTokenPage]) -> Iterator[ApiToken]:
    """Yield the API tokens of all pages, each id once, even if some are created or revoked meanwhile.

    ``fetch`` returns a page by its number, from 1, and size. The server may ignore both, and its total may be wrong.
    Raises InputError: the list has no end, or the server does not return all of it.
    """
    seen: set[str] = set()
    for _ in range(MAX_PASSES):
        totals = []
        for page in _fetch_pages(fetch):
            totals.append(page.total or 0)
            for token in page.tokens:
                if str(token.id) not in seen:
                    seen.add(str(token.id))
                    yield token
        if sorted(totals) == totals:
            return
        # The total shrank: API tokens were revoked meanwhile, and later ones moved to a page already read. Read again.


def _fetch_pages(fetch: Callable[[int, int], ApiTokenPage]) -> Iterator[ApiTokenPage]:
    read = repeated = 0
    before: list[int | str] = []
    for number in range(1, MAX_TOKENS // PAGE_SIZE + 1):
        page = fetch(number, PAGE_SIZE)
        yield page
        if not page.tokens:
            return
        read += len(page.tokens)
        if page.size == PAGE_SIZE > len(page.tokens) and page.total == read:
            return
        ids = [token.id for token in page.tokens]
        repeated = repeated + 1 if ids == before else 0
        before = ids
        if repeated == 2:  # a single repetition can come from as many tokens created meanwhile
            yield from _fetch_unpaged(fetch, page)
            return
    raise InputError(f"the list of API tokens is too long: more than {read:,}.", WRONG_ADDRESS_HINT)


def _fetch_unpaged(fetch: Callable[[int, int], ApiTokenPage], page: ApiTokenPage) -> Iterator[ApiTokenPage]:
    """Yield the rest from a server that returns the same page for every number: one page of the size of the total."""
    total = page.total or 0
    if len(page.tokens) < total:
        page = fetch(1, min(total, MAX_TOKENS))
        yield page
    if len(page.tokens) < total:
        raise InputError(
            f"the server returns {len(page.tokens):,} of {total:,} API tokens for every page.",
            "The other API tokens cannot be listed.",
        )
