"""The OpenAPI 3.1 document, generated from the endpoints, their parameters and the schemas of documents."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tokctl.api_tokens.idempotency import IDEMPOTENCY_KEY, MAX_KEY_LENGTH, MIN_KEY_LENGTH
from tokctl.documents.api_tokens import ApiTokenDocument, ApiTokenList, Introspection, MessageDocument
from tokctl.documents.audit import AuditEntries
from tokctl.documents.definitions import DurationsDocument
from tokctl.documents.errors import ApiTokenError, ErrorDocument, HealthDocument
from tokctl.documents.instances import InstanceDetail, InstanceList
from tokctl.documents.tokens import FoundTokens, StandaloneToken, TokenList
from tokctl.documents.trace import TraceDocument
from tokctl.model.api_tokens import EXPIRES_HEADER, EXPIRY_NOTICE
from tokctl.model.definitions import Definition
from tokctl.server.endpoint import Endpoint, Resource, group_by_path
from tokctl.server.request_bodies import (
    FORM,
    JSON,
    ApiTokenChanges,
    IntrospectionBody,
    IntrospectionForm,
    NewApiTokenBody,
)
from tokctl.version import __version__

_REF = "#/components/schemas/{name}"
_DOCUMENTS = (
    TokenList,
    StandaloneToken,
    FoundTokens,
    InstanceDetail,
    InstanceList,
    TraceDocument,
    Definition,
    DurationsDocument,
    HealthDocument,
    ErrorDocument,
    ApiTokenDocument,
    ApiTokenList,
    MessageDocument,
    Introspection,
    AuditEntries,
    ApiTokenError,
)
_REQUEST_BODIES = (NewApiTokenBody, ApiTokenChanges, IntrospectionBody, IntrospectionForm)
_FAULTS = {
    304: "The client already has this version (If-None-Match).",
    400: "Invalid query parameter: VALIDATION_ERROR, with details.parameter.",
    401: "No valid API token: UNAUTHORIZED.",
    403: "The API token does not allow this: FORBIDDEN, with details.required_permission.",
    404: "Not found: PROCESS_INSTANCE_NOT_FOUND, TOKEN_NOT_FOUND, DEFINITION_NOT_FOUND or NOT_FOUND.",
    405: "The method is not GET, HEAD or OPTIONS: METHOD_NOT_ALLOWED.",
    409: "Several process instances have a token with this id: CONFLICT, with details.instances.",
    411: "The body has no Content-Length: LENGTH_REQUIRED.",
    413: "The body is too large: PAYLOAD_TOO_LARGE.",
    414: "Path and query are too long: URI_TOO_LONG.",
    429: "Too many failed attempts: RATE_LIMITED, with details.retry_after in seconds.",
    431: "The request headers are too large: HEADERS_TOO_LARGE.",
    500: "Internal error: INTERNAL_ERROR.",
    503: "The store cannot be read (STORE_UNAVAILABLE), or the server is overloaded (OVERLOADED, TIMEOUT).",
}
_API_TOKEN_FAULTS = {
    400: "Invalid query parameter, body or member of the body: ValidationError, with details.",
    401: "No valid API token and no valid JWT: UnauthorizedError.",
    403: "The caller lacks the permission, or a scope to be granted: ForbiddenError, with details.",
    404: "No such API token: NotFoundError.",
    405: "The path does not have this method: MethodNotAllowedError, with details.allowed.",
    409: "Another request changed the API token, or its secret cannot be repeated any more: ConflictError.",
    411: "The body has no Content-Length: LengthRequiredError.",
    412: "The API token has another version than If-Match expects: PreconditionFailedError.",
    413: "The body is too large: PayloadTooLargeError.",
    414: "Path and query are too long: UriTooLongError.",
    415: "The content type is not supported: UnsupportedMediaTypeError.",
    422: "Idempotency-Key was used for another API token: UnprocessableContentError, with details.id.",
    429: "Too many failed attempts: RateLimitError, with details.retry_after in seconds.",
    431: "The request headers are too large: HeadersTooLargeError.",
    500: "Internal error: InternalServerError.",
    503: "The store cannot be read or written: ServiceUnavailableError.",
}
_OPEN = (400, 405, 411, 413, 414, 431, 500)
_GUARDED = (400, 401, 403, 405, 411, 413, 414, 429, 431, 500, 503)
_SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}]
_OR_JWT = [*_SECURITY, {"jwt": []}]
_SECRET = "The secret of an API token"  # noqa: S105 - not a secret
_REQUEST_ID = {
    "description": "The request id: the value of X-Request-ID in the request, or a generated one.",
    "schema": {"type": "string"},
}
_EXPIRES = {
    "description": f"When the API token of the request expires, in its last {EXPIRY_NOTICE.days} days.",
    "schema": {"type": "string", "format": "date-time"},
}
_RETRY = {"Retry-After": {"description": "When to retry, in seconds.", "schema": {"type": "integer", "minimum": 0}}}
_VERSION_HEADERS = {
    "ETag": {"description": "The version of the response, if it has one.", "schema": {"type": "string"}},
    "X-Query-Applied": {"description": "The query parameters that were applied.", "schema": {"type": "string"}},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The ETag of the expected version.",
}
_IDEMPOTENCY_KEY = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": MIN_KEY_LENGTH, "maxLength": MAX_KEY_LENGTH},
    "description": "A random text, such as a UUID, that makes the request safe to repeat.",
}
_MORE_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    429: _RETRY,
    503: _RETRY,
}


def make_openapi_document(endpoints: tuple[Endpoint, ...]) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "tokctl",
                "version": __version__,
                "description": "Process tokens of BPMN process instances, and the API tokens that protect them. "
                "Responses have an envelope with a request id, except those below /api/api-tokens, which also have "
                "another error format. X-Query-Applied lists the query parameters that were applied.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": _SECURITY,
            "paths": {resource.path: _describe_resource(resource) for resource in group_by_path(endpoints)},
            "components": {
                "schemas": _make_schemas(),
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": f"{_SECRET}."},
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": f"{_SECRET}. Authorization may also contain it without 'Bearer'.",
                    },
                    "jwt": {
                        "type": "http",
                        "scheme": "bearer",
                        "bearerFormat": "JWT",
                        "description": "A JWT of a user, if the server has a key to verify it.",
                    },
                },
            },
        }
    )


def _make_schemas() -> dict[str, Any]:
    """Return the JSON schema of every document by its name without the suffix ``Document``."""
    _, schemas = msgspec.json.schema_components((*_DOCUMENTS, *_REQUEST_BODIES), ref_template=_REF)
    text = re.sub(rb'("(?:title|[$]ref)":"[^"]*?)Document"', rb'\1"', msgspec.json.encode(schemas))
    named: dict[str, dict[str, Any]] = msgspec.json.decode(text)
    return {name.removesuffix("Document"): schema for name, schema in named.items()}


def _refer_to(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _describe_resource(resource: Resource) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", resource.path)
    endpoints = resource.endpoints
    is_api_tokens = all(endpoint.is_api_tokens for endpoint in endpoints.values())
    described: dict[str, Any] = {"parameters": [_describe_path_parameter(name, is_api_tokens) for name in names]}
    for method, endpoint in endpoints.items():
        described[method.lower()] = operation = _describe_operation(endpoint)
        if method == "GET":
            described["head"] = operation | {
                "operationId": f"{endpoint.name}Head",
                "description": "The status and headers of the response to GET.",
                "responses": {
                    status: {name: value for name, value in response.items() if name != "content"}
                    for status, response in operation["responses"].items()
                },
            }
    return described


def _describe_path_parameter(name: str, is_api_tokens: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "in": "path", "required": True}
    if is_api_tokens:
        described["description"] = "The id of an API token."
        described["schema"] = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
    else:
        described["schema"] = {"type": "string", "minLength": 1}
        described["description"] = "A complete id; percent-encode reserved characters, including /."
    return described


def _describe_operation(endpoint: Endpoint) -> dict[str, Any]:
    names = " or ".join(endpoint.permissions)
    permissions = f"Permission: {names}." if names else "No API token is required."
    parameters = [parameter.describe() for parameter in endpoint.parameters.values()]
    if 412 in endpoint.errors:
        parameters.append(_IF_MATCH)
    if 422 in endpoint.errors:
        parameters.append(_IDEMPOTENCY_KEY)
    described: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.text.partition(". ")[0].partition(": ")[0].rstrip(".") + ".",
        "description": f"{endpoint.text} {permissions}",
        "parameters": parameters,
        "security": _OR_JWT if endpoint.is_api_tokens else _SECURITY if endpoint.permissions else [],
    }
    if endpoint.body is not None:
        kinds = {JSON: endpoint.body, FORM: endpoint.form}
        described["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": _refer_to(shape.__name__)} for kind, shape in kinds.items() if shape is not None
            },
        }
    described["responses"] = _describe_responses(endpoint)
    return described


def _describe_responses(endpoint: Endpoint) -> dict[str, Any]:
    headers = {"X-Request-ID": _REQUEST_ID} | ({EXPIRES_HEADER: _EXPIRES} if endpoint.permissions else {})
    statuses = {*(_GUARDED if endpoint.permissions else _OPEN), *endpoint.errors}
    if endpoint.body is not None:
        statuses.add(415)
    if endpoint.is_versioned:
        statuses.add(304)
    texts, schema = (_API_TOKEN_FAULTS, "ApiTokenError") if endpoint.is_api_tokens else (_FAULTS, "Error")
    good = {
        "description": "Success.",
        "headers": headers | _VERSION_HEADERS if endpoint.is_versioned else headers,
        "content": _describe_content(endpoint),
    }
    responses: dict[str, Any] = {str(endpoint.status): good}
    for status in sorted(statuses):
        response = {"description": texts[status], "headers": headers | _MORE_HEADERS.get(status, {})}
        if status != 304:
            response["content"] = {JSON: {"schema": _refer_to(schema)}}
        responses[str(status)] = response
    return responses


def _describe_content(endpoint: Endpoint) -> dict[str, Any]:
    if not endpoint.schema:
        return {"text/plain": {"schema": {"type": "string"}}}
    if endpoint.schema == "OpenApi":
        return {JSON: {"schema": {"type": "object"}}}
    if endpoint.is_api_tokens:
        return {JSON: {"schema": _refer_to(endpoint.schema)}}
    envelope = {
        "type": "object",
        "required": ["success", "data", "request_id"],
        "properties": {
            "success": {"const": True},
            "data": _refer_to(endpoint.schema),
            "request_id": {"type": "string"},
        },
    }
    return {JSON: {"schema": envelope}}
