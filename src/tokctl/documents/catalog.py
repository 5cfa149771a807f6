"""Every JSON document that tokctl writes or reads, and where it comes from.

docs/scripting.md documents them (``make docs``), and a test checks the output of the commands against them.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from tokctl.documents import (
    api_tokens,
    audit,
    debug,
    definitions,
    errors,
    explain,
    flow,
    history,
    incidents,
    instances,
    kinds,
    performance,
    scan,
    setup,
    store,
    tokens,
    trace,
    tree,
    watch,
)
from tokctl.model.definitions import Definition

VERSION = 1
"""The version of all documents. Within a version, members are only added."""


class DocumentSource(NamedTuple):
    """A document, and the commands (with -o json) and requests that return it."""

    struct: type[Struct]
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the document: the struct's name without the ending ``Document``."""
        return document_name(self.struct)


def document_name(struct: type[Struct]) -> str:
    """Return the name of a struct in the documentation and in OpenAPI."""
    return struct.__name__.removesuffix("Document")


DOCUMENTS = (
    DocumentSource(tokens.TokenList, ("tokctl tokens list", "GET /api/v1/processes/{instance_id}/tokens")),
    DocumentSource(
        tokens.StandaloneToken, ("tokctl tokens show", "tokctl tokens list -o ndjson", "GET /api/v1/tokens/{token_id}")
    ),
    DocumentSource(tokens.AllTokens, ("tokctl tokens list --all-instances",)),
    DocumentSource(tokens.FoundTokens, ("GET /api/v1/tokens",)),
    DocumentSource(history.HistoryDocument, ("tokctl tokens history",)),
    DocumentSource(tree.TreeDocument, ("tokctl tokens tree",)),
    DocumentSource(trace.TraceDocument, ("tokctl tokens trace", "GET /api/v1/processes/{instance_id}/tokens/trace")),
    DocumentSource(watch.WatchEventDocument, ("tokctl tokens watch --events",)),
    DocumentSource(watch.WaitDocument, ("tokctl tokens wait",)),
    DocumentSource(instances.InstanceOverviewList, ("tokctl instances list",)),
    DocumentSource(instances.InstanceOverviewDetail, ("tokctl instances show",)),
    DocumentSource(instances.InstanceList, ("GET /api/v1/processes",)),
    DocumentSource(instances.InstanceDetail, ("GET /api/v1/processes/{instance_id}",)),
    DocumentSource(incidents.IncidentList, ("tokctl incidents list",)),
    DocumentSource(incidents.IncidentGroupList, ("tokctl incidents list --by",)),
    DocumentSource(Definition, ("GET /api/v1/bpmn/processes/{process_id}",)),
    DocumentSource(definitions.DurationsDocument, ("GET /api/v1/bpmn/processes/{process_id}/durations",)),
    DocumentSource(debug.DebugDocument, ("tokctl debug",)),
    DocumentSource(debug.RuleList, ("tokctl debug --list-rules",)),
    DocumentSource(explain.ExplanationDocument, ("tokctl explain",)),
    DocumentSource(explain.ExplanationList, ("tokctl explain",)),
    DocumentSource(flow.FlowDocument, ("tokctl flow",)),
    DocumentSource(performance.PerformanceDocument, ("tokctl perf",)),
    DocumentSource(store.ExportDocument, ("tokctl store export",)),
    DocumentSource(instances.InstanceDocument, ("tokctl store export -o ndjson",)),
    DocumentSource(store.StoreInfoDocument, ("tokctl store info",)),
    DocumentSource(store.StoreCheck, ("tokctl store check",)),
    DocumentSource(store.ImportDocument, ("tokctl store import",)),
    DocumentSource(store.BackupDocument, ("tokctl store backup",)),
    DocumentSource(store.CopyDocument, ("tokctl store copy",)),
    DocumentSource(store.MigrationDocument, ("tokctl store migrate",)),
    DocumentSource(store.PruneDocument, ("tokctl store prune",)),
    DocumentSource(store.SnapshotDocument, ("tokctl snapshot",)),
    DocumentSource(store.SimulationDocument, ("tokctl simulate",)),
    DocumentSource(api_tokens.ApiTokenOverviewList, ("tokctl api-tokens list",)),
    DocumentSource(api_tokens.ApiTokenOverview, ("tokctl api-tokens show",)),
    DocumentSource(api_tokens.CreatedApiToken, ("tokctl api-tokens create", "tokctl api-tokens rotate")),
    DocumentSource(api_tokens.UpdatedApiToken, ("tokctl api-tokens update",)),
    DocumentSource(api_tokens.RevocationList, ("tokctl api-tokens revoke",)),
    DocumentSource(api_tokens.AppliedList, ("tokctl api-tokens apply",)),
    DocumentSource(api_tokens.VerifiedApiToken, ("tokctl api-tokens verify",)),
    DocumentSource(audit.AuditEntryList, ("tokctl api-tokens audit",)),
    DocumentSource(audit.ChainCheckDocument, ("tokctl api-tokens audit verify",)),
    DocumentSource(scan.ScanDocument, ("tokctl api-tokens scan",)),
    DocumentSource(api_tokens.ApiTokenList, ("GET /api/api-tokens",)),
    DocumentSource(
        api_tokens.ApiTokenDocument, ("POST /api/api-tokens", "GET /api/api-tokens/{id}", "PUT /api/api-tokens/{id}")
    ),
    DocumentSource(api_tokens.MessageDocument, ("DELETE /api/api-tokens/{id}",)),
    DocumentSource(api_tokens.Introspection, ("POST /api/api-tokens/introspect",)),
    DocumentSource(audit.AuditEntries, ("GET /api/api-tokens/audit",)),
    DocumentSource(setup.ConfigurationDocument, ("tokctl config view",)),
    DocumentSource(setup.SettingDocument, ("tokctl config get",)),
    DocumentSource(
        setup.ConfigurationChange,
        (
            "tokctl config set",
            "tokctl config unset",
            "tokctl config use",
            "tokctl config rename",
            "tokctl config delete",
        ),
    ),
    DocumentSource(setup.ContextList, ("tokctl config get-contexts",)),
    DocumentSource(setup.CurrentContext, ("tokctl config current-context",)),
    DocumentSource(setup.ConfigurationFile, ("tokctl config path",)),
    DocumentSource(setup.ConfigurationCheck, ("tokctl config validate",)),
    DocumentSource(setup.CredentialList, ("tokctl auth status",)),
    DocumentSource(setup.StoredCredential, ("tokctl auth login",)),
    DocumentSource(setup.RemovedCredential, ("tokctl auth logout",)),
    DocumentSource(setup.DoctorDocument, ("tokctl doctor",)),
    DocumentSource(kinds.EngineList, ("tokctl engines",)),
    DocumentSource(kinds.EngineDocument, ("tokctl engines",)),
    DocumentSource(kinds.RegistryList, ("tokctl api-tokens kinds",)),
    DocumentSource(kinds.RegistryDocument, ("tokctl api-tokens kinds",)),
    DocumentSource(errors.HealthDocument, ("GET /health",)),
    DocumentSource(errors.ErrorDocument, ("errors below /api/v1",)),
    DocumentSource(errors.ApiTokenError, ("errors below /api/api-tokens",)),
)
