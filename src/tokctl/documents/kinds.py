"""The kinds of engines and of registries of API tokens, and what each can do, as JSON."""

from __future__ import annotations

from msgspec import Struct


class CapabilityDocument(Struct, kw_only=True, frozen=True):
    """A feature: ``support`` is yes, derived, partly or no; ``note`` says in which cases, or null."""

    feature: str
    meaning: str
    support: str
    note: str | None


class EngineDocument(Struct, kw_only=True, frozen=True):
    """A kind of engine, and what it can tell (``tokctl engines KIND``)."""

    kind: str
    engine: str
    server: bool
    capabilities: list[CapabilityDocument]


class EngineList(Struct, kw_only=True, frozen=True):
    """The kinds of engines (``tokctl engines``)."""

    engines: list[EngineDocument]


class RegistryDocument(Struct, kw_only=True, frozen=True):
    """A kind of store or server with API tokens, and what it can do (``tokctl api-tokens kinds KIND``)."""

    kind: str
    product: str
    server: bool
    capabilities: list[CapabilityDocument]


class RegistryList(Struct, kw_only=True, frozen=True):
    """The kinds of stores and servers with API tokens (``tokctl api-tokens kinds``)."""

    kinds: list[RegistryDocument]
