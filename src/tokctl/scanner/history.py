"""The history of a git repository: every object that it has, also those that no branch leads to any more."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

from msgspec.structs import replace

from tokctl.access.finding import Found, find_secrets
from tokctl.errors import InputError, NotFoundError
from tokctl.scanner.base import BLOB, CHUNK, COMMIT, Hit, Place, shown_path

_ALL = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
_LOG = ("log", "--all", "--reflog", "--raw", "-m", "--root", "--no-renames", "--no-abbrev", "-z",
        "--no-show-signature", "--format=%H")  # fmt: skip
_NOTHING_ELSE = ("-c", "protocol.allow=never", "-c", "core.fsmonitor=false")


class _Origin(NamedTuple):
    """By what a blob came into the history; ``age`` grows to the past."""

    age: int
    commit: str
    path: str


class History:
    """Reads a repository by git's own program; nothing is fetched, no hook is run and nothing is written."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.objects = 0

    def hits(self, counted: Callable[[Iterable[bytes]], Iterator[bytes]]) -> Iterator[Hit]:
        """Find secrets in objects; of the versions of a file that hold the same one, the first stands for all.

        Args:
            counted: passes on the pieces of each object.

        Raises:
            NotFoundError: git is not installed.
            InputError: git cannot read it, or not all of it.
        """
        found: list[tuple[str, str, Found]] = []
        fault: BaseException | None = None
        try:
            for name, kind, pieces in self._read():
                self.objects += 1
                found += ((name, kind, one) for one in find_secrets(counted(pieces)))
        except (InputError, KeyboardInterrupt) as error:
            fault = error  # what was found before is told, too
        yield from self._placed(found)
        if fault is not None:
            raise fault

    def _placed(self, found: list[tuple[str, str, Found]]) -> Iterator[Hit]:
        blobs = {name for name, kind, _ in found if kind == BLOB}
        origins = self._origins(blobs) if blobs else {}
        first: dict[tuple[str, str], tuple[float, Hit, set[str]]] = {}
        for name, kind, one in found:
            origin = origins.get(name)
            age, commit, path = origin or (0, name if kind == COMMIT else None, None)
            place = Place(kind=kind, path=path, repository=shown_path(self.folder), object=name, commit=commit)
            key = (one.secret, path or name)
            oldest, hit, names = first.setdefault(key, (age, Hit(place, one), set()))
            names.add(name)
            if age > oldest:
                first[key] = (age, Hit(place, one), names)
            else:
                first[key] = (oldest, hit, names)
        for _, hit, names in first.values():
            yield Hit(replace(hit.place, versions=len(names)), hit.found)

    def _read(self) -> Iterator[tuple[str, str, Iterable[bytes]]]:
        """Each object's name, kind and content; the content is to be read before the next."""
        with self._git(*_ALL) as stream:
            while header := stream.readline():
                name, kind, *size = header.decode().split()
                if not size:
                    raise InputError(f"the object {name} is {kind}.")
                left = int(size[0])
                if left < CHUNK:
                    yield name, kind, (stream.read(left),)
                else:
                    yield name, kind, _pieces(stream, left)
                stream.read(1)  # the line's end

    def _origins(self, blobs: set[str]) -> dict[str, _Origin]:
        """The commit and the path by which each blob came in, as far as a commit leads to it."""
        origins: dict[str, _Origin] = {}
        commit, blob, age = "", None, 0
        try:
            with self._git(*_LOG) as stream:
                for word in _words(stream):
                    if blob is not None:
                        if blob in blobs:
                            origins[blob] = _Origin(age, commit, shown_path(word))
                        blob = None
                    elif (text := word.lstrip(b"\n").decode()).startswith(":"):
                        blob = text.split()[3]
                    else:
                        commit, age = text, age + 1
        except InputError:
            pass  # damaged, and told of already; or what it needs has never been fetched
        return origins

    @contextmanager
    def _git(self, *words: str) -> Iterator[IO[bytes]]:
        """Run git; yields what it prints. Raises NotFoundError, InputError: it failed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as of a hook
        clean |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        command = ["git", f"--git-dir={self.folder}", *_NOTHING_ELSE, *words]
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=clean, bufsize=CHUNK
                )
            except OSError as error:
                raise NotFoundError(f"git cannot be run ({error.strerror}): histories are not looked at.") from None
            try:
                yield cast("IO[bytes]", process.stdout)
                if process.wait():
                    errors.seek(0)
                    said = errors.read(CHUNK).decode(errors="replace").strip().splitlines()
                    raise InputError(
                        f"git says: {shown_path(said[-1]) if said else f'exit code {process.returncode}'}."
                    )
            finally:
                process.kill()
                with process:
                    pass


def _pieces(stream: IO[bytes], left: int) -> Iterator[bytes]:
    while left and (piece := stream.read(min(left, CHUNK))):
        left -= len(piece)
        yield piece


def _words(stream: IO[bytes]) -> Iterator[bytes]:
    """What stands between NULs."""
    held = b""
    while piece := stream.read(CHUNK):
        *words, held = (held + piece).split(b"\0")
        yield from words
    if held:
        yield held
