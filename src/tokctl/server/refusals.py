"""Requests that are not answered as asked: status, code, and the envelope that tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tokctl.errors import NotFoundError, StoreError, TokctlError, UsageError

RETRY_SECONDS = 2  # after a fault of the store
REALM = 'Bearer realm="tokctl"'
_NAMES = {
    400: "ValidationError",
    401: "UnauthorizedError",
    403: "ForbiddenError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    412: "PreconditionFailedError",
    413: "PayloadTooLargeError",
    414: "UriTooLongError",
    415: "UnsupportedMediaTypeError",
    429: "RateLimitError",
    431: "HeadersTooLargeError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class Refusal(Exception):  # noqa: N818 - most of them are the client's
    """An answer other than the one asked for; ``reason`` is for the log alone."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        reason: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details or {}
        self.reason = reason
        self.headers = headers

    def body(self, request_id: str, *, api_tokens: bool = False) -> bytes:
        """The documented envelope of an error; of one below ``/api/api-tokens``, where that is another."""
        if api_tokens:
            return msgspec.json.encode({
                "error": {"status": self.status, "name": _NAMES[self.status], "message": self.message,
                          "details": self.details},
            })  # fmt: skip
        return msgspec.json.encode({
            "success": False,
            "error": {"code": self.code, "message": self.message, "details": self.details},
            "request_id": request_id,
        })  # fmt: skip


def invalid(parameter: str, message: str) -> Refusal:
    """A query parameter that cannot mean anything."""
    return Refusal(400, "VALIDATION_ERROR", message, {"parameter": parameter})


def unknown_instance(instance_id: str) -> Refusal:
    """No instance has this id."""
    return Refusal(404, "PROCESS_INSTANCE_NOT_FOUND", "There is no such process instance.",
                   {"instance_id": instance_id})  # fmt: skip


def unknown_token(token_id: str) -> Refusal:
    """No token has this id."""
    return Refusal(404, "TOKEN_NOT_FOUND", "There is no such token.", {"token_id": token_id})


def later(status: int, code: str, message: str, seconds: int, reason: str = "") -> Refusal:
    """What may be asked again after so many seconds."""
    return Refusal(status, code, message, {"retry_after": seconds}, reason=reason,
                   headers=((b"retry-after", str(seconds).encode()),))  # fmt: skip


def forbidden(message: str, details: dict[str, Any], reason: str, scopes: Iterable[str] = ()) -> Refusal:
    """What a caller may not do; ``scopes`` are those that he would need (RFC 6750, section 3.1)."""
    challenge = f'{REALM}, error="insufficient_scope"'
    if scopes:
        challenge += f', scope="{" ".join(scopes)}"'
    return Refusal(403, "FORBIDDEN", message, details, reason=reason,
                   headers=((b"www-authenticate", challenge.encode()),))  # fmt: skip


def refusal_of(error: TokctlError) -> Refusal:
    """What an error of ours means to a client; the store's own words go to the log alone, for they name files."""
    if isinstance(error, StoreError):
        return later(503, "STORE_UNAVAILABLE", "The store cannot be read at present.", RETRY_SECONDS, str(error))
    if isinstance(error, UsageError):
        return Refusal(400, "VALIDATION_ERROR", str(error))
    if isinstance(error, NotFoundError):
        return Refusal(404, "NOT_FOUND", error.message)
    return Refusal(500, "INTERNAL_ERROR", "The server has failed.", reason=str(error))
