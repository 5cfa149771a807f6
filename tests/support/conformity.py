"""Whether JSON is what a struct says: each member known, in order, of its type, and there unless it may be left out."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Raw, Struct, UnsetType


class NonConformingError(AssertionError):
    """JSON that is not what a struct says; tells where."""


def check_conformity(value: Any, kind: Any, where: str = "$", *, open_structs: frozenset[type] = frozenset()) -> None:
    """Compare a decoded JSON value with a type.

    Objects of ``open_structs`` may have other members, too. Raises NonConformingError.
    """
    if kind is Raw or (UnsetType in get_args(kind) and Raw in get_args(kind)):
        return
    struct = _find_struct(kind, value)
    if struct is not None:
        _check_struct(value, struct, where, open_structs)
        return
    item = _find_item_type(kind, value)
    if item is not None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in pairs:
            check_conformity(one, item, f"{where}.{key}", open_structs=open_structs)
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise NonConformingError(f"{where}: {error}") from None


def _check_struct(value: dict[str, Any], struct: type[Struct], where: str, open_structs: frozenset[type]) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    known = [name for name in value if name in fields]
    if struct not in open_structs and len(known) < len(value):
        raise NonConformingError(f"{where}: {struct.__name__} has no {sorted(value.keys() - fields.keys())}")
    if known != [name for name in fields if name in value]:
        raise NonConformingError(f"{where}: {known} are not in the order of {struct.__name__}")
    for name, field in fields.items():
        if name in value:
            check_conformity(value[name], field.type, f"{where}.{name}", open_structs=open_structs)
        elif UnsetType not in get_args(field.type) and (
            not struct.__struct_config__.omit_defaults or (field.default, field.default_factory) == (NODEFAULT,) * 2
        ):
            raise NonConformingError(f"{where}: {struct.__name__}.{name} is missing")


def _find_struct(kind: Any, value: Any) -> type[Struct] | None:
    """The struct of a type that an object has to be."""
    alternatives = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    found = [one for one in alternatives if isinstance(one, type) and issubclass(one, Struct)]
    return found[0] if found and isinstance(value, dict) else None


def _find_item_type(kind: Any, value: Any) -> Any:
    """The type of what is in a list or an object, where that is a struct."""
    alternatives = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    container = dict if isinstance(value, dict) else list if isinstance(value, list) else None
    for one in alternatives:
        arguments = get_args(one)
        origin = get_origin(one)
        if container is dict and origin is dict:
            return arguments[1]
        if container is list and (origin is list or (origin is tuple and arguments[-1] is Ellipsis)):
            return arguments[0]
    return None
