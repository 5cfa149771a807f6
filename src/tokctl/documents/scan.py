"""Results of a scan for leaked secrets as JSON (``tokctl api-tokens scan``). The secrets are masked."""

from __future__ import annotations

from msgspec import Struct

from tokctl.documents.base import Count


class LeakDocument(Struct, kw_only=True, frozen=True):
    """A secret that was found. ``line`` and ``column`` count from 1, ``offset`` in bytes from 0.

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
    revoked: bool
    kind: str
    path: str | None
    line: Count
    column: Count
    offset: Count
    repository: str | None
    commit: str | None
    object: str | None
    versions: Count


class UnreadFile(Struct, kw_only=True, frozen=True):
    """An input that could not be scanned, and why."""

    path: str
    why: str


class ScanSummary(Struct, kw_only=True, frozen=True):
    """Totals of the scan. ``complete``: it was not interrupted."""

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
