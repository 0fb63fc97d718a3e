"""Milvus Lite's files (3.2.2): index files that a kill has cut short, and reading without writing."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.runtime.openmp import import_faiss

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "LOCK"
_FILES = "collections/{}/partitions/*/indexes/*.hnsw.idx"


def remove_torn_indexes(database: str, name: str) -> int:
    """Remove the index files of a collection that cannot be read, and return how many.

    Lite writes them in place, so that a process killed meanwhile leaves one that it cannot load.
    `database` is the Lite "file", a folder. Loading the collection makes them anew from its rows, which Lite keeps
    apart, in files that it never changes.
    """
    files = list(Path(database).expanduser().glob(_FILES.format(name)))
    torn = [path for path in files if not _is_readable(path)]
    for path in torn:
        path.unlink()
    return len(torn)


@contextmanager
def stand_in(database: Path) -> Iterator[Path]:
    """Give a folder that Lite opens like `database` and changes in its place; nobody else can open that meanwhile.

    Opening it, Lite recovers what a killed process left; closing it, Lite writes that down. It replaces its small files
    (JSON), so they are copied, and never changes its large ones, so links stand for them. Raises OSError where another
    process has `database` open.
    """
    import fcntl  # Windows has neither this nor Milvus Lite

    with ExitStack() as stack:
        if (lock := database / _LOCK).exists():
            fcntl.flock(stack.enter_context(lock.open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-")), database.name)
        shutil.copytree(database, folder, ignore=shutil.ignore_patterns(_LOCK), copy_function=_copy_or_link)
        yield folder


def _copy_or_link(source: str, to: str) -> None:
    if ".json" in Path(source).name:
        shutil.copyfile(source, to)
    else:
        Path(to).symlink_to(Path(source).absolute())


def _is_readable(path: Path) -> bool:
    try:
        import_faiss().read_index(str(path))
    except RuntimeError:
        return False
    return True
