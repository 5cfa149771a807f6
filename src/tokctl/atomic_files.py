"""Private files and folders: written atomically, readable for their owner only under any umask; and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_POLL_SECONDS = 0.02
"""Seconds between two attempts to get a lock."""
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
OTHERS_CAN_WRITE = 0o022
"""The bits of a mode that let the group or others write."""


def write_atomically(path: Path, data: bytes, *, new: bool = False, owner: os.stat_result | None = None) -> None:
    """Write a file with mode 0600 and sync it to disk; the old content stays until the new one is complete.

    The directory exists. A link is replaced, not followed. A ``new`` file must not exist, and one that appears at the
    same moment stays. ``owner`` is that of the file it replaces: a file that an administrator changes keeps its owner
    and group. Until the new content is complete it has no name, where the file system supports that, so that a
    killed process leaves nothing; what a process left elsewhere the next one removes (``remove_leftovers``).

    Raises:
        FileExistsError: it must not exist, but does.
        OSError: it cannot be written.
    """
    remove_leftovers(path)
    partial = temporary_name(path)
    descriptor, is_named = _create_partial(partial)
    try:
        os.fchmod(descriptor, PRIVATE_FILE)
        if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(OSError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        _write_durably(descriptor, data)
        if not is_named and not new:
            _give_name(descriptor, partial)
            is_named = True
        if not new:
            partial.replace(path)
        elif is_named:
            os.link(partial, path)
        else:
            _give_name(descriptor, path)
    finally:
        if is_named:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        os.close(descriptor)
    sync_directory(path.parent)


def check_writable(path: Path, size: int) -> None:
    """Write ``size`` bytes as ``write_atomically`` would, and discard them. Raises OSError: it would fail."""
    partial = temporary_name(path)
    with suppress(FileNotFoundError):
        partial.lstat()  # its name may be too long
    descriptor, is_named = _create_partial(partial)
    try:
        _write_durably(descriptor, b"-" * size)
    finally:
        if is_named:
            partial.unlink(missing_ok=True)
        os.close(descriptor)


def _write_durably(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def temporary_name(path: Path) -> Path:
    """Return a random name for a temporary copy of a file, in its folder."""
    return path.with_name(f".{path.name}.{int.from_bytes(os.urandom(4))}.part")


def _create_partial(partial: Path) -> tuple[int, bool]:
    """Create a locked file without a name in the folder of a path; returns its descriptor, and whether it has the name.

    The lock tells ``remove_leftovers`` that it is in use.
    """
    is_named = not Path("/proc/self/fd").exists()  # through which it is given its name later
    if not is_named:
        try:
            descriptor = os.open(partial.parent, os.O_TMPFILE | os.O_WRONLY, PRIVATE_FILE)
        except (AttributeError, OSError):  # the platform or the file system does not support it
            is_named = True
    if is_named:
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, PRIVATE_FILE)
    try_lock(descriptor)
    return descriptor, is_named


def _give_name(descriptor: int, path: Path) -> None:
    """Give a file without a name this one (open(2), O_TMPFILE). Raises FileExistsError, OSError."""
    # Any src_dir_fd makes os.link call linkat, which follows the link in /proc; link(2) does not.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def remove_leftovers(path: Path) -> list[Path]:
    """Remove the temporary copies of a file that killed processes have left, and return their paths.

    Those of running processes, which are locked, stay. Errors are ignored.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+\.part")
    removed = []
    with suppress(OSError), os.scandir(path.parent) as listed:
        for found in [Path(entry.path) for entry in listed if pattern.fullmatch(entry.name)]:
            with suppress(OSError):
                descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if os.fstat(descriptor).st_uid == os.geteuid() and try_lock(descriptor):
                        found.unlink()
                        removed.append(found)
                finally:
                    os.close(descriptor)
    return removed


def make_folder(path: Path) -> None:
    """Create a folder, and the parents that are missing, with mode 0700. Raises OSError."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process was faster
            folder.mkdir(PRIVATE_FOLDER)
            folder.chmod(PRIVATE_FOLDER)  # the umask may have removed bits


def make_own_folder(path: Path) -> None:
    """Create a folder for private files, or check the one that is there.

    One of this user that others can write is closed to them, unless it is shared as ``/tmp`` is.

    Raises:
        PermissionError: it, or a link to it, belongs to another user (root may own it).
        NotADirectoryError: it is something else.
        OSError: it cannot be created.
    """
    make_folder(path)
    for status in (path.lstat(), path.stat()):
        if is_foreign(status):
            raise PermissionError(0, f"it belongs to another user (uid {status.st_uid})", str(path))
    if not stat.S_ISDIR(status.st_mode):  # such as /dev/null, which must stay open to all
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    is_shared = status.st_mode & stat.S_ISVTX  # as /tmp is: only the owner of a file can replace it
    if status.st_uid == os.geteuid() and status.st_mode & OTHERS_CAN_WRITE and not is_shared:
        path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS_CAN_WRITE)


def is_foreign(status: os.stat_result) -> bool:
    """Return whether something belongs to neither this user nor root."""
    return status.st_uid not in {os.geteuid(), 0}


def sync_directory(folder: Path) -> None:
    """Sync a directory to disk, so that new names in it survive a power failure, if the platform supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold an exclusive lock on an existing directory or file.

    Raises:
        BlockingIOError: another process has held the lock for ``timeout`` seconds.
        OSError: the path cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise BlockingIOError(f"{path} is locked")
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Try to lock an open file or directory; the lock ends when it is closed, or with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
