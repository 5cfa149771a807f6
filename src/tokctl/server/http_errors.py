"""HTTP errors: status, code, and the JSON of the response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tokctl.documents.errors import ApiTokenError, ApiTokenFault, ErrorDocument, FaultDocument
from tokctl.errors import NotFoundError, StoreError, TokctlError, UsageError

RETRY_SECONDS = 2  # after an error of the store
REALM = 'Bearer realm="tokctl"'
_ERROR_NAMES = {
    400: "ValidationError",
    401: "UnauthorizedError",
    403: "ForbiddenError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    411: "LengthRequiredError",
    412: "PreconditionFailedError",
    413: "PayloadTooLargeError",
    414: "UriTooLongError",
    415: "UnsupportedMediaTypeError",
    422: "UnprocessableContentError",
    429: "RateLimitError",
    431: "HeadersTooLargeError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class HTTPError(Exception):
    """An error response. ``reason`` is for the access log only."""

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

    @property
    def closes_connection(self) -> bool:
        """Whether the rest of the request is left unread, so that the connection cannot be reused."""
        return self.status in {408, 411, 413, 414, 431}

    def body(self, request_id: str, *, api_tokens: bool = False) -> bytes:
        """Return the documented JSON of the error; the API-token API has its own format."""
        error: ApiTokenError | ErrorDocument
        if api_tokens:
            name = _ERROR_NAMES[self.status]
            error = ApiTokenError(
                error=ApiTokenFault(status=self.status, name=name, message=self.message, details=self.details)
            )
        else:
            fault = FaultDocument(code=self.code, message=self.message, details=self.details)
            error = ErrorDocument(success=False, error=fault, request_id=request_id)
        return msgspec.json.encode(error)


def invalid_parameter(parameter: str, message: str) -> HTTPError:
    """Return the error for an invalid query parameter."""
    return HTTPError(400, "VALIDATION_ERROR", message, {"parameter": parameter})


def instance_not_found(instance_id: str) -> HTTPError:
    """Return the error for an unknown instance."""
    return HTTPError(404, "PROCESS_INSTANCE_NOT_FOUND", "Process instance not found.", {"instance_id": instance_id})


def token_not_found(token_id: str) -> HTTPError:
    """Return the error for an unknown token."""
    return HTTPError(404, "TOKEN_NOT_FOUND", "Token not found.", {"token_id": token_id})


def target_too_long(limit: int) -> HTTPError:
    """Return the error for a path and query of more than ``limit`` bytes."""
    return HTTPError(414, "URI_TOO_LONG", f"Path and query are too long: the maximum is {limit:,} bytes.")


def head_too_large(limit: int) -> HTTPError:
    """Return the error for a request line and headers of more than ``limit`` bytes."""
    return HTTPError(431, "HEADERS_TOO_LARGE", f"The request headers are too large: the maximum is {limit:,} bytes.")


def body_too_large(limit: int) -> HTTPError:
    """Return the error for a body of more than ``limit`` bytes."""
    return HTTPError(413, "PAYLOAD_TOO_LARGE", f"The body is too large: the maximum is {limit:,} bytes.")


def slow_request() -> HTTPError:
    """Return the error for a request that is not complete in time."""
    return HTTPError(408, "TIMEOUT", "Timeout while receiving the request.", reason="slow request")


def retry_later(status: int, code: str, message: str, seconds: int, reason: str = "") -> HTTPError:
    """Return an error with ``Retry-After``."""
    return HTTPError(
        status,
        code,
        message,
        {"retry_after": seconds},
        reason=reason,
        headers=((b"retry-after", str(seconds).encode()),),
    )


def forbidden(message: str, details: dict[str, Any], reason: str, scopes: Iterable[str] = ()) -> HTTPError:
    """Return the error for a missing permission; ``scopes`` are the required ones (RFC 6750, section 3.1)."""
    challenge = f'{REALM}, error="insufficient_scope"'
    if scopes:
        challenge += f', scope="{" ".join(scopes)}"'
    return HTTPError(
        403, "FORBIDDEN", message, details, reason=reason, headers=((b"www-authenticate", challenge.encode()),)
    )


def to_http_error(error: TokctlError) -> HTTPError:
    """Convert an error for the client; messages of the store contain file names, so they go to the log only."""
    if isinstance(error, StoreError):
        return retry_later(
            503, "STORE_UNAVAILABLE", "The store cannot be read. Try again later.", RETRY_SECONDS, str(error)
        )
    if isinstance(error, UsageError):
        return HTTPError(400, "VALIDATION_ERROR", str(error))
    if isinstance(error, NotFoundError):
        return HTTPError(404, "NOT_FOUND", error.message)
    return HTTPError(500, "INTERNAL_ERROR", "Internal server error.", reason=str(error))
