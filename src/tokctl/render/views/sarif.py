"""Leaked secrets as SARIF 2.1.0 (OASIS), which code hosts and editors read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import msgspec

from tokctl import __version__
from tokctl.access.finding import CERTAIN, OTHER, TOKCTL, WRONG_CHECKSUM, XIVERCMS
from tokctl.access.model import EXPIRED, REVOKED
from tokctl.render.result import Document
from tokctl.render.views.scan import SHORT, Leak, Totals
from tokctl.scanner.base import STDIN

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    TOKCTL: "The secret of an API token: its checksum is right.",
    XIVERCMS: "What looks like the secret of a XiverCMS API token.",
    WRONG_CHECKSUM: "What looks like the secret of an API token, with another checksum.",
    OTHER: "What may be the secret of an API token.",
}
_PREFIX = "leaked-api-token"


def sarif(leaks: Sequence[Leak], totals: Totals) -> Iterator[str]:
    """Yield the log: an error for what is live, or certain and nobody was asked; a note for what opens nothing more."""
    before: Counter[str] = Counter()
    forms = list(_RULES)
    run = {
        "tool": {"driver": {
            "name": "tokctl",
            "semanticVersion": __version__,
            "rules": [
                {"id": _rule(form), "shortDescription": {"text": text}, "properties": {"tags": ["security"]}}
                for form, text in _RULES.items()
            ],
        }},
        "invocations": [{
            "executionSuccessful": totals.complete and not totals.unread,
            "toolExecutionNotifications": [
                {"level": "warning", "message": {"text": f"{path} was not searched: {why}"}}
                for path, why in totals.unread
            ],
        }],
        "columnKind": "unicodeCodePoints",
        "results": [_result(leak, forms.index(leak.form), before) for leak in leaks],
    }  # fmt: skip
    yield msgspec.json.format(msgspec.json.encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})).decode()
    yield "\n"


def _rule(form: str) -> str:
    return f"{_PREFIX}/{form}"


def _result(leak: Leak, rule: int, before: Counter[str]) -> Document:
    place = leak.place
    location: Document = {"physicalLocation": {
        "artifactLocation": {"uri": _uri(place.path)} if place.path is not None else {
            "description": {"text": "standard input" if place.kind == STDIN else f"git {place.kind} {place.object}"}
        },
        "region": {
            "startLine": leak.line,
            "startColumn": leak.column,
            "endColumn": leak.column + leak.length,
        },
    }}  # fmt: skip
    if place.object is not None:
        location["properties"] = {
            "repository": place.repository, "commit": place.commit, "object": place.object, "versions": place.versions,
        }  # fmt: skip
    known = "\0".join((leak.form, place.path or place.object or "", leak.secret))  # of the place, not of the secret
    before[known] += 1
    fingerprint = sha256(f"{known}\0{before[known]}".encode()).hexdigest()
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
    since = f", in the history since commit {commit[:SHORT]}" if commit is not None else ""
    state = "nobody was asked whether it is valid" if leak.state is None else f"it is {leak.state}"
    if leak.revoked:
        state = "it was valid, and is revoked now"
    return f"{leak.certainty.capitalize()} secret {leak.secret}{whose}{since}; {state}."


def _uri(path: str) -> str:
    """A path as a URI: relative to where the scan ran, as hosts that keep the repository expect, or absolute."""
    return Path(path).as_uri() if path.startswith("/") else quote(path)
