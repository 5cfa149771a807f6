"""The doctor's checks of the credential: whether the server accepts it, and what it may do there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec

from tokctl.api_tokens.vaults.credentials import format_place
from tokctl.client import Client, ClientResponse
from tokctl.client.connection import CredentialProbe
from tokctl.client.failures import parse_error_body
from tokctl.config.settings import API_KEY
from tokctl.engines.capabilities import ReadingProbes
from tokctl.errors import TokctlError
from tokctl.kinds import BASIC_KINDS, SERVER_ENGINES
from tokctl.services.doctor.results import CheckResult, note, ok, problem
from tokctl.services.doctor.server import ERROR_STATUSES, CheckedServer, server_unreachable
from tokctl.text import count

_UNKNOWN_ID = "tokctl-doctor"  # no token or process has this id
_REST_PROBES: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "process": (("processes",), {"limit": "1"}),
    "token": (("tokens", _UNKNOWN_ID), {}),
    "bpmn": (("bpmn", "processes", _UNKNOWN_ID), {}),
}
_ATOMD_PROBES: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "process": (("processes", "typed"), {"limit": "1"}),
    "token": (("tokens", _UNKNOWN_ID), {}),
    "bpmn": (("bpmn", "processes"), {"limit": "1"}),
    "job": (("jobs",), {"limit": "1"}),
}
_LIMIT_ADVICE = "Its rate limit is used up. Wait a minute, and stop other programs that use the same credential."
_UNAVAILABLE_WITHOUT = {
    "token": "tokens by id alone",
    "bpmn": "process models",
    "job": "workers, retries and timeouts of jobs",
}
"""Permission → what is unavailable without it."""


_UNKNOWN_PERMISSIONS = {
    401: note("none, because no credential is accepted."),
    429: note("unknown, because the server accepts no more requests for now (429).", _LIMIT_ADVICE),
}


class AccessChecks:
    """Checks of the credential, once the server itself has been checked. ``check_credential`` has to be the first."""

    def __init__(self, server: CheckedServer) -> None:
        self.server = server
        self._client: Client | None = None
        self._unreadable = False
        self._has_secret = False

    def check_credential(self) -> CheckResult:
        """Check where the credential comes from, and whether the server accepts it."""
        settings = self.server.settings
        where = format_place(settings.credential)
        facts: dict[str, Any] = {"origin": settings.origins.get("credential"), "exists": False, "accepted": None}
        try:
            secret = self.server.credential()
        except TokctlError as error:
            self._unreadable = True
            return problem(error.message, error.hint, place=where, **facts)
        if secret is not None and settings.credential is None and os.environ.get(API_KEY):
            where = f"env:{API_KEY}"
        facts |= {"place": where, "exists": secret is not None}
        self._has_secret = secret is not None
        there = f"set ({where})" if secret else "not set"
        unknown = f"{there}; not checked, because the server"
        if self.server.health is None:
            return note(f"{unknown} does not respond.", **facts)
        self._client = self.server.create_client(self.server.credential)
        return self._judge_credential(self._send_credential_probe(self._client), secret, where, facts)

    def _judge_credential(
        self, answer: ClientResponse, secret: str | None, where: str, facts: dict[str, Any]
    ) -> CheckResult:
        """Return what a response tells: a credential is accepted only if a wrong one is not."""
        there = f"set ({where})" if secret else "not set"
        unknown = f"{there}; not checked, because the server"
        if answer.status == 429:
            return note(f"{unknown} accepts no more requests for now (429).", _LIMIT_ADVICE, **facts)
        if answer.status == 403:
            return self._explain_forbidden(answer, f"the credential from {where}" if secret else "requests", facts)
        if answer.status != 401 and (answer.status >= 400 or self._is_absent(answer)):
            return note(f"{unknown} returns no processes ({answer.status}).", **facts)
        accepted = answer.status != 401
        if secret is None and accepted:
            return ok("not set; the server requires none.", **facts)
        if accepted and self._send_credential_probe(self._create_wrong_client()).status < 400:
            return note(
                f"{there}; the server accepts any credential from here, so this one was not checked.",
                "This is usual for a loopback address or a server without authentication. Check it from another host.",
                **facts,
            )
        facts["accepted"] = accepted
        if secret is None:
            why = f" {self.server.notes[-1][:1].upper()}{self.server.notes[-1][1:]}" if self.server.notes else ""
            return problem(
                f"not set, but the server requires one.{why}",
                f"Set one with 'tokctl auth login' or in {API_KEY}.",
                **facts,
            )
        if not accepted:
            return problem(
                f"the server rejects the credential from {where}.",
                "It may have expired or been revoked. Set a new one with 'tokctl auth login'.",
                **facts,
            )
        return ok(f"the server accepts the credential from {where}.", **facts)

    def _explain_forbidden(self, answer: ClientResponse, what: str, facts: Mapping[str, Any]) -> CheckResult:
        """Return why a request was forbidden: if a wrong credential is, too, it is not about the credential."""
        detail = parse_error_body(answer.body, answer.headers, answer.mask_secrets).detail
        if self._send_credential_probe(self._create_wrong_client()).status == 403:
            return problem(
                f"the server forbids access from this address (403{detail}).",
                "It may be blocked. Ask the operator of the server, or use another network.",
                **facts,
            )
        return note(
            f"the server forbids {what} to read processes (403{detail}).",
            "Whether it is valid is unknown. Ask for the permission, or use another credential.",
            **facts,
        )

    def _create_wrong_client(self) -> Client:
        """Return a client with a random credential, which no server knows."""
        wrong = f"{_UNKNOWN_ID}-{secrets.token_hex(16)}"
        return self.server.create_client(lambda: wrong)

    def _send_credential_probe(self, client: Client) -> ClientResponse:
        """Send the request that the kind of server refuses without a valid credential."""
        module = import_module(SERVER_ENGINES.get(self.server.kind or "", SERVER_ENGINES["rest"]))
        probe: CredentialProbe = module.CREDENTIAL_PROBE
        return client.get(probe.segments, probe.params, accept=ERROR_STATUSES)

    def check_permissions(self) -> CheckResult:
        """Check what the credential may do, with requests that change nothing."""
        if self.server.health is None:
            return server_unreachable()
        if self._unreadable:
            return note("unknown, because the credential cannot be read.")
        if self.server.kind in BASIC_KINDS:
            return self._check_reading(self.server.kind or "")
        may: dict[str, bool | None] = {}
        granted_permissions = ""
        for permission in self._probes():
            answer = self._send_probe(permission)
            if answer.status in {401, 429}:
                return _UNKNOWN_PERMISSIONS[answer.status]
            is_there = answer.status < 300 or answer.status == 404  # 404: the object that was asked for does not exist
            may[permission] = True if is_there and not self._is_absent(answer) else None
            if answer.status == 403:
                may[permission] = False
            if permission == "process" and answer.status >= 500:
                return problem(f"{answer.url}: server error ({answer.status}).", "Ask the operator of the server.")
            granted_permissions = (
                granted_permissions
                or parse_error_body(answer.body, answer.headers, answer.mask_secrets).granted_permissions
            )
        return self._judge_permissions(may, granted_permissions)

    def _check_reading(self, kind: str) -> CheckResult:
        """Check what the user may read on a server that does not tell permissions: by the numbers that it sees."""
        probes: ReadingProbes = import_module(SERVER_ENGINES[kind]).READING_PROBES
        client = self._client or self.server.client
        numbers: dict[str, int | None] = {}
        refused = None
        for what, probe in probes.probes.items():
            answer = client.get(probe.segments, probe.params, accept=ERROR_STATUSES)
            if answer.status in {401, 429}:
                return _UNKNOWN_PERMISSIONS[answer.status]
            numbers[what] = _read_count(answer)
            if numbers[what] is None:
                detail = parse_error_body(answer.body, answer.headers, answer.mask_secrets).detail
                refused = refused or f"{answer.url}{detail or ': no number'} ({answer.status})"
        found = ", ".join(count(number, what) for what, number in numbers.items() if number is not None)
        facts: dict[str, Any] = {
            "permissions": {f"{what}s": number is not None for what, number in numbers.items()},
            "readable": {f"{what}s": number for what, number in numbers.items()},
        }
        if refused is not None:
            missing = ", ".join(f"{what}s" for what, number in numbers.items() if number is None)
            told = f"can read {found}, but not {missing}" if found else f"cannot read {missing}"
            return problem(f"{told}: {refused}.", "Check the address, or ask for these rights.", **facts)
        if not (probes.hides and self._has_secret):
            return ok(f"can read {found}.", **facts)
        if not numbers["process model"]:
            facts["permissions"] = dict.fromkeys(facts["permissions"])
            return note(
                f"unknown: can read {found}. The server hides what a user may not read.",
                "If there should be some, ask for the right to read process definitions and instances.",
                **facts,
            )
        return ok(f"can read {found}; the server hides what a user may not read.", **facts)

    def _judge_permissions(self, may: Mapping[str, bool | None], granted_permissions: str) -> CheckResult:
        missing = [one for one, allowed in may.items() if allowed is False]
        found = ", ".join(one for one, allowed in may.items() if allowed) or "none of those checked"
        facts: dict[str, Any] = {
            "permissions": may,
            "provided": granted_permissions.split(", ") if granted_permissions else None,
        }
        if may["process"] is None:
            return problem(
                f"{self.server.address.display_address} has no processes endpoint: it is not an engine.",
                "Check the server address, including its path.",
                **facts,
            )
        if "process" in missing:
            return problem(
                f"{found}; 'process' is missing, which all commands require.",
                "Ask for this permission, or use another credential.",
                **facts,
            )
        if missing:
            return note(
                f"{found}; {', '.join(missing)} missing.",
                f"Not available without them: {', '.join(_UNAVAILABLE_WITHOUT[one] for one in missing)}.",
                **facts,
            )
        return ok(f"{found}.", **facts)

    def _probes(self) -> Mapping[str, tuple[tuple[str, ...], dict[str, str]]]:
        return _ATOMD_PROBES if self.server.kind == "atomd" else _REST_PROBES

    def _send_probe(self, permission: str) -> ClientResponse:
        segments, params = self._probes()[permission]
        client = self._client or self.server.client
        return client.get(("api", "v1", *segments), params, accept=ERROR_STATUSES)

    def _is_absent(self, answer: ClientResponse) -> bool:
        """Tell whether the server lacks the endpoint; if it has it, the envelope names the missing object."""
        try:
            document = msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return answer.status < 500
        if answer.status not in {404, 405}:
            return not isinstance(document, dict)
        error = document.get("error") if isinstance(document, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        return code is None or (self.server.kind != "atomd" and code == "NOT_FOUND")


def _read_count(answer: ClientResponse) -> int | None:
    """Return the number in a response, as Camunda (``count``) and Flowable (``total``) send it; None without one."""
    try:
        document = msgspec.json.decode(answer.body) if answer.status < 300 else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    number = document.get("count", document.get("total")) if isinstance(document, dict) else None
    return number if isinstance(number, int) else None
