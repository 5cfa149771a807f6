"""The OpenAPI 3.1 document, made of the endpoints, their parameters and the shapes of answers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tokctl import __version__
from tokctl.server.bodies import FORM, JSON
from tokctl.server.routes import Endpoint, Operation, Resource, Route, Service
from tokctl.server.schemas import SCHEMAS
from tokctl.server.schemas_api_tokens import API_TOKEN_SCHEMAS

_REF = "#/components/schemas/{name}"
_FAULTS = {
    304: "The client has this version already (If-None-Match).",
    400: "A query parameter is wrong: VALIDATION_ERROR, with details.parameter.",
    401: "There is no valid API token: UNAUTHORIZED.",
    403: "The API token does not allow this: FORBIDDEN, with details.required_permission.",
    404: "It is not there: PROCESS_INSTANCE_NOT_FOUND, TOKEN_NOT_FOUND, DEFINITION_NOT_FOUND or NOT_FOUND.",
    405: "Another method than GET, HEAD or OPTIONS: METHOD_NOT_ALLOWED.",
    409: "Several process instances have such a token: CONFLICT, with details.instances.",
    413: "The body is too large: PAYLOAD_TOO_LARGE.",
    414: "Path and query are too long: URI_TOO_LONG.",
    429: "Too many failed attempts: RATE_LIMITED, with details.retry_after in seconds.",
    431: "The head of the request is too large: HEADERS_TOO_LARGE.",
    500: "The server has failed: INTERNAL_ERROR.",
    503: "The store cannot be read (STORE_UNAVAILABLE), or too much is asked at once (OVERLOADED, TIMEOUT).",
}
_API_TOKEN_FAULTS = {
    400: "A query parameter, the body or a member of it is wrong: ValidationError, with details.",
    401: "There is no valid API token and no valid JWT: UnauthorizedError.",
    403: "The caller may not do this, or gives what he does not hold: ForbiddenError, with details.",
    404: "There is no such API token: NotFoundError.",
    405: "The path has no such method: MethodNotAllowedError, with details.allowed.",
    409: "The API token was changed at the same moment: ConflictError.",
    412: "The API token is not the version that If-Match names: PreconditionFailedError.",
    413: "The body is too large: PayloadTooLargeError.",
    414: "Path and query are too long: UriTooLongError.",
    415: "The body is of another kind: UnsupportedMediaTypeError.",
    429: "Too many failed attempts: RateLimitError, with details.retry_after in seconds.",
    431: "The head of the request is too large: HeadersTooLargeError.",
    500: "The server has failed: InternalServerError.",
    503: "The store cannot be read or written at present: ServiceUnavailableError.",
}
_OPEN = (400, 405, 413, 414, 431, 500)
_GUARDED = (400, 401, 403, 405, 413, 414, 429, 431, 500, 503)
_SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}]
_OR_JWT = [*_SECURITY, {"jwt": []}]
_SECRET = "The secret of an API token"  # noqa: S105 - it is none
_REQUEST_ID = {
    "description": "The request's id: the one that was sent in X-Request-ID, or one of the server's.",
    "schema": {"type": "string"},
}
_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}
_FAULT = {JSON: {"schema": {"$ref": _REF.format(name="Error")}}}
_API_TOKEN_FAULT = {JSON: {"schema": {"$ref": _REF.format(name="ApiTokenError")}}}
_MORE_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    429: _RETRY,
    503: _RETRY,
}


def openapi_document(endpoints: tuple[Route, ...]) -> bytes:
    """Return the document as JSON."""
    _, components = msgspec.json.schema_components((*SCHEMAS, *API_TOKEN_SCHEMAS), ref_template=_REF)
    for name in ("Definition", "Element", "SequenceFlow"):
        components[name].pop("additionalProperties", None)
    paths = {one.path: _resource(one) if isinstance(one, Resource) else _path(one) for one in endpoints}
    return msgspec.json.encode({
        "openapi": "3.1.0",
        "info": {
            "title": "tokctl",
            "version": __version__,
            "description": "Process tokens of BPMN process instances, in an envelope with a request id; "
            "X-Query-Applied names the query parameters that were honoured. And the API tokens that open all this, "
            "below /api/api-tokens, where answers have no envelope and errors one of their own.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": _SECURITY,
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": f"{_SECRET}."},
                "bearer": {"type": "http", "scheme": "bearer",
                           "description": f"{_SECRET}; it may also stand in Authorization alone."},
                "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                        "description": "A JWT of a user, where the server has a key for it."},
            },
        },
    })  # fmt: skip


def _path(endpoint: Endpoint | Service) -> dict[str, Any]:
    ids = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
         "description": "An id, exactly; every sign that is none of a path's own is percent-encoded, / among them."}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]  # fmt: skip
    operation = {
        "operationId": endpoint.name,
        "summary": endpoint.text.partition(". ")[0].partition(": ")[0].rstrip(".") + ".",
        "description": endpoint.text + _needs(endpoint),
        "parameters": [parameter.described() for parameter in endpoint.parameters.values()],
        "security": _SECURITY if endpoint.permissions else [],
        "responses": _responses(endpoint, body=True),
    }
    head = operation | {
        "operationId": f"{endpoint.name}Head",
        "description": "The head of the answer to GET.",
        "responses": _responses(endpoint, body=False),
    }
    return {"parameters": ids, "get": operation, "head": head}


def _resource(resource: Resource) -> dict[str, Any]:
    ids = [
        {"name": name, "in": "path", "required": True, "description": "The id of an API token.",
         "schema": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}}
        for name in re.findall(r"\{(\w+)\}", resource.path)
    ]  # fmt: skip
    described: dict[str, Any] = {"parameters": ids}
    for method, operation in resource.operations.items():
        described[method.lower()] = one = _operation(operation)
        if method == "GET":
            described["head"] = one | {
                "operationId": f"{operation.name}Head",
                "description": "The head of the answer to GET.",
                "responses": {status: {name: value for name, value in response.items() if name != "content"}
                              for status, response in one["responses"].items()},
            }  # fmt: skip
    return described


def _operation(operation: Operation) -> dict[str, Any]:
    parameters = [parameter.described() for parameter in operation.parameters.values()]
    headers: dict[str, Any] = {"X-Request-ID": _REQUEST_ID}
    if 412 in operation.faults:
        parameters.append({"name": "If-Match", "in": "header", "required": False, "schema": {"type": "string"},
                           "description": "The ETag of the version that is expected."})  # fmt: skip
    statuses = {*_GUARDED, *operation.faults}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.text.partition(". ")[0].partition(": ")[0].rstrip(".") + ".",
        "description": f"{operation.text} Permission: {' or '.join(operation.permissions)}.",
        "parameters": parameters,
        "security": _OR_JWT,
    }
    if operation.body is not None:
        statuses.add(415)
        kinds = {JSON: operation.body, FORM: operation.form}
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": {"$ref": _REF.format(name=shape.__name__)}}
                        for kind, shape in kinds.items() if shape is not None},
        }  # fmt: skip
    told = {"description": "The answer.", "headers": headers,
            "content": {JSON: {"schema": {"$ref": _REF.format(name=operation.schema)}}}}  # fmt: skip
    described["responses"] = {str(operation.status): told} | {
        str(status): {"description": _API_TOKEN_FAULTS[status], "headers": headers | _MORE_HEADERS.get(status, {}),
                      "content": _API_TOKEN_FAULT}
        for status in sorted(statuses)
    }  # fmt: skip
    return described


def _needs(endpoint: Endpoint | Service) -> str:
    if not endpoint.permissions:
        return " No API token is needed."
    return f" Permission: {' or '.join(endpoint.permissions)}."


def _responses(endpoint: Endpoint | Service, *, body: bool) -> dict[str, Any]:
    headers = {"X-Request-ID": _REQUEST_ID}
    told = headers
    statuses = {*(_GUARDED if endpoint.permissions else _OPEN), *endpoint.faults}
    if isinstance(endpoint, Endpoint):
        told = headers | {
            "ETag": {"description": "The version of the answer, where it has one.", "schema": {"type": "string"}},
            "X-Query-Applied": {"description": "The query parameters that were honoured.",
                                "schema": {"type": "string"}},
        }  # fmt: skip
        statuses.add(304)
    good: dict[str, Any] = {"description": "The answer.", "headers": told}
    if body:
        good["content"] = _content(endpoint)
    responses = {"200": good}
    for status in sorted(statuses):
        text = _FAULTS[status]
        response: dict[str, Any] = {"description": text, "headers": headers | _MORE_HEADERS.get(status, {})}
        if body and status != 304:
            response["content"] = _FAULT
        responses[str(status)] = response
    return responses


def _content(endpoint: Endpoint | Service) -> dict[str, Any]:
    if not endpoint.schema:
        return {"text/plain": {"schema": {"type": "string"}}}
    if endpoint.schema == "OpenApi":
        return {"application/json": {"schema": {"type": "object"}}}
    return {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["success", "data", "request_id"],
                "properties": {
                    "success": {"const": True},
                    "data": {"$ref": _REF.format(name=endpoint.schema)},
                    "request_id": {"type": "string"},
                },
            }
        }
    }
