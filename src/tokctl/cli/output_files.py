"""Opens the file that a command writes its result to."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tokctl.config.settings import Settings
from tokctl.errors import StoreError, UsageError
from tokctl.input_files import is_same_file
from tokctl.store import is_store_file


def check_overwrites_no_source(out: str, settings: Settings, *inputs: str | None) -> None:
    """Raise UsageError if a file to write is part of the store, the --file that is read, or another input."""
    if settings.kind == "store" and is_store_file(settings.store_location, out):
        raise UsageError(f"--out {out} would overwrite the store.", "Name another file.")
    if any(path is not None and is_same_file(path, out) for path in (settings.file, *inputs)):
        raise UsageError(f"--out {out} would overwrite an input file.", "Name another file.")


@contextmanager
def open_target(path: str | None) -> Iterator[BinaryIO]:
    """Open a file to write (None: stdout). It gets its name only when it is complete; ``.gz`` is compressed.

    Raises:
        StoreError: it cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with _convert_write_errors(path), ExitStack() as stack:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe: written to directly
            yield stack.enter_context(Path(path).open("wb"))
            return
        target = Path(path).resolve()
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        stack.callback(partial.unlink, missing_ok=True)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            if path.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as zipped:
                    yield cast("BinaryIO", zipped)
            else:
                yield raw
        partial.replace(target)


@contextmanager
def _convert_write_errors(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}.", "Name another file.") from None
