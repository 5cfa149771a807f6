"""Findings of a scan for leaked secrets: the location and the API token of each. Secrets are never shown in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import asdict

from tokctl.api_tokens.detection import CERTAIN, CERTAINTIES, POSSIBLE
from tokctl.api_tokens.scanner import FILE, STDIN
from tokctl.documents.scan import LeakCandidate, LeakDocument, ScanSummary, UnreadFile
from tokctl.render.formats.sarif import sarif
from tokctl.render.result import Cell, Column, Listing
from tokctl.render.text import SHORT_HASH_LENGTH, count, size
from tokctl.render.views.api_tokens import api_token_state_cell
from tokctl.services.api_tokens.scan import Leak, ScanTotals

_CERTAINTY_STYLES = {CERTAIN: "bold", POSSIBLE: "dim"}


def leak_listing(leaks: Sequence[Leak], totals: ScanTotals, *, exit_code: int) -> Listing:
    """Return a list of the findings: live secrets first, then by certainty."""
    ordered = sorted(leaks, key=lambda leak: (not leak.live, CERTAINTIES.index(leak.certainty)))

    def token_field(name: str) -> Callable[[Leak], Any]:
        return lambda leak: None if leak.token is None else getattr(leak.token, name)

    columns = (
        Column(key="where", title="WHERE", value=_format_location, fold=True, min_width=20),
        Column(key="secret", title="SECRET", value=lambda leak: leak.secret),
        Column(
            key="certainty",
            title="CERTAINTY",
            value=lambda leak: leak.certainty,
            show=lambda leak: Cell(leak.certainty, _CERTAINTY_STYLES.get(leak.certainty, "")),
            rank=2,
        ),
        Column(key="form", title="FORM", value=lambda leak: leak.form, wide=True, rank=4),
        Column(key="state", title="STATE", value=lambda leak: leak.state, show=_state_cell),
        Column(key="id", title="ID", value=token_field("id"), show=_id_cell),
        Column(key="name", title="NAME", value=token_field("name"), show=_name_cell, fold=True, rank=1),
        Column(
            key="encodings",
            title="ENCODINGS",
            value=lambda leak: ", ".join(leak.encodings),
            wide=not any(leak.encodings for leak in leaks),
            rank=2,
        ),
        Column(key="repository", title="REPOSITORY", value=lambda leak: leak.place.repository, wide=True, rank=5),
        Column(key="versions", title="VERSIONS", value=lambda leak: leak.place.versions, right=True, wide=True, rank=3),
    )
    return Listing(
        key="findings",
        items=ordered,
        columns=columns,
        ident=lambda leak: str(leak.token.id) if leak.token is not None else "",
        document=encode_leak,
        tail=lambda: {"summary": _encode_summary(ordered, totals)},
        notes=lambda _: [_format_summary(ordered, totals)],
        empty="No secret found in what was searched." if totals.unread else "No secret found.",
        exit_code=exit_code,
        custom_formats={"sarif": lambda: sarif(ordered, totals)},
    )


def encode_leak(leak: Leak) -> LeakDocument:
    """Return the document of a finding."""
    token = leak.token
    return LeakDocument(
        secret=leak.secret,
        certainty=leak.certainty,
        form=leak.form,
        live=leak.live,
        state=leak.state,
        id=None if token is None else token.id,
        name=None if token is None else token.name,
        candidates=[LeakCandidate(id=one.id, name=one.name) for one in leak.candidates],
        member=leak.member,
        encodings=[*leak.encodings],
        revoked=leak.revoked,
        line=leak.line,
        column=leak.column,
        offset=leak.offset,
        **asdict(leak.place),
    )


def _encode_summary(leaks: Sequence[Leak], totals: ScanTotals) -> ScanSummary:
    return ScanSummary(
        findings=len(leaks),
        live=sum(leak.live for leak in leaks),
        files=totals.files,
        repositories=totals.repositories,
        objects=totals.objects,
        bytes=totals.octets,
        unread=[UnreadFile(path=path, why=why) for path, why in totals.unread],
        complete=totals.complete,
    )


def _format_location(leak: Leak) -> str:
    """Return the location, as editors and git accept it if it is no archive.

    ``path:3:14``, ``0f3a9c21b7:path:3:14``, ``a.tar.gz!/path:3:14``.
    """
    place, position = leak.place, f"{leak.line}:{leak.column}"
    position = f":{position}" if leak.member is None else f"!/{leak.member}:{position}"
    if place.kind == FILE:
        return f"{place.path}{position}"
    if place.kind == STDIN:
        return f"standard input{position}"
    if place.path is not None:
        return f"{(place.commit or '')[:SHORT_HASH_LENGTH]}:{place.path}{position}"
    return f"{place.kind} {(place.object or '')[:SHORT_HASH_LENGTH]}{position}"


def _id_cell(leak: Leak) -> Cell:
    known = leak.candidates if leak.token is None else (leak.token,)
    return Cell(" or ".join(str(one.id) for one in known) or "-")


def _name_cell(leak: Leak) -> Cell:
    known = leak.candidates if leak.token is None else (leak.token,)
    return Cell(" or ".join(one.name for one in known) or "-")


def _state_cell(leak: Leak) -> Cell:
    if leak.state is None:
        return Cell("not checked", "dim")
    return Cell("revoked now", "green") if leak.revoked else api_token_state_cell(leak.state)


def _format_summary(leaks: Sequence[Leak], totals: ScanTotals) -> str:
    searched = count(totals.files, "file")
    if totals.repositories or totals.objects:
        repositories = count(totals.repositories, "repository", "repositories")
        searched += f" and {count(totals.objects, 'object')} of {repositories}"
    text = f"Searched {searched}, {size(totals.octets)}"
    if leaks:
        live, revoked = sum(leak.live for leak in leaks), sum(leak.revoked for leak in leaks)
        text += (
            f": {count(len(leaks), 'finding')}, {live:,} of them live{f', {revoked:,} revoked now' if revoked else ''}"
        )
    if totals.unread:
        text += f". Not searched: {count(len(totals.unread), 'path')}"
    return f"{text}."
