"""What a kind of registry can do: one capability for each feature of API tokens.

Each registry declares its own as ``CAPABILITIES``, servers in their ``KIND``. ``tokctl api-tokens kinds`` and
docs/api-tokens.md show them. A new feature is a field and a line of ``FEATURES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from msgspec import Struct

from tokctl.capabilities import NOT_TOLD, Capability, Feature, Support
from tokctl.kinds import SERVER_REGISTRIES


class RegistryCapabilities(Struct, frozen=True, kw_only=True):
    """What a kind of registry can do. ``title`` names the product; the features (default: no) are in ``FEATURES``."""

    title: str
    login: Capability = NOT_TOLD
    token_access: Capability = NOT_TOLD
    scopes: Capability = NOT_TOLD
    restricted_types: Capability = NOT_TOLD
    free_expiry: Capability = NOT_TOLD
    change_expiry: Capability = NOT_TOLD
    clear_fields: Capability = NOT_TOLD
    grace: Capability = NOT_TOLD
    unique_names: Capability = NOT_TOLD
    pages: Capability = NOT_TOLD
    masks: Capability = NOT_TOLD
    creators: Capability = NOT_TOLD
    last_use: Capability = NOT_TOLD
    introspection: Capability = NOT_TOLD
    owners: Capability = NOT_TOLD
    expired_secrets: Capability = NOT_TOLD
    revoked_secrets: Capability = NOT_TOLD
    audit: Capability = NOT_TOLD
    allowed_cidrs: Capability = NOT_TOLD
    disabling: Capability = NOT_TOLD
    idempotent_creation: Capability = NOT_TOLD

    def __getitem__(self, feature: str) -> Capability:
        """Return the capability of one of ``FEATURES``."""
        found: Capability = getattr(self, feature)
        return found


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        "login": Feature("Login with password", "Log in with email and password (auth login --email)"),
        "token_access": Feature("Managed by API tokens", "API tokens may manage API tokens"),
        "scopes": Feature("Scopes"),
        "restricted_types": Feature("Types are restricted", "Every type but full-access is restricted"),
        "free_expiry": Feature("Any time of expiry"),
        "change_expiry": Feature("Change the expiry"),
        "clear_fields": Feature("Remove fields", "Remove an expiry or a description"),
        "grace": Feature("Grace period", "Rotate with a grace period"),
        "unique_names": Feature("Unique names", "Names are unique on the server"),
        "pages": Feature("Pages", "Pages of the list come from the server"),
        "masks": Feature("First characters", "First characters of each secret"),
        "creators": Feature("Creators", "Who created an API token"),
        "last_use": Feature("Last use", "When an API token was last used"),
        "introspection": Feature("Check without a use", "Check a secret without using it"),
        "owners": Feature("Owner of a secret", "API token of a secret"),
        "expired_secrets": Feature("Expired secrets", "Expired secrets are told from unknown ones"),
        "revoked_secrets": Feature("Revoked secrets", "Revoked secrets are told from unknown ones"),
        "audit": Feature("Audit log"),
        "allowed_cidrs": Feature("Networks", "Limit an API token to networks"),
        "disabling": Feature("Disabling", "Disable and enable an API token"),
        "idempotent_creation": Feature("Safe repetition", "Creation can be repeated after a lost response"),
    }
)
"""Feature → what an operator asks for, in the order of the table."""

_YES = Capability(Support.YES)
OWN_CAPABILITIES = RegistryCapabilities(
    title="tokctl serve",
    token_access=Capability(Support.YES, "those of type full-access with the scope api-tokens"),
    scopes=Capability(Support.YES, "the permissions of tokctl and of process engines"),
    restricted_types=_YES,
    free_expiry=_YES,
    change_expiry=_YES,
    clear_fields=_YES,
    grace=_YES,
    unique_names=Capability(Support.NO, "tokctl refuses a second one, unless --allow-duplicate is given"),
    pages=_YES,
    masks=_YES,
    creators=_YES,
    last_use=_YES,
    introspection=_YES,
    owners=_YES,
    expired_secrets=_YES,
    revoked_secrets=_YES,
    audit=_YES,
    allowed_cidrs=_YES,
    disabling=_YES,
    idempotent_creation=Capability(Support.YES, "for 10 minutes"),
)
"""Those of tokctl's own server; those of a store differ a little."""

REGISTRIES = {"store": "tokctl.api_tokens.registries.store"} | SERVER_REGISTRIES
"""Kind of registry → module."""


def load_capabilities(kind: str) -> RegistryCapabilities:
    """Return what a kind of registry can do. Raises KeyError: there is no such kind."""
    module = import_module(REGISTRIES[kind])
    found: RegistryCapabilities = module.KIND.capabilities if kind in SERVER_REGISTRIES else module.CAPABILITIES
    return found
