"""Changes a configuration's text where a setting stands, and nowhere else: comments, order and style stay.

The places come from the marks of PyYAML's nodes. (A writer of whole documents, such as ruamel.yaml, was
weighed: it drops the comment above a name when the name before it goes, and indents everything anew.)
Whoever changes a text reads it again and compares: see ``changed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from tokctl.config.file import document_of
from tokctl.errors import InputError

Parts = tuple[str, ...]
STEP = 2  # columns that a section is indented by, where nothing shows what the writer likes


class _Pair(Struct, frozen=True):
    """A name and its value in the text: all its parts from the top, how many of them stand in the mappings above."""

    parts: Parts
    above: int
    key: Any
    value: Any
    mapping: Any


def changed(text: str, file: Path, edit: Callable[[str], str], expect: Callable[[dict[str, Any]], None]) -> str:
    """Return the edited text, once it is certain that it says what it should.

    ``expect`` makes the same change to the document that the text stands for.

    Raises:
        InputError: the text is no YAML, or is written in a way (anchors, several documents) in which the change
            would touch more than it should.
    """
    document = document_of(text.encode(), str(file))
    wanted = deepcopy(document)
    expect(wanted)
    try:
        new = edit(text)
        same = _plain(document_of(new.encode(), str(file))) == _plain(wanted)
    except (InputError, RecursionError, yaml.YAMLError):
        same = False
    if not same:
        raise InputError(f"the configuration {file} is written in a way that cannot be changed here.",
                         "Change it in an editor, and run 'tokctl config validate'.")  # fmt: skip
    return new


def put(text: str, parts: Parts, value: Any) -> str:
    """Return the text with a setting set: its value in the place of the old one, or a new name below its section."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return _line_end(text) + _block(parts, value, 0, STEP)
    if not isinstance(root, yaml.MappingNode):
        raise InputError("the configuration has to hold names and values.")
    there = [pair for pair in _pairs(root) if pair.parts == parts]
    if there:
        pair = max(there, key=lambda pair: len(pair.parts) - pair.above)  # one with dots goes before the others
        return _replaced(text, pair, (_flow if pair.mapping.flow_style else _line)(value))
    sections = [pair for pair in _pairs(root) if parts[: len(pair.parts)] == pair.parts]
    if not sections:
        return _inserted(text, root, parts, value, _step(root))
    pair = max(sections, key=lambda pair: len(pair.parts))
    rest = parts[len(pair.parts) :]
    if isinstance(pair.value, yaml.MappingNode):
        return _inserted(text, pair.value, rest, value, _step(root))
    if _is_empty(pair.value) and not pair.mapping.flow_style:
        end = _end_of_line(text, pair.value.end_mark.index)
        step = _step(root)
        return _line_end(text[:end]) + _block(rest, value, pair.mapping.start_mark.column + step, step) + text[end:]
    return _replaced(text, pair, f"{{{_flow_pair(rest, value)}}}")


def drop(text: str, parts: Parts) -> str:
    """Return the text without a setting, or a section and all in it."""
    while True:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        pair = next((p for p in _pairs(root) if p.parts[: len(parts)] == parts), None) if root is not None else None
        if pair is None:
            return text
        text = _without(text, pair)


def rename(text: str, parts: Parts, name: str) -> str:
    """Return the text with the last part of a section's name changed, wherever it stands."""
    position = len(parts) - 1
    while True:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        pairs = _pairs(root) if root is not None else iter(())
        pair = next((p for p in pairs if p.above <= position and p.parts[: len(parts)] == parts), None)
        if pair is None:
            return text
        words = (*pair.parts[pair.above : position], name, *pair.parts[position + 1 :])
        start, end = pair.key.start_mark.index, pair.key.end_mark.index
        text = text[:start] + _flow(".".join(words)) + text[end:]


# --- where things stand -----------------------------------------------------------------------------------


def _pairs(mapping: Any, above: Parts = ()) -> Iterator[_Pair]:
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        parts = (*above, *key.value.split("."))
        yield _Pair(parts, len(above), key, value, mapping)
        if isinstance(value, yaml.MappingNode):
            yield from _pairs(value, parts)


def _end(node: Any) -> int:
    """Where a node's text ends. A block's mark stands behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _end_of_line(text: str, index: int) -> int:
    """The beginning of the next line, or the end of the text."""
    if index and text[index - 1] == "\n":  # a block of text ends there
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _line_end(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _is_empty(node: Any) -> bool:
    return bool(node.start_mark.index == node.end_mark.index and node.tag == "tag:yaml.org,2002:null")


def _step(root: Any) -> int:
    for _, value in root.value:
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
            return int(value.start_mark.column - root.start_mark.column) or STEP
    return STEP


# --- what is written ----------------------------------------------------------------------------------------


def _flow(value: Any) -> str:
    """A value on one line, fit to stand in braces, too."""
    return yaml.safe_dump([value], default_flow_style=True, width=1 << 30, allow_unicode=True)[1:-2]


def _line(value: Any) -> str:
    """A value on one line behind a name that has the line to itself."""
    if isinstance(value, list):
        return _flow(value)
    return yaml.safe_dump({"k": value}, default_flow_style=False, width=1 << 30, allow_unicode=True)[3:-1]


def _flow_pair(parts: Parts, value: Any) -> str:
    text = _flow(value)
    for part in reversed(parts[1:]):
        text = f"{{{_flow(part)}: {text}}}"
    return f"{_flow(parts[0])}: {text}"


def _block(parts: Parts, value: Any, column: int, step: int) -> str:
    lines = [f"{' ' * (column + step * depth)}{_flow(part)}:" for depth, part in enumerate(parts)]
    return "\n".join(lines) + f" {_line(value)}\n"


def _replaced(text: str, pair: _Pair, new: str) -> str:
    start, end = pair.value.start_mark.index, _end(pair.value)
    if _is_empty(pair.value):
        new = f" {new}"
    elif getattr(pair.value, "style", None) in {"|", ">"}:
        new += "\n"
    return text[:start] + new + text[end:]


def _inserted(text: str, mapping: Any, parts: Parts, value: Any, step: int) -> str:
    """A new name at the end of a mapping."""
    if mapping.flow_style:
        if not mapping.value:
            at = mapping.end_mark.index - 1
            return text[:at] + _flow_pair(parts, value) + text[at:]
        at = _end(mapping.value[-1][1])
        return text[:at] + ", " + _flow_pair(parts, value) + text[at:]
    at = _end_of_line(text, _end(mapping.value[-1][1]))
    return _line_end(text[:at]) + _block(parts, value, mapping.start_mark.column, step) + text[at:]


def _without(text: str, pair: _Pair) -> str:
    start, end = pair.key.start_mark.index, _end(pair.value)
    if not pair.mapping.flow_style:
        return text[: start - pair.key.start_mark.column] + text[_end_of_line(text, end) :]
    place = [key for key, _ in pair.mapping.value].index(pair.key)
    if place + 1 < len(pair.mapping.value):
        end = pair.mapping.value[place + 1][0].start_mark.index
    elif place:
        start = _end(pair.mapping.value[place - 1][1])
    else:  # the only one; a comma may stand behind it
        start, end = pair.mapping.start_mark.index + 1, pair.mapping.end_mark.index - 1
    return text[:start] + text[end:]


def _plain(document: Any) -> Any:
    """A document to compare: a section with nothing in it is the same as none."""
    if not isinstance(document, dict):
        return document
    plain = {name: _plain(value) for name, value in document.items()}
    return {name: value for name, value in plain.items() if value is not None} or None
