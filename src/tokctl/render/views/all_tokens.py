"""Tokens of several instances: a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from tokctl.documents.tokens import encode_token
from tokctl.model.tokens import Token
from tokctl.render.result import Cell, Column, Listing, Output
from tokctl.render.views.tokens import TokenRow, token_columns, token_footer


def all_tokens_listing(
    tokens: Iterable[Token],
    out: Output,
    *,
    variables: bool = False,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """Return a list of tokens with their instances."""
    columns = {column.key: column for column in token_columns(out, variables=variables)}
    instance = replace(
        columns.pop("instance_id"),
        form=lambda i: Cell(out.shorten_instance_id(i)),
        wide=False,
        fold=out.cuts,
        cut=True,
        rank=0,
    )
    columns |= {key: replace(columns[key], cut=True) for key in ("element_name", "error")}
    columns["age_seconds"] = replace(columns["age_seconds"], wide=False, rank=1)
    columns["duration_ms"] = replace(columns["duration_ms"], rank=5)  # of a live token it is the age
    process = Column("process_id", "PROCESS", "token.process_id", fold=True, wide=True, rank=8)
    token = replace(columns.pop("token_id"), rank=4)  # the instance is what other commands take
    return Listing(
        key="tokens",
        items=map(TokenRow, tokens),
        columns=(instance, process, token, *columns.values()),
        ident=lambda row: row.token.token_id,
        document=lambda row: encode_token(row.token, instance=True),
        notes=notes,
        empty=empty or "No tokens match.",
        footer=token_footer(out),
    )
