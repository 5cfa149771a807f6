"""Goes through files and folders, and through the repositories that it meets there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

from tokctl.access.finding import find_secrets
from tokctl.errors import NotFoundError, TokctlError
from tokctl.scanner.base import CHUNK, FILE, STDIN, Hit, Place, shown_path
from tokctl.scanner.history import History

_REPOSITORY = {"HEAD", "objects", "refs"}  # what stands in a repository's own folder, be it .git or a bare one
_NO_FILES = {"/proc", "/sys", "/dev"}
_WALKED = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # what came into the place of a file is none
_NAMED = os.O_RDONLY | os.O_CLOEXEC
_LONGEST_PATH = 4200  # bytes, with the word before it


class Scan:
    """One run over paths. It counts as it goes what it has read."""

    def __init__(
        self,
        *,
        stdin: BufferedIOBase,
        history: bool = True,
        progress: Callable[[int], object] = lambda _: None,
        unread: Callable[[str, str], object],
    ) -> None:
        """``progress`` is told the bytes of each piece that was read, ``unread`` what cannot be read, and why."""
        self.files = self.objects = self.repositories = self.octets = 0
        self._stdin = stdin
        self._wants_history = history
        self._progress = progress
        self._tell_unread = unread
        self._seen: set[Path] = set()  # repositories

    def hits(self, paths: Iterable[str]) -> Iterator[Hit]:
        """Find secrets below paths; ``-`` is standard input. A path may be a link; links below it are not followed.

        Raises:
            NotFoundError: there is no such path.
        """
        paths = [*paths]
        for path in paths:
            if path != "-" and not (path and Path(path).exists()):
                raise NotFoundError(f"there is no file or directory {shown_path(path) or repr(path)}.")
        for path in paths:
            if path == "-":
                yield from self._in(iter(lambda: self._stdin.read1(CHUNK), b""), None)
            elif Path(path).is_dir():
                yield from self._folder(path)
            else:
                yield from self._file(path, _NAMED)

    def _folder(self, top: str) -> Iterator[Hit]:
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                self._skip(folder, error.strerror)
                continue
            is_repository = {entry.name for entry in entries if entry.name in _REPOSITORY} == _REPOSITORY
            below = []
            for entry in entries:
                path = entry.name if folder == "." else entry.path
                if entry.is_dir(follow_symlinks=False):
                    if path not in _NO_FILES and not (is_repository and entry.name == "objects"):  # those are packed
                        below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield from self._file(path, _WALKED)
                    if entry.name == ".git" and (elsewhere := _pointed_at(Path(path))) is not None:
                        yield from self._history(elsewhere)
            if is_repository:
                yield from self._history(Path(folder))
            folders += reversed(below)

    def _file(self, path: str, flags: int) -> Iterator[Hit]:
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            self._skip(path, error.strerror)
            return
        try:
            if flags == _NAMED or stat.S_ISREG(os.fstat(descriptor).st_mode):
                self.files += 1
                yield from self._in(iter(lambda: os.read(descriptor, CHUNK), b""), path)
        except OSError as error:
            self._skip(path, error.strerror)
        finally:
            os.close(descriptor)

    def _in(self, pieces: Iterable[bytes], path: str | None) -> Iterator[Hit]:
        for found in find_secrets(self._counted(pieces)):
            place = Place(kind=STDIN) if path is None else Place(kind=FILE, path=shown_path(path))
            yield Hit(place, found)

    def _history(self, folder: Path) -> Iterator[Hit]:
        real = folder.resolve()
        if not self._wants_history or real in self._seen:
            return
        self._seen.add(real)
        history = History(str(folder))
        try:
            yield from history.hits(self._counted)
            self.repositories += 1
        except TokctlError as error:
            self._wants_history = not isinstance(error, NotFoundError)  # no git here is none there
            self._skip(str(folder), error.message)
        finally:
            self.objects += history.objects

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.octets += len(piece)
            self._progress(len(piece))
            yield piece

    def _skip(self, path: str, why: str | None) -> None:
        self._tell_unread(shown_path(path), why or "it cannot be read")


def _pointed_at(pointer: Path) -> Path | None:
    """The repository that a .git which is a file names: that of a worktree, or of a submodule."""
    try:
        word, _, named = _line(pointer).partition(": ")
        folder = pointer.parent / named
        with suppress(FileNotFoundError):
            folder /= _line(folder / "commondir")
        return Path(os.path.normpath(folder)) if word == "gitdir" and (folder / "objects").is_dir() else None
    except OSError:
        return None


def _line(file: Path) -> str:
    with file.open("rb") as stream:
        return os.fsdecode(stream.readline(_LONGEST_PATH)).rstrip("\r\n")
