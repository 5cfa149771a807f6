"""Searches files and git histories for leaked secrets of API tokens: for ``tokctl api-tokens scan``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BufferedIOBase
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.detection import CERTAIN, FORM_CERTAINTY
from tokctl.api_tokens.scanner import SecretHit, SecretLocation, SecretScanner
from tokctl.api_tokens.secrets import MASK_END, mask
from tokctl.errors import TokctlError
from tokctl.model.api_tokens import UNKNOWN, VALID, ApiToken
from tokctl.services.api_tokens.revocation import RevocationResult

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry, VerificationResult


class Leak(Struct, frozen=True, kw_only=True):
    """A secret that was found. ``secret`` is its mask; the secret itself is not kept.

    ``line`` and ``column`` count from 1, ``offset`` and ``length`` are bytes; ``member`` and ``encodings`` are as in
    ``SecretMatch``. ``state`` and ``token`` come from the registry; None if it was not asked. ``candidates`` are the
    API tokens with the same mask, if the registry knows the secret but does not tell whose it is.
    """

    place: SecretLocation
    line: int
    column: int
    offset: int
    length: int
    secret: str
    form: str
    member: str | None = None
    encodings: Sequence[str] = ()
    state: str | None = None
    token: ApiToken | None = None
    candidates: Sequence[ApiToken] = ()
    revoked: bool = False

    @property
    def certainty(self) -> str:
        """How certain it is that this is a secret; it is certain if a registry knows it."""
        return CERTAIN if self.token is not None else FORM_CERTAINTY[self.form]

    @property
    def live(self) -> bool:
        """Whether it is valid according to the registry."""
        return self.state == VALID


class ScanTotals(Struct, frozen=True, kw_only=True):
    """How much was searched. ``octets`` are bytes; ``unread`` has the paths that were not searched, and why."""

    files: int
    objects: int
    repositories: int
    octets: int
    unread: Sequence[tuple[str, str]]  # path, why
    complete: bool  # False: interrupted


def search_secrets(
    paths: Iterable[str],
    *,
    stdin: BufferedIOBase,
    history: bool = True,
    step: Callable[[int], object] = lambda _: None,
    on_unread: Callable[[str, str], object] = lambda _path, _why: None,
) -> tuple[list[SecretHit], ScanTotals]:
    """Search paths for secrets; an interruption (KeyboardInterrupt) ends the search and keeps what was found.

    ``step`` is called with the number of bytes of each piece that was read, ``on_unread`` with a path that is not
    searched, and why. Raises as ``SecretScanner.hits``.
    """
    hits: list[SecretHit] = []
    unread: list[tuple[str, str]] = []

    def skip(path: str, why: str) -> None:
        unread.append((path, why))
        on_unread(path, why)

    complete = True
    scanner = SecretScanner(stdin=stdin, history=history, progress=step, unread=skip)
    try:
        hits.extend(scanner.hits(paths))
    except KeyboardInterrupt:
        complete = False
    counts = {name: getattr(scanner, name) for name in ("files", "objects", "repositories", "octets")}
    return hits, ScanTotals(**counts, unread=unread, complete=complete)


def verify_hits(registry: Registry | None, hits: Iterable[SecretHit]) -> tuple[list[Leak], TokctlError | None]:
    """Ask the registry about each secret; return the leaks, and its error, after which it is not asked again."""
    lookup = _Lookup(registry)
    leaks = []
    for place, found in hits:
        verdict = lookup.verify(found.secret)
        leaks.append(
            Leak(
                place=place,
                line=found.line,
                column=found.column,
                offset=found.offset,
                length=len(found.secret),
                secret=mask(found.secret),
                form=found.form,
                member=found.member,
                encodings=found.encodings,
                state=None if verdict is None else verdict.state,
                token=None if verdict is None else verdict.token,
                candidates=lookup.list_candidates(found.secret, verdict),
            )
        )
    return leaks, lookup.failure


class _Lookup:
    """Asks a registry about each secret once, until it fails."""

    def __init__(self, registry: Registry | None) -> None:
        self.failure: TokctlError | None = None
        self._registry = registry
        self._verdicts: dict[str, VerificationResult] = {}
        self._tokens: list[ApiToken] | None = None

    def verify(self, secret: str) -> VerificationResult | None:
        if self._registry is not None and self.failure is None and secret not in self._verdicts:
            try:
                self._verdicts[secret] = self._registry.verify(secret)
            except TokctlError as error:
                self.failure = error
        return self._verdicts.get(secret)

    def list_candidates(self, secret: str, verdict: VerificationResult | None) -> list[ApiToken]:
        """Return the API tokens with the mask of a secret that the registry knows, if it does not tell whose it is."""
        if self._registry is None or verdict is None or verdict.token is not None or verdict.state == UNKNOWN:
            return []
        if self._tokens is None:
            try:
                self._tokens = [*self._registry.list()]
            except TokctlError:  # the credential may verify, but not list
                self._tokens = []
        masked = (one for one in self._tokens if one.token.endswith(MASK_END))
        return [one for one in masked if secret.startswith(one.token.removesuffix(MASK_END))]


def list_live_tokens(leaks: Iterable[Leak]) -> list[ApiToken]:
    """Return the API tokens whose live secrets leaked, each once."""
    return list({str(leak.token.id): leak.token for leak in leaks if leak.live and leak.token is not None}.values())


def mark_revoked(leaks: Iterable[Leak], results: Iterable[RevocationResult]) -> list[Leak]:
    """Return the leaks with those marked whose API token was revoked."""
    gone = {str(one.token.id) for one in results if one.revoked}
    return [
        replace(leak, revoked=True) if leak.live and leak.token is not None and str(leak.token.id) in gone else leak
        for leak in leaks
    ]
