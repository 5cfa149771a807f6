"""Scans files, directories and the history of git repositories for the secrets of API tokens. Sends no requests.

It reports everything in the named paths that is not searched, with the reason.
"""

from __future__ import annotations

import errno
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

from tokctl.api_tokens.archives import identify
from tokctl.api_tokens.content import ContentSearch, format_path
from tokctl.api_tokens.detection import SecretMatch, find_secrets
from tokctl.errors import InputError, NotFoundError, TokctlError

CHUNK_BYTES = 1 << 17  # larger pieces do not stay in the processor's cache
FILE, STDIN, BLOB, COMMIT = "file", "stdin", "blob", "commit"
"""Kinds of locations; tags and trees, the other kinds of git objects, are named as git does."""
_TREE = "tree"
_ENDLESS = 1 << 62
_SHORT_HASH_LENGTH = 10


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
        unread: called with the path and the reason for everything that is not searched.
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
        self._report_unsearched = unread
        self._content = ContentSearch()
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
                yield from self._scan_stdin()
            elif Path(path).is_dir():
                yield from self._scan_folder(path)
            else:
                yield from self._scan_file(path, _NAMED_FILE_FLAGS)
        for path in paths:
            if Path(path).is_dir():
                self._report_outer_repository(path)

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
            if not is_repository and Path(folder).name == ".git":
                self._skip_history(folder, "it is not a git repository")
            below = []
            for entry in entries:
                path = entry.name if folder == "." else entry.path
                if entry.is_dir(follow_symlinks=False):
                    if path not in _SKIPPED_FOLDERS and not (is_repository and entry.name == "objects"):
                        below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield from self._scan_file(path, _WALKED_FILE_FLAGS)
                if entry.name == ".git" and not entry.is_dir(follow_symlinks=False):
                    yield from self._scan_linked_history(Path(path))
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
            status = os.fstat(descriptor)
            is_regular = stat.S_ISREG(status.st_mode)
            if is_regular or flags == _NAMED_FILE_FLAGS:
                self.files += 1
                reader = _FileReader(descriptor, status.st_size if is_regular else 0)

                def skip(member: str | None, why: str) -> None:
                    if member is None:  # what follows is not decoded
                        reader.keeps_holes = False
                    self._skip_member(path, member, why)

                file = partial(_reopen, descriptor) if reader.size else None
                for found in self._content.search(self._count_bytes(reader), skip, file):
                    place = SecretLocation(kind=FILE, path=format_path(path))
                    yield SecretHit(place, found if found.encodings else reader.restore_offset(found))
        except OSError as error:
            self._skip_path(path, error.strerror)
        finally:
            os.close(descriptor)

    def _scan_stdin(self) -> Iterator[SecretHit]:
        pieces = self._count_bytes(iter(partial(self._stdin.read1, CHUNK_BYTES), b""))
        for found in self._content.search(pieces, partial(self._skip_member, "standard input")):
            yield SecretHit(SecretLocation(kind=STDIN), found)

    def _scan_linked_history(self, link: Path) -> Iterator[SecretHit]:
        """Scan the repository to which a .git leads that is no folder: a file of a worktree or submodule, or a link."""
        folder = _find_repository(link)
        if folder is None:
            self._skip_history(str(link), "it leads to no git repository")
        else:
            yield from self._scan_history(folder)

    def _report_outer_repository(self, path: str) -> None:
        """Report that the history of the repository that a folder is part of is not searched."""
        real = Path(path).resolve()
        if _find_repository(real / ".git") is None and not _is_repository(real):
            outer = next((one for one in real.parents if _find_repository(one / ".git") is not None), None)
            if outer is not None and _find_repository(outer / ".git") not in self._seen:
                self._skip_history(path, f"it is a part of the repository {format_path(str(outer))}")

    def _scan_history(self, folder: Path) -> Iterator[SecretHit]:
        real = folder.resolve()
        if not self._wants_history or real in self._seen:
            return
        self._seen.add(real)
        history = GitHistoryScanner(str(folder), self._content, partial(self._skip_member, str(folder)))
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
        self._report_unsearched(format_path(path), why or "cannot be read")

    def _skip_member(self, path: str, member: str | None, why: str) -> None:
        self._report_unsearched(format_path(path) + (f"!/{member}" if member else ""), why)

    def _skip_history(self, path: str, why: str) -> None:
        if self._wants_history:
            self._skip_path(path, f"{why}, the history is not searched")


class _FileReader:
    """The pieces of an open file, up to the size that it has now (0: to its end).

    Holes in a file, which take no place on the disk, are left out if they are large: they hold no secrets, and can be
    larger than any disk.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self.keeps_holes = False
        self._descriptor = descriptor
        self._holes: list[tuple[int, int]] = []  # offset in what was read, size

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        left = self.size or _ENDLESS
        while left and (piece := os.read(self._descriptor, min(CHUNK_BYTES, left))):
            if not done:
                self.keeps_holes = identify(piece) is not None
            left -= len(piece)
            done += len(piece)
            yield piece
            if self.size and not piece[-1] and not self.keeps_holes and not piece.strip(b"\0"):
                hole = self._skip_hole()
                self._holes.append((done, hole))
                left -= min(hole, left)

    def _skip_hole(self) -> int:
        """Go to the next data of the file, and return how many bytes lie between."""
        here = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            return os.lseek(self._descriptor, here, os.SEEK_DATA) - here
        except OSError as error:
            return _ENDLESS if error.errno == errno.ENXIO else 0  # no data follows, or the file system cannot tell

    def restore_offset(self, found: SecretMatch) -> SecretMatch:
        """Return a secret that was found in the pieces, with its offset in the file."""
        return found._replace(offset=found.offset + sum(size for at, size in self._holes if at <= found.offset))


def _reopen(descriptor: int) -> IO[bytes]:
    return os.fdopen(os.dup(descriptor), "rb")


def _find_repository(git: Path) -> Path | None:
    """Return the repository that a .git is, or leads to as a link or as the file of a worktree or a submodule."""
    folder = git.resolve() if git.is_dir() else _resolve_gitdir(git)
    return folder if folder is not None and _is_repository(folder) else None


def _is_repository(folder: Path) -> bool:
    return all((folder / name).exists() for name in _REPOSITORY_ENTRIES)


def _resolve_gitdir(pointer: Path) -> Path | None:
    """Return the folder that a .git file names; None if it names none."""
    try:
        word, _, named = _read_first_line(pointer).partition(": ")
        folder = pointer.parent / named
        with suppress(FileNotFoundError):
            folder /= _read_first_line(folder / "commondir")
        return Path(os.path.normpath(folder)) if word == "gitdir" else None
    except (OSError, ValueError):
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
_MISSING_ARGS = ("rev-list", "--all", "--reflog", "--objects", "--missing=print")
_SAFE_CONFIG_ARGS = ("-c", "protocol.allow=never", "-c", "core.fsmonitor=false")


class GitHistoryScanner:
    """Reads a repository with the program git. Nothing is fetched, no hook is run and nothing is written."""

    def __init__(self, folder: str, content: ContentSearch, skip: Callable[[str | None, str], object]) -> None:
        self.folder = folder
        self.objects = 0
        self._content = content
        self._skip = skip
        self._skipped: list[tuple[str, str | None, str]] = []  # blob, file of an archive, reason

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
                found += ((name, kind, one) for one in self._search_object(name, kind, counted(pieces)))
            self._report_missing_objects()
        except (InputError, KeyboardInterrupt) as error:
            fault = error  # raised after the hits so far
        yield from self._locate_hits(found)
        if fault is not None:
            raise fault

    def _search_object(self, name: str, kind: str, pieces: Iterator[bytes]) -> Iterator[SecretMatch]:
        if kind == _TREE:
            return find_secrets(pieces)
        return self._content.search(pieces, lambda member, why: self._skipped.append((name, member, why)))

    def _report_missing_objects(self) -> None:
        folder = Path(self.folder)
        with suppress(OSError):
            if (folder / "shallow").stat().st_size:
                self._skip(None, "shallow clone, its older commits are not searched. 'git fetch --unshallow' gets them")
        if any((folder / "objects" / "pack").glob("*.promisor")):
            with self._run_git(*_MISSING_ARGS) as stream:
                missing = sum(line.startswith(b"?") for line in stream)
            if missing:
                self._skip(None, f"partial clone, {missing:,} objects that were not fetched are not searched")

    def _locate_hits(self, found: list[tuple[str, str, SecretMatch]]) -> Iterator[SecretHit]:
        blobs = {name for name, kind, _ in found if kind == BLOB} | {name for name, _, _ in self._skipped}
        origins = self._find_origins(blobs) if blobs else {}
        for name, member, why in self._skipped:
            origin = origins.get(name)
            short = (name if origin is None else origin[1])[:_SHORT_HASH_LENGTH]
            where = f"object {short}" if origin is None else f"{short}:{origin[2]}"
            self._skip(None, f"{where}{f'!/{member}' if member else ''}: {why}")
        oldest: dict[tuple[str, str, str | None], tuple[int, SecretHit]] = {}
        versions = defaultdict[tuple[str, str, str | None], set[str]](set)
        for name, kind, one in found:
            age, commit, path = origins.get(name) or (0, name if kind == COMMIT else None, None)
            key = (one.secret, path or name, one.member)
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
                code = process.wait()
                errors.seek(0)
                said = errors.read(CHUNK_BYTES).decode(errors="replace").strip().splitlines()
                # It does not fail where a folder of objects is missing.
                if code or any(line.startswith("error: ") for line in said):
                    raise InputError(f"git failed: {format_path(said[-1]) if said else f'exit code {code}'}.")
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
