"""Changes single settings of the configuration file; comments, order and style of the rest stay.

A change is made completely or not at all, by one process at a time, and the file is readable for its owner only.
The positions come from the marks of PyYAML's nodes. A library that writes whole documents, such as ruamel.yaml, was not
used: it drops the comment above a key when the key before it is removed, and changes the indentation. ``apply_edit``
parses each edited text again and compares it with the expected document.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from tokctl.atomic_files import file_lock, make_folder, write_atomically
from tokctl.config.file import parse_configuration, parse_document, read_data
from tokctl.config.paths import config_file
from tokctl.errors import InputError, NotAllowedError, UnreachableError

KeyPath = tuple[str, ...]
LOCK_TIMEOUT_SECONDS = 10.0  # a change takes milliseconds
DEFAULT_INDENT = 2  # columns of a section's indentation if the file does not show the writer's own


def set_values(environ: Mapping[str, str], values: Mapping[KeyPath, Any]) -> Path:
    """Set settings, all of them or none, and return the path of the file, which is created if it does not exist."""

    def edit(text: str) -> str:
        for parts, value in values.items():
            text = set_value(text, parts, value)
        return text

    def expect(document: dict[str, Any]) -> None:
        for parts, value in values.items():
            _get_section(document, parts[:-1])[parts[-1]] = value

    return change(environ, edit, expect)


def unset(environ: Mapping[str, str], *settings: KeyPath) -> Path:
    """Remove settings or sections, and return the path of the file.

    The rest of the file may be invalid, as removing a setting may be the way to repair it.
    """

    def edit(text: str) -> str:
        for parts in settings:
            text = remove_key(text, parts)
        return text

    def expect(document: dict[str, Any]) -> None:
        for parts in settings:
            _get_section(document, parts[:-1]).pop(parts[-1], None)

    return change(environ, edit, expect, strict=False)


def rename_context(environ: Mapping[str, str], old: str, new: str, *, current: bool) -> Path:
    """Rename an existing context, with ``current`` also in ``current_context``, and return the path of the file."""

    def edit(text: str) -> str:
        text = rename(text, ("contexts", old), new)
        return set_value(text, ("current_context",), new) if current else text

    def expect(document: dict[str, Any]) -> None:
        contexts = document["contexts"]
        document["contexts"] = {new if name == old else name: contexts[name] for name in contexts}
        if current:
            document["current_context"] = new

    return change(environ, edit, expect)


def _get_section(document: dict[str, Any], parts: KeyPath) -> dict[str, Any]:
    for part in parts:
        if document.get(part) is None:
            document[part] = {}
        document = document[part]
    return document


def change(
    environ: Mapping[str, str],
    edit: Callable[[str], str],
    expect: Callable[[dict[str, Any]], None],
    *,
    strict: bool = True,
) -> Path:
    """Change the configuration file and return its path, with symbolic links resolved.

    The new text replaces the old one atomically, and only if it is valid. Processes that change the file at the same
    time do so one after the other.

    Args:
        environ: tells where the file is.
        edit: returns the new text for the old one.
        expect: makes the same change to the parsed document, to check the edit.
        strict: whether all settings have to be valid (else UsageError); otherwise the text has to be YAML.

    Raises InputError, NotAllowedError, UnreachableError (another process has held the lock for too long).
    """
    file = Path(os.path.realpath(config_file(environ)))
    try:
        make_folder(file.parent)
        with file_lock(file.parent, LOCK_TIMEOUT_SECONDS):  # the lock is on the directory, as the file is replaced
            text, owner = _read(file)
            if "\n" in text and text.count("\n") == text.count("\r\n"):  # written on Windows
                new = apply_edit(text.replace("\r\n", "\n"), file, edit, expect).replace("\n", "\r\n")
            else:
                new = apply_edit(text, file, edit, expect)
            if strict:
                parse_configuration(new.encode(), file)
            if new != text or owner is None:
                write_atomically(file, new.encode(), owner=owner)
    except BlockingIOError:
        raise UnreachableError(
            f"another process has locked the configuration in {file.parent} for {LOCK_TIMEOUT_SECONDS:.0f} s.",
            "Try again.",
        ) from None
    except PermissionError:
        raise NotAllowedError(
            f"cannot write the configuration {file}: permission denied.",
            "Check the permissions of the file and its directory.",
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write the configuration {file}: {error.strerror}.", "The file was not changed."
        ) from None
    return file


def _read(file: Path) -> tuple[str, os.stat_result | None]:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a device would be replaced, a pipe would block
            raise InputError(f"cannot change the configuration {file}: not a regular file.")
        data, status = read_data(file)
        return data.decode(), status
    except FileNotFoundError:
        return "", None
    except UnicodeDecodeError:
        raise InputError(f"invalid YAML in the configuration {file}: not UTF-8.") from None


# --- edits of the text ---


class _KeyValue(Struct, frozen=True):
    """A key and its value in the text: their nodes, and the node of the mapping that contains both.

    ``parts`` are the whole path from the top of the document; ``above`` of them belong to the mappings around this one.
    """

    parts: KeyPath
    above: int
    key: Any
    value: Any
    mapping: Any


def apply_edit(text: str, file: Path, edit: Callable[[str], str], expect: Callable[[dict[str, Any]], None]) -> str:
    """Return the edited text of a file, after a check that it changes exactly what it should, as ``change`` describes.

    Raises InputError: the text is not YAML, or is written in a way (anchors, several documents) in which the edit would
    change something else, too.
    """
    document = parse_document(text.encode(), str(file))
    wanted = deepcopy(document)
    expect(wanted)
    try:
        new = edit(text)
        same = _drop_empty(parse_document(new.encode(), str(file))) == _drop_empty(wanted)
    except (InputError, RecursionError, yaml.YAMLError):
        same = False
    if not same:
        raise InputError(
            f"cannot change the configuration {file}: tokctl cannot edit its YAML layout.",
            "Edit the file, then run 'tokctl config validate'.",
        )
    return new


def set_value(text: str, parts: KeyPath, value: Any) -> str:
    """Return the text with a setting set: the old value is replaced, or a key is added to its section."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None or _is_empty(root):  # an empty file, or an empty document
        return _ensure_newline(text) + _format_block(parts, value, 0, DEFAULT_INDENT)
    if not isinstance(root, yaml.MappingNode):
        raise InputError("the configuration must be a mapping of names to values.")
    there = [pair for pair in _pairs(root) if pair.parts == parts]
    if there:
        pair = max(there, key=lambda pair: len(pair.parts) - pair.above)  # a dotted name overrides the others
        return _replace_value(text, pair, (_format_inline if pair.mapping.flow_style else _format_value)(value))
    sections = [pair for pair in _pairs(root) if parts[: len(pair.parts)] == pair.parts]
    if not sections:
        return _insert_key(text, root, parts, value, _indent_of(root))
    pair = max(sections, key=lambda pair: len(pair.parts))
    rest = parts[len(pair.parts) :]
    if isinstance(pair.value, yaml.MappingNode):
        return _insert_key(text, pair.value, rest, value, _indent_of(root))
    if _is_empty(pair.value) and not pair.mapping.flow_style:
        end = _end_of_line(text, pair.value.end_mark.index)
        step = _indent_of(root)
        return (
            _ensure_newline(text[:end])
            + _format_block(rest, value, pair.mapping.start_mark.column + step, step)
            + text[end:]
        )
    return _replace_value(text, pair, f"{{{_format_inline_pair(rest, value)}}}")


def remove_key(text: str, parts: KeyPath) -> str:
    """Return the text without a setting, or without a whole section."""
    while pair := _find_pair(text, parts, len(parts)):
        text = _remove_pair(text, pair)
    return text


def rename(text: str, parts: KeyPath, name: str) -> str:
    """Return the text with the last part of a section's path replaced by ``name``, in dotted keys, too."""
    position = len(parts) - 1
    while pair := _find_pair(text, parts, position):
        words = (*pair.parts[pair.above : position], name, *pair.parts[position + 1 :])
        start, end = pair.key.start_mark.index, pair.key.end_mark.index
        text = text[:start] + _format_inline(".".join(words)) + text[end:]
    return text


# --- positions in the text --------------------------------------------------------------------------------


def _pairs(mapping: Any, above: KeyPath = ()) -> Iterator[_KeyValue]:
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        parts = (*above, *key.value.split("."))
        yield _KeyValue(parts, len(above), key, value, mapping)
        if isinstance(value, yaml.MappingNode):
            yield from _pairs(value, parts)


def _find_pair(text: str, parts: KeyPath, max_above: int) -> _KeyValue | None:
    """Return the first key whose path begins with ``parts``.

    At most ``max_above`` of them belong to mappings around it.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = _pairs(root) if root is not None else iter(())
    return next((pair for pair in pairs if pair.above <= max_above and pair.parts[: len(parts)] == parts), None)


def _end(node: Any) -> int:
    """Return where a node ends; the end mark of a block is only after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _end_of_line(text: str, index: int) -> int:
    """Return the beginning of the next line, or the end of the text."""
    if index and text[index - 1] == "\n":  # the end of a block scalar
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _ensure_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _is_empty(node: Any) -> bool:
    return bool(node.start_mark.index == node.end_mark.index and node.tag == "tag:yaml.org,2002:null")


def _indent_of(root: Any) -> int:
    for _, value in root.value:
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
            return int(value.start_mark.column - root.start_mark.column) or DEFAULT_INDENT
    return DEFAULT_INDENT


# --- new text ----------------------------------------------------------------------------------------------


def _format_inline(value: Any) -> str:
    """Return a value on one line that is valid within braces, too."""
    return yaml.safe_dump([value], default_flow_style=True, width=1 << 30, allow_unicode=True)[1:-2]


def _format_value(value: Any) -> str:
    """Return a value on one line, for a key with a line of its own."""
    if isinstance(value, list):
        return _format_inline(value)
    return yaml.safe_dump({"k": value}, default_flow_style=False, width=1 << 30, allow_unicode=True)[3:-1]


def _format_inline_pair(parts: KeyPath, value: Any) -> str:
    text = _format_inline(value)
    for part in reversed(parts[1:]):
        text = f"{{{_format_inline(part)}: {text}}}"
    return f"{_format_inline(parts[0])}: {text}"


def _format_block(parts: KeyPath, value: Any, column: int, step: int) -> str:
    lines = [f"{' ' * (column + step * depth)}{_format_inline(part)}:" for depth, part in enumerate(parts)]
    return "\n".join(lines) + f" {_format_value(value)}\n"


def _replace_value(text: str, pair: _KeyValue, new: str) -> str:
    start, end = pair.value.start_mark.index, _end(pair.value)
    if _is_empty(pair.value):
        new = f" {new}"
    elif getattr(pair.value, "style", None) in {"|", ">"}:
        new += "\n"
    return text[:start] + new + text[end:]


def _insert_key(text: str, mapping: Any, parts: KeyPath, value: Any, step: int) -> str:
    """Return the text with a key added at the end of a mapping."""
    if mapping.flow_style:
        if not mapping.value:
            at = mapping.end_mark.index - 1
            return text[:at] + _format_inline_pair(parts, value) + text[at:]
        at = _end(mapping.value[-1][1])
        return text[:at] + ", " + _format_inline_pair(parts, value) + text[at:]
    at = _end_of_line(text, _end(mapping.value[-1][1]))
    return _ensure_newline(text[:at]) + _format_block(parts, value, mapping.start_mark.column, step) + text[at:]


def _remove_pair(text: str, pair: _KeyValue) -> str:
    start, end = pair.key.start_mark.index, _end(pair.value)
    if not pair.mapping.flow_style:
        return text[: start - pair.key.start_mark.column] + text[_end_of_line(text, end) :]
    place = [key for key, _ in pair.mapping.value].index(pair.key)
    if place + 1 < len(pair.mapping.value):
        end = pair.mapping.value[place + 1][0].start_mark.index
    elif place:
        start = _end(pair.mapping.value[place - 1][1])
    else:  # the only pair; a comma may follow it
        start, end = pair.mapping.start_mark.index + 1, pair.mapping.end_mark.index - 1
    return text[:start] + text[end:]


def _drop_empty(document: Any) -> Any:
    """Return a document for comparison, without empty sections."""
    if not isinstance(document, dict):
        return document
    plain = {name: _drop_empty(value) for name, value in document.items()}
    return {name: value for name, value in plain.items() if value is not None} or None
