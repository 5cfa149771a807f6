"""Writes files atomically, readable for their owner only, and locks files and directories."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_POLL_SECONDS = 0.02
"""Seconds between two attempts to get a lock."""


def write_atomically(path: Path, data: bytes, *, new: bool = False, owner: os.stat_result | None = None) -> None:
    """Write a file with mode 0600 and sync it to disk; the old content stays until the new one is complete.

    The directory exists. A link is replaced, not followed. A ``new`` file must not exist, and one that appears at the
    same moment stays. ``owner`` is that of the file it replaces: a file that an administrator changes keeps its owner
    and group.

    Raises:
        FileExistsError: it must not exist, but does.
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with suppress(FileNotFoundError):
            partial.unlink()  # left by a process with the same id that was killed
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(OSError):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            os.link(partial, path)
        else:
            partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    sync_directory(path.parent)


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
