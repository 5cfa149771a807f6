"""The configuration, credentials and checks as JSON."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from tokctl.documents.base import Time


class SettingDocument(Struct, kw_only=True, frozen=True):
    """A setting: its dotted name, its value, and the origin of the value."""

    key: str
    value: Any
    origin: str | None


class ConfigurationDocument(Struct, kw_only=True, frozen=True):
    """The settings in effect (``tokctl config view``)."""

    file: str | UnsetType = UNSET
    exists: bool | UnsetType = UNSET
    settings: list[SettingDocument]
    contexts: list[str] | UnsetType = UNSET


class ConfigurationChange(Struct, kw_only=True, frozen=True):
    """A change of the configuration file: a setting, a context, or the current context."""

    key: str | UnsetType = UNSET
    context: str | UnsetType = UNSET
    current_context: str | UnsetType = UNSET
    file: str


class ContextDocument(Struct, kw_only=True, frozen=True):
    """A context of the configuration file; ``credential`` is the place of the secret, null for the keyring."""

    name: str
    current: bool
    server: str | None
    store: str | None
    credential: str | None


class ContextList(Struct, kw_only=True, frozen=True):
    """The contexts, and which one is in use (``tokctl config get-contexts``)."""

    current_context: str | None
    contexts: list[ContextDocument]


class CurrentContext(Struct, kw_only=True, frozen=True):
    """The context that commands use (``tokctl config current-context``)."""

    current_context: str


class ConfigurationFile(Struct, kw_only=True, frozen=True):
    """Where the configuration file is (``tokctl config path``)."""

    file: str
    exists: bool


class ConfigurationProblem(Struct, kw_only=True, frozen=True):
    """A problem with a setting."""

    key: str
    message: str


class ConfigurationCheck(Struct, kw_only=True, frozen=True):
    """Problems of a configuration file (``tokctl config validate``)."""

    file: str
    problems: list[ConfigurationProblem]


class ServerCredential(Struct, kw_only=True, frozen=True):
    """A server and its credential; ``secret`` is masked, ``accepted`` is null if the server was not asked.

    For a store in PostgreSQL, ``server`` is its URL without parameters, and the credential is the password.
    """

    context: str | None
    current: bool
    server: str
    credential: str
    secret: str | None
    accepted: bool | None
    note: str


class CredentialList(Struct, kw_only=True, frozen=True):
    """The servers and whether they accept their credentials (``tokctl auth status``)."""

    servers: list[ServerCredential]


class StoredCredential(Struct, kw_only=True, frozen=True):
    """A credential that was stored (``tokctl auth login``)."""

    server: str
    stored: str
    accepted: bool | None
    expires_at: Time | None


class RemovedCredential(Struct, kw_only=True, frozen=True):
    """A credential that was removed (``tokctl auth logout``)."""

    server: str
    removed: bool


class CheckDocument(Struct, kw_only=True, frozen=True):
    """The result of a check, and what to do; some checks have further members."""

    check: str
    state: str
    found: str
    advice: str | None


class DoctorDocument(Struct, kw_only=True, frozen=True):
    """The checks of the setup (``tokctl doctor``)."""

    version: str
    python: str
    platform: str
    checks: list[CheckDocument]
