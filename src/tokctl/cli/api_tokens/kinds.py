"""``tokctl api-tokens kinds``."""

from __future__ import annotations

from typing import Annotated

from tokctl.api_tokens.registries.capabilities import FEATURES, REGISTRIES, load_capabilities
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.capability_tables import check_kind, encode_capabilities, list_kinds, show_kind
from tokctl.cli.completion import complete_any_registry
from tokctl.documents.kinds import RegistryDocument
from tokctl.kinds import SERVER_REGISTRIES
from tokctl.render.result import Result


def kinds(
    app: App,  # noqa: ARG001 - every command has one
    kind: Annotated[
        str | None,
        opt.argument("[KIND]", "Kind of registry to show in detail.", complete=complete_any_registry),
    ] = None,
) -> Result:
    """List the kinds of stores and servers that have API tokens, and what each can do.

    yes: supported. partly: in the cases that 'tokctl api-tokens kinds KIND' names. no: not supported; a command that
    needs it fails before it changes anything.
    """
    if kind is None:
        return list_kinds("kinds", "product", [_encode_registry(one) for one in REGISTRIES], FEATURES)
    check_kind(kind, REGISTRIES, "registry")
    found = _encode_registry(kind)
    return show_kind(found, found.product)


def _encode_registry(kind: str) -> RegistryDocument:
    found = load_capabilities(kind)
    capabilities = encode_capabilities(found, FEATURES)
    return RegistryDocument(kind=kind, product=found.title, server=kind in SERVER_REGISTRIES, capabilities=capabilities)


app = command(
    kinds,
    shared_options=opt.OUTPUT,
    examples=("tokctl api-tokens kinds", "tokctl api-tokens kinds strapi"),
)
