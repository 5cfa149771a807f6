"""Where a secret was found."""

from __future__ import annotations

import os
from typing import NamedTuple

from msgspec import Struct

from tokctl.access.finding import Found
from tokctl.access.masking import masked

CHUNK = 1 << 18

FILE = "file"
STDIN = "stdin"
BLOB, COMMIT, TAG, TREE = "blob", "commit", "tag", "tree"
"""Kinds of places: a file, standard input, and git's objects."""


class Place(Struct, frozen=True, kw_only=True):
    """A file, standard input or an object of a git repository; paths are fit to be shown, without a secret.

    Of a blob, ``path`` and ``commit`` are those by which it came into the history, None where none leads to it.
    ``versions`` counts the blobs of that path that hold the same secret.
    """

    kind: str
    path: str | None = None
    repository: str | None = None
    object: str | None = None
    commit: str | None = None
    versions: int = 1


class Hit(NamedTuple):
    """A secret in a place."""

    place: Place
    found: Found


def shown_path(path: str | bytes) -> str:
    """A path as text that can be written anywhere: a secret in it is masked, what is no UTF-8 escaped."""
    return b"".join(masked([os.fsencode(path)])).decode("utf-8", "backslashreplace")
