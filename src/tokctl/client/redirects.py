"""Which redirects are followed: those within the server, as its credential is for no other (RFC 9110, section 15.4).

A request with a body is repeated only if the status keeps its method, which is so for 307 and 308.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from tokctl.errors import UnreachableError, UsageError
from tokctl.server_address import ServerAddress, parse_url
from tokctl.text import one_line

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SEE_OTHER = 303
MAX_REDIRECTS = 5
"""Maximum number of redirects of one request."""

_KEEP_METHOD = frozenset({307, 308})
_TARGET_CHARACTERS = "/%:@!$&'()*+,;=-._~?"


class Redirect(NamedTuple):
    """A response that redirects a request: its status and its header Location."""

    status: int
    location: str


_OPERATOR_HINT = "Check the address, or ask the operator of the server."


class RedirectPolicy(NamedTuple):
    """Decides about the redirects of one server.

    Attributes:
        base: the address of the server.
        given: the address that the user gave, which messages correct.
        mask_secrets: masks the credential, which the server may repeat.
    """

    base: ServerAddress
    given: ServerAddress
    mask_secrets: Callable[[str], str]

    def next_target(self, method: str, targets: Sequence[str], redirect: Redirect) -> str:
        """Return the path and query that a request is redirected to.

        ``targets`` are those of the request so far; the last one was redirected.

        Raises:
            UsageError: to another server, or with a method that is not repeated. The message has the host and the path
                of the location, but no password and no query.
            UnreachableError: in a loop, or too often.
        """
        begin = f"{self.given.display_address} redirects"
        try:
            parts = urlsplit(urljoin(self.base.origin + targets[-1], redirect.location))
            there = parse_url(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        except (ValueError, UsageError):
            raise UsageError(f"{begin} to an invalid address.", "Check the server address.") from None
        path = parts.path or "/"
        shown = one_line(self.mask_secrets(there.origin + path), 200)
        correction = self._correction(there._replace(path=path.rstrip("/")), targets[-1])
        if not _is_same_origin(self.base, there):
            raise self._other_server_error(there, shown, correction)
        if redirect.status not in _KEEP_METHOD and (method != "GET" or redirect.status == SEE_OTHER):
            message = f"{begin} a {method} request to {shown} ({redirect.status}), which is not followed."
            raise UsageError(message, correction or "Check the server address, including its path.")
        target = quote(path + (f"?{parts.query}" if parts.query else ""), safe=_TARGET_CHARACTERS)
        if target in targets:
            raise UnreachableError(f"{begin} in a loop: to {shown}.", _OPERATOR_HINT)
        if len(targets) > MAX_REDIRECTS:
            raise UnreachableError(f"{begin} more than {MAX_REDIRECTS} times, at last to {shown}.", _OPERATOR_HINT)
        return target

    def _other_server_error(self, there: ServerAddress, shown: str, correction: str) -> UsageError:
        begin = f"{self.given.display_address} redirects to {shown}"
        if self.base.host_name == there.host_name and self.base.scheme == "https" and there.scheme == "http":
            return UsageError(
                f"{begin}, which is not encrypted.",
                "Ask its operator to correct this: a server behind a proxy may not know that its scheme is https.",
            )
        if self.base.host_name == there.host_name and correction:
            return UsageError(f"{begin}.", correction)
        return UsageError(
            f"{begin}. Redirects to other servers are not followed, to protect the credential.",
            f"If this is the right server: {correction or 'set its address with --server.'}",
        )

    def _correction(self, there: ServerAddress, target: str) -> str:
        """Return the advice to use the address that leads to the location directly; '' if there is none."""
        asked = target.partition("?")[0].rstrip("/")
        for ending, root in ((asked, self.given.path), (asked.removeprefix(self.base.path), "")):
            if ending and there.path.endswith(ending):
                address = there._replace(path=there.path.removesuffix(ending) + root)
                if address.url != self.given.url:
                    return f"Use --server {one_line(self.mask_secrets(address.url), 200)}"
        return ""


def _is_same_origin(base: ServerAddress, there: ServerAddress) -> bool:
    return (base.scheme, base.host_name, base.effective_port) == (there.scheme, there.host_name, there.effective_port)
