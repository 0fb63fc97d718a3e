"""Milvus Lite's files (3.2.2): who holds one, reading without writing, and index files that a kill has cut short."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core.errors import BusyError, MilvusError
from ingest.runtime.atomic_files import reason
from ingest.runtime.openmp import import_faiss

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "LOCK"
_FILES = "collections/{}/partitions/*/indexes/*.hnsw.idx"
_FOLDER, _SCHEMA = "collections/{}", "schema.json"


def is_locked(database: str) -> bool:
    """Return whether another process has a database open: pymilvus says only that it could not open it."""
    if os.name == "nt":  # Windows has neither Milvus Lite nor flock
        return False
    import fcntl

    try:
        with (Path(database).expanduser() / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def busy(shown: str) -> BusyError:
    """Return the error for a database that another process has open."""
    return BusyError(
        f"{shown}: another process has this Milvus Lite file open; wait for it or end it, or use a server, "
        "which serves many"
    )


@contextmanager
def open_copy(database: Path) -> Iterator[Path]:
    """Give a folder for Lite to open and change in place of `database`; nobody can change that meanwhile.

    When it opens a database, Lite recovers what a killed process left; when it closes it, Lite writes that down. It
    replaces its small files (JSON), so they are copied, and never changes its large ones, so they are linked. Raises
    BusyError if another process may change `database`, MilvusError if it cannot be read.
    """
    with ExitStack() as stack:
        try:
            copy = _copy(database, stack)
        except BlockingIOError as error:
            raise busy(str(database)) from error
        except OSError as error:
            raise MilvusError(
                f"{database}: cannot be read ({reason(error)}); make it readable, or set TMPDIR"
            ) from error
        yield copy


def _copy(database: Path, stack: ExitStack) -> Path:
    import fcntl  # Windows has neither this nor Milvus Lite

    if (lock := database / _LOCK).exists():
        fcntl.flock(stack.enter_context(lock.open("rb")), fcntl.LOCK_SH | fcntl.LOCK_NB)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-")), database.name)
    _copy_folder(database, folder)
    return folder


def _copy_folder(source: Path, to: Path) -> None:
    """Copy small files and link large ones, in folders of our own: Lite writes in them, also if these are read-only."""
    to.mkdir()
    for entry in source.iterdir():
        if entry.is_dir():
            _copy_folder(entry, to / entry.name)
        elif ".json" in entry.name:
            shutil.copyfile(entry, to / entry.name)
        elif entry.name != _LOCK:
            (to / entry.name).symlink_to(entry.absolute())


def remove_half_created(database: str, name: str) -> None:
    """Remove the folder of a collection whose creation was cut short, by a kill or a full disk.

    Lite creates the folder and then writes the schema; without that it neither knows the collection nor creates it
    again. A folder with folders in it has held rows, and stays.
    """
    folder = Path(database).expanduser() / _FOLDER.format(name)
    if folder.is_dir() and not (folder / _SCHEMA).exists() and not any(entry.is_dir() for entry in folder.iterdir()):
        shutil.rmtree(folder)


def remove_torn_indexes(database: str, name: str) -> int:
    """Remove a collection's index files that cannot be read, and return how many.

    Lite writes them in place, so a process killed meanwhile leaves one that Lite cannot load. `database` is the Lite
    "file", a folder. Loading the collection builds them again from its rows, which Lite keeps in separate files that
    it never changes.
    """
    files = list(Path(database).expanduser().glob(_FILES.format(name)))
    torn = [path for path in files if not _is_readable(path)]
    for path in torn:
        path.unlink()
    return len(torn)


def _is_readable(path: Path) -> bool:
    try:
        import_faiss().read_index(str(path))
    except RuntimeError:
        return False
    return True
