"""Scans files, directories and the history of git repositories for the secrets of API tokens. Sends no requests."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple, cast

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.detection import SecretMatch, find_secrets
from tokctl.api_tokens.masking import mask_secrets
from tokctl.errors import InputError, NotFoundError, TokctlError

CHUNK_BYTES = 1 << 18
FILE, STDIN, BLOB, COMMIT = "file", "stdin", "blob", "commit"
"""Kinds of locations; tags and trees, the other kinds of git objects, are named as git does."""


class SecretLocation(Struct, frozen=True, kw_only=True):
    """A file, standard input or an object of a git repository. Secrets in paths are masked.

    ``path`` and ``commit`` of a blob are those with which it entered the history, None if no commit leads to it.
    ``versions`` counts the blobs of this path that have the same secret.
    """

    kind: str
    path: str | None = None
    repository: str | None = None
    object: str | None = None
    commit: str | None = None
    versions: int = 1


class SecretHit(NamedTuple):
    """A secret and its location."""

    place: SecretLocation
    found: SecretMatch


def format_path(path: str | bytes) -> str:
    """Return a path as printable text: secrets are masked, and bytes that are not UTF-8 are escaped."""
    return b"".join(mask_secrets([os.fsencode(path)])).decode("utf-8", "backslashreplace")


# --- files ---

_REPOSITORY_ENTRIES = {"HEAD", "objects", "refs"}  # in the folder of a repository: .git, or a bare one
_SKIPPED_FOLDERS = {"/proc", "/sys", "/dev"}
# A file that was listed may have been replaced by a link or a named pipe since.
_WALKED_FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NAMED_FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_MAX_GITDIR_BYTES = 4200  # PATH_MAX, and the word before the path


class SecretScanner:
    """One scan. It counts the files, objects, repositories and bytes (``octets``) that it has read.

    Args:
        stdin: read for the path ``-``.
        history: whether to scan the history of repositories.
        progress: called with the number of bytes of each piece that was read.
        unread: called with the path and the reason for each file that cannot be read.
    """

    def __init__(
        self,
        *,
        stdin: BufferedIOBase,
        history: bool = True,
        progress: Callable[[int], object] = lambda _: None,
        unread: Callable[[str, str], object],
    ) -> None:
        self.files = self.objects = self.repositories = self.octets = 0
        self._stdin = stdin
        self._wants_history = history
        self._progress = progress
        self._report_unreadable = unread
        self._seen: set[Path] = set()  # repositories

    def hits(self, paths: Iterable[str]) -> Iterator[SecretHit]:
        """Yield the secrets below paths; a path may be a link, links below it are skipped.

        Raises NotFoundError: one of the paths does not exist; nothing has been read.
        """
        paths = [*paths]
        for path in paths:
            if path != "-" and not (path and Path(path).exists()):
                raise NotFoundError(f"file or directory {format_path(path) or repr(path)} not found.")
        for path in paths:
            if path == "-":
                yield from self._scan_stream(partial(self._stdin.read1, CHUNK_BYTES), None)
            elif Path(path).is_dir():
                yield from self._scan_folder(path)
            else:
                yield from self._scan_file(path, _NAMED_FILE_FLAGS)

    def _scan_folder(self, top: str) -> Iterator[SecretHit]:
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                self._skip_path(folder, error.strerror)
                continue
            is_repository = {entry.name for entry in entries} >= _REPOSITORY_ENTRIES
            below = []
            for entry in entries:
                path = entry.name if folder == "." else entry.path
                if entry.is_dir(follow_symlinks=False):
                    if path not in _SKIPPED_FOLDERS and not (is_repository and entry.name == "objects"):
                        below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield from self._scan_file(path, _WALKED_FILE_FLAGS)
                    if entry.name == ".git" and (elsewhere := _resolve_gitdir(Path(path))) is not None:
                        yield from self._scan_history(elsewhere)
            if is_repository:
                yield from self._scan_history(Path(folder))
            folders += reversed(below)

    def _scan_file(self, path: str, flags: int) -> Iterator[SecretHit]:
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            self._skip_path(path, error.strerror)
            return
        try:
            if flags == _NAMED_FILE_FLAGS or stat.S_ISREG(os.fstat(descriptor).st_mode):
                self.files += 1
                yield from self._scan_stream(partial(os.read, descriptor, CHUNK_BYTES), path)
        except OSError as error:
            self._skip_path(path, error.strerror)
        finally:
            os.close(descriptor)

    def _scan_stream(self, read: Callable[[], bytes], path: str | None) -> Iterator[SecretHit]:
        for found in find_secrets(self._count_bytes(iter(read, b""))):
            place = SecretLocation(kind=STDIN) if path is None else SecretLocation(kind=FILE, path=format_path(path))
            yield SecretHit(place, found)

    def _scan_history(self, folder: Path) -> Iterator[SecretHit]:
        real = folder.resolve()
        if not self._wants_history or real in self._seen:
            return
        self._seen.add(real)
        history = GitHistoryScanner(str(folder))
        try:
            yield from history.hits(self._count_bytes)
            self.repositories += 1
        except TokctlError as error:
            self._wants_history = not isinstance(error, NotFoundError)  # git is not installed: do not try again
            self._skip_path(str(folder), error.message)
        finally:
            self.objects += history.objects

    def _count_bytes(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.octets += len(piece)
            self._progress(len(piece))
            yield piece

    def _skip_path(self, path: str, why: str | None) -> None:
        self._report_unreadable(format_path(path), why or "cannot be read")


def _resolve_gitdir(pointer: Path) -> Path | None:
    """Return the repository that a .git file points to, of a worktree or a submodule; None if there is none."""
    try:
        word, _, named = _read_first_line(pointer).partition(": ")
        folder = pointer.parent / named
        with suppress(FileNotFoundError):
            folder /= _read_first_line(folder / "commondir")
        return Path(os.path.normpath(folder)) if word == "gitdir" and (folder / "objects").is_dir() else None
    except OSError:
        return None


def _read_first_line(file: Path) -> str:
    with file.open("rb") as stream:
        return os.fsdecode(stream.readline(_MAX_GITDIR_BYTES)).rstrip("\r\n")


# --- git ---

_CAT_FILE_ARGS = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
_LOG_ARGS = (
    *("log", "--all", "--reflog", "--raw", "-m", "--root", "--no-renames", "--no-abbrev", "-z"),
    *("--no-show-signature", "--format=%H"),
)
_SAFE_CONFIG_ARGS = ("-c", "protocol.allow=never", "-c", "core.fsmonitor=false")


class GitHistoryScanner:
    """Reads a repository with the program git. Nothing is fetched, no hook is run and nothing is written."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.objects = 0

    def hits(self, counted: Callable[[Iterable[bytes]], Iterator[bytes]]) -> Iterator[SecretHit]:
        """Yield the secrets in all objects. Versions of a file with the same secret are one hit, in the oldest version.

        ``counted`` is called with the pieces of each object, and returns them again.

        Raises:
            NotFoundError: git is not installed.
            InputError: git cannot read the repository, or only parts of it; hits so far have been yielded.
        """
        found: list[tuple[str, str, SecretMatch]] = []
        fault: BaseException | None = None
        try:
            for name, kind, pieces in self._read_objects():
                self.objects += 1
                found += ((name, kind, one) for one in find_secrets(counted(pieces)))
        except (InputError, KeyboardInterrupt) as error:
            fault = error  # raised after the hits so far
        yield from self._locate_hits(found)
        if fault is not None:
            raise fault

    def _locate_hits(self, found: list[tuple[str, str, SecretMatch]]) -> Iterator[SecretHit]:
        blobs = {name for name, kind, _ in found if kind == BLOB}
        origins = self._find_origins(blobs) if blobs else {}
        oldest: dict[tuple[str, str], tuple[int, SecretHit]] = {}
        versions = defaultdict[tuple[str, str], set[str]](set)
        for name, kind, one in found:
            age, commit, path = origins.get(name) or (0, name if kind == COMMIT else None, None)
            key = (one.secret, path or name)
            versions[key].add(name)
            if key not in oldest or age > oldest[key][0]:
                place = SecretLocation(
                    kind=kind, path=path, repository=format_path(self.folder), object=name, commit=commit
                )
                oldest[key] = age, SecretHit(place, one)
        for key, (_, hit) in oldest.items():
            yield SecretHit(replace(hit.place, versions=len(versions[key])), hit.found)

    def _read_objects(self) -> Iterator[tuple[str, str, Iterable[bytes]]]:
        """Yield the name, kind and content of each object. The content must be read before the next object."""
        with self._run_git(*_CAT_FILE_ARGS) as stream:
            while header := stream.readline():
                name, kind, *size = header.decode().split()
                if not size:
                    raise InputError(f"the object {name} is {kind}.")
                left = int(size[0])
                yield name, kind, (stream.read(left),) if left < CHUNK_BYTES else _read_chunks(stream, left)
                stream.read(1)  # the newline after the content

    def _find_origins(self, blobs: set[str]) -> dict[str, tuple[int, str, str]]:
        """Return the commit and path with which each blob entered the history, if a commit leads to it.

        The number before them counts commits back from the newest.
        """
        origins = {}
        commit, blob, age = "", None, 0
        # A damaged repository has been reported; a partial clone lacks objects.
        with suppress(InputError), self._run_git(*_LOG_ARGS) as stream:
            for word in _split_records(stream):
                if blob is not None:
                    if blob in blobs:
                        origins[blob] = age, commit, format_path(word)
                    blob = None
                elif (text := word.lstrip(b"\n").decode()).startswith(":"):
                    blob = text.split()[3]
                else:
                    commit, age = text, age + 1
        return origins

    @contextmanager
    def _run_git(self, *words: str) -> Iterator[IO[bytes]]:
        """Run git and yield its stdout. Raises NotFoundError: it is not installed; InputError: it failed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # set by hooks
        clean |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        command = ["git", f"--git-dir={self.folder}", *_SAFE_CONFIG_ARGS, *words]
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=clean,
                    bufsize=CHUNK_BYTES,
                )
            except OSError as error:
                raise NotFoundError(f"cannot run git ({error.strerror}): the Git history is not scanned.") from None
            try:
                yield cast("IO[bytes]", process.stdout)
                if process.wait():
                    errors.seek(0)
                    said = errors.read(CHUNK_BYTES).decode(errors="replace").strip().splitlines()
                    raise InputError(
                        f"git failed: {format_path(said[-1]) if said else f'exit code {process.returncode}'}."
                    )
            finally:
                process.kill()
                with process:
                    pass


def _read_chunks(stream: IO[bytes], left: int) -> Iterator[bytes]:
    while left and (piece := stream.read(min(left, CHUNK_BYTES))):
        left -= len(piece)
        yield piece


def _split_records(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the records of a stream, which are separated by NUL."""
    held = b""
    while piece := stream.read(CHUNK_BYTES):
        *words, held = (held + piece).split(b"\0")
        yield from words
    if held:
        yield held
