"""Leaked secrets as SARIF 2.1.0 (OASIS), a format that code hosts and editors read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tokctl.api_tokens.detection import CERTAIN, OTHER, TOKCTL, WRONG_CHECKSUM, XIVERCMS
from tokctl.api_tokens.encodings import TEXT_ENCODINGS
from tokctl.api_tokens.scanner import STDIN
from tokctl.model.api_tokens import EXPIRED, REVOKED
from tokctl.render.text import SHORT_HASH_LENGTH
from tokctl.services.api_tokens.scan import Leak, ScanTotals
from tokctl.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    TOKCTL: "The secret of an API token: its checksum is right.",
    XIVERCMS: "Text in the form of a XiverCMS API token secret.",
    WRONG_CHECKSUM: "Text in the form of an API token secret, with a different checksum.",
    OTHER: "Possible secret of an API token.",
}
_PREFIX = "leaked-api-token"


def sarif(leaks: Sequence[Leak], totals: ScanTotals) -> Iterator[str]:
    """Yield the log. Live secrets are errors, and certain ones of unknown state; expired and revoked ones are notes."""
    occurrences: Counter[str] = Counter()
    forms = list(_RULES)
    run = {
        "tool": {
            "driver": {
                "name": "tokctl",
                "semanticVersion": __version__,
                "rules": [
                    {"id": _rule(form), "shortDescription": {"text": text}, "properties": {"tags": ["security"]}}
                    for form, text in _RULES.items()
                ],
            }
        },
        "invocations": [
            {
                "executionSuccessful": totals.complete and not totals.unread,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": f"{path} was not searched: {why}"}}
                    for path, why in totals.unread
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(leak, forms.index(leak.form), occurrences) for leak in leaks],
    }
    yield msgspec.json.format(msgspec.json.encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})).decode()
    yield "\n"


def _rule(form: str) -> str:
    return f"{_PREFIX}/{form}"


def _result(leak: Leak, rule: int, occurrences: Counter[str]) -> dict[str, Any]:
    place = leak.place
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(place.path)}
            if place.path is not None
            else {
                "description": {"text": "standard input" if place.kind == STDIN else f"git {place.kind} {place.object}"}
            },
        }
    }
    if leak.member is None and not leak.encodings:
        location["physicalLocation"]["region"] = {
            "startLine": leak.line,
            "startColumn": leak.column,
            "endColumn": leak.column + leak.length,
        }
    elif leak.member is None and leak.encodings[0] in TEXT_ENCODINGS:
        location["physicalLocation"]["region"] = {"startLine": leak.line, "startColumn": leak.column}
    if place.object is not None:
        location["properties"] = {
            "repository": place.repository,
            "commit": place.commit,
            "object": place.object,
            "versions": place.versions,
        }
    # The fingerprint identifies the location, not the secret: ``leak.secret`` is masked.
    known = "\0".join((leak.form, place.path or place.object or "", *filter(None, (leak.member,)), leak.secret))
    occurrences[known] += 1
    fingerprint = sha256(f"{known}\0{occurrences[known]}".encode()).hexdigest()
    return {
        "ruleId": _rule(leak.form),
        "ruleIndex": rule,
        "level": _level(leak),
        "message": {"text": _message(leak)},
        "locations": [location],
        "partialFingerprints": {"leakedApiToken/v1": fingerprint},
        "properties": {
            "certainty": leak.certainty,
            "state": leak.state,
            "tokenId": None if leak.token is None else leak.token.id,
            "revoked": leak.revoked,
        },
    }


def _level(leak: Leak) -> str:
    if leak.live or (leak.state is None and leak.certainty == CERTAIN):
        return "error"
    return "note" if leak.state in {EXPIRED, REVOKED} else "warning"


def _message(leak: Leak) -> str:
    whose = "" if leak.token is None else f" of API token {leak.token.id} '{leak.token.name}'"
    commit = leak.place.commit
    since = f", in the history since commit {commit[:SHORT_HASH_LENGTH]}" if commit is not None else ""
    state = "its state was not checked" if leak.state is None else f"it is {leak.state}"
    if leak.revoked:
        state = "it was valid and has been revoked"
    if leak.candidates:
        whose = f" of API token {' or '.join(str(one.id) for one in leak.candidates)}"
    place = f"{leak.member}:{leak.line}:{leak.column}" if leak.member else f"line {leak.line}"
    inside = f" in {place} ({', '.join(leak.encodings)})" if leak.encodings else ""
    return f"{leak.certainty.capitalize()} secret {leak.secret}{whose}{inside}{since}; {state}."


def _uri(path: str) -> str:
    """Return a path as a URI; relative paths stay relative, as code hosts expect them for files of the repository."""
    return Path(path).as_uri() if path.startswith("/") else quote(path)
