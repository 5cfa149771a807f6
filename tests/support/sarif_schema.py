"""The part of SARIF 2.1.0's schema (OASIS) that the program's logs need: members that it does not name are none."""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    found = {"type": "object", "additionalProperties": False, "properties": members}
    return found | ({"required": list(required)} if required else {})


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items} | more


_TEXT = {"type": "string"}
_FROM_0 = {"type": "integer", "minimum": -1}
_FROM_1 = {"type": "integer", "minimum": 1}
_BAG = {"type": "object", "properties": {"tags": _list(_TEXT, uniqueItems=True)}}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_MESSAGE = _object(text=_TEXT, markdown=_TEXT, id=_TEXT, arguments=_list(_TEXT)) | {
    "anyOf": [{"required": ["text"]}, {"required": ["id"]}]
}
_MULTIFORMAT = _object(("text",), text=_TEXT, markdown=_TEXT)
_ARTIFACT_LOCATION = _object(
    uri=_TEXT | {"format": "uri-reference"}, uriBaseId=_TEXT, index=_FROM_0, description=_MESSAGE, properties=_BAG
)
_REGION = _object(
    startLine=_FROM_1,
    startColumn=_FROM_1,
    endLine=_FROM_1,
    endColumn=_FROM_1,
    charOffset=_FROM_0,
    charLength={"type": "integer", "minimum": 0},
    byteOffset=_FROM_0,
    byteLength={"type": "integer", "minimum": 0},
    message=_MESSAGE,
    sourceLanguage=_TEXT,
    properties=_BAG,
)
_LOCATION = _object(
    id=_FROM_0,
    message=_MESSAGE,
    properties=_BAG,
    physicalLocation=_object(
        artifactLocation=_ARTIFACT_LOCATION, region=_REGION, contextRegion=_REGION, properties=_BAG
    )
    | {"anyOf": [{"required": ["artifactLocation"]}]},
)
_RULE = _object(
    ("id",),
    id=_TEXT,
    name=_TEXT,
    shortDescription=_MULTIFORMAT,
    fullDescription=_MULTIFORMAT,
    help=_MULTIFORMAT,
    helpUri=_TEXT | {"format": "uri"},
    defaultConfiguration=_object(level=_LEVEL),
    properties=_BAG,
)
_DRIVER = _object(
    ("name",),
    name=_TEXT,
    fullName=_TEXT,
    version=_TEXT,
    semanticVersion=_TEXT,
    rules=_list(_RULE, uniqueItems=True),
    informationUri=_TEXT | {"format": "uri"},
    properties=_BAG,
)
_NOTIFICATION = _object(("message",), message=_MESSAGE, level=_LEVEL, locations=_list(_LOCATION), properties=_BAG)
_RESULT = _object(
    ("message",),
    ruleId=_TEXT,
    ruleIndex=_FROM_0,
    level=_LEVEL,
    message=_MESSAGE,
    locations=_list(_LOCATION),
    kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
    properties=_BAG,
    fingerprints={"type": "object", "additionalProperties": _TEXT},
    partialFingerprints={"type": "object", "additionalProperties": _TEXT},
)
SARIF = _object(
    ("version", "runs"),
    **{"$schema": _TEXT | {"format": "uri"}},
    version={"enum": ["2.1.0"]},
    properties=_BAG,
    runs=_list(
        _object(
            ("tool",),
            tool=_object(("driver",), driver=_DRIVER, properties=_BAG),
            results=_list(_RESULT),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            properties=_BAG,
            invocations=_list(
                _object(
                    ("executionSuccessful",),
                    executionSuccessful={"type": "boolean"},
                    exitCode={"type": "integer"},
                    toolExecutionNotifications=_list(_NOTIFICATION),
                    properties=_BAG,
                )
            ),
        )
    ),
)
