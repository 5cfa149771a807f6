"""API tokens that are declared in a YAML file: reads it, and names the line of each error.

Which types and scopes there are depends on the registry: ``applying`` checks them, and does the rest.

```yaml
apiTokens:
  - name: ci
    scopes: [process, token]
    expires: 90d
    rotateBefore: 14d
    save: env-file:.env#CI_TOKEN
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import yaml
from msgspec import Struct

from tokctl.errors import InputError, UsageError
from tokctl.model.api_tokens import MAX_NAME_LENGTH, READ_ONLY
from tokctl.model.durations import parse_duration
from tokctl.model.networks import validate_networks
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.services.api_tokens.lookup import check_text
from tokctl.text import shorten, suggest

DEFAULT_LIFETIME = timedelta(days=90)
DEFAULT_GRACE = timedelta(hours=24)
MAX_ROTATE_BEFORE = timedelta(days=7)
"""The default of ``rotateBefore`` is a third of the lifetime, and at most this."""
KEYRING = "keyring"
NEVER = "never"
TOP = "apiTokens"

T = TypeVar("T")
Node = yaml.Node


class Declaration(Struct, frozen=True, kw_only=True):
    """A declared API token. Fields that are not in the file have the defaults of ``api-tokens create``.

    It has a ``lifetime`` from its creation or rotation on, or a fixed ``expires_at``; neither means that it never
    expires. It is rotated when it expires within ``rotate_before``; the old one is valid for ``grace`` then. ``scopes``
    is None if the registry chooses. ``save`` is where its secret is. ``lines`` has the lines of its fields in the file.
    """

    line: int
    lines: Mapping[str, int] = {}
    name: str
    type: str = READ_ONLY
    description: str | None = None
    scopes: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] = ()
    disabled: bool = False
    lifetime: timedelta | None = DEFAULT_LIFETIME
    expires_at: datetime | None = None
    rotate_before: timedelta = timedelta()
    grace: timedelta = DEFAULT_GRACE
    save: str = KEYRING

    def line_of(self, field: str) -> int:
        """Return the line of a field; if it is not in the file, of the API token."""
        return self.lines.get(field, self.line)


def parse_declarations(data: bytes, source: str, now: datetime) -> list[Declaration]:
    """Parse the content of a file. Raises InputError, which names ``source`` and the line."""
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"{source}{where}: invalid YAML: {' '.join(reason.split())}.") from None
    if root is None:
        raise InputError(f"{source} is empty.", f"Declare API tokens in the list '{TOP}'.")
    file = _File(source, now)
    top = file.read_mapping(root, (TOP,))
    if TOP not in top:
        raise file.error(root, f"'{TOP}' is missing", f"Declare API tokens in the list '{TOP}'.")
    found: dict[str, Declaration] = {}
    for node in file.read_list(top[TOP]):
        one = file.read_declaration(node)
        if one.name in found:
            raise file.error(node, f"'{one.name}' is declared already, in line {found[one.name].line}", "Remove one.")
        found[one.name] = one
    return [*found.values()]


class _File:
    """Reads the nodes of a file. ``now`` is the start of lifetimes."""

    def __init__(self, source: str, now: datetime) -> None:
        self.source = source
        self.now = now

    def error(self, node: Node, problem: str, hint: str = "") -> InputError:
        return InputError(f"{self.source}, line {node.start_mark.line + 1}: {problem}.", hint)

    def read_declaration(self, node: Node) -> Declaration:
        fields = self.read_mapping(node, _NAMES)
        if "name" not in fields:
            raise self.error(node, "'name' is missing", "Give each API token a name that says who uses it.")
        values = {name: self._read(field, *_READERS[name]) for name, field in fields.items() if name in _READERS}
        values |= self._read_times(fields)
        lines = {_FIELDS[name]: field.start_mark.line + 1 for name, field in fields.items()}
        found = {_FIELDS[name]: value for name, value in values.items()}
        return Declaration(line=node.start_mark.line + 1, lines=lines, **found)

    def _read_times(self, fields: Mapping[str, Node]) -> dict[str, Any]:
        """Return when the API token expires, and when it is rotated."""
        times: dict[str, Any] = {"lifetime": DEFAULT_LIFETIME}
        if "expires" in fields:
            times = self._read(fields["expires"], _read_text, self._parse_expiry)
        lifetime = times["lifetime"]
        default = timedelta() if lifetime is None else min(MAX_ROTATE_BEFORE, lifetime / 3)
        before = self._read(fields["rotateBefore"], _read_text, parse_duration) if "rotateBefore" in fields else default
        if "rotateBefore" in fields and (lifetime is None or before >= lifetime):
            raise self.error(
                fields["rotateBefore"], "'rotateBefore' must be shorter than the lifetime in 'expires'", "Change one."
            )
        return times | {"rotateBefore": before}

    def _parse_expiry(self, text: str) -> dict[str, Any]:
        if text.lower() == NEVER:
            return {"lifetime": None}
        try:
            lifetime = parse_duration(text)
            _ = self.now + lifetime
        except OverflowError:
            raise UsageError(f"'{text}' is after the year 9999.", f"Use '{NEVER}'.") from None
        except UsageError:
            moment = parse_time_or_age(text, self.now).replace(microsecond=0)
            if moment <= self.now:
                raise UsageError(f"'{text}' is in the past.", "Give a future date, or a duration.") from None
            return {"lifetime": None, "expiresAt": moment}
        if not lifetime:
            raise UsageError(f"'{text}' is not a lifetime.", "Give a duration such as 90d.")
        return {"lifetime": lifetime}

    def _read(self, node: Node, read: Callable[[_File, Node], Any], parse: Callable[[Any], T]) -> T:
        value = read(self, node)
        try:
            return parse(value)
        except UsageError as error:
            raise self.error(node, error.message.rstrip("."), error.hint) from None

    def read_mapping(self, node: Node, known: tuple[str, ...]) -> dict[str, Node]:
        """Return the values of a mapping, whose names must be known ones, each once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, "expected a mapping of names to values")
        found: dict[str, Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name not in known:
                problem = f"unknown name '{shorten(name)}'{suggest(name, known)}"
                raise self.error(key, problem, f"Valid: {', '.join(known)}.")
            if name in found:
                raise self.error(key, f"'{name}' appears twice")
            found[name] = value
        return found

    def read_list(self, node: Node) -> list[Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, "expected a list")
        return [*node.value]


def _read_text(file: _File, node: Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
        raise file.error(node, "expected a text")
    return str(node.value).strip()


def _read_texts(file: _File, node: Node) -> list[str]:
    """Read a list of texts, or one text with commas in it."""
    if isinstance(node, yaml.ScalarNode):
        return [text.strip() for text in _read_text(file, node).split(",")]
    return [_read_text(file, item) for item in file.read_list(node)]


def _read_boolean(file: _File, node: Node) -> bool:
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
        raise file.error(node, "expected true or false")
    return node.value.lower() in {"true", "yes", "on"}


def _parse_name(text: str) -> str:
    if not text:
        raise UsageError("'name' is empty.", "Give a name that says who uses the API token.")
    return check_text(text, "'name'", MAX_NAME_LENGTH)


def _parse_scopes(texts: list[str]) -> tuple[str, ...] | None:
    if "" in texts:
        raise UsageError("a scope is empty.", "Remove it, or give its name.")
    return tuple(dict.fromkeys(texts)) or None


_FIELDS = {
    "name": "name",
    "description": "description",
    "type": "type",
    "scopes": "scopes",
    "allowedCidrs": "allowed_cidrs",
    "disabled": "disabled",
    "expires": "expires",
    "rotateBefore": "rotate_before",
    "grace": "grace",
    "save": "save",
    "lifetime": "lifetime",
    "expiresAt": "expires_at",
}
"""Name in the file → field of a Declaration."""
_NAMES = tuple(name for name in _FIELDS if name not in {"lifetime", "expiresAt"})  # ``expires`` is read as these
_READERS: dict[str, tuple[Callable[[_File, Node], Any], Callable[[Any], Any]]] = {
    "name": (_read_text, _parse_name),
    "description": (_read_text, lambda text: check_text(text, "'description'") or None),
    "type": (_read_text, str.lower),
    "scopes": (_read_texts, _parse_scopes),
    "allowedCidrs": (_read_texts, validate_networks),
    "disabled": (_read_boolean, bool),
    "grace": (_read_text, lambda text: timedelta() if text == "0" else parse_duration(text)),
    "save": (_read_text, str),
}
