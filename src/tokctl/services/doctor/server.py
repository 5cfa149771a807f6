"""The checks of a server: reachable, trusted, its kind, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec.structs import replace

from tokctl.api_tokens.vaults.credentials import Credential, resolve_connection
from tokctl.client import Client, ClientResponse
from tokctl.client.credential import SharedCredential
from tokctl.config import Settings
from tokctl.config.remembered_servers import ENGINE_SERVERS
from tokctl.engines.detection import detect_server, remember
from tokctl.errors import TokctlError
from tokctl.kinds import FALLBACK_ENGINE
from tokctl.model.durations import format_duration
from tokctl.model.times import format_time
from tokctl.server_address import ServerAddress, parse_url
from tokctl.services.doctor.results import CheckResult, note, ok, problem

TIMEOUT_SECONDS = 8.0
"""The timeout of each request; less than a check may take."""
ERROR_STATUSES = (*range(400, 418), 422, 426, 428, 429, 431, 451, *range(500, 512))
"""Statuses that are results of a check, not errors."""
MAX_CLOCK_SKEW_SECONDS = 2.0
"""How far two clocks may differ before ages and findings are wrong."""
_ADDRESS_ADVICE = "Check the server address, including its path. 'tokctl engines' lists the kinds of engines."
CERTIFICATE_EXPIRY_WARNING = timedelta(days=14)


class CheckedServer:
    """The server that the settings name.

    ``health`` is its first response, None without one. ``kind`` is its kind and ``url`` the root of its API, if known.
    ``notes`` collects warnings about the credential, which all clients share.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.timeout = TIMEOUT_SECONDS
        self.notes: list[str] = []
        self.kind: str | None = settings.engine_kind
        self.url: str | None = None
        self.credential = SharedCredential(Credential(settings.server or "", settings.credential, self.notes.append))
        self.health: ClientResponse | None = None
        self._clients: list[Client] = []
        self._anonymous_client: Client | None = None

    @property
    def client(self) -> Client:
        """A client that sends no credential: the server is not trusted yet."""
        if self._anonymous_client is None:
            self._anonymous_client = self.create_client(lambda: None)
        return self._anonymous_client

    def create_client(self, credential: Callable[[], str | None]) -> Client:
        """Create a client with this credential, short timeouts and no retries; ``close`` closes it."""
        known = replace(self.settings, engine_kind=self.kind, server=self.url or self.settings.server)
        connection = resolve_connection(known, warn=self.notes.append)
        connection = replace(
            connection,
            retries=0,
            credential=credential,
            timeout=min(connection.timeout, self.timeout),
            connect_timeout=min(connection.connect_timeout, self.timeout / 2),
        )
        client = Client(connection, warn=lambda _: None)  # the checks report these problems
        self._clients.append(client)
        return client

    @property
    def address(self) -> ServerAddress:
        """The address of the server. Raises UsageError."""
        return parse_url(self.settings.server or "")

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()


def server_unreachable() -> CheckResult:
    """Return that a check is impossible because the server does not respond."""
    return note("unknown, because the server does not respond.")


class ServerChecks:
    """Checks of the server itself. ``check_reachable`` has to be the first."""

    def __init__(self, server: CheckedServer, clock: Callable[[], datetime]) -> None:
        self.server = server
        self.clock = clock

    def check_reachable(self) -> CheckResult:
        """Check that the server responds, and how fast."""
        from tokctl.client.proxies import proxy_for

        answer = self.server.health = self.server.client.get(("health",), accept=ERROR_STATUSES)
        shown, proxy = self.server.address.display_address, proxy_for(self.server.address)
        facts: dict[str, Any] = {
            "url": shown,
            "proxy": None if proxy is None else str(proxy),
            "elapsed_ms": round(answer.elapsed * 1000, 3),
            "status": answer.status,
        }
        if answer.status == 503:
            return problem(
                f"{shown} reports that it is unhealthy (503).",
                "Ask the operator of the server. Its store may be locked or full.",
                **facts,
            )
        way = f" through the proxy {proxy}" if proxy else ""
        return ok(f"{shown} responds in {format_duration(answer.elapsed)}{way}.", **facts)

    def check_tls(self) -> CheckResult:
        """Check that the connection is encrypted and the certificate valid."""
        base = self.server.address
        if base.scheme == "http":
            if base.is_local:
                return ok("no TLS; not needed on this machine.", encrypted=False)
            return problem(
                "no TLS: others on the network can read the credential and all data.",
                "Use https:// or a tunnel.",
                encrypted=False,
            )
        if self.server.settings.insecure:
            found = note if base.is_local else problem
            return found(
                "the certificate is not verified (insecure).",
                "Give the certificate of the authority with --ca-file, and remove insecure.",
                encrypted=True,
                trusted=False,
            )
        from tokctl.client.certificates import describe_trust
        from tokctl.client.proxies import proxy_for

        trust = describe_trust(self.server.settings.ca_file)
        proxy = proxy_for(base)
        if proxy is None:
            return self._certificate(base, trust)
        if self.server.health is None:
            return server_unreachable()
        verdict = f"the certificate is valid (checked through the proxy {proxy}); trusted certificates: {trust}."
        return ok(verdict, encrypted=True, trusted=True, trusted_certificates=trust)

    def _certificate(self, base: ServerAddress, trust: str) -> CheckResult:
        import socket
        import ssl

        from tokctl.client.certificates import create_ssl_context
        from tokctl.client.connection_failures import Route

        context = create_ssl_context(self.server.settings.ca_file, insecure=False)
        facts: dict[str, Any] = {"encrypted": True, "trusted": False, "trusted_certificates": trust}
        try:
            plain = socket.create_connection((base.host, base.effective_port), self.server.timeout / 2)
        except OSError:
            return server_unreachable()
        try:
            with plain, context.wrap_socket(plain, server_hostname=base.host_name) as secure:
                version, certificate = secure.version(), secure.getpeercert() or {}
        except ssl.SSLCertVerificationError as error:
            return problem(
                f"the certificate is not valid: {error.verify_message.rstrip('.')}; trusted certificates: {trust}.",
                "Give the certificate of the authority with --ca-file, or renew the certificate of the server.",
                **facts,
            )
        except OSError:
            advice = (
                f"Check the address and the port. The server may use http: {Route(base, None).with_scheme('http')}."
            )
            return problem("the TLS connection failed.", advice)
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        left = format_duration((ends - self.clock()).total_seconds())
        found = f"{version}; the certificate expires in {left}; trusted certificates: {trust}."
        facts |= {"trusted": True, "version": version, "expires_at": format_time(ends)}
        if ends - self.clock() < CERTIFICATE_EXPIRY_WARNING:
            return note(found, "Renew it.", **facts)
        return ok(found, **facts)

    def check_kind(self) -> CheckResult:
        """Detect the kind of the server, and remember it."""
        if self.server.health is None:
            return server_unreachable()
        address, given = self.server.address, self.server.settings.engine_kind
        found = ENGINE_SERVERS.load(address.display_address)
        before = None if found is None else found.kind
        detected = detect_server(self.server.create_client(self._choose_credential()).connection, address)
        kind = detected.kind
        facts: dict[str, Any] = {"kind": kind, "remembered": before, "given": given}
        if given is not None:
            if given != kind and detected.recognized:
                return note(
                    f"it looks like {kind}, but {given} is set.",
                    "Remove --engine-kind, unless you are sure.",
                    **facts,
                )
            self.server.url = detected.url
            if not detected.recognized and given != FALLBACK_ENGINE:
                return note(f"{given}, as set; the server is not recognized as one.", _ADDRESS_ADVICE, **facts)
            return ok(f"{given}, as set.", **facts)
        self.server.kind, self.server.url = kind, detected.url
        remember(address, detected)
        if not detected.recognized:
            return note(f"not recognized; used as {kind}, which tokctl assumes then.", _ADDRESS_ADVICE, **facts)
        was = f"; {before} was remembered" if before not in {None, kind} else ""
        return ok(f"{kind}{was}.", **facts)

    def _choose_credential(self) -> Callable[[], str | None]:
        """Return the credential; none if it cannot be read, which is the finding of another check."""
        try:
            self.server.credential()
        except TokctlError:
            return lambda: None
        return self.server.credential

    def check_clock(self) -> CheckResult:
        """Compare the server's clock with the local one, which ages and the findings of debug are measured with."""
        if self.server.health is None:
            return server_unreachable()
        # The connection is open already; to open one would count as a difference.
        answer = self.server.client.get(("health",), accept=ERROR_STATUSES)
        now = self.clock() - timedelta(seconds=answer.elapsed / 2)
        try:
            # The header has whole seconds: on average it is half a second late.
            theirs = parsedate_to_datetime(answer.headers["date"]) + timedelta(seconds=0.5)
            apart = (theirs - now).total_seconds()
        except (KeyError, ValueError, TypeError):
            return note("the server does not report its time.")
        facts: dict[str, Any] = {"difference_ms": round(apart * 1000)}
        # It is unknown when the server read its clock: between the request and the response.
        if abs(apart) <= MAX_CLOCK_SKEW_SECONDS + answer.elapsed / 2:
            return ok("the server clock and the local clock agree within 2 s.", **facts)
        return note(
            f"the server clock is {format_duration(abs(apart))} {'ahead of' if apart > 0 else 'behind'} local time.",
            "Ages and the findings of debug are wrong by this amount. Use NTP on both machines.",
            **facts,
        )
