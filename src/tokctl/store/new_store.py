"""A new store that gets its name only when it is filled, so that a failure leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokctl.atomic_files import make_folder
from tokctl.errors import InputError, StoreError
from tokctl.readers.stream import RejectedRecord, read_records
from tokctl.store import open_store
from tokctl.store.exporting import ndjson
from tokctl.store.importing import import_records
from tokctl.store.protocol import Store


def is_empty_file(file: Path) -> bool:
    """Tell whether there is no file, or one without content: a store has yet to be created there."""
    try:
        return file.stat().st_size == 0
    except OSError:
        return True


@contextmanager
def fill_new_store(file: Path) -> Iterator[Store]:
    """Yield a new store under a temporary name beside ``file``; it is given its name when the block ends without error.

    If another process has created a store there in the meantime, the content is added to that one: no store is
    replaced or removed.

    Raises:
        StoreError: the store cannot be created.
    """
    from tokctl.store.sqlite.filling import FillingStore

    target = Path(os.path.realpath(file))
    try:
        make_folder(target.parent)
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise StoreError(
            f"cannot create the store {file}: {error.strerror}.", "Name another place with --store."
        ) from None
    os.close(descriptor)
    try:
        with FillingStore(Path(name)) as store:
            yield store
            store.save()
        try:
            os.link(name, target)
        except OSError:  # there is a file now, or the file system has no hard links
            _add_to_store(name, target)
    except StoreError as error:
        raise type(error)(error.message.replace(name, str(file)), error.hint) from error
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)


def _add_to_store(source_file: str, target: Path) -> None:
    """Copy the instances and definitions of one store into another."""
    with (
        open_store(f"sqlite:{source_file}") as source,
        open_store(f"sqlite:{target}", write=True, create=True) as store,
        store.write() as batch,
    ):
        lines = ndjson(source, source.all_instance_ids(), source.definitions())
        import_records(batch, read_records(lines, name=source_file), _raise_rejected)


def _raise_rejected(record: RejectedRecord) -> None:
    raise InputError(f"a record of the store cannot be read: {record}.")
