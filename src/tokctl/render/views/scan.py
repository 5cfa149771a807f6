"""What a scan for leaked secrets found: where each stands, and whose it is. The secrets themselves are not here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from tokctl.access.finding import CERTAIN, CERTAINTIES, FORMS, POSSIBLE
from tokctl.access.model import VALID, ApiToken
from tokctl.render.human import count, size
from tokctl.render.result import Cell, Column, Document, Listing
from tokctl.render.views.api_tokens import state_cell
from tokctl.scanner.base import FILE, STDIN, Place

SHORT = 10  # characters of an object's name
_CERTAINTIES = {CERTAIN: "bold", POSSIBLE: "dim"}


class Leak(Struct, frozen=True, kw_only=True):
    """A secret in a place. ``secret`` is its mask; ``state`` and ``token`` what the registry says, None: nobody did."""

    place: Place
    line: int
    column: int
    offset: int
    length: int
    secret: str
    form: str
    state: str | None = None
    token: ApiToken | None = None
    revoked: bool = False

    @property
    def certainty(self) -> str:
        """How certain it is that this is a secret at all; whoever knows it makes it certain."""
        return CERTAIN if self.token is not None else FORMS[self.form]

    @property
    def live(self) -> bool:
        """Whether it opened something when it was found, as far as anybody knows."""
        return self.state == VALID


class Totals(Struct, frozen=True, kw_only=True):
    """What was looked through."""

    files: int
    objects: int
    repositories: int
    octets: int
    unread: Sequence[tuple[str, str]]  # path, why
    complete: bool  # False: interrupted


def leak_listing(leaks: Sequence[Leak], totals: Totals, *, exit_code: int) -> Listing:
    """What was found, the worst first."""
    ordered = sorted(leaks, key=lambda leak: (not leak.live, CERTAINTIES.index(leak.certainty)))

    def of_token(name: str) -> Callable[[Leak], Any]:
        return lambda leak: None if leak.token is None else getattr(leak.token, name)

    columns = (
        Column(key="where", title="WHERE", value=_where, fold=True, least=20),
        Column(key="secret", title="SECRET", value=lambda leak: leak.secret),
        Column(key="certainty", title="CERTAINTY", value=lambda leak: leak.certainty,
               show=lambda leak: Cell(leak.certainty, _CERTAINTIES.get(leak.certainty, "")), rank=2),
        Column(key="form", title="FORM", value=lambda leak: leak.form, wide=True, rank=4),
        Column(key="state", title="STATE", value=lambda leak: leak.state, show=_state_cell),
        Column(key="id", title="ID", value=of_token("id")),
        Column(key="name", title="NAME", value=of_token("name"), fold=True, rank=1),
        Column(key="repository", title="REPOSITORY", value=lambda leak: leak.place.repository, wide=True, rank=5),
        Column(key="versions", title="VERSIONS", value=lambda leak: leak.place.versions, right=True, wide=True, rank=3),
    )  # fmt: skip
    return Listing(
        key="findings",
        items=ordered,
        columns=columns,
        ident=lambda leak: str(leak.token.id) if leak.token is not None else "",
        document=leak_document,
        tail=lambda: {"summary": _summary(ordered, totals)},
        notes=lambda _: [_told(ordered, totals)],
        empty="No secret found.",
        exit_code=exit_code,
        texts={"sarif": lambda: _sarif(ordered, totals)},
    )


def _sarif(leaks: Sequence[Leak], totals: Totals) -> Iterator[str]:
    from tokctl.render.views.sarif import sarif

    return sarif(leaks, totals)


def leak_document(leak: Leak) -> Document:
    """A finding for programs."""
    place = leak.place
    return {
        "secret": leak.secret,
        "certainty": leak.certainty,
        "form": leak.form,
        "live": leak.live,
        "state": leak.state,
        "id": None if leak.token is None else leak.token.id,
        "name": None if leak.token is None else leak.token.name,
        "revoked": leak.revoked,
        "kind": place.kind,
        "path": place.path,
        "line": leak.line,
        "column": leak.column,
        "offset": leak.offset,
        "repository": place.repository,
        "commit": place.commit,
        "object": place.object,
        "versions": place.versions,
    }


def _summary(leaks: Sequence[Leak], totals: Totals) -> Document:
    return {
        "findings": len(leaks),
        "live": sum(leak.live for leak in leaks),
        "files": totals.files,
        "repositories": totals.repositories,
        "objects": totals.objects,
        "bytes": totals.octets,
        "unread": [{"path": path, "why": why} for path, why in totals.unread],
        "complete": totals.complete,
    }


def _where(leak: Leak) -> str:
    """As an editor and as git take it: ``path:3:14``, ``0f3a9c21b7:path:3:14``."""
    place, position = leak.place, f"{leak.line}:{leak.column}"
    if place.kind == FILE:
        return f"{place.path}:{position}"
    if place.kind == STDIN:
        return f"standard input:{position}"
    if place.path is not None:
        return f"{(place.commit or '')[:SHORT]}:{place.path}:{position}"
    return f"{place.kind} {(place.object or '')[:SHORT]}:{position}"


def _state_cell(leak: Leak) -> Cell:
    if leak.state is None:
        return Cell("not asked", "dim")
    return Cell("revoked now", "green") if leak.revoked else state_cell(leak.state)


def _told(leaks: Sequence[Leak], totals: Totals) -> str:
    searched = count(totals.files, "file")
    if totals.repositories or totals.objects:
        searched += (
            f" and {count(totals.objects, 'object')} of {count(totals.repositories, 'repository', 'repositories')}"
        )
    said = f"Searched {searched}, {size(totals.octets)}"
    if leaks:
        live, gone = sum(leak.live for leak in leaks), sum(leak.revoked for leak in leaks)
        said += f": {count(len(leaks), 'finding')}, {live:,} of them live{f', {gone:,} revoked now' if gone else ''}"
    return f"{said}."
