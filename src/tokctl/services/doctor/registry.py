"""The doctor's checks of a server that has API tokens and no processes, which it is not asked for."""

from __future__ import annotations

import os
from typing import Any

from tokctl.api_tokens.registries.detection import FoundRegistry, find_registry
from tokctl.api_tokens.vaults.credentials import format_place
from tokctl.config.settings import API_KEY
from tokctl.errors import TokctlError
from tokctl.services.doctor.results import CheckResult, note, ok, problem
from tokctl.services.doctor.server import CheckedServer, server_unreachable
from tokctl.services.server_roles import check_secret, registry_api


class RegistryChecks:
    """Checks of the kind of a server and of the credential for it. ``check_kind`` has to be the first."""

    def __init__(self, server: CheckedServer) -> None:
        self.server = server
        self.found: FoundRegistry | None = None

    def check_kind(self) -> CheckResult:
        """Detect the kind of the server, and remember it."""
        if self.server.health is None:
            return server_unreachable()
        given = self.server.settings.registry_kind
        detected = find_registry(self.server.client.connection, warn=self.server.notes.append, fresh=True)
        self.found = detected
        facts: dict[str, Any] = {"kind": detected.kind, "given": given}
        if given is not None:
            self.found = find_registry(self.server.client.connection, given, warn=self.server.notes.append)
            if given != detected.kind and detected.certain:
                found = f"it looks like {detected.kind}, but {given} is set."
                return note(found, "Remove --registry-kind, unless you are sure.", **facts)
            return ok(f"{given}, as set.", **facts)
        if not detected.certain:
            return note(
                "not recognized; tokctl uses the documented API.",
                "Check the server address, or set --registry-kind.",
                **facts,
            )
        return ok(f"{detected.kind}.", **facts)

    def check_credential(self) -> CheckResult:
        """Check where the credential comes from, and whether the server accepts it for its API tokens."""
        settings = self.server.settings
        where = format_place(settings.credential)
        facts: dict[str, Any] = {"origin": settings.origins.get("credential"), "exists": False, "accepted": None}
        try:
            secret = self.server.credential()
        except TokctlError as error:
            return problem(error.message, error.hint, place=where, **facts)
        if secret is not None and settings.credential is None and os.environ.get(API_KEY):
            where = f"env:{API_KEY}"
        facts |= {"place": where, "exists": secret is not None}
        there = f"set ({where})" if secret else "not set"
        if self.found is None:
            return note(
                f"{'set' if secret else 'not set'} ({where}); not checked, as the server does not respond.", **facts
            )
        client = self.server.create_client(self.server.credential)
        verdict = check_secret(registry_api(client.connection, self.found))
        facts["accepted"] = verdict.accepted if secret else None
        if secret is None and verdict.accepted:
            return ok("not set; the server requires none.", **facts)
        if secret is None and verdict.accepted is False:
            return problem(
                "not set, but the server requires one.",
                f"Set one with 'tokctl auth login', with --email if you log in as a user, or in {API_KEY}.",
                **facts,
            )
        if verdict.accepted is None:
            return note(f"{there}; {verdict.note}.", **facts)
        if not verdict.accepted:
            return problem(
                f"the server rejects the credential from {where}{verdict.reason}.",
                verdict.hint or "It may have expired or been revoked. Set a new one with 'tokctl auth login'.",
                **facts,
            )
        if verdict.note:
            return note(f"{where}: {verdict.note}.", "Use a credential that may manage API tokens.", **facts)
        return ok(f"the server accepts the credential from {where}.", **facts)
