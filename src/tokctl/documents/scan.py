"""Results of a scan for leaked secrets as JSON (``tokctl api-tokens scan``). The secrets are masked."""

from __future__ import annotations

from msgspec import Struct

from tokctl.documents.base import Count


class LeakCandidate(Struct, kw_only=True, frozen=True):
    """An API token to which a secret may belong."""

    id: int | str
    name: str


class LeakDocument(Struct, kw_only=True, frozen=True):
    """A secret that was found. ``line`` and ``column`` count from 1, ``offset`` in bytes from 0.

    ``member``: the file within the archive ``path``. ``encodings``: what it was decoded from, the outermost first; line
    and column are then those of the encoded text, or of the text in compressed data. ``candidates``: the API tokens
    with the same first characters, if the registry does not tell whose secret it is.

    ``live``: it was valid at the time of the scan. ``state``, ``id`` and ``name`` are null if no registry was asked or
    none knows it. ``versions`` is the number of commits that contain it.
    """

    secret: str
    certainty: str
    form: str
    live: bool
    state: str | None
    id: int | str | None
    name: str | None
    candidates: list[LeakCandidate]
    revoked: bool
    kind: str
    path: str | None
    member: str | None
    encodings: list[str]
    line: Count
    column: Count
    offset: Count
    repository: str | None
    commit: str | None
    object: str | None
    versions: Count


class UnreadFile(Struct, kw_only=True, frozen=True):
    """What was not searched, or not completely, and why."""

    path: str
    why: str


class ScanSummary(Struct, kw_only=True, frozen=True):
    """Totals of the scan. ``unread``: what was not searched. ``complete``: the scan was not interrupted."""

    findings: Count
    live: Count
    files: Count
    repositories: Count
    objects: Count
    bytes: Count
    unread: list[UnreadFile]
    complete: bool


class ScanDocument(Struct, kw_only=True, frozen=True):
    """The secrets that were found, most severe first."""

    findings: list[LeakDocument]
    summary: ScanSummary
