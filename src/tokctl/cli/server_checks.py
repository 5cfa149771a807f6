"""Checks of a server: reachable, trusted, of which kind, at the same time, and what the credential may do there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from tokctl.cli.checks import Finding, note, ok, problem
from tokctl.client import Answer, Client
from tokctl.client.address import Base, parse_url
from tokctl.client.statuses import said
from tokctl.config import Settings
from tokctl.config.settings import API_KEY
from tokctl.engines.opening import shown as address_of
from tokctl.engines.recognise import recognise, remember, remembered
from tokctl.errors import TokctlError
from tokctl.process.model import format_time
from tokctl.process.spell import span
from tokctl.vaults.credentials import Credential, connection_of, shown

SECONDS = 8.0
"""For an answer: less than a check has."""
CLOCK = 2.0
"""Seconds by which two clocks may differ before ages and findings are off."""
EXPIRY = timedelta(days=14)

_ANY = (*range(400, 418), 422, 426, 428, 429, 431, 451, *range(500, 512))
_NOBODY = "tokctl-doctor"  # an id that nothing has
_REST: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "process": (("processes",), {"limit": "1"}),
    "token": (("tokens", _NOBODY), {}),
    "bpmn": (("bpmn", "processes", _NOBODY), {}),
}
_ATOMD: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "process": (("processes", "typed"), {"limit": "1"}),
    "token": (("tokens", _NOBODY), {}),
    "bpmn": (("bpmn", "processes"), {"limit": "1"}),
    "job": (("jobs",), {"limit": "1"}),
}
_WITHOUT = {
    "token": "tokens by their ids alone",
    "bpmn": "process models",
    "job": "workers, retries and timeouts of jobs",
}
"""Permission → what is not to be had without it."""


class ServerChecks:
    """Checks of the server that the settings name. What one found, the next ones know."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self.clock = clock
        self.notes: list[str] = []
        self.kind: str | None = settings.engine_kind
        self._client: Client | None = None
        self._authorised: Client | None = None
        self._health: Answer | None = None
        self._unreadable = False

    def all(self) -> list[tuple[str, Callable[[], Finding]]]:
        """The checks, by name and in order."""
        return [
            ("server", self.reach),
            ("TLS", self.tls),
            ("kind", self.recognise),
            ("clock", self.compare_clocks),
            ("credential", self.credential),
            ("permissions", self.permissions),
        ]

    def close(self) -> None:
        """Close the connections."""
        for client in filter(None, (self._client, self._authorised)):
            client.close()

    @property
    def client(self) -> Client:
        """One that shows no credential: nobody knows yet who is there."""
        if self._client is None:
            self._client = self._make(None)
        return self._client

    def _make(self, secret: str | None) -> Client:
        """One that asks once, and tells nobody of what is checked here anyway."""
        connection = connection_of(self.settings, warn=self.notes.append)
        hurried = replace(
            connection,
            retries=0,
            credential=lambda: secret,
            timeout=min(connection.timeout, SECONDS),
            connect_timeout=min(connection.connect_timeout, SECONDS / 2),
        )
        return Client(hurried, warn=lambda _: None)

    @property
    def base(self) -> Base:
        """The server's address. Raises UsageError."""
        return parse_url(self.settings.server or "")

    # --- the server itself ---

    def reach(self) -> Finding:
        """Whether it answers, and how soon."""
        answer = self._health = self.client.get(("health",), accept=_ANY)
        facts: dict[str, Any] = {
            "url": self.base.shown,
            "elapsed_ms": round(answer.elapsed * 1000, 3),
            "status": answer.status,
        }
        if answer.status == 503:
            return problem("server", f"{self.base.shown} says that it is not well (503).",
                           "Ask who runs it; its store may be locked or full.", **facts)  # fmt: skip
        return ok("server", f"{self.base.shown} answers within {span(answer.elapsed)}.", **facts)

    def tls(self) -> Finding:
        """Whether what is sent there is read by nobody else."""
        base, name = self.base, "TLS"
        if base.scheme == "http":
            if base.is_local:
                return ok(name, "none, and none is needed on this machine.", encrypted=False)
            return problem(name, "none: the credential and all data can be read on the way.",
                           "Use https://, or a tunnel.", encrypted=False)  # fmt: skip
        if self.settings.insecure:
            found = note if base.is_local else problem
            return found(name, "any certificate is trusted, whoever may show it.",
                           "Name its authority's certificate with --ca-file, and leave insecure out.",
                           encrypted=True, trusted=False)  # fmt: skip
        from tokctl.client.proxies import proxy_for

        if proxy_for(base) is not None:
            if self._health is None:
                return _unknown(name)
            return ok(name, "the certificate holds; it was seen through a proxy.", encrypted=True, trusted=True)
        return self._certificate(base)

    def _certificate(self, base: Base) -> Finding:
        import socket
        import ssl

        from tokctl.client.trust import context

        name, trust = "TLS", context(self.settings.ca_file, insecure=False)
        try:
            plain = socket.create_connection((base.host, base.port or 443), SECONDS / 2)
        except OSError:
            return _unknown(name)
        try:
            with plain, trust.wrap_socket(plain, server_hostname=base.host) as secure:
                version, certificate = secure.version(), secure.getpeercert() or {}
        except ssl.SSLCertVerificationError as error:
            return problem(name, f"the certificate does not hold: {error.verify_message.rstrip('.')}.",
                           "Name its authority's certificate with --ca-file, or have the server's renewed.",
                           encrypted=True, trusted=False)  # fmt: skip
        except OSError:
            return problem(name, "no TLS connection can be made.", "Check the address and its port: it may speak http.")
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        left = ends - self.clock()
        found = f"{version}; the certificate holds for another {span(left.total_seconds())}."
        facts: dict[str, Any] = {
            "encrypted": True,
            "trusted": True,
            "version": version,
            "expires_at": format_time(ends),
        }
        return note(name, found, "Have it renewed.", **facts) if left < EXPIRY else ok(name, found, **facts)

    def recognise(self) -> Finding:
        """What kind of server it is: asked anew, and remembered."""
        name = "kind"
        if self._health is None:
            return _unknown(name)
        address, given = address_of(self.client), self.settings.engine_kind
        kind, before = recognise(self.client), remembered(address)
        facts: dict[str, Any] = {"kind": kind, "remembered": before, "given": given}
        if given is not None:
            if given != kind:
                return note(name, f"it looks like {kind}, and {given} is set.",
                            "Leave the engine's kind out, unless you know better.", **facts)  # fmt: skip
            return ok(name, f"{kind}, as is set.", **facts)
        self.kind = kind
        remember(address, kind)
        was = f"; {before} was remembered" if before not in {None, kind} else ""
        return ok(name, f"{kind}{was}.", **facts)

    def compare_clocks(self) -> Finding:
        """How far its clock is from ours: ages, and much of what debug finds, are measured with ours."""
        name = "clock"
        if self._health is None:
            return _unknown(name)
        answer = self.client.get(("health",), accept=_ANY)  # over a connection that is there already
        now = self.clock() - timedelta(seconds=answer.elapsed / 2)
        try:
            # It tells whole seconds, and so is half of one behind in the mean.
            theirs = parsedate_to_datetime(answer.headers["date"]) + timedelta(seconds=0.5)
            apart = (theirs - now).total_seconds()
        except (KeyError, ValueError, TypeError):
            return note(name, "the server does not tell its time.")
        facts: dict[str, Any] = {"difference_ms": round(apart * 1000)}
        if abs(apart) <= CLOCK + answer.elapsed / 2:  # for that long nobody knows when it looked at its clock
            return ok(name, "the server's and ours agree within 2 s.", **facts)
        return note(name, f"the server's is {span(abs(apart))} {'ahead of' if apart > 0 else 'behind'} ours.",
                    "Ages, and what debug finds, are off by as much; have both set by NTP.", **facts)  # fmt: skip

    # --- the credential ---

    def credential(self) -> Finding:
        """Where the credential comes from, and whether the server accepts it."""
        name, settings = "credential", self.settings
        where = shown(settings.credential)
        facts: dict[str, Any] = {"origin": settings.origins.get(name), "exists": False, "accepted": None}
        try:
            secret = Credential(settings.server or "", settings.credential, self.notes.append)()
        except TokctlError as error:
            self._unreadable = True
            return problem(name, error.message, error.hint, place=where, **facts)
        if secret is not None and settings.credential is None and os.environ.get(API_KEY):
            where = f"env:{API_KEY}"
        facts |= {"place": where, "exists": secret is not None}
        there = f"there is one ({where})" if secret else "there is none"
        unknown = f"{there}; whether it is accepted is not known, as the server"
        if self._health is None:
            return note(name, f"{unknown} does not answer.", **facts)
        self._authorised = self._make(secret)
        answer = self._ask("process")
        if answer.status >= 500 or (answer.status not in {401, 403} and self._is_absent(answer)):
            return note(name, f"{unknown} tells of no processes ({answer.status}).", **facts)
        accepted = facts["accepted"] = answer.status != 401
        if secret is None and accepted:
            return ok(name, "there is none, and the server asks for none.", **facts)
        if secret is None:
            why = f" {self.notes[-1][:1].upper()}{self.notes[-1][1:]}" if self.notes else ""
            return problem(name, f"there is none, and the server asks for one.{why}",
                           f"Give one with 'tokctl auth login', or in {API_KEY}.", **facts)  # fmt: skip
        if not accepted:
            return problem(name, f"the server does not accept the one from {where}.",
                           "It may have expired or been revoked; give another with 'tokctl auth login'.",
                           **facts)  # fmt: skip
        return ok(name, f"the server accepts the one from {where}.", **facts)

    def permissions(self) -> Finding:
        """What the credential may do, as far as asking shows: with questions that change nothing."""
        name = "permissions"
        if self._health is None:
            return _unknown(name)
        if self._unreadable:
            return note(name, "not known without the credential.")
        may: dict[str, bool | None] = {}
        has = ""
        for permission in self._probes():
            answer = self._ask(permission)
            if answer.status == 401:
                return note(name, "none without a credential that is accepted.")
            may[permission] = answer.status != 403
            if answer.status >= 500 or (answer.status != 403 and self._is_absent(answer)):
                may[permission] = None
            if permission == "process" and answer.status >= 500:
                return problem(name, f"{answer.url} fails on the server ({answer.status}).", "Ask who runs it.")
            has = has or said(answer.body, answer.headers, answer.hide).has
        missing = [one for one, allowed in may.items() if allowed is False]
        found = ", ".join(one for one, allowed in may.items() if allowed) or "none of those that were tried"
        facts: dict[str, Any] = {"permissions": may, "provided": has.split(", ") if has else None}
        if may["process"] is None:
            return problem(name, f"{self.base.shown} knows no processes: no engine answers there.",
                           "Check the server's address, its path included.", **facts)  # fmt: skip
        if "process" in missing:
            return problem(name, f"{found}; 'process' is missing, without which there is nothing to see.",
                           "Have the credential extended, or use another.", **facts)  # fmt: skip
        if missing:
            return note(name, f"{found}; {', '.join(missing)} missing.",
                        f"Without that there are no {' and no '.join(_WITHOUT[one] for one in missing)}.",
                        **facts)  # fmt: skip
        return ok(name, f"{found}.", **facts)

    def _probes(self) -> Mapping[str, tuple[tuple[str, ...], dict[str, str]]]:
        return _ATOMD if self.kind == "atomd" else _REST

    def _ask(self, permission: str) -> Answer:
        segments, params = self._probes()[permission]
        client = self._authorised or self.client
        return client.get(("api", "v1", *segments), params, accept=_ANY)

    def _is_absent(self, answer: Answer) -> bool:
        """Whether a server has no such endpoint; where it has, it says in the envelope what is missing."""
        try:
            document = msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return answer.status < 500
        if answer.status not in {404, 405}:
            return not isinstance(document, dict)
        error = document.get("error") if isinstance(document, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        return code is None or (self.kind != "atomd" and code == "NOT_FOUND")


def _unknown(check: str) -> Finding:
    return note(check, "not known, as the server does not answer.")
